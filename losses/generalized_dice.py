"""Losses of the generalised Dice paper: GDL, weighted cross entropy, sensitivity-specificity, two-class Dice.

Each is a small function of the sums V, S and T of :mod:`losses.overlap`, of squared errors, or of the cross entropy;
the formulas stand in ``value``. The engine's ``Terms`` run them, which ``tests/losses/test_engine.py`` proves equal.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .base import Pool, SegmentationLoss, in_range, mean_of_items, one_of, ratio
from .cross_entropy import entropy_summands
from .engine import IGNORED, Cost, HandSlopes, Sums, Terms, Voxels
from .overlap import fraction, overlap_summands

Weighting = Literal["square", "simple", "uniform"]
AbsentWeight = Literal["max", "zero"]
Source = Literal["prediction", "target"]
Channels = Literal["foreground", "all"]
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
        class_weights: One weight for each class, background first; they multiply the weights.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.GeneralizedDiceLoss(weighting="simple")(logits, labels)
        tensor(0.6491)
    """

    def __init__(
        self, weighting: Weighting = "square", absent: AbsentWeight = "max", smooth: float = 0.0, pool: Pool = "image",
        include_background: bool = True, *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.weighting = one_of("weighting", weighting, Weighting)
        self.absent = one_of("absent", absent, AbsentWeight)
        self.smooth = in_range("smooth", smooth, 0)
        self.pool = one_of("pool", pool, Pool)
        self.include_background = include_background

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap."""
        return overlap_summands(voxels, 1.0)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(1.0)

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        first = 0 if self.include_background else 1
        volume, overlap, predicted = (part[:, first:] for part in (sums.volume, sums.overlap, sums.predicted))
        weights = generalized_weights(volume, self.weighting, self.absent) * weights[first:]
        top = 2 * (weights * overlap).sum(-1)
        score = fraction(top + self.smooth, (weights * (volume + predicted)).sum(-1) + self.smooth)
        return mean_of_items(1 - score, sums.voxels)


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
        class_weights: One weight for each class, background first; they multiply the weights.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.WeightedCrossEntropyLoss()(logits, labels)
        tensor(1.6418)
    """

    def __init__(
        self, weight_from: Source = "prediction", detach: bool = True, largest: float = 1e6, pool: Pool = "image", *,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.weight_from = one_of("weight_from", weight_from, Source)
        self.detach = detach
        self.largest = in_range("largest", largest, 0, open_low=True)
        self.pool = one_of("pool", pool, Pool)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the cross entropy and the summands of the overlap, of which the predicted volume is used."""
        return overlap_summands(voxels, 1.0) | entropy_summands(voxels)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(1.0, own=Cost())

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        voxels = sums.volume.sum(-1, keepdim=True)
        mass = sums.predicted if self.weight_from == "prediction" else sums.volume
        mass = mass.detach() if self.detach else mass
        factors = ((voxels - mass) / mass.clamp_min(1e-30)).clamp_max(self.largest)
        factors = torch.cat([torch.ones_like(factors[:, :1]), factors[:, 1:]], dim=1) * weights
        return ratio((factors * sums.cost).sum(), voxels.sum())


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
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.SensitivitySpecificityLoss()(logits, labels)
        tensor(0.7487)
    """

    def __init__(
        self, sensitivity_weight: float = 0.05, channels: Channels = "foreground", epsilon: float = 1e-5,
        pool: Pool = "image", *, class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.sensitivity_weight = in_range("sensitivity_weight", sensitivity_weight, 0, 1)
        self.channels = one_of("channels", channels, Channels)
        self.epsilon = in_range("epsilon", epsilon, 0, open_low=True)
        self.pool = one_of("pool", pool, Pool)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the squared errors on a class's own voxels and on the others."""
        squares = (voxels.labels - voxels.probs).square()
        own, others = squares * voxels.labels, squares * (voxels.counted - voxels.labels)
        return {"voxels": voxels.counted, "volume": voxels.labels, "missed": own, "spurious": others}

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(2.0)

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        sensitivity = sums.missed / (sums.volume + self.epsilon)
        specificity = sums.spurious / (sums.voxels - sums.volume + self.epsilon)
        share = self.sensitivity_weight
        values = (share * sensitivity + (1 - share) * specificity) * weights
        total = values.sum(-1) if self.channels == "all" else values[:, 1:].mean(-1)
        return mean_of_items(total, sums.voxels)


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

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.TwoClassDiceLoss()(logits, labels)
        tensor(0.7071)
    """

    def __init__(
        self, epsilon: float = 1e-5, printed: bool = False, pool: Pool = "image", ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(None, ignore_index)
        self.epsilon = in_range("epsilon", epsilon, 0)
        self.printed = printed
        self.pool = one_of("pool", pool, Pool)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap."""
        return overlap_summands(voxels, 1.0)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(1.0)

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        above = self.epsilon if self.printed else self.epsilon / 2
        overlap, volume, predicted = _foreground_and_background(sums)
        scores = fraction(2 * (overlap + above), volume + predicted + self.epsilon)
        return mean_of_items(1 - scores.mean(0), sums.voxels)


def _foreground_and_background(sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap, volume and predicted volume, each ``(2, B)``: of all classes but the first, and of the first."""
    voxels, volume, predicted, overlap = (
        part[:, 0] for part in (sums.voxels, sums.volume, sums.predicted, sums.overlap)
    )
    others = (voxels - volume - predicted + overlap, voxels - volume, voxels - predicted)
    pairs = zip(others, (overlap, volume, predicted), strict=True)
    overlaps, volumes, masses = (torch.stack(pair) for pair in pairs)
    return overlaps, volumes, masses
