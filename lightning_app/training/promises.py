"""Holds the promise that is kept with a checkpoint against the test cases."""

import metrics
from lightning_app.calibration import cases
from lightning_app.calibration.cases import CasePromises
from lightning_app.calibration.risk import Promises, held_against, write_rows
from lightning_app.training.evaluation import CaseEvaluation
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback


class PromiseCheck(StageCallback):
    """Holds what is promised with the checkpoint against the test cases: prints it and writes `risk.csv`, `cases.csv`.

    Args:
        run: The run's folder.
        evaluation: What keeps the sums of the cases.
    """

    def __init__(self, run: RunFolder, evaluation: CaseEvaluation) -> None:
        self.run, self.evaluation = run, evaluation

    def on_finish(self, stage: Stage) -> None:
        """Print and write."""
        promises: Promises | None = getattr(stage.module, "promises", None)
        if promises and stage.name == "test" and stage.trainer.is_global_zero:
            odds = [sums.odds for _, sums in self.evaluation.cases if sums.odds is not None]
            rows = held_against(promises, odds, stage.class_names)
            write_rows(self.run.stage("test"), rows)
        of_cases: CasePromises | None = getattr(stage.module, "case_promises", None)
        if of_cases and stage.name == "test" and stage.trainer.is_global_zero:
            names = stage.head.names
            table = [row for _, sums in self.evaluation.cases for row in metrics.rows_from_sums(sums, names)]
            held = cases.held_against(of_cases, table, stage.scorer.cuts is None)
            cases.write_rows(self.run.stage("test"), held)
