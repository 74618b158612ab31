"""Holds what was promised against test cases."""

from collections.abc import Sequence
from pathlib import Path

import metrics
from lightning_app.calibration import cases, risk
from lightning_app.calibration.cases import CasePromises
from lightning_app.calibration.risk import Promises
from lightning_app.training.evaluation import CaseEvaluation, ScoredCase
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback


class PromiseCheck(StageCallback):
    """Holds what is promised with the checkpoint against the test cases.

    Args:
        run: The run's folder.
        evaluation: What keeps the sums of the cases.
    """

    def __init__(self, run: RunFolder, evaluation: CaseEvaluation) -> None:
        self.run, self.evaluation = run, evaluation

    def on_finish(self, stage: Stage) -> None:
        """Print and write."""
        if stage.name == "test" and stage.trainer.is_global_zero:
            risks: Promises = getattr(stage.module, "promises", None) or {}
            of_cases: CasePromises = getattr(stage.module, "case_promises", None) or {}
            names, largest = stage.class_names, stage.scorer.cuts is None
            hold(self.run.stage("test"), self.evaluation.cases, names, risks, of_cases, largest)


def hold(
    stage: Path,
    scored: Sequence[ScoredCase],
    names: Sequence[str],
    risks: Promises,
    of_cases: CasePromises,
    largest: bool,
) -> None:
    """Print what was promised beside what happened, and write it to `risk.csv` and `cases.csv` of a stage.

    Args:
        stage: The stage's folder.
        scored: Name and sums of each case.
        names: Of the classes or regions, background first.
        risks: Cuts that were promised.
        of_cases: What was promised of single cases.
        largest: Whether the largest probability made the masks; what is promised of the Dice is of such masks alone.
    """
    if risks:
        odds = [sums.odds for _, sums in scored if sums.odds is not None]
        risk.write_rows(stage, risk.held_against(risks, odds, names))
    if of_cases:
        table = [row for _, sums in scored for row in metrics.rows_from_sums(sums, names)]
        cases.write_rows(stage, cases.held_against(of_cases, table, largest))
