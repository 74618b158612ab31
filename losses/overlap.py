"""Losses of the overlap of prediction and reference: Dice, DSC++, Tversky and Focal Tversky, plain and ++."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, result, sum_over_processes, weighted_mean
from .statistics import OverlapStatistics, Terms, joint_sums

Pool = Literal["image", "batch"]
Absent = Literal["count", "skip"]


def dice_loss(s: OverlapStatistics, smooth: float) -> Tensor:
    r"""One minus the soft overlap of each class, :math:`1 - (2T + s) / (2T + N + P + s)`; ``(B, K)``."""
    return 1 - fraction(2 * s.overlap + smooth, 2 * s.overlap + s.missed + s.spurious + smooth)


def tversky_loss(s: OverlapStatistics, fn_weight: float, fp_weight: float, smooth: float) -> Tensor:
    r"""One minus the Tversky index of each class, :math:`1 - (T + s) / (T + \delta N + \phi P + s)`; ``(B, K)``."""
    return 1 - fraction(s.overlap + smooth, s.overlap + fn_weight * s.missed + fp_weight * s.spurious + smooth)


def fraction(top: Tensor, bottom: Tensor) -> Tensor:
    """Divide; where nothing is expected and nothing is found, and no smoothing decides, the overlap is 1."""
    empty = bottom == 0
    return torch.where(empty, 1.0, top / torch.where(empty, 1.0, bottom))


def powered(loss: Tensor, exponent: float) -> Tensor:
    """Raise a loss to a power; at 0, where a power below 1 has no slope, the gradient is 0."""
    zero = loss <= 0  # not of a NaN, which stays one
    return torch.where(zero, 0.0, torch.where(zero, 1.0, loss) ** exponent)


def pool_batch(sums: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Add up each of some ``(B, K)`` sums over the batch and over all processes, in one exchange: ``(1, K)``."""
    return sum_over_processes(torch.stack(tuple(sums)).sum(1, keepdim=True)).unbind(0)


def pooled(statistics: OverlapStatistics, pool: str) -> OverlapStatistics:
    """Keep items apart, or add up the batch and all processes into one item."""
    if pool == "image":
        return statistics
    return OverlapStatistics(*pool_batch(statistics))


class OverlapLoss(SegmentationLoss):
    """Mean over items and classes of one minus an overlap: what this family shares.

    An item without a counted voxel is left out of the mean. With ``pool="batch"`` the sums of all items and all
    processes are added first, with gradient, and the mean is over classes.

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: Whether a class that the reference lacks counts, with a loss near 1 as soon as any of it is predicted,
            or is left out of the mean.
        include_background: Whether class 0 takes part.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    #: Whether ``clip`` holds labels as well as probabilities.
    clip_labels = True

    def __init__(
        self,
        gamma: float,
        smooth: float = 1e-7,
        clip: float = 1e-7,
        pool: Pool = "image",
        absent: Absent = "count",
        include_background: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.gamma = float(in_range("gamma", gamma, 0, open_low=True))
        self.smooth = in_range("smooth", smooth, 0)
        self.clip = in_range("clip", clip, 0, 0.49)
        self.pool = one_of("pool", pool, ("image", "batch"))
        self.absent = one_of("absent", absent, ("count", "skip"))
        self.include_background = include_background

    def per_class(self, statistics: OverlapStatistics) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``, from the statistics."""
        return dice_loss(statistics, self.smooth)

    def mean(self, statistics: OverlapStatistics, logits: Tensor) -> Tensor:
        """Average the loss over the items and classes that count."""
        values = self.per_class(statistics)
        weights = self.weights_for(logits)
        if not self.include_background:
            weights = weights * (torch.arange(len(weights), device=weights.device) > 0)
        present = statistics.volume > 0 if self.absent == "skip" else statistics.voxels > 0
        return weighted_mean(values, weights * present)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        terms = Terms(self.gamma, self.clip, self.clip_labels)
        statistics = joint_sums(logits, target, self.ignore_index, terms).statistics
        return result(self.mean(pooled(statistics, self.pool), logits), logits)


class DiceLoss(OverlapLoss):
    r"""Soft Dice loss, :math:`1 - (2T + s) / (V + S + s)` for each class; sums without squares.

    The baseline of the DSC++ and the margin papers: no clipping, background included, for each image. With another
    ``gamma`` it is DSC++ without that loss's clipping. Milletari et al., V-Net, 3DV 2016 (arXiv 1606.04797).

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(self, gamma: float = 1.0, smooth: float = 1e-5, clip: float = 0.0, **options: Any) -> None:
        super().__init__(gamma, smooth, clip, **options)


class DicePlusPlusLoss(OverlapLoss):
    r"""DSC++ loss, :math:`1 - (2T + s) / (2T + N(\gamma) + P(\gamma) + s)` for each class.

    An exponent above 1 weakens the penalty of uncertain errors against that of confident ones. With ``gamma`` 1 it is
    Dice; at 2 a free probability settles at the true one over the overlap reached; above, the background lifts off 0.
    An absent class has a loss near 1 until its probabilities fall to about ``10 * clip``, see ``absent``.
    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(self, gamma: float = 2.0, **options: Any) -> None:
        super().__init__(gamma, **options)


class TverskyLoss(OverlapLoss):
    r"""Tversky loss, :math:`1 - (T + s) / (T + \delta N + \phi P + s)` for each class.

    Weights of one half make it Dice. Salehi et al., MLMI 2017 (arXiv 1706.05721).

    Args:
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(self, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 1.0, **options: Any) -> None:
        super().__init__(gamma, **options)
        self.fn_weight = in_range("fn_weight", fn_weight, 0)
        self.fp_weight = in_range("fp_weight", fp_weight, 0)

    def per_class(self, statistics: OverlapStatistics) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``, from the statistics."""
        return tversky_loss(statistics, self.fn_weight, self.fp_weight, self.smooth)


class TverskyPlusPlusLoss(TverskyLoss):
    r"""Tversky++ loss: :class:`TverskyLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(self, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 2.0, **options: Any) -> None:
        super().__init__(fn_weight, fp_weight, gamma, **options)


class FocalTverskyLoss(TverskyLoss):
    r"""Focal Tversky loss: the Tversky loss of each class to a power, then the mean.

    Abraham and Khan, ISBI 2019 (arXiv 1810.07842), in the form of Yeung et al.

    Args:
        exponent: Power of each class's loss.
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(
        self,
        exponent: float = 0.75,
        fn_weight: float = 0.7,
        fp_weight: float = 0.3,
        gamma: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(fn_weight, fp_weight, gamma, **options)
        self.exponent = in_range("exponent", exponent, 0, open_low=True)

    def per_class(self, statistics: OverlapStatistics) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``, from the statistics."""
        return powered(super().per_class(statistics), self.exponent)


class FocalTverskyPlusPlusLoss(FocalTverskyLoss):
    r"""Focal Tversky++ loss: :class:`FocalTverskyLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        exponent: Power of each class's loss.
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`OverlapLoss`.
    """

    def __init__(
        self,
        exponent: float = 0.75,
        fn_weight: float = 0.7,
        fp_weight: float = 0.3,
        gamma: float = 2.0,
        **options: Any,
    ) -> None:
        super().__init__(exponent, fn_weight, fp_weight, gamma, **options)
