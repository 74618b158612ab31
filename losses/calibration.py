"""Calibration errors as losses: average calibration error over bins, and differences of confidence and accuracy.

The average calibration error sums its bins by ``slopes.bins`` of the engine, DCA by ``slopes.confidence``, MDCA by the
engine's ``Terms``; ``tests/losses/test_engine.py`` holds all to the formulas here.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .base import Absent, LossOfParts, SegmentationLoss, in_range, one_of, ratio, weighted_cost, weighted_mean
from .cross_entropy import FocalLoss, cost_summands, entropy_summands
from .engine import IGNORED, HandSlopes, Summed, Sums, Terms, Voxels, slopes
from .overlap import overlap_summands

Binning = Literal["hard", "soft"]


def bin_index(probs: Tensor, num_bins: int, soft: bool) -> Tensor:
    """Bin of each probability; ``soft``: the number of centres at or below it, from 0 to ``num_bins``."""
    position = torch.mul(probs.detach(), num_bins).nan_to_num_()  # the sums of the first bin are NaN then
    return (position.add_(0.5).clamp_max_(num_bins) if soft else position.clamp_max_(num_bins - 1)).long()


def bin_summands(voxels: Voxels, index: Tensor, num_bins: int) -> dict[str, Tensor | Summed]:
    """Sum count, probability and label of each class in bins with edges."""
    # Bins between centres are differences of sums, whose terms have to be exact.
    probs = (voxels.probs * voxels.counted).double()
    parts = {"count": voxels.counted.expand_as(probs), "confidence": probs, "frequency": voxels.labels}
    return {name: _binned(index, part, num_bins) for name, part in parts.items()}


def shared_bin_summands(voxels: Voxels, index: Tensor, num_bins: int) -> dict[str, Tensor | Summed]:
    """Sum the same between centres, and what tells how far from them: squared probability, label times it."""
    probs = (voxels.probs * voxels.counted).double()
    parts = {"squares": probs.square(), "label_probs": voxels.labels * probs}
    more = {name: _binned(index, part, num_bins + 1) for name, part in parts.items()}
    return bin_summands(voxels, index, num_bins + 1) | more


def shared_bins(s: Sums, num_bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, probability and label of bins that share each voxel with a neighbour, from the sums between centres.

    A probability is shared by the two bins whose centres it lies between, by linear interpolation; beyond the outer
    centres it belongs to the outer bin. The share is linear in the probability, and so follows from its sums.
    """
    centre = torch.arange(num_bins + 1, dtype=s.count.dtype, device=s.count.device)
    first, between = centre == 0, (centre > 0) & (centre < num_bins)

    def shared(total: Tensor, times_probs: Tensor) -> Tensor:
        upper = torch.where(between, num_bins * times_probs + (0.5 - centre) * total, torch.where(first, total, 0.0))
        return upper[..., :-1] + (total - upper)[..., 1:]

    return shared(s.count, s.confidence), shared(s.confidence, s.squares), shared(s.frequency, s.label_probs)


def _binned(index: Tensor, values: Tensor, num_bins: int) -> Summed:
    """Add up ``values (G, K, n)`` by bin, in double precision: ``(G, K, num_bins)``."""
    empty = torch.zeros((*values.shape[:2], num_bins), dtype=torch.float64, device=values.device)
    return Summed(empty.scatter_add(2, index, values.double()))


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
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.AverageCalibrationLoss(num_bins=10)(logits, labels)
        tensor(0.6374)
    """

    def __init__(
        self, binning: Binning = "hard", num_bins: int = 20, empty_weight: float = 0.01, absent: Absent = "count",
        include_background: bool = True, *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.binning = one_of("binning", binning, Binning)
        self.num_bins = int(in_range("num_bins", num_bins, 1))
        self.empty_weight = in_range("empty_weight", empty_weight, 0, open_low=True)
        self.absent = one_of("absent", absent, Absent)
        self.include_background = include_background

    def _index(self, voxels: Voxels) -> Tensor:
        return bin_index(voxels.probs, self.num_bins, self.binning == "soft")

    def summands(self, voxels: Voxels) -> dict[str, Tensor | Summed]:
        """Sum the bins."""
        by_bin = shared_bin_summands if self.binning == "soft" else bin_summands
        return by_bin(voxels, self._index(voxels), self.num_bins)

    def fast(self) -> HandSlopes:
        """Give the slopes by hand."""
        return lambda voxels, weights: slopes.bins(voxels, weights, self._index(voxels))

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums by bin, ``(B, K, bins)``."""
        count, confidence, frequency = sums.count, sums.confidence, sums.frequency
        if self.binning == "soft":
            count, confidence, frequency = shared_bins(sums, self.num_bins)
        filled = count >= self.empty_weight
        safe = torch.where(filled, count, 1.0)
        gaps = torch.where(filled, (confidence / safe - frequency / safe).abs(), 0.0)
        present = frequency.sum(-1) > 0
        errors = torch.where(present, ratio(gaps.sum(-1), filled.sum(-1).double()), 0.0)
        if not self.include_background:
            weights = weights * (torch.arange(len(weights), device=weights.device) > 0)
        return weighted_mean(errors, weights * (present if self.absent == "skip" else count.sum(-1) > 0))


class ConfidenceAccuracyLoss(LossOfParts):
    r"""Cross entropy plus ``alpha`` times the distance of mean confidence and accuracy over the batch (DCA).

    The accuracy, a count, has no gradient. Liang et al., 2020 (arXiv 2009.04057).

    Args:
        alpha: Weight of the distance.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ConfidenceAccuracyLoss()(logits, labels)
        tensor(8.0419)
    """

    def __init__(
        self, alpha: float = 10.0, *, class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.alpha = in_range("alpha", alpha, 0)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels, cross entropy, confidence and hits."""
        confidence = voxels.probs.amax(1, keepdim=True) * voxels.counted
        hits = (voxels.labels * voxels.share(voxels.probs)).sum(1, keepdim=True)
        return entropy_summands(voxels) | {"confidence": confidence, "hits": hits}

    def fast(self) -> HandSlopes:
        """Give the slopes by hand."""
        return slopes.confidence

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted distance."""
        gap = (sums.confidence - sums.hits).sum(0)[0].abs()
        entropy = weighted_cost(sums.cost, sums.volume, weights)
        return {"cross_entropy": entropy, "confidence_accuracy": ratio(gap, sums.volume.sum())}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"confidence_accuracy": self.alpha}


class ClasswiseConfidenceAccuracyLoss(LossOfParts, FocalLoss):
    r"""Focal loss plus ``beta`` times the mean over classes of :math:`|\bar p_k - \bar y_k|` over the batch (MDCA).

    In segmentation the distance is that of each class's predicted and true share of the volume.
    Hebbalaguppe et al., CVPR 2022 (arXiv 2203.13834).

    Args:
        beta: Weight of the distance.
        gamma: Exponent of the focal loss; 0 is the cross entropy.
        alpha: One factor for each class, or one for all, in the focal loss.
        class_weights: One weight for each class, background first; they weigh the focal loss.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ClasswiseConfidenceAccuracyLoss()(logits, labels)
        tensor(2.0943)
    """

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, *, alpha: float | Sequence[float] = 1.0,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, alpha, class_weights=class_weights, ignore_index=ignore_index)
        self.beta = in_range("beta", beta, 0)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the focal cost and the summands of the overlap, of which the predicted volume is used."""
        return overlap_summands(voxels, 1.0) | cost_summands(voxels, self.own_cost())

    def fast(self) -> Terms:
        """Give the same as terms of the engine."""
        return Terms(1.0, own=self.own_cost())

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the focal loss and the unweighted distance."""
        focal = weighted_cost(sums.cost * self.factors(weights), sums.volume, weights)
        gap = (sums.predicted - sums.volume).sum(0).abs().mean()
        return {"focal": focal, "confidence_accuracy": ratio(gap, sums.volume.sum())}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"confidence_accuracy": self.beta}
