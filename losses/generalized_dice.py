"""Losses of the generalised Dice paper: GDL, weighted cross entropy, sensitivity-specificity, two-class Dice."""

from typing import Any, Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, result, sum_over_processes, weighted_mean
from .costs import OwnCost
from .inputs import IGNORED
from .overlap import Pool, fraction, pool_batch, pooled
from .statistics import OverlapStatistics, Terms, joint_sums, overlap_statistics
from .voxelwise import Voxels, class_rows, ratio, voxel_sums

WEIGHT_POWERS = {"square": 2, "simple": 1, "uniform": 0}


def generalized_weights(volume: Tensor, weighting: str, absent: str) -> Tensor:
    """Weights of the classes of each item, ``(B, K)``, scaled so that the largest is 1: no constant is ever added.

    A class of no volume gets the weight of the rarest one that is present (``max``) or none (``zero``).
    """
    present = volume > 0
    rarest = torch.where(present, volume, torch.inf).amin(-1, keepdim=True)
    relative = torch.where(present, rarest, 1.0) / torch.where(present, volume, 1.0)
    weights = relative ** WEIGHT_POWERS[weighting]
    return torch.where(present, weights, 1.0 if absent == "max" else 0.0)


class GeneralizedDiceLoss(SegmentationLoss):
    r"""Generalised Dice loss, :math:`1 - 2 \sum_l w_l T_l / \sum_l w_l (V_l + S_l)`.

    The weights :math:`1/V^2` (``square``), :math:`1/V` (``simple``) or 1 (``uniform``) come from the reference only.
    They are taken relative to the largest, so that ``smooth`` (in voxels of the rarest class) means the same at every
    volume. An absent class weighs as much as the rarest present one (``max``: false positives of it are dear) or
    nothing (``zero``). Sudre et al., DLMIA 2017 (arXiv 1707.03237); the gradient printed there has the wrong sign.

    Args:
        weighting: Power of the volume.
        absent: Weight of a class that the reference lacks.
        smooth: Added above and below the fraction.
        pool: Form the sums for each image, or for the whole batch over all processes, as the paper's code did.
        include_background: Whether class 0 takes part.
        **options: ``class_weights`` (multiply the weights) and ``ignore_index``.
    """

    def __init__(
        self,
        weighting: Literal["square", "simple", "uniform"] = "square",
        absent: Literal["max", "zero"] = "max",
        smooth: float = 0.0,
        pool: Pool = "image",
        include_background: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.weighting = one_of("weighting", weighting, WEIGHT_POWERS)
        self.absent = one_of("absent", absent, ("max", "zero"))
        self.smooth = in_range("smooth", smooth, 0)
        self.pool = one_of("pool", pool, ("image", "batch"))
        self.include_background = include_background

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        sums = pooled(overlap_statistics(logits, target, ignore_index=self.ignore_index), self.pool)
        first = 0 if self.include_background else 1
        volume, overlap, predicted = (part[:, first:] for part in (sums.volume, sums.overlap, sums.predicted))
        weights = generalized_weights(volume, self.weighting, self.absent) * self.weights_for(logits)[first:]
        top = 2 * (weights * overlap).sum(-1)
        score = fraction(top + self.smooth, (weights * (volume + predicted)).sum(-1) + self.smooth)
        return result(ratio((1 - score).sum(), (sums.voxels[:, 0] > 0).sum().double()), logits)


class WeightedCrossEntropyLoss(SegmentationLoss):
    r"""Two-class cross entropy whose foreground weight adapts: :math:`w = (N - \Sigma) / \Sigma`.

    With :math:`\Sigma` the predicted (``prediction``, as printed) or the reference (``target``) volume of each image;
    with more classes every foreground class has its own weight. The printed weight is near 1 at the start, when it
    matters, and explodes when the foreground vanishes; it is held below ``largest``. Sudre et al., DLMIA 2017.

    Args:
        weight_from: Where the weight comes from.
        detach: Whether the weight has no gradient (with ``prediction``).
        largest: Bound of the weight.
        pool: One weight for each image, or for the whole batch over all processes.
        **options: ``class_weights`` (multiply the weights) and ``ignore_index``.
    """

    def __init__(
        self,
        weight_from: Literal["prediction", "target"] = "prediction",
        detach: bool = True,
        largest: float = 1e6,
        pool: Pool = "image",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.weight_from = one_of("weight_from", weight_from, ("prediction", "target"))
        self.detach = detach
        self.largest = in_range("largest", largest, 0, open_low=True)
        self.pool = one_of("pool", pool, ("image", "batch"))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        # The weight from the prediction needs the predicted volume, an overlap statistic.
        terms = Terms(gamma=1.0 if self.weight_from == "prediction" else 0.0, own=OwnCost())
        sums = joint_sums(logits, target, self.ignore_index, terms)
        rows = [sums.statistics.volume, sums.cost, sums.statistics.predicted]
        volume, entropy, predicted = pool_batch(rows) if self.pool == "batch" else rows
        voxels = volume.sum(-1, keepdim=True)
        mass = predicted if self.weight_from == "prediction" else volume
        mass = mass.detach() if self.detach else mass
        weights = ((voxels - mass) / mass.clamp_min(1e-30)).clamp_max(self.largest)
        weights = torch.cat([torch.ones_like(weights[:, :1]), weights[:, 1:]], dim=1) * self.weights_for(logits)
        return result(ratio((weights * entropy).sum(), voxels.sum()), logits)


class SensitivitySpecificityLoss(SegmentationLoss):
    r"""Squared error on each class's own voxels and on the others, weighted.

    .. math::
        \lambda \frac{\sum (y - p)^2 y}{V + \epsilon} + (1 - \lambda) \frac{\sum (y - p)^2 (1 - y)}{N - V + \epsilon}

    ``channels="foreground"`` is the printed formula, the mean over foreground classes. ``channels="all"`` is the sum
    over all channels as in the paper's code; with two classes ``sensitivity_weight`` then cancels exactly.
    Brosch et al., MICCAI 2015; Sudre et al., DLMIA 2017 (arXiv 1707.03237).

    Args:
        sensitivity_weight: Weight of the error on the class's own voxels.
        channels: Mean over the foreground, or sum over all classes.
        epsilon: Added to both divisors.
        pool: Form the sums for each image, or for the whole batch over all processes.
        **options: ``class_weights`` and ``ignore_index``.
    """

    def __init__(
        self,
        sensitivity_weight: float = 0.05,
        channels: Literal["foreground", "all"] = "foreground",
        epsilon: float = 1e-5,
        pool: Pool = "image",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sensitivity_weight = in_range("sensitivity_weight", sensitivity_weight, 0, 1)
        self.channels = one_of("channels", channels, ("foreground", "all"))
        self.epsilon = in_range("epsilon", epsilon, 0, open_low=True)
        self.pool = one_of("pool", pool, ("image", "batch"))

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum the squared errors on both sides, each by itself: where a class fills the image, one is next to 0."""
        squares = (voxels.labels - voxels.probs).square()
        own, others = squares * voxels.labels, squares * (voxels.counted - voxels.labels)
        return class_rows(voxels.counted, voxels.labels, own, others)

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Voxels, volume and both squared errors, ``(4, B, K)``."""
        rows = voxel_sums(logits, target, self.ignore_index, self.rows).transpose(0, 1)
        return sum_over_processes(rows.sum(1, keepdim=True)) if self.pool == "batch" else rows

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        voxels, volume, own, others = self.sums(logits, target)
        sensitivity = own / (volume + self.epsilon)
        specificity = others / (voxels - volume + self.epsilon)
        share = self.sensitivity_weight
        values = (share * sensitivity + (1 - share) * specificity) * self.weights_for(logits)
        value = values.sum(-1) if self.channels == "all" else values[:, 1:].mean(-1)
        return result(ratio(value.sum(), (voxels[:, 0] > 0).sum().double()), logits)


class TwoClassDiceLoss(SegmentationLoss):
    r"""Dice of the foreground and of the background, halved and added (DL2), with an epsilon that is right.

    .. math::
        1 - \frac{T_1 + \epsilon / 2}{S_1 + V_1 + \epsilon} - \frac{T_0 + \epsilon / 2}{S_0 + V_0 + \epsilon}

    The printed loss has the same epsilon above and below and so counts an empty term twice: it falls to -0.5 where
    foreground and prediction are both empty. ``printed`` brings that back. With more classes the foreground is one
    minus the background. Sudre et al., DLMIA 2017 (arXiv 1707.03237).

    Args:
        epsilon: Added to the divisors.
        printed: Whether the numerators get the whole epsilon, as printed.
        pool: Form the sums for each image, or for the whole batch over all processes.
        ignore_index: Label of voxels that do not count.
    """

    def __init__(
        self,
        epsilon: float = 1e-5,
        printed: bool = False,
        pool: Pool = "image",
        ignore_index: int | None = IGNORED,
    ) -> None:
        super().__init__(ignore_index)
        self.epsilon = in_range("epsilon", epsilon, 0)
        self.printed = printed
        self.pool = one_of("pool", pool, ("image", "batch"))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        sums = pooled(overlap_statistics(logits, target, ignore_index=self.ignore_index), self.pool)
        above = self.epsilon if self.printed else self.epsilon / 2
        overlap, volume, predicted = _foreground_and_background(sums)
        scores = fraction(2 * (overlap + above), volume + predicted + self.epsilon)
        return result(weighted_mean(1 - scores.mean(0), (sums.voxels[:, 0] > 0).double()), logits)


def _foreground_and_background(sums: OverlapStatistics) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, volume and predicted volume, each ``(2, B)``: of all classes but the first, and of the first."""
    voxels, volume, predicted, overlap = (
        part[:, 0] for part in (sums.voxels, sums.volume, sums.predicted, sums.overlap)
    )
    others = (voxels - volume - predicted + overlap, voxels - volume, voxels - predicted)
    pairs = zip(others, (overlap, volume, predicted), strict=True)
    overlaps, volumes, masses = (torch.stack(pair) for pair in pairs)
    return overlaps, volumes, masses
