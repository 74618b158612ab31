"""Several raters of one case: calibration against all of them and against each, and how well they agree.

A voxel that one rater ignores (255) counts for none, so that all are compared on the same voxels.
"""

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from . import errors
from .binning import CASE_BINS, FINE_BINS, Bins, View, bin_item
from .calibration import soft_bins
from .checks import check_shapes, label_problems, raise_problems, value_problems
from .overlap import label_confusion, overlap_from_confusion
from .sums import CaseSums

IGNORED = 255
RATERS = "all.raters"
BY_RATER = "by_rater"


def rater_bins(
    probs: Tensor, labels: Tensor, view: View = "top_label", num_bins: int = FINE_BINS, valid: Tensor | None = None
) -> Bins:
    """Bins of one case against the share of its raters (Baan et al. 2022): q_k = sum_r [label_r is k] / R.

    The expectation of the bins over a rater drawn at random: all raters share the bins of p, so the gap of a bin is the
    mean of the raters' gaps, and `errors.expected_calibration_error` of it at most the mean of `ece_by_rater`. The
    squared error is (p - q)^2. One rater, or equal ones, give the bins of `bin_item`.

    Args:
        probs: (K, *S).
        labels: (R, *S), a label map a rater.
        view: As for `ReliabilityBins`.
        num_bins: Number of bins.
        valid: (*S) bool, the voxels that count; all if None.

    Returns:
        Fields (C, num_bins), C = K for the class-wise view, else 1.

    Raises:
        ValueError: If shapes, probabilities or labels are wrong.

    Example:
        >>> sure = torch.tensor([[0.25, 0.25], [0.75, 0.75]])
        >>> bins = rater_bins(sure, torch.tensor([[1, 1], [1, 0]]), "foreground")  # they differ on the second voxel
        >>> [float(field.sum()) for field in (bins.count, bins.confidence, bins.correct)]
        [2.0, 1.5, 1.5]
        >>> errors.expected_calibration_error(bins, 15).tolist()
        [0.0]
    """
    _check(probs, labels)
    shares = torch.stack([(labels == k).double().mean(0) for k in range(len(probs))])
    return soft_bins(probs, shares, view, num_bins, _counting(labels, valid))


def ece_by_rater(
    probs: Tensor, labels: Tensor, view: View = "top_label", num_bins: int = 15, valid: Tensor | None = None
) -> Tensor:
    """ECE = sum_m (n_m / N) |conf_m - acc_m| of one case against each rater alone, with the same probabilities.

    Args:
        probs: (K, *S).
        labels: (R, *S), a label map a rater.
        view: As for `ReliabilityBins`; class-wise, the mean over the classes.
        num_bins: Number of bins, a divisor of 3,000.
        valid: (*S) bool, the voxels that count; all if None.

    Returns:
        (R,) float64; NaN where no voxel counts.

    Raises:
        ValueError: If shapes, probabilities or labels are wrong.

    Example:
        >>> sure = torch.tensor([[0.25, 0.25], [0.75, 0.75]])
        >>> ece_by_rater(sure, torch.tensor([[1, 1], [1, 0]])).tolist()
        [0.25, 0.25]
    """
    _check(probs, labels)
    keep = _counting(labels, valid)
    bins = [bin_item(probs, one, view, FINE_BINS, keep) for one in labels]
    return torch.stack([errors.expected_calibration_error(one, num_bins).nanmean() for one in bins])


def inter_rater_dice(labels: Tensor, num_classes: int, valid: Tensor | None = None) -> Tensor:
    """Dice of each class between the raters of one case, the mean over all pairs (as in Menze et al. 2015).

    The yardstick of a network's mean Dice against each rater: one that agrees with the raters as they do among
    themselves has it.

    Args:
        labels: (R, *S), a label map a rater, two at least.
        num_classes: Number of classes K.
        valid: (*S) bool, the voxels that count; all if None.

    Returns:
        (K,) float64. Pairs of which neither has the class are left out; NaN where no rater has it.

    Raises:
        ValueError: If there is one rater only, or labels or shapes are wrong.

    Example:
        >>> inter_rater_dice(torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]]), 2).tolist()
        [0.8, 0.6666666666666666]
    """
    if labels.ndim < 2 or len(labels) < 2:
        raise ValueError(f"labels of shape {tuple(labels.shape)} must be (R, *S) of two raters or more")
    raise_problems(label_problems(labels, num_classes, IGNORED))
    keep = _counting(labels, valid)
    counts = [label_confusion(one, other, num_classes, keep) for one, other in combinations(labels, 2)]
    return overlap_from_confusion(torch.stack(counts), "dice").nanmean(0)


def add_raters(
    sums: CaseSums, prediction: Tensor, labels: Tensor, probs: Tensor, valid: Tensor | None = None
) -> CaseSums:
    """The sums of a case with its raters in them: what the catalogue's rows of raters read.

    The bins `all.raters` are those of `rater_bins`, top label. Beside the pass: `ece_rater_mean`, `dice_raters`,
    `dice_inter_rater`, and `by_rater` (R, 1 + K), each rater's ECE, mean Dice of the foreground, Dice of each class.

    Args:
        sums: The case's sums.
        prediction: (*S) mask whose Dice is measured.
        labels: (R, *S), a label map a rater, two at least.
        probs: (K, *S).
        valid: (*S) bool, the voxels that count; all if None.

    Raises:
        ValueError: If there is one rater only, or shapes, probabilities or labels are wrong.

    Example:
        >>> from metrics import sum_case
        >>> probs, labels = torch.tensor([[0.25, 0.25], [0.75, 0.75]]), torch.tensor([[1, 1], [1, 0]])
        >>> sums = add_raters(sum_case(probs, labels[1]), torch.tensor([1, 1]), labels, probs)
        >>> [round(float(sums.beside[key][0]), 4) for key in ("ece_rater_mean", "dice_raters", "dice_inter_rater")]
        [0.25, 0.8333, 0.6667]
    """
    between = _with_mean(inter_rater_dice(labels, len(probs), valid)[1:])
    keep = _counting(labels, valid)
    counts = torch.stack([label_confusion(prediction, one, len(probs), keep) for one in labels])
    dice = _with_mean(overlap_from_confusion(counts, "dice")[:, 1:])
    ece = ece_by_rater(probs, labels, valid=valid)
    found = {
        "ece_rater_mean": ece.nanmean().unsqueeze(0),
        "dice_raters": _with_mean(dice[:, 1:].nanmean(0)),
        "dice_inter_rater": between,
        BY_RATER: torch.cat([ece.unsqueeze(1), dice], 1),
    }
    bins = {**sums.bins, RATERS: rater_bins(probs, labels, num_bins=CASE_BINS, valid=valid)}
    return replace(sums, bins=bins, beside={**sums.beside, **found})


def _with_mean(classes: Tensor) -> Tensor:
    """The mean over the foreground classes (..., K - 1) that have a value, then each."""
    return torch.cat([classes.nanmean(-1, keepdim=True), classes], -1)


def _check(probs: Tensor, labels: Tensor) -> None:
    check_shapes(probs.unsqueeze(0).expand(len(labels), *probs.shape), labels, len(probs))
    if len(labels) == 0:
        raise ValueError("labels hold no rater: give (R, *S)")
    raise_problems(value_problems(probs) | label_problems(labels, len(probs), IGNORED))


def _counting(labels: Tensor, valid: Tensor | None) -> Tensor:
    """The voxels (*S) bool that count: valid, and ignored by no rater."""
    keep = (labels != IGNORED).all(0)
    if valid is None:
        return keep
    if valid.shape != keep.shape or valid.dtype != torch.bool:
        raise ValueError(f"valid must be bool of shape {tuple(keep.shape)}, got {valid.dtype} {tuple(valid.shape)}")
    return keep & valid
