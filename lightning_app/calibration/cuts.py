"""Cuts of foreground probabilities: those of the best Dice, and those that a command asks for."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

import models
from lightning_app.errors import UserError

THRESHOLDS = 1000  # steps of the threshold curves


def best_thresholds(cases: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """The cut of each foreground class or region that gives the best pooled Dice on the cases, to 1/1,000.

    Args:
        cases: Probabilities (N, K, *S) and labels (N, *S) of each: one problem of K classes, or N regions of two.

    Returns:
        1/2 for the background, which is unused, and a number for each class or region; 1/2 where no case has it.
    """
    counts: Tensor | int = 0  # (voxels, voxels of the class; N, K, THRESHOLDS)
    for probs, labels in cases:
        counts = counts + torch.stack([_curves(*item) for item in zip(probs, labels, strict=True)], 1)
    assert isinstance(counts, Tensor)  # there is a validation case, or nothing was fitted
    predicted, hits = counts.flip(-1).cumsum(-1).flip(-1).double()  # voxels at or above each step
    dice = 2 * hits / (predicted + hits[..., :1]).clamp_min(1)
    best = torch.where(hits[..., 0] > 0, dice.argmax(-1).double() / THRESHOLDS, 0.5)
    return [0.5, *best[:, 1:].flatten().tolist()]


def _curves(probs: Tensor, labels: Tensor) -> Tensor:
    """Counts (2, K, THRESHOLDS) of voxels by their probability, of all that count and of those of the class."""
    valid = labels != models.calibrator.IGNORE
    bins, labels = (probs[:, valid].double() * THRESHOLDS).long().clamp(0, THRESHOLDS - 1), labels[valid]
    everywhere = [torch.bincount(one, minlength=THRESHOLDS) for one in bins]
    inside = [torch.bincount(one[labels == k], minlength=THRESHOLDS) for k, one in enumerate(bins)]
    return torch.stack([torch.stack(everywhere), torch.stack(inside)])


def asked_cuts(
    threshold: str | Sequence[float], found: list[float] | None, classes: Sequence[str]
) -> list[float] | None:
    """The cuts of `--threshold`, one a class; None where the largest probability makes the mask.

    Args:
        threshold: `argmax`, `calibrated`, `risk`, whose cuts lie on another axis, or a cut of each foreground class.
        found: The cuts that `calibrate` kept with the checkpoint.
        classes: Names of the classes, background first.

    Raises:
        UserError: If `calibrated` cuts are asked of a checkpoint without, or their number is not that of the classes.
    """
    if threshold in ("argmax", "risk"):
        return None
    if threshold == "calibrated":
        if found is None:
            raise UserError("--threshold calibrated: the checkpoint holds no cuts; run calibrate on it first")
        return found
    if len(threshold) != len(classes) - 1:
        raise UserError(f"--threshold {threshold} must give a cut for each of {', '.join(classes[1:])}")
    return [0.5, *map(float, threshold)]
