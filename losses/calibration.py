"""Calibration errors as losses: average calibration error over bins, and differences of confidence and accuracy."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, result, weighted_mean
from .cross_entropy import FocalLoss, cross_entropy_rows, cross_entropy_slope, weighted_cost
from .statistics import Terms, joint_sums
from .voxelwise import Slopes, Voxels, class_rows, ratio, voxel_sums


def bin_index(probs: Tensor, num_bins: int, soft: bool) -> Tensor:
    """Bin of each probability; ``soft``: the number of centres at or below it, from 0 to ``num_bins``."""
    position = torch.mul(probs.detach(), num_bins).nan_to_num_()  # the sums of the first bin are NaN then
    return (position.add_(0.5).clamp_max_(num_bins) if soft else position.clamp_max_(num_bins - 1)).long()


def bin_rows(voxels: Voxels, num_bins: int, soft: bool) -> Tensor:
    """Sum count, probability and label of each class in bins, if ``soft`` squared probability and label times it too.

    Bins lie between edges, or, if ``soft``, between centres: ``(G, 3 * num_bins or 5 * (num_bins + 1), K)``.
    """
    # Bins between centres are differences of sums, whose terms have to be exact.
    probs, index = (voxels.probs * voxels.counted).double(), bin_index(voxels.probs, num_bins, soft)
    parts = [voxels.counted.expand_as(probs), probs, voxels.labels]
    if soft:
        parts += [probs.square(), voxels.labels * probs]
    return torch.cat([_binned(index, part, num_bins + soft) for part in parts], dim=1)


def bin_slope(voxels: Voxels, weights: Sequence[Tensor], num_bins: int, soft: bool) -> Tensor:
    """Slope of :func:`bin_rows` with respect to the probabilities: a bin's index is a constant."""
    index, width = bin_index(voxels.probs, num_bins, soft), num_bins + soft

    def weight(part: int) -> Tensor:
        return torch.gather(torch.cat(list(weights[part * width : (part + 1) * width]), dim=2), 2, index)

    slope = weight(1)
    if soft:
        slope.addcmul_(weight(3), voxels.probs, value=2).addcmul_(weight(4), voxels.labels)
    return slope.mul_(voxels.counted)


def shared_bins(rows: Tensor, num_bins: int) -> tuple[Tensor, ...]:
    """Count, probability and label of bins that share each voxel with a neighbour, from the rows between centres.

    A probability is shared by the two bins whose centres it lies between, by linear interpolation; beyond the outer
    centres it belongs to the outer bin. The share is linear in the probability, and so follows from its sums.
    """
    count, probs, label, squares, label_probs = rows.chunk(5, dim=1)
    centre = torch.arange(num_bins + 1, dtype=rows.dtype, device=rows.device).view(1, -1, 1)
    first, between = centre == 0, (centre > 0) & (centre < num_bins)

    def shared(total: Tensor, times_probs: Tensor) -> Tensor:
        upper = torch.where(between, num_bins * times_probs + (0.5 - centre) * total, torch.where(first, total, 0.0))
        return upper[:, :-1] + (total - upper)[:, 1:]

    return shared(count, probs), shared(probs, squares), shared(label, label_probs)


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
        """Sum the bins of a chunk."""
        return bin_rows(voxels, self.num_bins, self.binning == "soft")

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        return Slopes(probs=bin_slope(voxels, weights, self.num_bins, self.binning == "soft"))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        rows = voxel_sums(logits, target, self.ignore_index, self.rows, self.slopes)
        soft = self.binning == "soft"
        count, confidence, frequency = shared_bins(rows, self.num_bins) if soft else rows.chunk(3, dim=1)
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
