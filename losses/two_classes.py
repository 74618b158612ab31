"""The fast path with two classes: everything follows from one sigmoid."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .costs import OwnCost, power
from .fast_path import FastKernel, underflows


class SigmoidKernel(FastKernel):
    """Two classes: rows voxels, volume, as chosen the foreground's overlap; cost, y cost; score, y score; hinge.

    Each is ``(G, 1)``. The overlap alone works on the foreground's probability p. With a cost of the own label, all
    works on the rest r that the own label's probability leaves to 1: the residual p - y is r, or -r in the foreground.
    Kept for the gradient is p or r, and beside it the labels as numbers, or the slope of a curved cost.
    """

    def _score(self, logits: Tensor) -> Tensor:
        """Foreground logit against the background's."""
        if logits.shape[1] == 1:
            return logits
        return torch.sub(logits[:, 1:], logits[:, :1], out=self.buffer("score", logits, 1))

    def _hot(self, target: Tensor, hot: Tensor, check: bool) -> Tensor | None:
        """Write the labels as numbers; give the mask if some voxel does not count."""
        labels, whole = self.labels(target, check)
        if whole:
            hot.copy_(labels.unsqueeze(1))
            return None
        torch.eq(labels.unsqueeze(1), 1, out=hot)
        return self.mask(labels, hot)

    def sums(self, logits: Tensor, *targets: Tensor, keep: Tensor | None = None) -> Tensor:
        """Sum the rows."""
        score = self._score(logits)
        hot = self.buffer("hot", logits, 1)
        mask = self._hot(targets[0], hot, check=True)
        volume = hot.sum(-1)
        rows = [torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1), volume]
        last = [] if self.margin is None else [self._hinge_row(score, self.margin, mask)]
        if self.lead:
            last = self._lead_rows(score, hot, mask) + last
        if self.own:
            rows += self._own_rows(self.own, score, hot, mask, keep)
        elif self.gamma:
            probs = torch.sigmoid(score, out=self.buffer("probs", hot))
            self._keep(keep, probs, hot)
            rows += self.overlap_rows(self.held(probs).sub_(hot), hot, mask)
        return torch.stack(rows + last, dim=1)

    @staticmethod
    def _keep(keep: Tensor | None, probs: Tensor, beside: Tensor) -> None:
        """Keep what the gradient needs, where there is room."""
        if keep is not None:
            keep[:, -1:].copy_(probs)
            if keep.shape[1] == 2:
                keep[:, :1].copy_(beside)

    def _own_rows(
        self, own: OwnCost, score: Tensor, hot: Tensor, mask: Tensor | None, keep: Tensor | None
    ) -> list[Tensor]:
        """Rows of the overlap and of the own cost; fills ``keep``."""
        nll, rest = self._own(own, score, hot)
        if own.curved and keep is not None and keep.shape[1] == 2:
            cost, slope = own.evaluate(nll, rest, hot)
            self._keep(keep, rest, slope.mul_(rest))
        else:
            cost = own.value(nll, rest, hot)
            self._keep(keep, rest, hot)
        cost = cost if mask is None else cost.mul_(mask)
        rows = [cost.sum(-1), torch.mul(cost, hot, out=nll).sum(-1)]
        if not self.gamma:
            return rows
        total, inside, *powers = self.overlap_rows(self.held(rest), hot, mask)
        return [total - 2 * inside, -inside, *powers, *rows]

    def _own(self, own: OwnCost, score: Tensor, hot: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log probability of the own label, and the rest."""
        sign = torch.add(hot.new_full((), -1), hot, alpha=2, out=self.buffer("probs", hot))
        signed = torch.mul(score, sign, out=self.buffer("score", hot))
        prob = torch.sigmoid(signed, out=sign)
        nll = F.softplus(signed.neg_()) if underflows(prob) else torch.log(prob, out=signed).neg_()
        self.look_at(own, nll)
        return nll, prob.neg_().add_(1)

    def _lead_rows(self, score: Tensor, hot: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Rows of the score, in all voxels and in the foreground."""
        counted = score if mask is None else torch.mul(score, mask, out=self.buffer("spare", hot))
        return [counted.sum(-1), torch.mul(score, hot, out=self.buffer("spare", hot)).sum(-1)]

    def _hinge_row(self, score: Tensor, margin: float, mask: Tensor | None) -> Tensor:
        """Row of the hinge."""
        hinge = self.hinge(torch.abs(score, out=self.buffer("spare", score)), margin, mask)
        return score.new_zeros((len(score), 1)) if hinge is None else hinge.sum(-1)

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        room = out if kept else None
        mask, hot = None, out[:, :1]
        if not kept or out.shape[1] == 1 or not self._whole or (self.own and self.own.curved):
            hot = self.buffer("hot", logits, 1)
            mask = self._hot(targets[0], hot, check=False)
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        if self.own:
            total = self._own_gradient(self.own, logits, hot, columns, room)
        else:
            total = self._overlap_gradient(logits, hot, columns, room)
        if self.lead:
            lead, inside = columns[self.overlap_width + 2 :][:2]
            total.add_(torch.mul(hot, inside, out=self.buffer("spare", hot)).add_(lead))
        if self.margin is not None and not self._within:
            total.add_(self._margin_slope(self._score(logits), self.margin).mul_(columns[-1]))
        if mask is not None:
            total.mul_(mask)
        out[:, -1:].copy_(total)
        if out.shape[1] == 2:
            out[:, :1].copy_(total.neg_())  # half logits have half gradients, which out= would refuse

    def _overlap_gradient(self, logits: Tensor, hot: Tensor, columns: list[Tensor], kept: Tensor | None) -> Tensor:
        """Slope of the overlap with respect to the score."""
        total = self.buffer("total", hot)
        if not self.gamma:
            return total.zero_()
        probs = torch.sigmoid(self._score(logits), out=self.buffer("probs", hot)) if kept is None else kept[:, -1:]
        total = self.probability_slope(probs, hot, columns[: self.overlap_width], total)
        return total.mul_(torch.addcmul(probs, probs, probs, value=-1, out=self.buffer("spare", hot)))

    def _own_gradient(
        self, own: OwnCost, logits: Tensor, hot: Tensor, columns: list[Tensor], kept: Tensor | None
    ) -> Tensor:
        """Slope of overlap and own cost with respect to the score."""
        rest, part = self._own_slope(own, logits, hot, kept)
        share, inside = columns[self.overlap_width :][:2]
        if not self._uniform:
            share = torch.mul(hot, inside, out=self.buffer("spare", hot)).add_(share)
        total = torch.mul(part, share, out=self.buffer("total", hot))
        if self.gamma:
            slope = self._rest_slope(rest, hot, columns[: self.overlap_width])
            total.addcmul_(slope, torch.addcmul(rest, rest, rest, value=-1, out=self.buffer("spare", hot)))
        # So far with respect to the other label's logit against the own one.
        return total.addcmul_(total, hot, value=-2)

    def _own_slope(self, own: OwnCost, logits: Tensor, hot: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        """The rest r, and the slope of the cost with respect to the other label's logit."""
        if kept is not None and own.curved and kept.shape[1] == 2:
            return kept[:, 1:], kept[:, :1]
        if kept is not None and self._straight:
            return kept[:, -1:], kept[:, -1:]
        nll, rest = self._own(own, self._score(logits), hot)
        return rest, own.evaluate(nll, rest, hot)[1].mul_(rest)

    def _rest_slope(self, rest: Tensor, hot: Tensor, columns: list[Tensor]) -> Tensor:
        """Slope of the overlap with respect to the rest r."""
        total, inside, *powers = columns
        inside, out = -2 * total - inside, self.buffer("slope", hot)
        if not powers:
            return torch.mul(hot, inside, out=out).add_(total)
        both, missed = (self.gamma * column for column in powers)
        return self.slope(power(rest, self.gamma - 1), hot, (total, inside, both, None if self._even else missed), out)

    def _margin_slope(self, score: Tensor, margin: float) -> Tensor:
        """Slope of the hinge with respect to the score."""
        size = torch.abs(score, out=self.buffer("spare", score))
        return torch.gt(size, margin, out=size).mul_(torch.sign(score))
