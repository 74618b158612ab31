"""Calibration errors as losses: average calibration error over bins, and differences of confidence and accuracy."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from losses.base import SegmentationLoss, in_range, one_of, result, weighted_mean
from losses.cross_entropy import FocalLoss, cross_entropy_rows, cross_entropy_slope, weighted_cost
from losses.statistics import Terms, joint_sums
from losses.voxelwise import Slopes, Voxels, class_rows, ratio, voxel_sums


def hard_bin_rows(voxels: Voxels, num_bins: int) -> Tensor:
    """Sum count, probability and label of each class in equal bins: ``(G, 3 * num_bins, K)``.

    A bin's index is a constant, so that the gradient is that of the mean probability in it.
    """
    index = (voxels.probs.detach() * num_bins).long().clamp_max(num_bins - 1)
    parts = (voxels.counted.expand_as(voxels.labels), voxels.probs * voxels.counted, voxels.labels)
    return torch.cat([_binned(index, part, num_bins) for part in parts], dim=1)


def soft_bin_rows(voxels: Voxels, num_bins: int) -> Tensor:
    """Sum weight, probability and label in bins of which each voxel touches two: ``(G, 3 * num_bins, K)``.

    A probability is shared by the two bins whose centres it lies between, by linear interpolation; beyond the outer
    centres it belongs to the outer bin. The gradient flows through the shares too.
    """
    position = (voxels.probs * num_bins - 0.5).clamp(0, num_bins - 1)
    lower = position.detach().long().clamp_max(max(num_bins - 2, 0))
    upper_share = (position - lower) * voxels.counted
    lower_share = voxels.counted - upper_share
    upper = (lower + 1).clamp_max(num_bins - 1)
    rows = []
    for values in (None, voxels.probs, voxels.labels):
        low, high = (share if values is None else share * values for share in (lower_share, upper_share))
        rows.append(_binned(lower, low, num_bins) + _binned(upper, high, num_bins))
    return torch.cat(rows, dim=1)


def _binned(index: Tensor, values: Tensor, num_bins: int) -> Tensor:
    """Add up ``values (G, K, n)`` by bin, in double precision: ``(G, num_bins, K)``."""
    items, classes, _ = index.shape
    empty = torch.zeros((items, classes, num_bins), dtype=torch.float64, device=values.device)
    return empty.scatter_add(2, index, values.double()).transpose(1, 2)


class AverageCalibrationLoss(SegmentationLoss):
    r"""Marginal average calibration error of each class as a loss (mL1-ACE).

    For each item and class, the mean over non-empty bins of the distance between mean probability and frequency of the
    class in the bin; then the mean over items and classes. A class that the reference lacks contributes 0 and, as
    published, stays in the divisor. Meant to be added to another loss. The sums of the bins are all that is kept.
    Barfoot et al., MICCAI 2024 (arXiv 2403.06759); 2025 (arXiv 2506.03942) for ``soft``.

    Args:
        binning: Each probability in one bin, or shared by two (then its share has a gradient too).
        num_bins: Equal bins between 0 and 1.
        empty_weight: Bins with less weight are empty.
        absent: Whether absent classes stay in the divisor (``count``) or not (``skip``).
        include_background: Whether class 0 takes part.
        **options: ``class_weights`` and ``ignore_index``.
    """

    def __init__(
        self,
        binning: Literal["hard", "soft"] = "hard",
        num_bins: int = 20,
        empty_weight: float = 0.01,
        absent: Literal["count", "skip"] = "count",
        include_background: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.binning = one_of("binning", binning, ("hard", "soft"))
        self.num_bins = int(in_range("num_bins", num_bins, 1))
        self.empty_weight = in_range("empty_weight", empty_weight, 0, open_low=True)
        self.absent = one_of("absent", absent, ("count", "skip"))
        self.include_background = include_background

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum the bins of a chunk: ``(G, 3 * num_bins, K)``."""
        return (hard_bin_rows if self.binning == "hard" else soft_bin_rows)(voxels, self.num_bins)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        count, confidence, frequency = voxel_sums(logits, target, self.ignore_index, self.rows).chunk(3, dim=1)
        filled = count >= self.empty_weight
        safe = torch.where(filled, count, 1.0)
        gaps = torch.where(filled, (confidence / safe - frequency / safe).abs(), 0.0)
        present = frequency.sum(1) > 0
        errors = torch.where(present, ratio(gaps.sum(1), filled.sum(1).double()), 0.0)
        weights = self.weights_for(logits)
        if not self.include_background:
            weights = weights * (torch.arange(len(weights), device=weights.device) > 0)
        counts = present if self.absent == "skip" else (count.sum(1) > 0)
        return result(weighted_mean(errors, weights * counts), logits)


class ConfidenceAccuracyLoss(SegmentationLoss):
    r"""Cross entropy plus ``alpha`` times the distance of mean confidence and accuracy over the batch (DCA).

    The accuracy, a count, has no gradient. Liang et al., 2020 (arXiv 2009.04057).

    Args:
        alpha: Weight of the distance.
        **options: ``class_weights`` (of the cross entropy) and ``ignore_index``.
    """

    def __init__(self, alpha: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = in_range("alpha", alpha, 0)

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels, cross entropy, confidence and hits of a chunk: ``(G, 4, K)``."""
        confidence = voxels.probs.amax(1, keepdim=True) * voxels.counted
        hit = (voxels.labels * voxels.share(voxels.probs)).sum(1, keepdim=True)
        common = class_rows(confidence, hit).expand(-1, -1, voxels.labels.shape[1])
        return torch.cat([cross_entropy_rows(voxels), common], dim=1)

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows; the weight of the confidence stands in the row of each class, and counts once."""
        top = voxels.share(voxels.probs).mul_(voxels.counted * weights[2].sum(1, keepdim=True))
        return Slopes(log_probs=cross_entropy_slope(voxels, weights[1]), probs=top)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted distance."""
        sums = voxel_sums(logits, target, self.ignore_index, self.rows, self.slopes)
        volume, entropy, confidence, hits = sums.sum(0)
        weights = self.weights_for(logits)
        parts = {
            "cross_entropy": ratio((weights * entropy).sum(), (weights * volume).sum()),
            "confidence_accuracy": ratio((confidence[0] - hits[0]).abs(), volume.sum()),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["cross_entropy"] + self.alpha * parts["confidence_accuracy"]


class ClasswiseConfidenceAccuracyLoss(FocalLoss):
    r"""Focal loss plus ``beta`` times the mean over classes of :math:`|\bar p_k - \bar y_k|` over the batch (MDCA).

    In segmentation the distance is that of each class's predicted and true share of the volume.
    Hebbalaguppe et al., CVPR 2022 (arXiv 2203.13834).

    Args:
        beta: Weight of the distance.
        gamma: Exponent of the focal loss; 0 is the cross entropy.
        **options: ``alpha`` of :class:`~losses.cross_entropy.FocalLoss`; ``class_weights`` and ``ignore_index``.
    """

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, **options: Any) -> None:
        super().__init__(gamma, **options)
        self.beta = in_range("beta", beta, 0)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the focal loss and the unweighted distance."""
        sums = joint_sums(logits, target, self.ignore_index, Terms(gamma=1.0, own=self.own_cost()))
        volume, predicted = sums.statistics.volume, sums.statistics.predicted
        cost = sums.cost * self.factors(logits)
        parts = {
            "focal": weighted_cost(cost, volume, self.weights_for(logits)),
            "confidence_accuracy": ratio((predicted - volume).sum(0).abs().mean(), volume.sum()),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["focal"] + self.beta * parts["confidence_accuracy"]
