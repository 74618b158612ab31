"""What validation cases promise of each case to come: an interval of its volume, whether it passes without a look."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule

import metrics
from lightning_app.errors import UserError
from lightning_app.files import write_csv
from metrics.selection import Passing, VolumeInterval

KEY = "cases"
Rows = Sequence[Mapping[str, Any]]  # of the table of cases


class CasePromise(NamedTuple):
    """What is promised of a class.

    Attributes:
        volume: Its intervals.
        passing: Its least expected Dice; None where none can be promised.
    """

    volume: VolumeInterval
    passing: Passing | None


CasePromises = Mapping[str, CasePromise]


class CaseCollector(LightningModule):
    """Predicts the validation cases as `predict` does and keeps what was expected of each and what is true.

    Args:
        module: The training module.
        allowed: Names of the cases that may be used.
    """

    module: Any

    def __init__(self, module: LightningModule, allowed: frozenset[str]) -> None:
        super().__init__()
        self.module, self.allowed = module, allowed
        self.names: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> int:
        """Measure one case; return its number.

        Raises:
            ValueError: If it is no validation case.
        """
        name, head = batch["case"][0], self.module.head
        if name not in self.allowed:
            raise ValueError(f"case {name} is no validation case: a promise is made from validation cases only")
        scorer = head.scorer()
        scorer.expectations = True
        probs, labels, _ = head.scored(self.module.predict_step(batch, batch_idx)["original"], batch["original_mask"])
        sums = scorer.score(probs[0], labels[0], batch["geometry"][0].spacing)
        self.rows += metrics.rows_from_sums(sums.cpu(), head.names)
        self.names.append(name)
        return len(self.names)


def promise_cases(rows: Rows, names: Sequence[str], dice: float, share: float, confidence: float) -> CasePromises:
    """A promise for each foreground class.

    Args:
        rows: Of the table of cases, with what was expected.
        names: K names, background first.
        dice: Below it a case is bad.
        share: Of intervals that miss, and of bad cases among those that pass.
        confidence: That the second holds.

    Raises:
        UserError: If the cases are too few for intervals, or an argument is out of range.
    """
    found = {}
    for name in names[1:]:
        columns = {key: column(rows, name, key) for key in ("expected_volume", "true_volume", "expected_dice", "dice")}
        known = np.isfinite(columns["expected_dice"]) & np.isfinite(columns["dice"])
        try:
            volume = VolumeInterval.of(columns["expected_volume"], columns["true_volume"], 1 - share)
        except ValueError as error:
            raise UserError(f"--method cases, {name}: {error}") from error
        try:
            passing = Passing.of(columns["expected_dice"][known], columns["dice"][known], dice, share, confidence)
        except ValueError as error:
            sys.stdout.write(f"WARNING   {name}: no case passes without a look: {error}\n")
            passing = None
        found[name] = CasePromise(volume, passing)
    return found


def column(rows: Rows, name: str, key: str) -> np.ndarray:
    """The values of a class, a case each; NaN where there is none."""
    return np.array([float(row.get(key, "nan")) for row in rows if row["class"] == name])


def to_record(promises: CasePromises) -> dict[str, Any]:
    """Plain data for a file."""
    return {
        name: {"volume": asdict(one.volume), "passing": None if one.passing is None else asdict(one.passing)}
        for name, one in promises.items()
    }


def from_record(record: Mapping[str, Any]) -> dict[str, CasePromise]:
    """The way back of `to_record`."""
    return {
        name: CasePromise(
            VolumeInterval(**one["volume"]), None if one["passing"] is None else Passing(**one["passing"])
        )
        for name, one in record.items()
    }


def describe(promises: CasePromises, where: str, usage: str) -> str:
    """What the terminal shows after the promises were made."""
    lines = [""]
    for name, (volume, passing) in promises.items():
        within = f"within a factor {np.exp(volume.reach):.2f} of the expected one in {volume.coverage:.0%} of cases"
        lines.append(f"{name}: volume {within}; from {volume.n}")
        if passing is not None:
            lines.append(f"  look at cases of expected Dice below {passing.cut:.3f}; of the others at most")
            lines.append(
                f"  {passing.share:.0%} have a Dice below {passing.dice:g}, {passing.confidence:.0%} sure: of these "
                f"{passing.passed} passed, {passing.bad} bad"
            )
    lines.append("It holds for cases that are drawn as these were; under shift nothing is promised.")
    return "\n".join([*lines, f"kept in                   {where}; {usage}"]) + "\n"


def held_against(promises: CasePromises, rows: Rows, largest: bool = True) -> list[dict[str, Any]]:
    """A row a class: what was promised, and what the cases show.

    Args:
        promises: By class.
        rows: Of the table of cases.
        largest: Whether the largest probability made the masks; which cases pass is promised of such masks alone.
    """
    found = []
    for name, (volume, passing) in promises.items():
        true = column(rows, name, "true_volume")
        ends = [volume.around(value) for value in column(rows, name, "expected_volume")]
        held = [low <= value <= high for value, (low, high) in zip(true, ends, strict=True)]
        off = column(rows, name, "expected_dice") - column(rows, name, "dice")
        row = {"class": name, "cases": len(true), "coverage": volume.coverage, "covered": float(np.mean(held))}
        if (known := off[np.isfinite(off)]).size:
            row |= {"dice_error": float(np.abs(known).mean()), "dice_bias": float(known.mean())}
        if passing is not None and largest:
            actual = column(rows, name, "dice")
            through = (column(rows, name, "expected_dice") >= passing.cut) & np.isfinite(actual)
            row |= {
                "cut": passing.cut,
                "passed": int(through.sum()),
                "bad": int((actual[through] < passing.dice).sum()),
            }
            row |= {"share": passing.share, "dice": passing.dice}
        found.append(row)
    return found


def write_rows(stage: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what was promised beside what happened, and write it to `cases.csv` of a stage."""
    write_csv(stage / "cases.csv", rows)
    sys.stdout.write(told(rows))


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the terminal."""
    lines = [
        "",
        f"{'promise of each case':<26}{'volumes held':>20}{'bad of those passed':>24}{'expected Dice off by':>22}",
    ]
    for row in rows:
        covered = f"{row['covered']:.3f} ({row['coverage']:.0%})"
        bad = f"{row['bad']} of {row['passed']} (<= {row['share']:.0%})" if "cut" in row else "nothing promised"
        error = f"{row['dice_error']:.3f} ({row['dice_bias']:+.3f})" if "dice_error" in row else ""
        lines.append(f"{row['class']:<26}{covered:>20}{bad:>24}{error:>22}")
    return "\n".join(lines) + "\n"
