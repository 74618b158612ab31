"""The asymmetric focal family of the Unified Focal loss, for any number of classes.

The formulas: :func:`asymmetric_tversky` from the sums of :func:`losses.overlap.overlap_summands`, and
:func:`background_focal` voxel by voxel. The engine's ``Terms`` run both in one pass, which
``tests/losses/test_engine.py`` proves equal.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .base import Absent, Pool, Soft, in_range, weighted_cost
from .compound import CompoundLoss
from .cross_entropy import OwnCostLoss
from .engine import IGNORED, Cost, Sums, power, slopes
from .overlap import OverlapLoss, powered, tversky_loss


def asymmetric_tversky(sums: Sums, delta: float, exponent: float, smooth: float) -> Tensor:
    r"""Tversky loss of each class, ``(B, K)``, that of the foreground classes to the power :math:`1 - g`."""
    values = tversky_loss(sums, delta, 1 - delta, smooth)
    return torch.cat([values[:, :1], powered(values[:, 1:], 1 - exponent)], dim=1)


def background_focal(nll: Tensor, rest: Tensor, foreground: Tensor, exponent: float) -> Tensor:
    r"""Focal cost :math:`(1 - p)^g (-\log p)` where the label is the background, cross entropy elsewhere."""
    return torch.maximum(power(rest, exponent), foreground) * nll


def background_focal_cost(clip: float, exponent: float) -> Cost:
    """Give the cost with its slope by hand."""
    by_hand = partial(slopes.background_focal, exponent=exponent)
    return Cost(clip, partial(background_focal, exponent=exponent), by_hand)


def asymmetric_factors(weights: Tensor, delta: float) -> Tensor:
    """Factor ``delta`` of the foreground classes and ``1 - delta`` of the background."""
    return torch.where(torch.arange(len(weights), device=weights.device) > 0, delta, 1 - delta)


class AsymmetricFocalLoss(OwnCostLoss):
    r"""Cross entropy weighted by ``delta`` in the foreground, and focal in the background.

    The mean over voxels of :math:`(1 - \delta)(1 - p_0)^g CE_0 + \delta \sum_{k > 0} CE_k`.
    Yeung et al., CMIG 2022 (arXiv 2102.04525).

    Args:
        delta: Weight of the foreground.
        exponent: Focal exponent of the background.
        clip: Probabilities are held within ``[clip, 1 - clip]``; 0 is off.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.AsymmetricFocalLoss()(logits, labels)
        tensor(0.4079)
    """

    def __init__(
        self, delta: float = 0.7, exponent: float = 2.0, clip: float = 1e-7, *,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = float(in_range("exponent", exponent, 0))
        self.clip = in_range("clip", clip, 0, 0.49)

    def own_cost(self) -> Cost:
        """Give the cost of each voxel."""
        return background_focal_cost(self.clip, self.exponent)

    def factors(self, weights: Tensor) -> Tensor:
        """Factor of each class."""
        return asymmetric_factors(weights, self.delta)


class AsymmetricFocalTverskyLoss(OverlapLoss):
    r"""Mean over classes of :math:`1 - TI_0` and, for the foreground, :math:`(1 - TI_k)^{1 - g}`.

    Probabilities are clipped, labels are not. Yeung et al., CMIG 2022 (arXiv 2102.04525).

    Args:
        delta: Weight of the missed part; the spurious part weighs ``1 - delta``.
        exponent: Focal exponent g.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.AsymmetricFocalTverskyLoss()(logits, labels)
        tensor(0.8443)
    """

    clip_labels = False

    def __init__(
        self, delta: float = 0.7, exponent: float = 0.75, gamma: float = 1.0, *, smooth: float = 1e-7,
        clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = in_range("exponent", exponent, 0, 0.99)

    def per_class(self, sums: Sums) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``."""
        return asymmetric_tversky(sums, self.delta, self.exponent, self.smooth)


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
        smooth: Added above and below the fraction.
        clip: Probabilities are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.UnifiedFocalLoss()(logits, labels)
        tensor(0.7121)
    """

    clip_labels = False

    def __init__(
        self, weight: float = 0.5, delta: float = 0.6, exponent: float = 0.5, gamma: float = 1.0, *,
        smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count",
        include_background: bool = True, soft: Soft = "product", class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)
        self.weight = in_range("weight", weight, 0, 1)
        self.delta = in_range("delta", delta, 0, 1)
        self.exponent = in_range("exponent", exponent, 0, 0.99)

    def own_cost(self) -> Cost:
        """Give the cost of each voxel."""
        return background_focal_cost(self.clip, self.exponent)

    def per_class(self, sums: Sums) -> Tensor:
        """Compute AFT of each item and class, ``(B, K)``."""
        return asymmetric_tversky(sums, self.delta, self.exponent, self.smooth)

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute AFT and AF."""
        focal = weighted_cost(sums.cost * asymmetric_factors(weights, self.delta), sums.volume, weights)
        return {"focal_tversky": self.overlap(sums, weights), "focal": focal}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"focal_tversky": self.weight, "focal": 1 - self.weight}


class UnifiedFocalPlusPlusLoss(UnifiedFocalLoss):
    """Unified Focal++ loss: :class:`UnifiedFocalLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        weight: Weight of AFT against AF.
        delta: Weight of missed foreground.
        exponent: Focal exponent.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.UnifiedFocalPlusPlusLoss()(logits, labels)
        tensor(0.6995)
    """

    def __init__(
        self, weight: float = 0.5, delta: float = 0.6, exponent: float = 0.5, gamma: float = 2.0, *,
        smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count",
        include_background: bool = True, soft: Soft = "product", class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            weight, delta, exponent, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip
