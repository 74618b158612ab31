r"""Cross entropy and what reweights it voxel by voxel: focal losses, smoothed labels, an entropy penalty, Brier.

Each loss is a mean over voxels, its formula ``summands``: "cost", summed by the class of the label, beside the labels
themselves, "volume". Costs of the own label's probability alone run fast by the engine's ``Terms``, the others by
slopes of :mod:`losses.engine.slopes`; ``tests/losses/test_engine.py`` holds both to the formulas here.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, weighted_cost
from .engine import IGNORED, Cost, HandSlopes, Sums, Terms, Voxels, as_numbers, power, slopes

Variant = Literal["all", "others"]
Scaling = Literal["class_mean", "sum"]


def cost_summands(voxels: Voxels, own: Cost) -> dict[str, Tensor]:
    """Labels, and a cost of -log p of each voxel's own label; with soft labels of that of every class, by its share."""
    foreground = (torch.arange(voxels.logits.shape[1], device=voxels.logits.device) > 0).view(1, -1, 1)
    nll, rest = -voxels.log_probs, -torch.expm1(voxels.log_probs)
    return {"volume": voxels.labels, "cost": voxels.labels * own.value(nll, rest, foreground.to(nll.dtype))}


def entropy_summands(voxels: Voxels) -> dict[str, Tensor]:
    """Labels and exact cross entropy."""
    return {"volume": voxels.labels, "cost": -voxels.labels * voxels.log_probs}


class VoxelLoss(SegmentationLoss):
    """Mean of the summand "cost" over the counted voxels of the batch, each weighted by its label's class weight."""

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        return weighted_cost(sums.cost * self.factors(weights), sums.volume, weights)

    def factors(self, weights: Tensor) -> Tensor | float:
        """Factor of each class, which unlike ``weights`` does not enter the divisor."""
        return 1.0


class OwnCostLoss(VoxelLoss):
    """Mean of a cost of each voxel's own log probability."""

    def own_cost(self) -> Cost:
        """Give the cost."""
        raise NotImplementedError

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels and cost."""
        return cost_summands(voxels, self.own_cost())

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(own=self.own_cost())


class CrossEntropyLoss(OwnCostLoss):
    r"""Cross entropy, the mean of :math:`-\log p_y`; with soft labels of :math:`-\sum_k q_k \log p_k`.

    With class weights, the sum is divided by that of the weights of the voxels' labels.

    Args:
        clip: Probabilities are held within ``[clip, 1 - clip]``, as in the code of the DSC++ paper: a voxel outside has
            no gradient. 0 is the exact cross entropy.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.CrossEntropyLoss(class_weights=[0.2, 0.8])(logits, labels)
        tensor(1.0042)
    """

    def __init__(
        self, clip: float = 1e-7, *, class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.clip = in_range("clip", clip, 0, 0.49)

    def own_cost(self) -> Cost:
        """Give the cross entropy."""
        return Cost(self.clip)


def focal(nll: Tensor, rest: Tensor, foreground: Tensor, gamma: float) -> Tensor:
    r"""Focal cost :math:`(1 - p)^\gamma (-\log p)`."""
    return power(rest, gamma) * nll


def two_focal(nll: Tensor, rest: Tensor, foreground: Tensor, exponents: tuple[float, float, float]) -> Tensor:
    """Focal cost with one exponent where p is at a threshold or above, another below."""
    gamma, gamma_low, threshold = exponents
    return torch.where(rest > 1 - threshold, power(rest, gamma_low), power(rest, gamma)) * nll


def focal_cost(gamma: float) -> Cost:
    """Focal cost, or at exponent 0 the cheaper cross entropy."""
    return Cost(0.0, partial(focal, gamma=gamma), partial(slopes.focal, gamma=gamma)) if gamma else Cost()


class FocalLoss(OwnCostLoss):
    r"""Focal loss, the mean of :math:`\alpha_y (1 - p_y)^\gamma (-\log p_y)` over softmax probabilities.

    ``gamma`` 0 is the cross entropy. The weights ``alpha`` scale voxels but do not enter the divisor, as in the
    original. Lin et al., ICCV 2017 (arXiv 1708.02002).

    Args:
        gamma: Focal exponent.
        alpha: One factor for each class, or one for all.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.FocalLoss(gamma=2.0)(logits, labels)
        tensor(1.2903)
    """

    alpha: Tensor

    def __init__(
        self, gamma: float = 3.0, alpha: float | Sequence[float] = 1.0, *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.gamma = float(in_range("gamma", gamma, 0))
        factors = torch.as_tensor(alpha, dtype=torch.float64).reshape(-1)
        if not bool((factors >= 0).all()):
            raise ValueError(f"alpha must be >= 0, got {alpha}")
        self.register_buffer("alpha", factors)

    def factors(self, weights: Tensor) -> Tensor:
        """Factor of each class, in double precision.

        Raises:
            ValueError: If their number is not that of the classes.
        """
        if len(self.alpha) not in (1, len(weights)):
            raise ValueError(f"alpha has {len(self.alpha)} entries, but the logits have {len(weights)} classes")
        return self.alpha.double()

    def own_cost(self) -> Cost:
        """Give the focal cost."""
        return focal_cost(self.gamma)


class SampleDependentFocalLoss(FocalLoss):
    """Focal loss with a larger exponent where the label's probability is low (FLSD-53).

    Mukhoti et al., Calibrating Deep Neural Networks using Focal Loss, NeurIPS 2020 (arXiv 2002.09437).

    Args:
        gamma: Exponent at and above the threshold.
        gamma_low: Exponent below it.
        threshold: Probability of the label that divides the two.
        alpha: One factor for each class, or one for all.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.SampleDependentFocalLoss()(logits, labels)
        tensor(0.9014)
    """

    def __init__(
        self, gamma: float = 3.0, gamma_low: float = 5.0, threshold: float = 0.2, *,
        alpha: float | Sequence[float] = 1.0, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, alpha, class_weights=class_weights, ignore_index=ignore_index)
        self.gamma_low = float(in_range("gamma_low", gamma_low, 0))
        self.threshold = in_range("threshold", threshold, 0, 1, open_low=True)

    def own_cost(self) -> Cost:
        """Give the focal costs on both sides of the threshold."""
        exponents = (self.gamma, self.gamma_low, self.threshold)
        by_hand = partial(slopes.two_focal, exponents=exponents)
        return Cost(0.0, partial(two_focal, exponents=exponents), by_hand)


class DualFocalLoss(FocalLoss):
    r"""Dual focal loss, the mean of :math:`(1 - p_y + p_j)^\gamma (-\log p_y)`, p_j the largest p below p_y.

    Tao et al., Dual Focal Loss for Calibration, ICML 2023 (arXiv 2305.13665). Integer labels.

    Args:
        gamma: Focal exponent.
        alpha: One factor for each class, or one for all.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.DualFocalLoss()(logits, labels)
        tensor(0.9014)
    """

    def __init__(
        self, gamma: float = 5.0, *, alpha: float | Sequence[float] = 1.0, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, alpha, class_weights=class_weights, ignore_index=ignore_index)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels and cost."""
        if voxels.soft:
            raise ValueError("target must hold integer labels: the dual focal loss has no form for soft labels")
        _, gap = self._gap(voxels)
        return {"volume": voxels.labels, "cost": -voxels.labels * voxels.log_probs * power(gap, self.gamma)}

    @staticmethod
    def _gap(voxels: Voxels) -> tuple[Tensor, Tensor]:
        """Probabilities below the label's, others 0; and 1 minus the label's plus the largest of them."""
        own = (voxels.probs * voxels.labels).sum(1, keepdim=True)
        lower = voxels.probs * as_numbers(torch.lt, voxels.probs.detach(), own.detach(), voxels.probs)
        return lower, 1 - own + lower.amax(1, keepdim=True)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the slopes by hand."""
        return lambda voxels, weights: slopes.dual_focal(voxels, weights, self.gamma, *self._gap(voxels))


class LabelSmoothingLoss(VoxelLoss):
    r"""Cross entropy with a share ``alpha`` of each label spread over the classes.

    ``variant="all"``: :math:`(1 - \alpha) y + \alpha / K`, the label's own class included. ``variant="others"``:
    :math:`(1 - \alpha) y + \alpha (1 - y) / (K - 1)`. Szegedy et al., CVPR 2016 (arXiv 1512.00567).

    Args:
        alpha: Share that is spread.
        variant: Over all classes, or over the others only.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.LabelSmoothingLoss(alpha=0.2)(logits, labels)
        tensor(1.5646)
    """

    def __init__(
        self, alpha: float = 0.1, variant: Variant = "all", *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.alpha = in_range("alpha", alpha, 0, 1)
        self.variant = one_of("variant", variant, Variant)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels, cross entropy, and how far the own label's logit is above the mean of all."""
        lead = voxels.labels * (voxels.logits - voxels.logits.mean(1, keepdim=True))
        return entropy_summands(voxels) | {"lead": lead}

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss: the mean of -log p of all classes is the own one's plus the lead."""
        classes = len(weights)
        spread = self.alpha if self.variant == "all" else self.alpha * classes / (classes - 1)
        return weighted_cost(sums.cost + spread * sums.lead, sums.volume, weights)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(own=Cost(), lead=True)


class EntropyPenaltyLoss(VoxelLoss):
    r"""Cross entropy minus ``alpha`` times the entropy of the prediction (explicit confidence penalty).

    With ``scaling="class_mean"`` the entropy is averaged over the classes too, as in the code of the margin papers: the
    weight is ``alpha / K`` of that of the formula :math:`CE - \alpha H(p)`, which is ``scaling="sum"``.
    Pereyra et al., ICLR workshop 2017 (arXiv 1701.06548).

    Args:
        alpha: Weight of the entropy.
        scaling: Mean or sum over the classes.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.EntropyPenaltyLoss()(logits, labels)
        tensor(1.6502)
    """

    def __init__(
        self, alpha: float = 0.1, scaling: Scaling = "class_mean", *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.alpha = in_range("alpha", alpha, 0)
        self.scaling = one_of("scaling", scaling, Scaling)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels and penalised cross entropy; p log p is 0 where p is, the product of a 0 and a finite log p."""
        negative_entropy = (voxels.probs * voxels.log_probs).sum(1, keepdim=True) * self._weight(voxels)
        return {"volume": voxels.labels, "cost": voxels.labels * (negative_entropy - voxels.log_probs)}

    def _weight(self, voxels: Voxels) -> float:
        """Weight of the entropy's sum over the classes."""
        return self.alpha / voxels.labels.shape[1] if self.scaling == "class_mean" else self.alpha

    def fast(self) -> Terms | HandSlopes | None:
        """Give the slopes by hand."""
        return lambda voxels, weights: slopes.entropy_penalty(voxels, weights, self._weight(voxels))


class BrierLoss(VoxelLoss):
    r"""Brier score, the mean of :math:`\sum_k (p_k - y_k)^2`.

    Args:
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.BrierLoss()(logits, labels)
        tensor(1.1876)
    """

    def __init__(self, *, class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED) -> None:
        super().__init__(class_weights, ignore_index)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels and squared error, by the class of the label."""
        squares = (voxels.probs - voxels.labels).square().sum(1, keepdim=True)
        return {"volume": voxels.labels, "cost": voxels.labels * squares}

    def fast(self) -> Terms | HandSlopes | None:
        """Give the slopes by hand."""
        return slopes.brier
