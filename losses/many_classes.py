"""The fast path with any number of classes: everything follows from one softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .costs import OwnCost
from .fast_path import FastKernel, underflows


class SoftmaxKernel(FastKernel):
    """Any number of classes: rows voxels, volume, as chosen those of the overlap; cost; lead; hinge: ``(G, R, K)``.

    Kept for the gradient: the probabilities.
    """

    def _hot(self, target: Tensor, like: Tensor, check: bool) -> tuple[Tensor, Tensor | None]:
        """One-hot labels and, if some voxel does not count, the mask."""
        labels, whole = self.labels(target, check)
        if self._classes is None:
            self._classes = torch.arange(self.num_classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1)
        hot = torch.eq(labels.unsqueeze(1), self._classes, out=self.buffer("hot", like))
        return hot, None if whole else self.mask(labels, like)

    def sums(self, logits: Tensor, *targets: Tensor, keep: Tensor | None = None) -> Tensor:
        """Sum the rows."""
        hot, mask = self._hot(targets[0], logits, check=True)
        probs = torch.softmax(logits, dim=1, out=self.buffer("probs", logits))
        if keep is not None:
            keep.copy_(probs)
        volume = hot.sum(-1)
        counted = torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1).expand_as(volume)
        last = [self._own_row(self.own, logits, probs, hot, mask)] if self.own else []
        if self.lead:
            last.append(self._lead_row(logits, hot))
        if self.margin is not None:
            last.append(self._hinge_row(logits, self.margin, mask))
        overlap = []
        if self.gamma:
            overlap = self.overlap_rows(self.held(probs).sub_(hot), hot, mask)
        return torch.stack([counted, volume, *overlap, *last], dim=1)

    def _own_row(self, own: OwnCost, logits: Tensor, probs: Tensor, hot: Tensor, mask: Tensor | None) -> Tensor:
        """Row of the own cost: one-hot labels are 0 where a voxel does not count, and so is the cost in each class."""
        prob = self._own_prob(probs, hot, mask)
        nll = self._exact(logits, probs, hot, mask) if underflows(prob) else prob.log().neg_()
        self.look_at(own, nll)
        cost = own.value(nll, prob.neg_().add_(1), 1 - hot[:, :1])
        return torch.mul(hot, cost, out=self.buffer("spare", logits)).sum(-1)

    def _own_prob(self, probs: Tensor, hot: Tensor, mask: Tensor | None) -> Tensor:
        """Probability of each voxel's own label; 1 where it does not count."""
        prob = torch.mul(hot, probs, out=self.buffer("spare", hot)).sum(1, keepdim=True)
        return prob if mask is None else prob.add_(1 - mask)

    def _exact(self, logits: Tensor, probs: Tensor, hot: Tensor, mask: Tensor | None) -> Tensor:
        """Own negative log probability that is right where the probability underflows: from the largest logit's."""
        own = torch.mul(hot, logits, out=self.buffer("spare", logits)).sum(1, keepdim=True)
        nll = logits.amax(1, keepdim=True).sub_(own).sub_(probs.amax(1, keepdim=True).log_())
        return nll if mask is None else nll.mul_(mask)

    def _lead_row(self, logits: Tensor, hot: Tensor) -> Tensor:
        """Row of the lead."""
        spare = self.buffer("spare", logits)
        own = torch.mul(hot, logits, out=spare).sum(-1)
        return own - torch.mul(hot, logits.mean(1, keepdim=True), out=spare).sum(-1)

    def _hinge_row(self, logits: Tensor, margin: float, mask: Tensor | None) -> Tensor:
        """Row of the hinge."""
        distance = torch.sub(logits.amax(1, keepdim=True), logits, out=self.buffer("spare", logits))
        hinge = self.hinge(distance, margin, mask)
        return logits.new_zeros(logits.shape[:2]) if hinge is None else hinge.sum(-1)

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        hot, mask = self._hot(targets[0], logits, check=False)
        probs = out if kept else torch.softmax(logits, dim=1, out=self.buffer("probs", logits))
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        parts = []
        if self.gamma:
            slope = self.probability_slope(probs, hot, columns[: self.overlap_width], self.buffer("slope", logits))
            slope.mul_(probs)
            parts.append(slope.addcmul_(probs, slope.sum(1, keepdim=True), value=-1))
            columns = columns[self.overlap_width :]
        if self.own:
            parts.append(self._own_slope(self.own, probs, hot, mask, columns[0]))
            columns = columns[1:]
        if self.lead:
            parts.append(self._lead_slope(hot, columns[0]))
            columns = columns[1:]
        if self.margin is not None and not self._within:
            parts.append(self._margin_slope(logits, self.margin, columns[0]))
        slope = parts[0] if parts else torch.zeros_like(hot)
        for part in parts[1:]:
            slope.add_(part)
        out.copy_(slope if mask is None else slope.mul_(mask))

    def _own_slope(self, own: OwnCost, probs: Tensor, hot: Tensor, mask: Tensor | None, column: Tensor) -> Tensor:
        """Slope of the cost's row with respect to the logits: with respect to -log p times p - y."""
        spare = self.buffer("spare", hot)
        share = column[:, :1] if self._uniform else torch.mul(hot, column, out=spare).sum(1, keepdim=True)
        if not self._straight:
            prob = self._own_prob(probs, hot, mask)
            nll = prob.clamp_min(torch.finfo(prob.dtype).tiny).log_().neg_()
            share = own.evaluate(nll, prob.neg_().add_(1), 1 - hot[:, :1])[1].mul_(share)
        return torch.sub(probs, hot, out=spare).mul_(share)

    def _lead_slope(self, hot: Tensor, column: Tensor) -> Tensor:
        """Slope of the lead; the cost's weights are alike, and so are these."""
        out = self.buffer("lead", hot)
        if self._uniform:
            return torch.sub(hot, hot.new_full((), 1 / self.num_classes), out=out).mul_(column[:, :1])
        share = torch.mul(hot, column, out=out)
        return share.sub_(share.mean(1, keepdim=True))

    def _margin_slope(self, logits: Tensor, margin: float, column: Tensor) -> Tensor:
        """Slope of the hinge: each violating logit is pushed up, the largest down by their number."""
        largest = logits.amax(1, keepdim=True)
        violated = torch.sub(largest, logits, out=self.buffer("violated", logits))
        violated = torch.gt(violated, margin, out=violated).mul_(column)
        top = torch.eq(logits, largest, out=self.buffer("top", logits))
        top.mul_(violated.sum(1, keepdim=True).div_(top.sum(1, keepdim=True)))
        return top.sub_(violated)
