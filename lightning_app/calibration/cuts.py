"""Cuts of foreground probabilities: those of the best Dice, and the labels that cuts make."""

from collections.abc import Iterable

import torch
from torch import Tensor

import models
from models import Calibrator, Case

THRESHOLDS = 1000  # steps of the threshold curves


def best_thresholds(calibrator: Calibrator, cases: Iterable[Case]) -> list[float]:
    """The cut of each foreground class that gives the best pooled Dice on the validation cases, to 1/1,000.

    Args:
        calibrator: Fitted.
        cases: The cases it was fitted on.

    Returns:
        K numbers; that of the background is 1/2 and unused, as is that of a class that no case has.
    """
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


def threshold_labels(probs: Tensor, thresholds: list[float]) -> Tensor:
    """Labels `(*S)` of probabilities `(K, *S)` by a cut a foreground class: background where no class reaches its own.

    Where several do, the one furthest above, as a multiple of its cut, wins.
    """
    cuts = torch.tensor(thresholds[1:], dtype=probs.dtype, device=probs.device).clamp_min(1e-6)
    ratio, label = (probs[1:] / cuts.view(-1, *[1] * (probs.dim() - 1))).max(0)
    return torch.where(ratio >= 1, label + 1, 0)
