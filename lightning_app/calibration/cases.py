"""What validation cases promise of each case to come: an interval of its volume, a least Dice, whether it passes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from lightning.pytorch import LightningModule

import metrics
from lightning_app.errors import UserError
from lightning_app.files import write_csv
from metrics.selection import DiceBound, Passing, VolumeInterval

KEY = "cases"
Rows = Sequence[Mapping[str, Any]]  # of the table of cases
Made = TypeVar("Made")


class CasePromise(NamedTuple):
    """What is promised of a class.

    Attributes:
        volume: Its intervals.
        dice: Its likely and its least Dice; None where too few cases have one.
        passing: The expected Dice from which cases pass; None where none can be promised.
    """

    volume: VolumeInterval
    dice: DiceBound | None
    passing: Passing | None


CasePromises = Mapping[str, CasePromise]


class CaseCollector(LightningModule):
    """Predicts the validation cases as `predict` does; keeps what was expected of each, what is true, and its traits.

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
        self.traits: list[dict[str, float]] = []

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
        original = self.module.predict_step(batch, batch_idx)["original"]
        self.traits.append(head.traits(original[0]))
        probs, labels, _ = head.scored(original, batch["original_mask"])
        sums = scorer.score(probs[0], labels[0], batch["geometry"][0].spacing)
        self.rows += metrics.rows_from_sums(sums, head.names)
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
        expected, true = (column(rows, name, key) for key in ("expected_volume", "true_volume"))
        try:
            volume = VolumeInterval.of(expected, true, 1 - share)
        except ValueError as error:
            raise UserError(f"--method cases, {name}: {error}") from error
        known, actual = dice_pairs(rows, name)
        bound = _or_warn(f"{name}: nothing is promised of the Dice", DiceBound.of, known, actual, 1 - share)
        passes = known, actual, dice, share, confidence
        passing = _or_warn(f"{name}: no case passes without a look", Passing.of, *passes)
        found[name] = CasePromise(volume, bound, passing)
    return found


def _or_warn(what: str, make: Callable[..., Made], *args: Any) -> Made | None:
    """What is made, or a line that says why not."""
    try:
        return make(*args)
    except ValueError as error:
        sys.stdout.write(f"WARNING   {what}: {error}\n")
        return None


def column(rows: Rows, name: str, key: str) -> np.ndarray:
    """The values of a class, a case each; NaN where there is none."""
    return np.array([float(row.get(key, "nan")) for row in rows if row["class"] == name])


def dice_pairs(rows: Rows, name: str) -> np.ndarray:
    """Expected and true Dice (2, n) of a class, of the cases that have both."""
    pairs = np.stack([column(rows, name, key) for key in ("expected_dice", "dice")])
    return pairs[:, np.isfinite(pairs).all(0)]


def to_record(promises: CasePromises) -> dict[str, Any]:
    """Plain data for a file."""
    return {name: {key: part and asdict(part) for key, part in one._asdict().items()} for name, one in promises.items()}


def from_record(record: Mapping[str, Any]) -> dict[str, CasePromise]:
    """The way back of `to_record`; of older files, which know no bound of the Dice, too."""
    return {
        name: CasePromise(
            VolumeInterval(**one["volume"]),
            DiceBound(**one["dice"]) if one.get("dice") else None,
            Passing(**one["passing"]) if one["passing"] else None,
        )
        for name, one in record.items()
    }


def describe(promises: CasePromises, where: str, usage: str) -> str:
    """What the terminal shows after the promises were made."""
    lines = [""]
    for name, (volume, dice, passing) in promises.items():
        within = f"within a factor {np.exp(volume.reach):.2f} of the expected one in {volume.coverage:.0%} of cases"
        lines.append(f"{name}: volume {within}; from {volume.n}")
        if dice is not None:
            low, likely = dice.around(0.9)
            lines.append(
                f"  of an expected Dice of 0.9: likely {likely:.3f}, at least {low:.3f} in {dice.coverage:.0%} of cases"
            )
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
        largest: Whether the largest probability made the masks; what is promised of the Dice is of such masks alone.
    """
    found = []
    for name, (volume, bound, passing) in promises.items():
        true = column(rows, name, "true_volume")
        ends = [volume.around(value) for value in column(rows, name, "expected_volume")]
        held = [low <= value <= high for value, (low, high) in zip(true, ends, strict=True)]
        row = {"class": name, "cases": len(true), "coverage": volume.coverage, "covered": float(np.mean(held))}
        expected, actual = dice_pairs(rows, name)
        if off := list(expected - actual):
            row |= {"dice_error": float(np.abs(off).mean()), "dice_bias": float(np.mean(off))}
        if off and bound is not None and largest:
            low, likely = np.array([bound.around(value) for value in expected]).T
            row |= {
                "dice_covered": float((low <= actual).mean()),
                "likely_dice_error": float(np.abs(likely - actual).mean()),
                "likely_dice_bias": float((likely - actual).mean()),
            }
        if passing is not None and largest:
            through = actual[expected >= passing.cut]
            row |= {"cut": passing.cut, "passed": len(through), "bad": int((through < passing.dice).sum())}
            row |= {"share": passing.share, "dice": passing.dice}
        found.append(row)
    return found


def write_rows(stage: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what was promised beside what happened, and write it to `cases.csv` of a stage."""
    write_csv(stage / "cases.csv", rows)
    sys.stdout.write(told(rows))


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the terminal."""
    heads = ("volumes held", "Dice held", "bad of those passed", "expected Dice off by", "likely Dice off by")
    lines = ["", f"{'promise of each case':<26}" + "".join(f"{head:>22}" for head in heads)]
    for row in rows:
        nothing = "nothing promised"
        cells = [
            f"{row['covered']:.3f} ({row['coverage']:.0%})",
            f"{row['dice_covered']:.3f} ({row['coverage']:.0%})" if "dice_covered" in row else nothing,
            f"{row['bad']} of {row['passed']} (<= {row['share']:.0%})" if "cut" in row else nothing,
            *(
                f"{row[f'{key}_error']:.3f} ({row[f'{key}_bias']:+.3f})" if f"{key}_error" in row else ""
                for key in ("dice", "likely_dice")
            ),
        ]
        lines.append(f"{row['class']:<26}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines) + "\n"
