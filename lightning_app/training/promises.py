"""Holds what was promised against test cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import metrics
from lightning_app.calibration import cases, risk
from lightning_app.calibration.cases import CasePromises
from lightning_app.calibration.risk import Promises
from lightning_app.training import drift
from lightning_app.training.evaluation import CaseEvaluation, ScoredCase, gather
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback


class PromiseCheck(StageCallback):
    """Holds what is promised with the checkpoint against the test cases, and says where these look unlike its own.

    Args:
        run: The run's folder.
        evaluation: What keeps the sums of the cases.
    """

    def __init__(self, run: RunFolder, evaluation: CaseEvaluation) -> None:
        self.run, self.evaluation = run, evaluation
        self.traits: list[dict[str, float]] = []

    def on_begin(self, stage: Stage) -> None:
        """Begin anew."""
        self.traits = []

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Keep what the case's probabilities say of it."""
        if stage.name == "test" and any(_promised(stage)):
            self.traits.append(stage.head.traits(outputs["original"][0]))

    def on_finish(self, stage: Stage) -> None:
        """Print and write."""
        risks, of_cases = _promised(stage)
        if stage.name != "test" or not (risks or of_cases):
            return
        traits = gather(self.traits)
        if stage.trainer.is_global_zero:
            folder, names, largest = self.run.stage("test"), stage.class_names, stage.scorer.cuts is None
            hold(folder, self.evaluation.cases, names, risks, of_cases, largest)
            drift.check(folder, stage.module.promised_traits, traits)


def _promised(stage: Stage) -> tuple[Promises, CasePromises]:
    """What the checkpoint promises; other modules than ours promise nothing."""
    return getattr(stage.module, "promises", None) or {}, getattr(stage.module, "case_promises", None) or {}


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
