"""Cuts of foreground probabilities: those of the best Dice, and those that a command asks for."""

from collections.abc import Iterable, Sequence

import torch

import models
from lightning_app.errors import UserError
from models import Calibrator, Case, MultiLabelCalibrator

THRESHOLDS = 1000  # steps of the threshold curves


def best_thresholds(calibrator: Calibrator | MultiLabelCalibrator, cases: Iterable[Case]) -> list[float]:
    """The cut of each foreground class or region that gives the best pooled Dice on the validation cases, to 1/1,000.

    Args:
        calibrator: Fitted.
        cases: The cases it was fitted on.

    Returns:
        K numbers; that of the background is 1/2 and unused, as is that of a class that no case has.
    """
    if isinstance(calibrator, MultiLabelCalibrator):
        regions = enumerate(calibrator.parts)
        return [0.5, *(best_thresholds(part, models.RegionCases(cases, k))[1] for k, part in regions)]
    classes = calibrator.num_classes
    counts = torch.zeros(2, classes, THRESHOLDS, dtype=torch.int64)  # all voxels, voxels of the class
    for case in cases:
        probs, target = calibrator(case.probs, case.image)[0].flatten(1), case.target[0].flatten().long()
        valid = target != models.calibrator.IGNORE
        bins = (probs.double() * THRESHOLDS).long().clamp(0, THRESHOLDS - 1)
        for k in range(classes):
            counts[0, k] += torch.bincount(bins[k][valid], minlength=THRESHOLDS)
            counts[1, k] += torch.bincount(bins[k][target == k], minlength=THRESHOLDS)
    above = counts.flip(-1).cumsum(-1).flip(-1).double()  # voxels at or above each step
    predicted, hits = above
    dice = 2 * hits / (predicted + hits[:, :1]).clamp_min(1)
    best = dice.argmax(1).double() / THRESHOLDS
    known = hits[:, 0] > 0
    known[0] = False
    return torch.where(known, best, 0.5).tolist()


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
