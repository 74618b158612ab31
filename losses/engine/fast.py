r"""The fast path: integer labels, exponents from 1, and what a compound of overlap, cross entropy and margin needs.

Works on the residual :math:`e = p - y`, whose size is the error of a probability: p outside a class, 1 - p inside. Each
sum over the errors is formed on both sides by itself, since their weights in the gradient may differ by many powers of
ten (where a class fills the image), and the small one would be lost in a difference. The gradients are derived by hand,
the steps write into buffers that stay in the cache, and the same pass sums

* a cost of each voxel's own log probability, such as cross entropy (:class:`Cost`),
* the lead of the own label's logit over the mean of all, which label smoothing adds, and
* the hinge on logit distances of margin-based label smoothing.

With two classes one sigmoid carries everything, since the background's residual is the foreground's with the other sign
(:mod:`~losses.engine.two_classes`); with more, one softmax does (:mod:`~losses.engine.many_classes`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import Buffers, Chunk, ChunkKernel
from .inputs import IGNORED, compact_labels
from .rows import Layout
from .voxels import power

#: A cost from l, from ``rest`` = 1 - p, and from a mask that is 1 where the label is not the background.
CostFormula = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Factor of l in a cost, and its elasticity: the exponent that it has of the rest, at each voxel.
CostFactor = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


class Cost(NamedTuple):
    """A cost of a voxel's own negative log probability l.

    Args:
        clip: The probability is held within ``[clip, 1 - clip]``, and a voxel outside has no slope.
        formula: The cost; none is the cross entropy, l itself.
        factor: The formula's factor of l with its elasticity, for the slope by hand.
    """

    clip: float = 0.0
    formula: CostFormula | None = None
    factor: CostFactor | None = None

    @property
    def largest(self) -> float:
        """Largest l that is not held."""
        return -math.log(self.clip) if self.clip else math.inf

    def value(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> Tensor:
        """Cost of l."""
        if self.clip:
            nll = nll.clamp(-math.log1p(-self.clip), self.largest)
        if self.formula is None:
            return nll
        return self.formula(nll, rest.clamp(self.clip, 1 - self.clip) if self.clip else rest, foreground)

    def evaluate(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Cost f l with a factor f of elasticity g, and its slope f (1 + g p l / rest), without a graph; uses up l."""
        if self.formula is None:
            return self.value(nll, rest, foreground), torch.lt(nll, self.largest, out=torch.empty_like(nll))
        if self.factor is None:
            return self._by_autograd(nll, rest, foreground)
        rest = rest.clamp(max(self.clip, torch.finfo(rest.dtype).tiny), 1 - self.clip)
        if self.clip:
            nll.clamp_(-math.log1p(-self.clip), self.largest)
        factor, elasticity = self.factor(rest, foreground)
        slope = torch.div(nll, rest).sub_(nll).mul_(elasticity).add_(1).mul_(factor)
        if self.clip:
            slope.mul_(torch.lt(nll, self.largest, out=torch.empty_like(nll)))
        return nll.mul_(factor), slope

    def _by_autograd(self, nll: Tensor, rest: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and slope of a formula without a factor; the rest is a function of l with the slope p."""
        with torch.enable_grad():
            leaves = nll.detach().requires_grad_(), rest.detach().requires_grad_()
            value = self.value(*leaves, foreground)
        by_nll, by_rest = torch.autograd.grad(value, leaves, torch.ones_like(value), materialize_grads=True)
        return value.detach(), by_nll + by_rest * (1 - rest)


class Terms(NamedTuple):
    """What is summed in one pass.

    Args:
        gamma: Exponent of the missed and the spurious part; 0 leaves out the overlap.
        clip: Probabilities are held within ``[clip, 1 - clip]``.
        clip_labels: Whether labels are too, as in the original DSC++.
        own: Cost of each voxel's own log probability, or none.
        margin: Margin of the hinge, or none.
        lead: Whether to sum the leads, beside an own cost.
    """

    gamma: float = 0.0
    clip: float = 0.0
    clip_labels: bool = False
    own: Cost | None = None
    margin: float | None = None
    lead: bool = False


class Pick(NamedTuple):
    """A number outside a class and another inside, ``(B, K, 1)`` each, exact on both sides however they differ.

    As ``base + step * (y - shift)``, based on the smaller of the two.
    """

    base: Tensor
    step: Tensor
    shift: Tensor | None

    @classmethod
    def of(cls, outside: Tensor, inside: Tensor, dtype: torch.dtype) -> "Pick":
        """Prepare from numbers in double precision."""
        swap = outside.abs() > inside.abs()
        needed = outside.device.type != "cpu" or bool((swap & (outside.abs() > 8 * inside.abs())).any())
        base = torch.where(swap, inside, outside) if needed else outside
        shift = swap.to(dtype).unsqueeze(-1) if needed else None
        return cls(base.to(dtype).unsqueeze(-1), (inside - outside).to(dtype).unsqueeze(-1), shift)

    @property
    def one(self) -> bool:
        """Whether both are the same everywhere; a GPU is not asked, it would have to wait."""
        return self.step.device.type == "cpu" and not bool(self.step.any())

    def __call__(self, items: slice, labels: Tensor, out: Tensor) -> Tensor:
        """Write the number of each voxel, from labels ``(G, K, n)`` as numbers."""
        if self.shift is not None:
            out = torch.sub(labels, self.shift[items], out=out)
            return out.mul_(self.step[items]).add_(self.base[items])
        return torch.mul(labels, self.step[items], out=out).add_(self.base[items])


class OverlapPlan(NamedTuple):
    """Slope of the overlap's rows with respect to a probability: ``flat``, plus ``steep`` times the error's power."""

    flat: Pick
    steep: Pick | None
    even: bool


class FastKernel(ChunkKernel):
    """What the two kernels share: labels, rows and slope of the overlap, the hinge.

    Args:
        terms: What to sum.
        num_classes: Classes K.
        ignore_index: Label that does not count.
    """

    keeps = True
    #: Whether the overlap's slope is formed from the probabilities; else from the residuals.
    on_probs = False

    def __init__(self, terms: Terms, num_classes: int, ignore_index: int | None) -> None:
        self.terms = terms
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def labels(self, chunk: Chunk, check: bool) -> Tensor:
        """Compact labels of a chunk, ``(G, 1, n)``."""
        return compact_labels(chunk.targets[0], self.num_classes, self.ignore_index, check).unsqueeze(1)

    def mask(self, labels: Tensor, like: Tensor, buffers: Buffers) -> Tensor:
        """Mask ``(G, 1, n)`` of the voxels that count."""
        return torch.ne(labels, IGNORED, out=buffers("mask", like, 1))

    def held(self, probs: Tensor) -> Tensor:
        """Hold probabilities within their bounds, in place."""
        clip = self.terms.clip
        return probs.clamp_(clip, 1 - clip) if clip and self.terms.gamma else probs

    def overlap_rows(self, residual: Tensor, hot: Tensor, buffers: Buffers) -> dict[str, Tensor]:
        """Sums of the errors, and above exponent 1 of their powers; ``residual``, 0 where uncounted, is used up."""
        gamma, inside = self.terms.gamma, torch.mul(hot, residual, out=buffers("spare", hot))
        wrong_inside = inside.sum(-1).neg_()
        if gamma == 1:
            # Alone, the errors weigh alike on both sides, and a difference is exact enough.
            return {"wrong_outside": residual.sum(-1).add_(wrong_inside), "wrong_inside": wrong_inside}
        outside = residual.sub_(inside)
        rows = {"wrong_outside": outside.sum(-1), "wrong_inside": wrong_inside}
        if gamma == 2:
            return rows | {"spurious": outside.mul_(outside).sum(-1), "missed": inside.mul_(inside).sum(-1)}
        error = outside.sub_(inside)  # the residual is negative inside
        powers = power(error, gamma - 1).mul_(error)
        inside = torch.mul(hot, powers, out=inside)
        return rows | {"spurious": powers.sub_(inside).sum(-1), "missed": inside.sum(-1)}

    def overlap_plan(self, weight: dict[str, Tensor], dtype: torch.dtype) -> OverlapPlan:
        """Prepare :meth:`overlap_slope` from the weights of the overlap's rows."""
        outside, inside = weight["wrong_outside"], weight["wrong_inside"]
        if self.terms.gamma == 1:
            return OverlapPlan(Pick.of(outside, -inside, dtype), None, False)
        spurious, missed = self.terms.gamma * weight["spurious"], self.terms.gamma * weight["missed"]
        if self.terms.gamma != 2:
            # The slope of |e|^gamma is gamma |e|^(gamma - 1), with the sign of e.
            missed = -missed
        elif self.on_probs:
            inside = inside + missed  # of e = p - y, the y goes with what is flat
        steep = Pick.of(spurious, missed, dtype)
        return OverlapPlan(Pick.of(outside, -inside, dtype), steep, steep.one)

    def overlap_slope(self, plan: OverlapPlan, error: Tensor, hot: Tensor, items: slice, buffers: Buffers) -> Tensor:
        """Slope of the overlap's rows with respect to the probabilities, from residuals or, if so, probabilities."""
        flat = plan.flat(items, hot, buffers("slope", hot))
        if plan.steep is None:
            return flat
        size, spare = error, buffers("spare", hot)
        if self.terms.gamma != 2:
            size = (
                torch.sub(error, hot, out=buffers("size", hot)) if self.on_probs else buffers("size", hot).copy_(error)
            )
            size = power(size.abs_(), self.terms.gamma - 1)
        return flat.addcmul_(size, plan.steep.base[items] if plan.even else plan.steep(items, hot, spare))

    def hinge(self, distance: Tensor, mask: Tensor | None) -> tuple[Tensor, bool]:
        """Sum of the hinge on distances, which are overwritten, and whether all are within the margin."""
        margin = self.terms.margin or 0.0
        if distance.device.type == "cpu" and float(distance.amax()) <= margin:
            return distance.new_zeros(distance.shape[:2]), True
        hinge = distance.sub_(margin).clamp_min_(0)
        return (hinge if mask is None else hinge.mul_(mask)).sum(-1), False


def stacked(rows: dict[str, Tensor]) -> tuple[Tensor, Layout]:
    """Rows ``(G, C)`` by name as one tensor."""
    return torch.stack(list(rows.values()), dim=-1), Layout(tuple(rows), (1,) * len(rows))


def underflows(prob: Tensor) -> bool:
    """Whether a probability is so small that its logarithm is not exact; a GPU is not asked, it would have to wait."""
    return prob.device.type != "cpu" or float(prob.amin()) < 1e3 * torch.finfo(prob.dtype).tiny


def is_straight(own: Cost | None, nll: Tensor) -> bool:
    """Whether the slope of the cost is 1 at all negative log probabilities."""
    if own is None or own.formula is not None:
        return False
    return not own.clip or (nll.device.type == "cpu" and float(nll.amax()) <= own.largest)
