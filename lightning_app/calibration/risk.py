"""Cuts with a promise: found on validation cases, kept with a checkpoint or a file, held against what happens later."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

import metrics
from lightning_app.errors import UserError
from lightning_app.files import write_csv
from metrics.risk import Promise, Risk, Unit, promise, relative_size, risk_at, sets_of

KEY = "risk"
Promises = Mapping[str, Promise]  # name of the class to what is promised of it


class Wish(NamedTuple):
    """What is to be promised: see `metrics.risk.Promise`; `of_class` names the classes, all if None."""

    risk: Risk = "fnr"
    level: float = 0.1
    confidence: float | None = None
    by: Unit = "case"
    of_class: Sequence[str] | None = None


class OddsCollector(LightningModule):
    """Predicts the validation cases as `predict` does; keeps counts of p_k on the original grid, and traits, of each.

    Args:
        module: The training module.
        allowed: Names of the cases that may be used.
    """

    module: Any

    def __init__(self, module: LightningModule, allowed: frozenset[str]) -> None:
        super().__init__()
        self.module, self.allowed = module, allowed
        self.names: list[str] = []
        self.odds: list[Tensor] = []
        self.traits: list[dict[str, float]] = []

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> int:
        """Count one case; return its number.

        Raises:
            ValueError: If it is no validation case.
        """
        name = batch["case"][0]
        if name not in self.allowed:
            raise ValueError(f"case {name} is no validation case: a promise is made from validation cases only")
        probs = self.module.predict_step(batch, batch_idx)["original"][0]
        self.odds.append(self.module.head.odds(probs, batch["original_mask"][0]))
        self.traits.append(self.module.head.traits(probs))
        self.names.append(name)
        return len(self.names)


def case_odds(probs: Tensor, target: Tensor) -> Tensor:
    """Counts (2, K, AXIS_BINS) of a case; see `metrics.CaseSums`."""
    odds = metrics.sum_case(probs, target, ("all",)).coarse(metrics.CASE_BINS).odds
    assert odds is not None  # the whole image lies on the fine axis
    return odds


def make_promises(odds: Sequence[Tensor], class_names: Sequence[str], wish: Wish) -> dict[str, Promise]:
    """A promise for each class that was asked for.

    Args:
        odds: (2, K, AXIS_BINS) of each case.
        class_names: K names, background first.
        wish: What is to be promised.

    Raises:
        UserError: If a class is unknown, or what is wished cannot be promised.
    """
    asked = list(class_names[1:] if wish.of_class is None else wish.of_class)
    if unknown := [name for name in asked if name not in class_names[1:]]:
        raise UserError(f"--of_class {unknown[0]}: the classes are {', '.join(class_names[1:])}")
    found, stacked = {}, torch.stack(list(odds))
    for name in asked:
        try:
            found[name] = promise(stacked[:, :, class_names.index(name)], *wish[:4])
        except ValueError as error:
            raise UserError(f"--method risk, {name}: {error}") from error
    return found


def to_record(promises: Promises) -> dict[str, dict[str, Any]]:
    """Plain data for a file."""
    return {name: asdict(one) for name, one in promises.items()}


def from_record(record: Mapping[str, Mapping[str, Any]]) -> dict[str, Promise]:
    """The way back of `to_record`."""
    return {name: Promise(**one) for name, one in record.items()}


UNDER_SHIFT = (
    "--threshold risk: the promise holds for cases drawn as those it was made from; under shift (another scanner, "
    "hospital, kind of patient) it can fail by far: hold it against labelled cases of yours (test, evaluate --promise)"
)


def cuts_of(promises: Promises, class_names: Sequence[str]) -> list[int | None]:
    """The cut of each foreground class; None where nothing is promised."""
    return [promises[name].cut if name in promises else None for name in class_names[1:]]


def promised_sets(probs: Tensor, cuts: Sequence[int | None]) -> Tensor:
    """What is claimed for each foreground class, (K - 1, *S) bool; the promise is of these, which may overlap."""
    return sets_of(metrics.axis_index(probs), probs.argmax(0), cuts)


def promised_labels(probs: Tensor, cuts: Sequence[int | None]) -> Tensor:
    """Labels (*S): where several classes claim a voxel, the one furthest above its cut, as a multiple of it."""
    edges = metrics.axis_edges().clamp_min(1e-7)
    scale = torch.tensor([0.5 if cut is None else float(edges[cut]) for cut in cuts], device=probs.device)
    ratio = probs[1:] / scale.view(-1, *[1] * (probs.dim() - 1))
    best, label = torch.where(promised_sets(probs, cuts), ratio, -1.0).max(0)
    return torch.where(best >= 0, label + 1, 0)


@dataclass
class Claims:
    """How far what is claimed for several classes is from a label map, over the cases that were written.

    Args:
        voxels: All that were looked at.
        shared: Those that several classes claim.
        unclaimed: Those that none does.

    Example:
        >>> claims = Claims()
        >>> claims.add(torch.tensor([[True, True, False], [False, True, False]]))
        >>> claims
        Claims(voxels=3, shared=1, unclaimed=1)
        >>> (claims + claims).shared
        2
    """

    voxels: int = 0
    shared: int = 0
    unclaimed: int = 0

    def add(self, sets: Tensor) -> None:
        """Count a case, (K - 1, *S) bool."""
        number = sets.sum(0)
        self.voxels += number.numel()
        self.shared += int((number > 1).sum())
        self.unclaimed += int((number == 0).sum())

    def __add__(self, other: "Claims") -> "Claims":
        return Claims(self.voxels + other.voxels, self.shared + other.shared, self.unclaimed + other.unclaimed)

    def told(self) -> str:
        """What becomes of these voxels in a label map; empty where there is none."""
        if not self.voxels:
            return ""
        shared, unclaimed = (f"{part:,} of {self.voxels:,} voxels" for part in (self.shared, self.unclaimed))
        return (
            f"--threshold risk: several classes claim {shared} ({self.shared / self.voxels:.2%}): the label map gives "
            "each to the class furthest above its cut and may miss more than is promised of the claims, which sets/ "
            f"holds; none claims {unclaimed} ({self.unclaimed / self.voxels:.2%}), which are background"
        )


def held_against(promises: Promises, odds: Sequence[Tensor], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class: what was promised, and what the cases show.

    Args:
        promises: By class.
        odds: (2, K, AXIS_BINS) of each case.
        class_names: K names, background first.
    """
    rows, stacked = [], torch.stack(list(odds))
    for name, one in promises.items():
        counts = stacked[:, :, class_names.index(name)]
        row = {"class": name, **asdict(one), "threshold": one.threshold, "cases": len(counts)}
        happened = risk_at(counts, one.risk, one.by, one.cut)
        rows.append(row | {"happened": happened, "relative_size": relative_size(counts, one.cut)})
    return rows


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the terminal."""
    lines = ["", f"{'promise':<44}{'at most':>10}{'happened':>10}{'size':>8}"]
    for row in rows:
        lines.append(
            f"{describe_one(row['class'], Promise(**{f: row[f] for f in Promise.__dataclass_fields__})):<44}"
            f"{row['level']:>10.4f}{row['happened']:>10.4f}{row['relative_size']:>8.2f}"
        )
    return (
        "\n".join([*lines, "size: voxels claimed over true ones; single draws of cases may lie above the level"]) + "\n"
    )


def describe_one(name: str, one: Promise) -> str:
    """Which risk of which class, in what sense."""
    sense = "in expectation" if one.confidence is None else f"{one.confidence:.0%} sure"
    shown = "1 - precision" if one.risk == "precision" else one.risk
    return f"{name}: {shown} by {one.by}, {sense}"


def describe(promises: Promises, where: str, apply: str) -> str:
    """What the terminal shows after the promises were made."""
    lines = [""]
    for name, one in promises.items():
        lines.append(f"{describe_one(name, one)}: at most {one.level:g}")
        lines.append(f"  p >= {one.threshold:.3g}, from {one.n} cases, whose own risk is {one.seen:.4f}")
    lines.append("It holds for cases that are drawn as these were; under shift nothing is promised.")
    return "\n".join([*lines, f"kept in                   {where}; {apply}"]) + "\n"


def write_rows(stage: Path, rows: list[dict[str, Any]]) -> None:
    """Print what was promised beside what happened, and write it to `risk.csv` of a stage."""
    write_csv(stage / "risk.csv", rows)
    sys.stdout.write(told(rows))
