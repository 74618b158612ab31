"""Cross entropy and what reweights it voxel by voxel: focal losses, smoothed labels, an entropy penalty, Brier."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, result
from .costs import OwnCost, TwoFocalCosts, focal_cost, power
from .statistics import Terms, joint_sums
from .voxelwise import Slopes, Voxels, as_numbers, class_rows, ratio, voxel_sums


def weighted_cost(cost: Tensor, volume: Tensor, weights: Tensor) -> Tensor:
    """Mean of a cost from its sums by class ``(B, K)`` or ``(K,)``, weighted by the class of the label."""
    return ratio((weights * cost).sum(), (weights * volume).sum())


def cross_entropy_rows(voxels: Voxels) -> Tensor:
    """Sum labels and exact cross entropy for each class of the label: rows volume, entropy."""
    return class_rows(voxels.labels, -voxels.labels * voxels.log_probs)


def cross_entropy_slope(voxels: Voxels, weight: Tensor) -> Tensor:
    """Slope of the entropy's row with respect to the log probabilities."""
    return voxels.labels * -weight


class VoxelLoss(SegmentationLoss):
    """Mean of a cost over the counted voxels of the batch, each weighted by its label's class weight.

    Args:
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels and cost of a chunk for each class of the label: ``(G, 2, K)``."""
        raise NotImplementedError

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        volume, cost = voxel_sums(logits, target, self.ignore_index, self.rows, self.slopes).unbind(1)
        return result(weighted_cost(cost, volume, self.weights_for(logits)), logits)


class OwnCostLoss(SegmentationLoss):
    """Mean of a cost of each voxel's own log probability, weighted by its label's class weight.

    Args:
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def own_cost(self) -> OwnCost:
        """Give the cost of each voxel."""
        raise NotImplementedError

    def factors(self, logits: Tensor) -> Tensor:
        """Factor of each class, which does not enter the divisor, in double precision."""
        return logits.new_ones((), dtype=torch.float64)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        sums = joint_sums(logits, target, self.ignore_index, Terms(own=self.own_cost()))
        cost = sums.cost * self.factors(logits)
        return result(weighted_cost(cost, sums.statistics.volume, self.weights_for(logits)), logits)


class CrossEntropyLoss(OwnCostLoss):
    r"""Cross entropy, the mean of :math:`-\log p_y`; with soft labels of :math:`-\sum_k q_k \log p_k`.

    With class weights, the sum is divided by that of the weights of the voxels' labels.

    Args:
        clip: Probabilities are held within ``[clip, 1 - clip]``, as in the code of the DSC++ paper: a voxel outside has
            no gradient. 0 is the exact cross entropy.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(self, clip: float = 1e-7, **options: Any) -> None:
        super().__init__(**options)
        self.clip = in_range("clip", clip, 0, 0.49)

    def own_cost(self) -> OwnCost:
        """Give the cross entropy."""
        return OwnCost(self.clip)


class FocalLoss(OwnCostLoss):
    r"""Focal loss, the mean of :math:`\alpha_y (1 - p_y)^\gamma (-\log p_y)` over softmax probabilities.

    ``gamma`` 0 is the cross entropy. The weights ``alpha`` scale voxels but do not enter the divisor, as in the
    original. Lin et al., ICCV 2017 (arXiv 1708.02002).

    Args:
        gamma: Focal exponent.
        alpha: One factor for each class, or one for all.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    alpha: Tensor

    def __init__(self, gamma: float = 3.0, alpha: float | Sequence[float] = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.gamma = float(in_range("gamma", gamma, 0))
        factors = torch.as_tensor(alpha, dtype=torch.float64).reshape(-1)
        if not bool((factors >= 0).all()):
            raise ValueError(f"alpha must be >= 0, got {alpha}")
        self.register_buffer("alpha", factors)

    def factors(self, logits: Tensor) -> Tensor:
        """Factor of each class, in double precision.

        Raises:
            ValueError: If their number is not that of the classes.
        """
        classes = max(logits.shape[1], 2)
        if len(self.alpha) not in (1, classes):
            raise ValueError(f"alpha has {len(self.alpha)} entries, but the logits have {classes} classes")
        return self.alpha.double()

    def own_cost(self) -> OwnCost:
        """Give the focal cost."""
        return focal_cost(self.gamma)


class SampleDependentFocalLoss(FocalLoss):
    """Focal loss with a larger exponent where the label's probability is low (FLSD-53).

    Mukhoti et al., Calibrating Deep Neural Networks using Focal Loss, NeurIPS 2020 (arXiv 2002.09437).

    Args:
        gamma: Exponent at and above the threshold.
        gamma_low: Exponent below it.
        threshold: Probability of the label that divides the two.
        **options: ``alpha`` of :class:`FocalLoss`; ``class_weights`` and ``ignore_index``.
    """

    def __init__(self, gamma: float = 3.0, gamma_low: float = 5.0, threshold: float = 0.2, **options: Any) -> None:
        super().__init__(gamma, **options)
        self.gamma_low = float(in_range("gamma_low", gamma_low, 0))
        self.threshold = in_range("threshold", threshold, 0, 1, open_low=True)

    def own_cost(self) -> OwnCost:
        """Give the focal costs on both sides of the threshold."""
        return TwoFocalCosts(self.gamma, self.gamma_low, self.threshold)


class DualFocalLoss(FocalLoss):
    r"""Dual focal loss, the mean of :math:`(1 - p_y + p_j)^\gamma (-\log p_y)`, p_j the largest p below p_y.

    Tao et al., Dual Focal Loss for Calibration, ICML 2023 (arXiv 2305.13665). Integer labels.

    Args:
        gamma: Focal exponent.
        **options: ``alpha`` of :class:`FocalLoss`; ``class_weights`` and ``ignore_index``.
    """

    def __init__(self, gamma: float = 5.0, **options: Any) -> None:
        super().__init__(gamma, **options)

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels and cost of a chunk for each class of the label: ``(G, 2, K)``."""
        _, gap = self._gap(voxels)
        return class_rows(voxels.labels, -voxels.labels * voxels.log_probs * power(gap, self.gamma))

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        lower, gap = self._gap(voxels)
        entropy = cross_entropy_slope(voxels, weights[1])
        if not self.gamma:
            return Slopes(log_probs=entropy)
        pull = (entropy * voxels.log_probs).sum(1, keepdim=True).mul_(self.gamma).mul_(power(gap, self.gamma - 1))
        return Slopes(
            log_probs=entropy.mul_(power(gap, self.gamma)), probs=voxels.share(lower).sub_(voxels.labels) * pull
        )

    @staticmethod
    def _gap(voxels: Voxels) -> tuple[Tensor, Tensor]:
        """Probabilities below the label's, others 0; and 1 minus the label's plus the largest of them."""
        own = (voxels.probs * voxels.labels).sum(1, keepdim=True)
        lower = voxels.probs * as_numbers(torch.lt, voxels.probs.detach(), own.detach(), voxels.probs)
        return lower, 1 - own + lower.amax(1, keepdim=True)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` integer labels."""
        if target.is_floating_point():
            raise ValueError("target must hold integer labels: the dual focal loss has no form for soft labels")
        volume, cost = voxel_sums(logits, target, self.ignore_index, self.rows, self.slopes).unbind(1)
        return result(weighted_cost(cost * self.factors(logits), volume, self.weights_for(logits)), logits)


class LabelSmoothingLoss(SegmentationLoss):
    r"""Cross entropy with a share ``alpha`` of each label spread over the classes.

    ``variant="all"``: :math:`(1 - \alpha) y + \alpha / K`, the label's own class included. ``variant="others"``:
    :math:`(1 - \alpha) y + \alpha (1 - y) / (K - 1)`. Szegedy et al., CVPR 2016 (arXiv 1512.00567).

    Args:
        alpha: Share that is spread.
        variant: Over all classes, or over the others only.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(self, alpha: float = 0.1, variant: Literal["all", "others"] = "all", **options: Any) -> None:
        super().__init__(**options)
        self.alpha = in_range("alpha", alpha, 0, 1)
        self.variant = one_of("variant", variant, ("all", "others"))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        classes = max(logits.shape[1], 2)
        spread = self.alpha if self.variant == "all" else self.alpha * classes / (classes - 1)
        sums = joint_sums(logits, target, self.ignore_index, Terms(own=OwnCost(), lead=True))
        # -log p of all classes in the mean: the own one's, and how far its logit is above the mean of all.
        cost = sums.cost + spread * sums.lead
        return result(weighted_cost(cost, sums.statistics.volume, self.weights_for(logits)), logits)


class EntropyPenaltyLoss(VoxelLoss):
    r"""Cross entropy minus ``alpha`` times the entropy of the prediction (explicit confidence penalty).

    With ``scaling="class_mean"`` the entropy is averaged over the classes too, as in the code of the margin papers: the
    weight is ``alpha / K`` of that of the formula :math:`CE - \alpha H(p)`, which is ``scaling="sum"``.
    Pereyra et al., ICLR workshop 2017 (arXiv 1701.06548).

    Args:
        alpha: Weight of the entropy.
        scaling: Mean or sum over the classes.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(
        self, alpha: float = 0.1, scaling: Literal["class_mean", "sum"] = "class_mean", **options: Any
    ) -> None:
        super().__init__(**options)
        self.alpha = in_range("alpha", alpha, 0)
        self.scaling = one_of("scaling", scaling, ("class_mean", "sum"))

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels and penalised cross entropy."""
        # p log p is 0 where p is: the product of an underflown p and a finite log p.
        negative_entropy = (voxels.probs * voxels.log_probs).sum(1, keepdim=True) * self._weight(voxels)
        return class_rows(voxels.labels, voxels.labels * (negative_entropy - voxels.log_probs))

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        penalty = voxels.log_probs * (voxels.by_label(weights[1]) * self._weight(voxels))
        return Slopes(log_probs=cross_entropy_slope(voxels, weights[1]), probs=penalty)

    def _weight(self, voxels: Voxels) -> float:
        """Weight of the entropy's sum over the classes."""
        return self.alpha / voxels.labels.shape[1] if self.scaling == "class_mean" else self.alpha


class BrierLoss(VoxelLoss):
    r"""Brier score, the mean of :math:`\sum_k (p_k - y_k)^2`.

    Args:
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels and squared errors, by the class of the label."""
        squares = (voxels.probs - voxels.labels).square().sum(1, keepdim=True)
        return class_rows(voxels.labels, voxels.labels * squares)

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        return Slopes(probs=(voxels.probs - voxels.labels).mul_(2 * voxels.by_label(weights[1])))
