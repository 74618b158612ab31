r"""The fast path with two classes: everything follows from one sigmoid.

With the score s, the foreground's logit against the background's, and p its sigmoid, the residual is e = p - y. Its
size is what the own label's probability leaves to 1, so that l = -log(1 - |e|) is the own negative log probability.
Each row is summed outside the foreground and inside it; the background's have the sides exchanged.

| row | summand | slope with respect to s |
|---|---|---|
| wrong | \|e\| | sign(e) p (1 - p), and p (1 - p) = \|e\| (1 - \|e\|) |
| spurious, missed | \|e\|^gamma | gamma \|e\|^(gamma - 1) sign(e) p (1 - p) |
| cost | c(l) | e c'(l), as dl/ds = e |
| lead | s / 2 | 1/2 |
| hinge | max(0, \|s\| - margin) | sign(s) where \|s\| is above the margin |

Kept for the gradient is e, and for a curved cost e c'(l) beside it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .chunks import Buffers, Chunk, Found, Pass
from .fast import Cost, FastKernel, OverlapPlan, Pick, is_straight, stacked, underflows
from .inputs import all_counted
from .rows import Layout, Sums


class Plan(NamedTuple):
    """Weights of the rows, prepared for all chunks; none where a row is not summed or has no slope."""

    overlap: OverlapPlan | None
    cost: Pick | None
    lead: Pick | None
    hinge: Tensor | None
    found: Found


class SigmoidKernel(FastKernel):
    """Two classes: rows of the foreground ``(G, 1, R)``, as in the table above."""

    def sums(self, chunk: Chunk) -> Pass:
        """Sum the rows."""
        terms, buffers, score = self.terms, chunk.buffers, self._score(chunk)
        hot, mask = self._hot(chunk, None)
        volume = hot.sum(-1)
        rows = {"voxels": torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1), "volume": volume}
        straight, within = False, True
        if terms.margin is not None:
            rows["hinge"], within = self.hinge(torch.abs(score, out=buffers("spare", score)), mask)
        if terms.lead:
            rows |= _two_sides("lead", score if mask is None else score * mask, hot, buffers)
        residual, nll = self._residual(score, hot, mask, buffers)
        if chunk.room is not None:
            chunk.room[:, -1:].copy_(residual)
        if terms.own and nll is not None:
            straight = is_straight(terms.own, nll)
            cost = self._cost(terms.own, residual, nll, hot, chunk)
            rows |= _two_sides("cost", cost if mask is None else cost.mul_(mask), hot, buffers)
        if terms.gamma:
            rows |= self.overlap_rows(residual, hot, buffers)
        return Pass(*stacked(rows), Found(mask is None, within, straight))

    def _score(self, chunk: Chunk) -> Tensor:
        """Foreground logit against the background's."""
        logits = chunk.logits
        if logits.shape[1] == 1:
            return logits
        return torch.sub(logits[:, 1:], logits[:, :1], out=chunk.buffers("score", logits, 1))

    def _hot(self, chunk: Chunk, whole: bool | None) -> tuple[Tensor, Tensor | None]:
        """Labels as numbers ``(G, 1, n)`` and, if some voxel does not count, the mask; unknown, it is looked at."""
        labels, hot = self.labels(chunk, whole is None), chunk.buffers("hot", chunk.logits, 1)
        if whole or (whole is None and all_counted(labels, 2)):
            return hot.copy_(labels), None
        return torch.eq(labels, 1, out=hot), self.mask(labels, hot, chunk.buffers)

    def _residual(
        self, score: Tensor, hot: Tensor, mask: Tensor | None, buffers: Buffers
    ) -> tuple[Tensor, Tensor | None]:
        """Residual e and, with an own cost, the negative log probability l of the own label; 0 where uncounted."""
        residual, nll = buffers("residual", hot), None
        if self.terms.own:
            # From the own label's probability, whose logarithm is exact where it is small.
            sign = torch.add(hot.new_full((), -1), hot, alpha=2, out=buffers("sign", hot))
            signed = torch.mul(score, sign, out=buffers("score", hot))
            prob = torch.sigmoid(signed, out=residual)
            nll = F.softplus(signed.neg_()) if underflows(prob) else torch.log(prob, out=signed).neg_()
            nll = nll if mask is None else nll.mul_(mask)
            self.held(prob).sub_(1).mul_(sign)
        else:
            self.held(torch.sigmoid(score, out=residual)).sub_(hot)
        return residual if mask is None else residual.mul_(mask), nll

    @staticmethod
    def _cost(own: Cost, residual: Tensor, nll: Tensor, hot: Tensor, chunk: Chunk) -> Tensor:
        """Cost c(l); where there is room beside the residual, a curved cost's e c'(l) is kept there."""
        if own.formula is None:
            return own.value(nll, residual, hot)
        rest = torch.abs(residual, out=chunk.buffers("spare", hot))
        if chunk.room is None or chunk.room.shape[1] == 1:
            return own.value(nll, rest, hot)
        cost, slope = own.evaluate(nll, rest, hot)
        chunk.room[:, :1].copy_(slope.mul_(residual))
        return cost

    def plan(self, weight: Tensor, layout: Layout, found: Found, dtype: torch.dtype) -> Plan:
        """Prepare the weights."""
        w = {name: column[..., 0] for name, column in layout.columns(weight).items()}
        overlap = self.overlap_plan(w, dtype) if self.terms.gamma else None
        cost = Pick.of(w["cost_outside"], w["cost_inside"], dtype) if self.terms.own else None
        lead = Pick.of(w["lead_outside"], w["lead_inside"], dtype) if self.terms.lead else None
        hinge = None if self.terms.margin is None or found.within else w["hinge"].to(dtype).unsqueeze(-1)
        return Plan(overlap, cost, lead, hinge, found)

    def gradient(self, chunk: Chunk, plan: Plan, items: slice) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        assert chunk.room is not None
        buffers, nll = chunk.buffers, None
        hot, mask = self._hot(chunk, plan.found.whole)
        if chunk.kept:
            residual = chunk.room[:, -1:]
        else:
            residual, nll = self._residual(self._score(chunk), hot, mask, buffers)
        total = buffers("slope", hot)
        if plan.overlap:
            self.overlap_slope(plan.overlap, residual, hot, items, buffers)
            size = torch.abs(residual, out=buffers("size", hot))
            # The slope times |e| (1 - |e|), in one step.
            torch.ops.aten.sigmoid_backward.grad_input(total, size, grad_input=total)
        if plan.cost and self.terms.own:
            bent = self._bent(self.terms.own, chunk, plan.found, residual, nll, hot, mask)
            weight = plan.cost.base[items] if plan.cost.one else plan.cost(items, hot, buffers("spare", hot))
            total = total.addcmul_(bent, weight) if plan.overlap else torch.mul(bent, weight, out=total)
        total = self._logit_slopes(total, chunk, plan, items, hot, mask)
        chunk.room[:, -1:].copy_(total)
        if chunk.room.shape[1] == 2:
            chunk.room[:, :1].copy_(total.neg_())  # half logits have half gradients, which out= would refuse

    def _bent(
        self,
        own: Cost,
        chunk: Chunk,
        found: Found,
        residual: Tensor,
        nll: Tensor | None,
        hot: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Slope e c'(l) of the cost."""
        if found.straight:
            return residual
        if chunk.kept and chunk.room is not None and own.formula and chunk.room.shape[1] == 2:
            return chunk.room[:, :1]
        if nll is None:
            residual, nll = self._residual(self._score(chunk), hot, mask, chunk.buffers)
        assert nll is not None
        rest = torch.abs(residual, out=chunk.buffers("size", hot))
        return own.evaluate(nll, rest, hot)[1].mul_(residual)

    def _logit_slopes(
        self, total: Tensor, chunk: Chunk, plan: Plan, items: slice, hot: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Add the slopes of lead and hinge, which unlike the residual's are not 0 where a voxel does not count."""
        spare = chunk.buffers("spare", hot)
        if plan.lead:
            total.add_(plan.lead(items, hot, spare))
        if plan.hinge is not None:
            score, beyond = self._score(chunk), torch.abs(self._score(chunk), out=spare)
            beyond = torch.gt(beyond, self.terms.margin or 0.0, out=beyond).mul_(torch.sign(score))
            total.addcmul_(beyond, plan.hinge[items])
        return total if mask is None else total.mul_(mask)


def _two_sides(name: str, values: Tensor, hot: Tensor, buffers: Buffers) -> dict[str, Tensor]:
    """Sums of values outside and inside the foreground."""
    inside = torch.mul(hot, values, out=buffers("spare", hot))
    outside = torch.sub(values, inside, out=buffers("sign", hot))
    return {f"{name}_outside": outside.sum(-1), f"{name}_inside": inside.sum(-1)}


def both_classes(s: Sums) -> Sums:
    """Sums of background and foreground from those of the foreground: what is inside of one is outside of the other."""
    found = {"voxels": s.voxels.expand(-1, 2), "volume": torch.cat([s.voxels - s.volume, s.volume], dim=1)}
    for outside, inside in (("wrong_outside", "wrong_inside"), ("spurious", "missed")):
        if hasattr(s, outside):
            pair = getattr(s, outside), getattr(s, inside)
            found |= {outside: torch.cat(pair[::-1], dim=1), inside: torch.cat(pair, dim=1)}
    if hasattr(s, "cost_inside"):
        found["cost"] = torch.cat([s.cost_outside, s.cost_inside], dim=1)
    if hasattr(s, "lead_inside"):
        # The score is twice the lead of the foreground, and of the background with the other sign.
        found["lead"] = torch.cat([-s.lead_outside, s.lead_inside], dim=1) / 2
    if hasattr(s, "hinge"):
        # Of the two distances one is 0: the other's hinge stands for the sum of both.
        found["hinge"] = torch.cat([torch.zeros_like(s.hinge), s.hinge], dim=1)
    return Sums(**found)
