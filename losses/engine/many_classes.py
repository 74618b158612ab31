r"""The fast path with any number of classes: everything follows from one softmax.

With probabilities p, labels y and, for a slope a_k with respect to each p_k, the softmax's p_k (a_k - sum_j a_j p_j):

| row of class k | summand | slope |
|---|---|---|
| wrong, spurious, missed | errors of p_k, and their powers | with respect to p_k, see ``FastKernel.overlap_slope`` |
| cost | y_k c(l), l = -log p of the own label | with respect to logit j: c'(l) (p_j - y_j) |
| lead | y_k (z_k - mean of z) | y_k - 1 / K, over the own label's class alone |
| hinge | max(0, max z - z_k - margin) | where violated: -1 at k, 1 at the largest |

Kept for the gradient are the probabilities.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import Buffers, Chunk, Found, Pass
from .fast import Cost, FastKernel, OverlapPlan, is_straight, stacked, underflows
from .inputs import all_counted
from .rows import Layout


class Shares(NamedTuple):
    """Weight ``(B, K, 1)`` of a row that is summed by the own label's class; a number where it is one for all."""

    weight: Tensor
    uniform: bool

    @classmethod
    def of(cls, weight: Tensor, dtype: torch.dtype) -> "Shares":
        """Prepare; a GPU is not asked, it would have to wait."""
        uniform = weight.device.type == "cpu" and bool((weight == weight[:, :1]).all())
        return cls(weight.to(dtype).unsqueeze(-1), uniform)

    def __call__(self, items: slice, hot: Tensor, out: Tensor) -> Tensor:
        """Weight of each voxel, ``(G, 1, n)`` or ``(G, 1, 1)``."""
        if self.uniform:
            return self.weight[items, :1]
        return torch.mul(hot, self.weight[items], out=out).sum(1, keepdim=True)


class Plan(NamedTuple):
    """Weights of the rows, prepared for all chunks; none where a row is not summed or has no slope."""

    overlap: OverlapPlan | None
    cost: Shares | None
    lead: Shares | None
    hinge: Tensor | None
    found: Found


class SoftmaxKernel(FastKernel):
    """Any number of classes: rows ``(G, K, R)``, as in the table above."""

    on_probs = True

    def sums(self, chunk: Chunk) -> Pass:
        """Sum the rows."""
        terms, logits, buffers = self.terms, chunk.logits, chunk.buffers
        hot, mask = self._hot(chunk, None)
        probs = torch.softmax(logits, dim=1, out=buffers("probs", logits))
        if chunk.room is not None:
            chunk.room.copy_(probs)
        volume = hot.sum(-1)
        voxels = torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1).expand_as(volume)
        rows = {"voxels": voxels, "volume": volume}
        straight, within, spare = False, True, buffers("spare", logits)
        if terms.own:
            prob = self._own_prob(probs, hot, mask, buffers)
            nll = self._exact(chunk, probs, hot, mask) if underflows(prob) else prob.log().neg_()
            straight = is_straight(terms.own, nll)
            # One-hot labels are 0 where a voxel does not count, and so is the cost in each class.
            cost = terms.own.value(nll, prob.neg_().add_(1), 1 - hot[:, :1])
            rows["cost"] = torch.mul(hot, cost, out=spare).sum(-1)
        if terms.lead:
            rows["lead"] = torch.mul(hot, logits - logits.mean(1, keepdim=True), out=spare).sum(-1)
        if terms.margin is not None:
            distance = torch.sub(logits.amax(1, keepdim=True), logits, out=spare)
            rows["hinge"], within = self.hinge(distance, mask)
        if terms.gamma:
            residual = self.held(probs).sub_(hot)
            rows |= self.overlap_rows(residual if mask is None else residual.mul_(mask), hot, buffers)
        return Pass(*stacked(rows), Found(mask is None, within, straight))

    def _hot(self, chunk: Chunk, whole: bool | None) -> tuple[Tensor, Tensor | None]:
        """One-hot labels and, if some voxel does not count, the mask; unknown, it is looked at."""
        labels, logits = self.labels(chunk, whole is None), chunk.logits
        classes = torch.arange(self.num_classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1)
        hot = torch.eq(labels, classes, out=chunk.buffers("hot", logits))
        if whole is None:
            whole = all_counted(labels, self.num_classes)
        return hot, None if whole else self.mask(labels, logits, chunk.buffers)

    @staticmethod
    def _own_prob(probs: Tensor, hot: Tensor, mask: Tensor | None, buffers: Buffers) -> Tensor:
        """Probability of each voxel's own label; 1 where it does not count."""
        prob = torch.mul(hot, probs, out=buffers("spare", hot)).sum(1, keepdim=True)
        return prob if mask is None else prob.add_(1 - mask)

    @staticmethod
    def _exact(chunk: Chunk, probs: Tensor, hot: Tensor, mask: Tensor | None) -> Tensor:
        """Own negative log probability that is right where the probability underflows: from the largest logit's."""
        own = torch.mul(hot, chunk.logits, out=chunk.buffers("spare", hot)).sum(1, keepdim=True)
        nll = chunk.logits.amax(1, keepdim=True).sub_(own).sub_(probs.amax(1, keepdim=True).log_())
        return nll if mask is None else nll.mul_(mask)

    def plan(self, weight: Tensor, layout: Layout, found: Found, dtype: torch.dtype) -> Plan:
        """Prepare the weights."""
        w = {name: column[..., 0] for name, column in layout.columns(weight).items()}
        overlap = self.overlap_plan(w, dtype) if self.terms.gamma else None
        cost = Shares.of(w["cost"], dtype) if self.terms.own else None
        lead = Shares.of(w["lead"], dtype) if self.terms.lead else None
        hinge = None if self.terms.margin is None or found.within else w["hinge"].to(dtype).unsqueeze(-1)
        return Plan(overlap, cost, lead, hinge, found)

    def gradient(self, chunk: Chunk, plan: Plan, items: slice) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        assert chunk.room is not None
        logits, buffers = chunk.logits, chunk.buffers
        hot, mask = self._hot(chunk, plan.found.whole)
        probs = chunk.room if chunk.kept else torch.softmax(logits, dim=1, out=buffers("probs", logits))
        parts = []
        if plan.overlap:
            slope = self.overlap_slope(plan.overlap, probs, hot, items, buffers)
            slope.mul_(probs)
            parts.append(slope.addcmul_(probs, slope.sum(1, keepdim=True), value=-1))
        if plan.cost and self.terms.own:
            share = plan.cost(items, hot, buffers("spare", hot))
            if not plan.found.straight:
                share = self._bend(self.terms.own, probs, hot, mask, buffers).mul_(share)
            parts.append(torch.sub(probs, hot, out=buffers("cost", hot)).mul_(share))
        if plan.lead:
            share = plan.lead(items, hot, buffers("spare", hot))
            parts.append(torch.sub(hot, 1 / self.num_classes, out=buffers("lead", hot)).mul_(share))
        if plan.hinge is not None:
            parts.append(self._hinge_slope(chunk, plan.hinge[items]))
        slope = parts[0] if parts else torch.zeros_like(hot)
        for part in parts[1:]:
            slope.add_(part)
        chunk.room.copy_(slope if mask is None else slope.mul_(mask))

    def _bend(self, own: Cost, probs: Tensor, hot: Tensor, mask: Tensor | None, buffers: Buffers) -> Tensor:
        """Slope c'(l) of the cost of each voxel, ``(G, 1, n)``."""
        prob = self._own_prob(probs, hot, mask, buffers)
        nll = prob.clamp_min(torch.finfo(prob.dtype).tiny).log_().neg_()
        return own.evaluate(nll, prob.neg_().add_(1), 1 - hot[:, :1])[1]

    def _hinge_slope(self, chunk: Chunk, weight: Tensor) -> Tensor:
        """Slope of the hinge: each violating logit is pushed up, the largest down by their number."""
        logits, largest = chunk.logits, chunk.logits.amax(1, keepdim=True)
        violated = torch.sub(largest, logits, out=chunk.buffers("violated", logits))
        violated = torch.gt(violated, self.terms.margin or 0.0, out=violated).mul_(weight)
        top = torch.eq(logits, largest, out=chunk.buffers("top", logits))
        top.mul_(violated.sum(1, keepdim=True).div_(top.sum(1, keepdim=True)))
        return top.sub_(violated)
