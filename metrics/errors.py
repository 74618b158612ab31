"""Calibration errors computed from bins.

Every function takes `Bins` with fields (C, B) and gives (C,) float64: a channel per class for the class-wise view,
else one. ``num_bins`` re-bins first. In bin m of n_m voxels, conf_m is the mean confidence, acc_m the mean
correctness, and N = sum_m n_m. No voxel: NaN.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .axis import AXIS_BINS
from .binning import Bins, rebin


def _gaps(bins: Bins, num_bins: int | None) -> tuple[Tensor, Tensor]:
    """Counts n_m as float64 and summed gaps n_m (conf_m - acc_m), both (C, B)."""
    coarse = bins if num_bins is None else rebin(bins, num_bins)
    return coarse.count.double(), coarse.confidence - coarse.correct


def expected_calibration_error(bins: Bins, num_bins: int | None = None) -> Tensor:
    """ECE = sum_m (n_m / N) |conf_m - acc_m| (Naeini et al. 2015).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> expected_calibration_error(bins).tolist()
        [0.25]
    """
    count, gap = _gaps(bins, num_bins)
    return gap.abs().sum(-1) / count.sum(-1)


def average_calibration_error(bins: Bins, num_bins: int | None = None) -> Tensor:
    """ACE: the unweighted mean of |conf_m - acc_m| over the non-empty bins (Neumann et al.

    2018); not the adaptive error, which some call ACE too.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> average_calibration_error(bins).tolist()
        [0.25]
    """
    count, gap = _gaps(bins, num_bins)
    return (gap.abs() / count.clamp(min=1)).sum(-1) / (count > 0).sum(-1)


def maximum_calibration_error(bins: Bins, num_bins: int | None = None, min_count: int = 1) -> Tensor:
    """MCE: the largest |conf_m - acc_m| over bins of at least ``min_count`` voxels (Naeini et al. 2015).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> maximum_calibration_error(bins).tolist()
        [0.25]
    """
    count, gap = _gaps(bins, num_bins)
    gap = (gap.abs() / count.clamp(min=1)).masked_fill(count < max(min_count, 1), -1.0).amax(-1)
    return gap.masked_fill(gap < 0, torch.nan)


def signed_calibration_error(bins: Bins) -> Tensor:
    """Mean confidence minus mean correctness: above 0 where the model is over-confident on the whole.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> signed_calibration_error(bins).tolist()
        [0.25]
    """
    return (bins.confidence - bins.correct).sum(-1) / bins.count.sum(-1)


def volume_bias(bins: Bins) -> Tensor:
    """Soft volume over true volume, minus 1: (sum of confidence - sum of correctness) / sum of correctness.

    Of class-wise bins over all voxels this is what summing p_k says about the volume of class k; NaN where the class
    does not occur.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> volume_bias(bins).tolist()
        [0.5]
    """
    true = bins.correct.sum(-1)
    return (bins.confidence.sum(-1) / true - 1).masked_fill(true == 0, torch.nan)


def overconfidence(bins: Bins, num_bins: int | None = None) -> Tensor:
    """The over-confident part of the ECE: sum_m (n_m / N) max(conf_m - acc_m, 0).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> overconfidence(bins).tolist()
        [0.25]
    """
    count, gap = _gaps(bins, num_bins)
    return gap.clamp(min=0).sum(-1) / count.sum(-1)


def underconfidence(bins: Bins, num_bins: int | None = None) -> Tensor:
    """The under-confident part of the ECE: sum_m (n_m / N) max(acc_m - conf_m, 0).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> underconfidence(bins).tolist()
        [0.0]
    """
    count, gap = _gaps(bins, num_bins)
    return gap.neg().clamp(min=0).sum(-1) / count.sum(-1)


def root_mean_square_error(bins: Bins, num_bins: int | None = None) -> Tensor:
    """RMSCE = sqrt(sum_m (n_m / N) (conf_m - acc_m)^2).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> root_mean_square_error(bins).tolist()
        [0.25]
    """
    count, gap = _gaps(bins, num_bins)
    return ((gap.square() / count.clamp(min=1)).sum(-1) / count.sum(-1)).sqrt()


def debiased_l2_error(bins: Bins, num_bins: int | None = None) -> Tensor:
    """RMSCE with the sampling variance taken off (Kumar et al. 2019), 0 where that leaves less than nothing.

    The square is sum_m (n_m / N) [(conf_m - acc_m)^2 - acc_m (1 - acc_m) / (n_m - 1)]; a bin of one voxel keeps its
    plain square.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> debiased_l2_error(bins).tolist()
        [0.0]
    """
    coarse = bins if num_bins is None else rebin(bins, num_bins)
    count, gap = _gaps(coarse, None)
    accuracy = coarse.correct / count.clamp(min=1)
    variance = accuracy * (1 - accuracy) / (count - 1).clamp(min=1) * (count > 1)
    square = gap.square() / count.clamp(min=1) - count * variance
    return (square.sum(-1) / count.sum(-1)).clamp(min=0).sqrt()


def thresholded_calibration_error(
    bins: Bins, num_bins: int = 15, threshold: float = 1e-3, adaptive: bool = False
) -> Tensor:
    """TACE: the error over voxels of confidence at least ``threshold``.

    In equal-width or (adaptive) equal-mass bins (Nixon et al. 2019).

    Raises:
        ValueError: If the threshold is no edge of equal fine bins (1e-3 and 1e-2 are, with 3,000 bins), or the bins
            are those of the scorer's fine axis, which has an edge within 1 % but not there.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> thresholded_calibration_error(bins).tolist()
        [0.25]
    """
    edge = threshold * bins.num_bins
    if abs(edge - round(edge)) > 1e-9 or bins.num_bins == AXIS_BINS:
        raise ValueError(
            f"threshold={threshold} is no edge of the {bins.num_bins} bins that were kept: "
            f"choose a multiple of 1/{bins.num_bins}"
        )
    kept = torch.arange(bins.num_bins, device=bins.count.device) >= round(edge)
    part = Bins(*(field * kept for field in bins))
    return adaptive_calibration_error(part, num_bins) if adaptive else expected_calibration_error(part, num_bins)


def equal_mass_bins(bins: Bins, num_bins: int = 15) -> Bins:
    """Group neighbouring fine bins to ``num_bins`` groups of nearly equal count, as equal as whole fine bins allow.

    A fine bin goes where the middle of its mass falls: group floor(M (cum - n/2) / N). Unused groups stay empty.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> equal_mass_bins(bins, 2).count.tolist()
        [[0, 2]]
    """
    count = bins.count.double()
    middle = (count.cumsum(-1) - count / 2) / count.sum(-1, keepdim=True).clamp(min=1)
    group = (middle * num_bins).long().clamp_(max=num_bins - 1)
    shape = (*count.shape[:-1], num_bins)
    return Bins(*(torch.zeros(shape, dtype=f.dtype, device=f.device).scatter_add_(-1, group, f) for f in bins))


def adaptive_calibration_error(bins: Bins, num_bins: int = 15) -> Tensor:
    """ECE over equal-mass bins (Nguyen and O'Connor 2015), to the precision of the fine bins.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> adaptive_calibration_error(bins).tolist()
        [0.25]
    """
    return expected_calibration_error(equal_mass_bins(bins, num_bins))


def brier_score(bins: Bins) -> Tensor:
    """Mean of (confidence - correctness)^2: exact, as it is summed voxel by voxel.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> brier_score(bins).tolist()
        [0.3125]
    """
    return bins.squared_error.sum(-1) / bins.count.sum(-1)


class BrierParts(NamedTuple):
    """Brier score and its decomposition; brier = reliability - resolution + uncertainty + within_bin, each (C,).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> parts = brier_decomposition(bin_item(sure, torch.tensor([0, 1]), "top_label"))
        >>> parts.reliability.item(), parts.uncertainty.item()
        (0.0625, 0.25)
    """

    brier: Tensor
    reliability: Tensor
    resolution: Tensor
    uncertainty: Tensor
    within_bin: Tensor


def brier_decomposition(bins: Bins, num_bins: int | None = None) -> BrierParts:
    """Murphy's decomposition (1973), with what varies inside the bins (Stephenson et al. 2008) as a term of its own.

    With a = sum of correctness / N: reliability = sum_m (n_m/N)(conf_m - acc_m)^2, resolution = sum_m (n_m/N)(acc_m -
    a)^2, uncertainty = a (1 - a).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> [part.item() for part in brier_decomposition(bins, 15)]
        [0.3125, 0.0625, 0.0, 0.25, 0.0]
    """
    coarse = bins if num_bins is None else rebin(bins, num_bins)
    count, gap = _gaps(coarse, None)
    total = count.sum(-1)
    base = coarse.correct.sum(-1) / total
    accuracy = coarse.correct / count.clamp(min=1)
    reliability = (gap.square() / count.clamp(min=1)).sum(-1) / total
    resolution = (count * (accuracy - base.unsqueeze(-1)).square()).sum(-1) / total
    uncertainty = base * (1 - base)
    brier = brier_score(coarse)
    return BrierParts(brier, reliability, resolution, uncertainty, brier - reliability + resolution - uncertainty)
