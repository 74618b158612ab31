"""Holds the promise that is kept with a checkpoint against the test cases."""

from lightning_app.calibration.risk import Promises, held_against, write_rows
from lightning_app.training.evaluation import CaseEvaluation
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback


class PromiseCheck(StageCallback):
    """Holds the promise kept with the checkpoint against the test cases: prints it and writes `risk.csv`.

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
