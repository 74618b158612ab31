"""Costs of a voxel's own negative log probability, each with the slope that the fast path needs."""

import math

import torch
from torch import Tensor


class OwnCost:
    """Cross entropy: the cost of l = -log p of a voxel's own label is l itself.

    Args:
        clip: The probability is held within ``[clip, 1 - clip]``. Below, the cost has no slope; above, next to none
            anyway.
    """

    #: Whether the slope changes from voxel to voxel even where nothing is held.
    curved = False

    def __init__(self, clip: float = 0.0) -> None:
        self.clip = clip
        #: The slope of a cost that is not curved is 1 where no l is above.
        self.straight = -math.log(clip) if clip else math.inf

    def hold(self, nll: Tensor) -> Tensor:
        """Hold l where the probability is clipped."""
        return nll.clamp(-math.log1p(-self.clip), self.straight) if self.clip else nll

    def value(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> Tensor:
        """Cost of l, of ``rest`` = 1 - p and of a mask that is 1 where the label is not the background."""
        return self.hold(nll)

    def evaluate(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Cost as :meth:`value` gives it, and its slope with respect to l, without a graph; ``nll`` is used up."""
        slope = torch.le(nll, self.straight, out=torch.empty_like(nll))
        return self.hold(nll), slope


class FocalCost(OwnCost):
    """Focal cost (1 - p)^gamma l.

    Args:
        gamma: Focal exponent.
        clip: As in :class:`OwnCost`.
    """

    curved = True

    def __init__(self, gamma: float, clip: float = 0.0) -> None:
        super().__init__(clip)
        self.gamma = gamma

    def factor(self, rest: Tensor, foreground: Tensor) -> Tensor:
        """Factor of l."""
        return power(rest, self.gamma)

    def growth(self, ratio: Tensor, foreground: Tensor) -> Tensor:
        """What the factor's slope adds to the slope 1 of l, in units of the factor, from p l / (1 - p); in place."""
        return ratio.mul_(self.gamma)

    def value(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> Tensor:
        """Cost of l."""
        rest = rest.clamp(self.clip, 1 - self.clip) if self.clip else rest
        return self.hold(nll) * self.factor(rest, foreground)

    def evaluate(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of l, and its slope (1 - p)^gamma (1 + gamma p l / (1 - p)), where l / (1 - p) is 1 next to p = 1."""
        rest = rest.clamp(max(self.clip, torch.finfo(rest.dtype).tiny), 1 - self.clip)
        if self.clip:
            nll.clamp_(-math.log1p(-self.clip), self.straight)
        factor = self.factor(rest, foreground)
        slope = self.growth(torch.div(nll, rest).sub_(nll), foreground).add_(1).mul_(factor)
        if self.clip:
            slope.mul_(torch.lt(nll, self.straight, out=rest))
        return nll.mul_(factor), slope


class BackgroundFocalCost(FocalCost):
    """Focal cost where the label is the background, cross entropy elsewhere.

    Args:
        gamma: Focal exponent.
        clip: As in :class:`OwnCost`.
    """

    def factor(self, rest: Tensor, foreground: Tensor) -> Tensor:
        """Factor of l."""
        return torch.maximum(power(rest, self.gamma), foreground)

    def growth(self, ratio: Tensor, foreground: Tensor) -> Tensor:
        """What the factor's slope adds, in the background only."""
        return ratio.addcmul_(ratio, foreground, value=-1).mul_(self.gamma)


class TwoFocalCosts(OwnCost):
    """Focal cost with one exponent above a probability and another below.

    Args:
        gamma: Exponent at and above the threshold.
        gamma_low: Exponent below it.
        threshold: Probability that divides the two.
    """

    curved = True

    def __init__(self, gamma: float, gamma_low: float, threshold: float) -> None:
        super().__init__()
        self.high, self.low = FocalCost(gamma), FocalCost(gamma_low)
        self.edge = -math.log(threshold)

    def value(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> Tensor:
        """Cost of l."""
        low = (nll > self.edge).to(nll.dtype)
        return torch.lerp(self.high.value(nll, rest, foreground), self.low.value(nll, rest, foreground), low)

    def evaluate(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of l, and its slope."""
        low = torch.gt(nll, self.edge, out=torch.empty_like(nll))
        high, high_slope = self.high.evaluate(nll.clone(), rest, foreground)
        other, other_slope = self.low.evaluate(nll, rest, foreground)
        return torch.lerp(high, other, low), torch.lerp(high_slope, other_slope, low)


def focal_cost(gamma: float, clip: float = 0.0) -> OwnCost:
    """Focal cost, or at exponent 0 the cheaper cross entropy."""
    return FocalCost(gamma, clip) if gamma else OwnCost(clip)


def power(base: Tensor, exponent: float) -> Tensor:
    """Raise numbers from 0 up to a power; halves of an exponent go through a square root.

    Below exponent 1 the infinite slope at 0 is left out, as the softmax's own zero outweighs it.
    """
    if exponent in (0.0, 1.0):
        return base if exponent else torch.ones_like(base)
    if base.requires_grad:
        positive = base > 0 if exponent < 1 else None
        return base**exponent if positive is None else torch.where(positive, base, 1.0) ** exponent * positive
    whole, half = divmod(exponent, 1)
    if half == 0.5 and whole <= 3:
        root = base.sqrt()
        return root.mul_(base if whole == 1 else base**whole) if whole else root
    return base**exponent
