"""Margin losses whose multipliers adapt to each class, by an augmented Lagrangian: CALS-ALM and CRaC.

:func:`lagrangian` of each loss's ``constraint`` is the formula. Its slope, which updates the multipliers, also runs the
gradient by hand; ``tests/losses/test_engine.py`` proves it equal to autograd's.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .base import LossOfParts, in_range, one_of, ratio, sum_over_processes, weighted_cost
from .cross_entropy import entropy_summands
from .engine import IGNORED, HandSlopes, Slopes, Sums, Voxels, as_numbers, voxel_sums
from .engine.slopes import distance_slope, entropy_slope
from .neighbours import neighbour_shares, window_weights

Lagrangian = Literal["phr", "p2", "p3"]
Normalize = Literal["none", "margin", "largest"]


def lagrangian(h: Tensor, multiplier: Tensor, rho: Tensor, kind: str) -> Tensor:
    r"""Penalty-Lagrangian function of a constraint :math:`h \le 0`.

    ``phr``: with :math:`x = \lambda + \rho h`, :math:`(\max(0, x)^2 - \lambda^2) / 2 \rho`. ``p2`` and ``p3``:
    :math:`\lambda h + \lambda \rho h^2 (+ \rho^2 h^3 / 6)` above 0 and :math:`\lambda h / (1 - \rho h)` below.
    ``hinge``: :math:`\lambda \max(0, h)`.
    """
    if kind == "hinge":
        return multiplier * h.relu()
    if kind == "phr":
        return ((multiplier + rho * h).relu().square() - multiplier.square()) / (2 * rho)
    above = h.clamp_min(0)
    value = multiplier * above * (1 + rho * above) + (rho.square() * above**3 / 6 if kind == "p2" else 0)
    below = h.clamp_max(0)
    return value + multiplier * below / (1 - rho * below)


def lagrangian_slope(h: Tensor, multiplier: Tensor, rho: Tensor, kind: str) -> Tensor:
    """Slope of :func:`lagrangian` with respect to the constraint."""
    if kind == "hinge":
        return multiplier * as_numbers(torch.gt, h.detach(), 0.0, h)
    if kind == "phr":
        return (multiplier + rho * h).relu()
    above = h.clamp_min(0)
    value = multiplier * (1 + 2 * rho * above) + (rho.square() * above.square() / 2 if kind == "p2" else 0)
    return torch.where(h > 0, value, multiplier / (1 - rho * h.clamp_max(0)).square())


class AdaptiveMultiplierLoss(LossOfParts):
    """Cross entropy plus the mean of a penalty-Lagrangian, with a multiplier for each class and group of voxels.

    Multipliers are buffers, saved with the model. They change only through :meth:`update_multipliers`, from what
    :meth:`observe` gathered (on the validation data of an epoch); the callback
    ``lightning_app.training.schedules.MultiplierUpdate`` calls both.

    Args:
        margin: Margin of the constraint.
        penalty: Penalty-Lagrangian function.
        multiplier: First value of every multiplier.
        rho: First value of every penalty parameter.
        growth: Factor on a penalty parameter whose constraint has not come down enough.
        decrease: Share of the previous violation above which it has not.
        rho_every: Updates between two looks at the penalty parameters.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.
    """

    multipliers: Tensor
    rho: Tensor
    violation: Tensor
    updates: Tensor
    observed: Tensor

    #: Groups of voxels with multipliers of their own.
    groups = 1
    #: Bounds of the multipliers, and the largest penalty parameter.
    multiplier_range = (1e-6, 1e6)
    largest_rho = 10.0

    def __init__(
        self, margin: float, penalty: Lagrangian | Literal["hinge"], multiplier: float, rho: float, growth: float,
        decrease: float, rho_every: int, class_weights: Sequence[float] | None, ignore_index: int | None
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.margin = in_range("margin", margin, 0)
        self.penalty = penalty if penalty == "hinge" else one_of("penalty", penalty, Lagrangian)
        self.growth = in_range("growth", growth, 1)
        self.decrease = in_range("decrease", decrease, 0)
        self.rho_every = int(in_range("rho_every", rho_every, 1))
        start = in_range("multiplier", multiplier, *self.multiplier_range)
        # One column for every class a label can name: the number of classes is known only from the first logits.
        shape = (self.groups, IGNORED)
        self.register_buffer("multipliers", torch.full(shape, start, dtype=torch.float64))
        self.register_buffer("rho", torch.full(shape, in_range("rho", rho, 0, open_low=True), dtype=torch.float64))
        self.register_buffer("violation", torch.full(shape, torch.inf, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("observed", torch.zeros((3, *shape), dtype=torch.float64), persistent=False)

    def constraint(self, voxels: Voxels) -> Tensor:
        """Form the constraint ``(G, K, n)``, which should not be above 0."""
        raise NotImplementedError

    def constraint_slope(self, voxels: Voxels, slope: Tensor) -> Tensor:
        """Slope with respect to the logits from that with respect to the constraint."""
        raise NotImplementedError

    def members(self, voxels: Voxels) -> list[Tensor]:
        """Mask ``(G, 1, n)`` of each group's voxels, which together are those that count."""
        return [voxels.counted]

    def extra(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """What else the constraints need to know of each voxel."""
        return []

    def _numbers(self, voxels: Voxels) -> tuple[Tensor, Tensor]:
        """Multipliers and penalty parameters of each voxel."""
        return self._number(self.multipliers, voxels), self._number(self.rho, voxels)

    def _number(self, numbers: Tensor, voxels: Voxels) -> Tensor:
        """Numbers of each voxel's group: ``(K, 1)`` or ``(G, K, n)``."""
        own, *others = numbers[:, : voxels.logits.shape[1], None].to(voxels.logits)
        for group, mask in zip(others, self.members(voxels)[1:] if others else [], strict=True):
            own = (group - own) * mask + own
        return own

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels, cross entropy and penalty."""
        penalty = lagrangian(self.constraint(voxels), *self._numbers(voxels), self.penalty)
        return entropy_summands(voxels) | {"penalty": penalty * voxels.counted}

    def fast(self) -> HandSlopes:
        """Give the slopes by hand."""
        return self._slopes

    def _slopes(self, voxels: Voxels, weights: dict[str, Tensor]) -> Slopes:
        slope = lagrangian_slope(self.constraint(voxels), *self._numbers(voxels), self.penalty)
        slope.mul_(voxels.counted).mul_(weights["penalty"])
        return Slopes(self.constraint_slope(voxels, slope), entropy_slope(voxels, weights))

    def _observed_summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give voxels, slope and size of the violation of each group."""
        h, numbers = self.constraint(voxels), self._numbers(voxels)
        parts = (torch.ones_like(h), lagrangian_slope(h, *numbers, self.penalty), self.violated(h, numbers))
        masks = self.members(voxels)
        return {f"{i}_{j}": part * mask for i, part in enumerate(parts) for j, mask in enumerate(masks)}

    def violated(self, h: Tensor, numbers: tuple[Tensor, Tensor]) -> Tensor:
        """What is compared from update to update: the constraint."""
        return h

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor) -> None:
        """Gather the constraints of a batch for the next update; no gradient."""
        extra = self.extra(logits, target)
        sums = voxel_sums(logits.detach(), target, self.ignore_index, self._observed_summands, extra=extra)
        rows = torch.stack(list(vars(sums).values())).sum(1)
        self.observed[..., : rows.shape[-1]] += rows.view(3, self.groups, -1)

    @torch.no_grad()
    def update_multipliers(self) -> None:
        """Set the multipliers to the mean slopes observed, on all processes together, and forget what was observed.

        Every ``rho_every`` updates, the penalty parameter of a constraint that is still above ``decrease`` times its
        previous violation grows. What was never observed stays.
        """
        count, *sums = sum_over_processes(self.observed)
        seen = count > 0
        slope, violation = (part / torch.where(seen, count, 1.0) for part in sums)
        self.updates += 1
        self._update(seen, slope, violation)
        self.observed.zero_()

    def _update(self, seen: Tensor, slope: Tensor, violation: Tensor) -> None:
        """Change multipliers and penalty parameters, given the means of slope and violation where there are any."""
        self.multipliers.copy_(torch.where(seen, slope.clamp(*self.multiplier_range), self.multipliers))
        if int(self.updates) % self.rho_every == 0:
            violation = violation.clamp_min(0)
            stuck = seen & (violation > self.decrease * self.violation)
            self.rho.copy_(torch.where(stuck, (self.growth * self.rho).clamp_max(self.largest_rho), self.rho))
            self.violation.copy_(torch.where(seen, violation, self.violation))

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the penalty."""
        penalty = ratio(sums.penalty.sum(0).mean(), sums.volume.sum())
        return {"cross_entropy": weighted_cost(sums.cost, sums.volume, weights), "penalty": penalty}


class ClassAdaptiveMarginLoss(AdaptiveMultiplierLoss):
    r"""Cross entropy plus a margin on logit distances that is enforced class by class (CALS-ALM).

    The constraint is :math:`\max_j z_j - z_k - m \le 0`, the mean of its penalty is over voxels and classes. The
    published code divides it by the margin (``normalize="margin"``), in another version by the voxel's largest logit
    (``"largest"``, held above 0.001 here: below 0 it would turn the constraint round).
    Liu et al., Class Adaptive Network Calibration, CVPR 2023 (arXiv 2211.15088).

    Args:
        margin: Distance between logits that costs nothing.
        normalize: What the constraint is divided by.
        penalty: Penalty-Lagrangian function.
        multiplier: First value of every multiplier.
        rho: First value of every penalty parameter.
        growth: Factor on a penalty parameter whose constraint has not come down enough.
        decrease: Share of the previous violation above which it has not.
        rho_every: Updates between two looks at the penalty parameters.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ClassAdaptiveMarginLoss(margin=1.0, multiplier=0.1)(logits, labels)
        tensor(2.0019)
    """

    least = 1e-3

    def __init__(
        self, margin: float = 10.0, normalize: Normalize = "none", *, penalty: Lagrangian = "phr",
        multiplier: float = 1e-6, rho: float = 1.0, growth: float = 1.2, decrease: float = 0.9, rho_every: int = 10,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(margin, penalty, multiplier, rho, growth, decrease, rho_every, class_weights, ignore_index)
        self.normalize = one_of("normalize", normalize, Normalize)
        if normalize == "margin":
            in_range("margin", margin, 0, open_low=True)

    def constraint(self, voxels: Voxels) -> Tensor:
        """Form the constraint ``(G, K, n)``, which should not be above 0."""
        h = voxels.distances - self.margin
        if self.normalize == "none":
            return h
        return h / (self.margin if self.normalize == "margin" else self._largest(voxels))

    def _largest(self, voxels: Voxels) -> Tensor:
        """Largest logit of each voxel, held above 0."""
        return voxels.logits.amax(1, keepdim=True).clamp_min(self.least)

    def constraint_slope(self, voxels: Voxels, slope: Tensor) -> Tensor:
        """Slope with respect to the logits from that with respect to the constraint."""
        if self.normalize == "none":
            return distance_slope(voxels, slope)
        if self.normalize == "margin":
            return distance_slope(voxels, slope / self.margin)
        largest = self._largest(voxels)
        pull = (slope * self.constraint(voxels)).sum(1, keepdim=True) * (largest > self.least)
        return distance_slope(voxels, slope / largest).sub_(voxels.share(voxels.logits) * (pull / largest))


class ClassAdaptiveHingeLoss(AdaptiveMultiplierLoss):
    r"""Margin-based label smoothing with a weight of each class that follows the class's own penalty.

    Cross entropy plus the mean over voxels and classes of :math:`\lambda_k \max(0, \max_j z_j - z_k - m)`. From one
    update to the next a weight is multiplied by ``growth`` where its class's mean penalty grew by more than
    ``tolerance``, and divided by it where the penalty fell as much. From the code of Liu et al., CVPR 2023
    (arXiv 2211.15088).

    Args:
        margin: Distance between logits that costs nothing.
        alpha: First weight of every class.
        growth: Factor on a weight.
        tolerance: Ratio of two penalties up to which they are alike.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ClassAdaptiveHingeLoss(margin=1.0)(logits, labels)
        tensor(2.2001)
    """

    def __init__(
        self, margin: float = 10.0, alpha: float = 1.0, growth: float = 1.1, tolerance: float = 1.1, *,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(margin, "hinge", alpha, 1.0, growth, 1.0, 1, class_weights, ignore_index)
        self.tolerance = in_range("tolerance", tolerance, 1)

    def constraint(self, voxels: Voxels) -> Tensor:
        """Form the constraint ``(G, K, n)``, which should not be above 0."""
        return voxels.distances - self.margin

    def constraint_slope(self, voxels: Voxels, slope: Tensor) -> Tensor:
        """Slope with respect to the logits from that with respect to the constraint."""
        return distance_slope(voxels, slope)

    def violated(self, h: Tensor, numbers: tuple[Tensor, Tensor]) -> Tensor:
        """What is compared from update to update: the weighted penalty."""
        return lagrangian(h, *numbers, "hinge")

    def _update(self, seen: Tensor, slope: Tensor, violation: Tensor) -> None:
        """Change the weights, given the means of slope and penalty where there are any."""
        known = seen & torch.isfinite(self.violation)
        factor = torch.ones_like(violation)
        factor[known & (violation > self.violation * self.tolerance)] = self.growth
        factor[known & (violation < self.violation / self.tolerance)] = 1 / self.growth
        self.multipliers.copy_((self.multipliers * factor).clamp(*self.multiplier_range))
        self.violation.copy_(torch.where(seen, violation, self.violation))


class ConstrainedRegionLoss(AdaptiveMultiplierLoss):
    r"""Cross entropy plus class- and region-wise constraints on the logits (CRaC).

    The constraint is :math:`|\tau_{ik} - z_{ik}|` at boundaries and :math:`|m \tau_{ik} - z_{ik}|` inside, with the
    share :math:`\tau` of each class in a window of 3 voxels; a voxel is at a boundary if its window holds more than one
    label (the published test of the window's mean misses some by rounding).
    Murugesan et al., MICCAI 2024 (arXiv 2403.12364).

    Args:
        margin: Target of the logit of the class inside a region.
        rho: First value of every penalty parameter.
        penalty: Penalty-Lagrangian function.
        multiplier: First value of every multiplier.
        growth: Factor on a penalty parameter whose constraint has not come down enough.
        decrease: Share of the previous violation above which it has not.
        rho_every: Updates between two looks at the penalty parameters.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ConstrainedRegionLoss()(logits, labels)
        tensor(1.8906)
    """

    groups = 2

    def __init__(
        self, margin: float = 5.0, rho: float = 0.1, *, penalty: Lagrangian = "phr", multiplier: float = 1e-6,
        growth: float = 1.2, decrease: float = 0.9, rho_every: int = 10, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(margin, penalty, multiplier, rho, growth, decrease, rho_every, class_weights, ignore_index)

    def extra(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Share of each class around each voxel."""
        weights = window_weights("mean", 3, 1.0, logits.ndim - 2)
        return [neighbour_shares(target, logits, self.ignore_index, weights, "zero")]

    def members(self, voxels: Voxels) -> list[Tensor]:
        """Masks of the voxels at boundaries and inside."""
        boundary = as_numbers(torch.lt, voxels.extra[0].amax(1, keepdim=True), 1 - 1e-4, voxels.counted)
        boundary = boundary * voxels.counted
        return [boundary, voxels.counted - boundary]

    def _gap(self, voxels: Voxels) -> Tensor:
        """Signed distance of each logit from its target."""
        boundary, inside = self.members(voxels)
        return voxels.logits - voxels.extra[0] * (boundary + self.margin * inside)

    def constraint(self, voxels: Voxels) -> Tensor:
        """Form the constraint ``(G, K, n)``, which should not be above 0."""
        return self._gap(voxels).abs()

    def constraint_slope(self, voxels: Voxels, slope: Tensor) -> Tensor:
        """Slope with respect to the logits from that with respect to the constraint."""
        return self._gap(voxels).sign().mul_(slope)
