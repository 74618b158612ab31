"""The asymmetric focal family of the Unified Focal loss, for any number of classes."""

from typing import Any

import torch
from torch import Tensor

from .base import in_range, result
from .compound import CompoundLoss
from .costs import BackgroundFocalCost
from .cross_entropy import OwnCostLoss, weighted_cost
from .overlap import OverlapLoss, powered, tversky_loss
from .statistics import OverlapStatistics


def asymmetric_tversky(statistics: OverlapStatistics, delta: float, power: float, smooth: float) -> Tensor:
    """Tversky loss of each class, ``(B, K)``, that of the foreground classes raised to a power."""
    values = tversky_loss(statistics, delta, 1 - delta, smooth)
    return torch.cat([values[:, :1], powered(values[:, 1:], power)], dim=1)


def asymmetric_factors(logits: Tensor, delta: float) -> Tensor:
    """Factor ``delta`` of the foreground classes and ``1 - delta`` of the background, in double precision."""
    factors = logits.new_full((max(logits.shape[1], 2),), delta, dtype=torch.float64)
    factors[0] = 1 - delta
    return factors


class AsymmetricFocalLoss(OwnCostLoss):
    r"""Cross entropy weighted by ``delta`` in the foreground, and focal in the background.

    The mean over voxels of :math:`(1 - \delta)(1 - p_0)^g CE_0 + \delta \sum_{k > 0} CE_k`.
    Yeung et al., CMIG 2022 (arXiv 2102.04525).

    Args:
        delta: Weight of the foreground.
        exponent: Focal exponent of the background.
        clip: Probabilities are held within ``[clip, 1 - clip]``; 0 is off.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(self, delta: float = 0.7, exponent: float = 2.0, clip: float = 1e-7, **options: Any) -> None:
        super().__init__(**options)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = float(in_range("exponent", exponent, 0))
        self.clip = in_range("clip", clip, 0, 0.49)

    def own_cost(self) -> BackgroundFocalCost:
        """Give the cost of each voxel."""
        return BackgroundFocalCost(self.exponent, self.clip)

    def factors(self, logits: Tensor) -> Tensor:
        """Factor of each class, in double precision."""
        return asymmetric_factors(logits, self.delta)


class AsymmetricFocalTverskyLoss(OverlapLoss):
    r"""Mean over classes of :math:`1 - TI_0` and, for the foreground, :math:`(1 - TI_k)^{1 - g}`.

    Probabilities are clipped, labels are not. Yeung et al., CMIG 2022 (arXiv 2102.04525).

    Args:
        delta: Weight of the missed part; the spurious part weighs ``1 - delta``.
        exponent: Focal exponent g.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    clip_labels = False

    def __init__(self, delta: float = 0.7, exponent: float = 0.75, gamma: float = 1.0, **options: Any) -> None:
        super().__init__(gamma, **options)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = in_range("exponent", exponent, 0, 0.99)

    def per_class(self, statistics: OverlapStatistics) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``, from the statistics."""
        return asymmetric_tversky(statistics, self.delta, 1 - self.exponent, self.smooth)


class UnifiedFocalLoss(CompoundLoss):
    r"""Asymmetric Unified Focal loss: :math:`\lambda\, AFT + (1 - \lambda)\, AF`, for any number of classes.

    With Tversky index :math:`TI_k` (missed weighs ``delta``, spurious ``1 - delta``) and :math:`g` the ``exponent``:
    AFT is the mean over classes of :math:`1 - TI_0` and :math:`(1 - TI_k)^{1 - g}` for the foreground; AF the mean over
    voxels of :math:`(1 - \delta)(1 - p_0)^g CE_0 + \delta \sum_{k > 0} CE_k`. With two classes this is the published
    form. Yeung et al., CMIG 2022 (arXiv 2102.04525).

    Args:
        weight: Weight of AFT against AF.
        delta: Weight of missed foreground.
        exponent: Focal exponent.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    clip_labels = False

    def __init__(
        self, weight: float = 0.5, delta: float = 0.6, exponent: float = 0.5, gamma: float = 1.0, **options: Any
    ) -> None:
        super().__init__(gamma, **options)
        self.weight = in_range("weight", weight, 0, 1)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = in_range("exponent", exponent, 0, 0.99)

    def per_class(self, statistics: OverlapStatistics) -> Tensor:
        """Compute AFT of each item and class, ``(B, K)``, from the statistics."""
        return asymmetric_tversky(statistics, self.delta, 1 - self.exponent, self.smooth)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute AFT and AF."""
        own = BackgroundFocalCost(self.exponent, self.clip)
        statistics, cost, *_ = self.pooled_sums(logits, target, own)
        cost = cost * asymmetric_factors(logits, self.delta)
        parts = {
            "focal_tversky": self.mean(statistics, logits),
            "focal": weighted_cost(cost, statistics.volume, self.weights_for(logits)),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return self.weight * parts["focal_tversky"] + (1 - self.weight) * parts["focal"]


class UnifiedFocalPlusPlusLoss(UnifiedFocalLoss):
    """Unified Focal++ loss: :class:`UnifiedFocalLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        weight: Weight of AFT against AF.
        delta: Weight of missed foreground.
        exponent: Focal exponent.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    def __init__(
        self, weight: float = 0.5, delta: float = 0.6, exponent: float = 0.5, gamma: float = 2.0, **options: Any
    ) -> None:
        super().__init__(weight, delta, exponent, gamma, **options)
