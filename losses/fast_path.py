r"""The fast path: integer labels, exponents from 1, and what a compound of overlap, cross entropy and margin needs.

Works on the residual :math:`e = p - y`: all overlap statistics follow from
:math:`\sum e, \sum y e, \sum |e|^\gamma` and :math:`\sum y |e|^\gamma`. With two classes one sigmoid carries
everything, since the background's residual is the foreground's with the other sign (:class:`SigmoidKernel`); with more,
one softmax does (:class:`SoftmaxKernel`). The gradients are derived by hand, the steps write into buffers that stay in
the cache, and the same pass sums

* a cost of each voxel's own log probability, such as cross entropy (:class:`OwnCost`), and
* the hinge on logit distances of margin-based label smoothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from losses.chunks import ChunkKernel
from losses.inputs import IGNORED, all_counted, compact_labels


class OwnCost(NamedTuple):
    """Cost of the negative log probability l of a voxel's own label, and its slope.

    ``value`` takes l, ``slope`` (with respect to l) the probability, each with a mask that is 1 where the label is the
    background, or nothing in its place if the cost is ``blind`` to the label. The slope is 1 everywhere, and not asked
    for, where no l of the whole batch is above ``straight``.
    """

    value: Callable[[Tensor, Tensor | None], Tensor]
    slope: Callable[[Tensor, Tensor | None], Tensor]
    straight: float = -math.inf
    blind: bool = True


class FastKernel(ChunkKernel):
    """What the two kernels share: the choice of rows, labels and buffers.

    Args:
        num_classes: Classes K.
        ignore_index: Label that does not count.
        gamma: 1 or more; 0 leaves out the overlap.
        clip: Bound of the probabilities.
        own: Cost of each voxel's own log probability, or none.
        margin: Margin of the hinge, or none.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        gamma: float = 0.0,
        clip: float = 0.0,
        own: OwnCost | None = None,
        margin: float | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.gamma = gamma
        self.clip = clip
        self.own = own
        self.margin = margin
        self._buffers: dict[str, Tensor] = {}
        # What the forward pass finds out about the voxels, and plan() about the weights, saves steps of the gradient.
        self._whole, self._straight, self._within = True, own is not None, margin is not None
        self._even, self._uniform = False, False
        self._classes: Tensor | None = None

    keeps = True

    def plan(self, weight: Tensor) -> None:
        """Note which weights are alike, which saves steps; a GPU is not asked, it would have to wait.

        Missed and spurious: the weight of y |e|^gamma is the difference between the two. The cost of all classes: the
        weight of y cost is 0, or those of the classes' costs are one.
        """
        if weight.device.type != "cpu":
            return
        first = 2 + self.overlap_width
        self._even = self.gamma > 1 and not bool(weight[:, 5].any())
        if self.own and self.num_classes == 2:
            self._uniform = not bool(weight[:, first + 1].any())
        elif self.own:
            self._uniform = bool((weight[:, first] == weight[:, first, :1]).all())

    @property
    def overlap_width(self) -> int:
        """Number of the overlap's rows."""
        return 0 if not self.gamma else 2 if self.gamma == 1.0 else 4

    def costs(self, own: OwnCost, nll: Tensor, background: Tensor | None) -> Tensor:
        """Cost of the own negative log probabilities; notes whether its slope is 1."""
        self._straight &= nll.device.type == "cpu" and float(nll.max()) <= own.straight
        return own.value(nll, background)

    def hinge(self, distance: Tensor, margin: float, mask: Tensor | None) -> Tensor | None:
        """Hinge on distances, which are overwritten, or none if all are within the margin; notes if any is not."""
        if distance.device.type == "cpu" and float(distance.max()) <= margin:
            return None
        self._within = False
        hinge = distance.sub_(margin).clamp_min_(0)
        return hinge if mask is None else hinge.mul_(mask)

    def release(self) -> None:
        """Forget the buffers."""
        self._buffers.clear()

    def buffer(self, name: str, like: Tensor, channels: int | None = None) -> Tensor:
        """Give an uninitialised tensor ``(G, channels, n)`` that lives for a pass over the chunks."""
        items, width, voxels = like.shape
        shape = (items, width if channels is None else channels, voxels)
        found = self._buffers.get(name)
        if found is None or found.shape != shape:
            found = self._buffers[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return found

    def labels(self, target: Tensor, check: bool) -> tuple[Tensor, bool]:
        """Compact labels of a chunk, and whether all of them count; unchecked, whether all of all chunks did."""
        labels = compact_labels(target, self.num_classes, self.ignore_index, check)
        if not check:
            return labels, self._whole
        whole = all_counted(labels, self.num_classes)
        self._whole &= whole
        return labels, whole

    def power(self, residual: Tensor, out: Tensor) -> Tensor:
        """Raise the size of the residual to gamma - 1."""
        exponent = self.gamma - 1
        torch.abs(residual, out=out)
        if exponent == 0.5:
            return out.sqrt_()
        if exponent == 2.0:
            return out.mul_(out)
        return out if exponent == 1.0 else out.pow_(exponent)

    def overlap_rows(self, probs: Tensor, hot: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Rows e, y e and, above exponent 1, |e|^gamma, y |e|^gamma; ``probs`` and ``hot`` are used up."""
        if self.clip:
            probs.clamp_(self.clip, 1 - self.clip)
        residual = probs.sub_(hot)
        if mask is not None:
            residual.mul_(mask)
        if self.gamma in (1.0, 2.0):
            own = hot.mul_(residual)
            rows = [residual.sum(-1), own.sum(-1)]
            if self.gamma == 2.0:
                rows += [residual.mul_(residual).sum(-1), own.mul_(own).sum(-1)]
            return rows
        spare = self.buffer("spare", probs)
        rows = [residual.sum(-1), torch.mul(hot, residual, out=spare).sum(-1)]
        powers = self.power(residual, out=spare).mul_(residual.abs_())
        return [*rows, powers.sum(-1), powers.mul_(hot).sum(-1)]

    def probability_slope(self, probs: Tensor, hot: Tensor, columns: Sequence[Tensor], slope: Tensor) -> Tensor:
        """Slope of :meth:`overlap_rows` with respect to the probabilities, from the weights of the rows."""
        if self.gamma == 1.0:
            return torch.mul(hot, columns[1], out=slope).add_(columns[0])
        spare = self.buffer("spare", slope)
        both, missed = self.gamma * columns[2], self.gamma * columns[3]
        if self.gamma == 2.0:
            # c0 + c1 y + 2 c2 (p - y) + 2 c3 y (p - y), sorted by powers of p and y (y is its own square).
            torch.mul(probs, both, out=slope)
            if not self._even:
                slope.add_(torch.mul(hot, missed, out=spare).mul_(probs))
            return slope.add_(torch.mul(hot, columns[1] - both - missed, out=spare).add_(columns[0]))
        # The slope of |e|^gamma turns its sign where y is 1.
        self.power(torch.sub(probs, hot, out=spare), out=slope)
        slope.mul_(torch.mul(hot, -2 * both - missed, out=spare).add_(both))
        return slope.add_(torch.mul(hot, columns[1], out=spare).add_(columns[0]))

    def mask(self, labels: Tensor, like: Tensor) -> Tensor:
        """Mask ``(G, 1, n)`` of the voxels that count."""
        return torch.ne(labels.unsqueeze(1), IGNORED, out=self.buffer("mask", like, 1))


class SigmoidKernel(FastKernel):
    """Two classes: rows voxels, volume, then as chosen those of the foreground's overlap; cost, y cost; hinge.

    Each is ``(G, 1)``. Kept for the gradient: the foreground's probability, beside it the labels as numbers.
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
        hot = self.buffer("hot", score)
        mask = self._hot(targets[0], hot, check=True)
        volume = hot.sum(-1)
        rows = [torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1), volume]
        last = self._score_rows(score, hot, mask)
        if self.gamma or keep is not None:
            probs = score.sigmoid() if score is logits else score.sigmoid_()
            if keep is not None:
                keep[:, -1:].copy_(probs)
                if keep.shape[1] == 2:
                    keep[:, :1].copy_(hot)
            rows += self.overlap_rows(probs, hot, mask) if self.gamma else []
        return torch.stack(rows + last, dim=1)

    def _score_rows(self, score: Tensor, hot: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Rows of the own cost and of the hinge."""
        rows, spare = [], self.buffer("spare", score)
        if self.own:
            # -log p of the own label is softplus of the score, its sign turned where the label is the foreground.
            signed = torch.mul(hot, -2, out=spare).add_(1).mul_(score)
            nll = torch.nn.functional.softplus(signed)
            cost = self.costs(self.own, nll, None if self.own.blind else 1 - hot)
            cost = cost if mask is None else cost.mul_(mask)
            rows += [cost.sum(-1), torch.mul(cost, hot, out=spare).sum(-1)]
        if self.margin is not None:
            hinge = self.hinge(torch.abs(score, out=spare), self.margin, mask)
            rows.append(hot.new_zeros(hot.shape[:2]) if hinge is None else hinge.sum(-1))
        return rows

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        mask = None
        if kept and self._whole and out.shape[1] == 2:
            hot, probs = out[:, :1], out[:, 1:]
        else:
            hot = self.buffer("hot", logits, 1)
            mask = self._hot(targets[0], hot, check=False)
            probs = out[:, -1:] if kept else torch.sigmoid(self._score(logits), out=self.buffer("probs", hot))
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        parts = []
        if self.gamma:
            slope = self.probability_slope(probs, hot, columns, self.buffer("slope", hot))
            parts.append(slope.mul_(torch.addcmul(probs, probs, probs, value=-1, out=self.buffer("spare", hot))))
            columns = columns[self.overlap_width :]
        if self.own:
            parts.append(self._own_slope(self.own, logits, probs, hot, columns))
            columns = columns[2:]
        if self.margin is not None and not self._within:
            score = self._score(logits)
            violated = torch.gt(torch.abs(score), self.margin, out=self.buffer("spare", hot))
            parts.append(violated.mul_(torch.sign(score)).mul_(columns[0]))
        slope = parts[0] if parts else torch.zeros_like(hot)
        for part in parts[1:]:
            slope.add_(part)
        if mask is not None:
            slope.mul_(mask)
        out[:, -1:].copy_(slope)
        if out.shape[1] == 2:
            out[:, :1].copy_(slope.neg_())  # half logits have half gradients, which out= would refuse

    def _signed_score(self, logits: Tensor, hot: Tensor) -> Tensor:
        """Logit of the other label against the own one."""
        return torch.mul(hot, -2, out=self.buffer("spare", hot)).add_(1).mul_(self._score(logits))

    def _own_slope(self, own: OwnCost, logits: Tensor, probs: Tensor, hot: Tensor, columns: Sequence[Tensor]) -> Tensor:
        """Slope of the cost's rows with respect to the score: with respect to log p times y - p."""
        residual = torch.sub(probs, hot, out=self.buffer("residual", probs))
        # Not 1 - |p - y|, which has lost its digits where the own probability is small.
        own_prob = None if self._straight else self._signed_score(logits, hot).neg_().sigmoid_()
        slope = 1.0 if own_prob is None else own.slope(own_prob, None if own.blind else 1 - hot)
        if self._uniform:
            return residual.mul_(columns[0] * slope)
        share = torch.mul(hot, columns[1], out=self.buffer("spare", probs)).add_(columns[0])
        return residual.mul_(share).mul_(slope)


class SoftmaxKernel(FastKernel):
    """Any number of classes: rows voxels, volume, then as chosen those of the overlap; cost; hinge: ``(G, R, K)``.

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
        rows = [counted, volume]
        last = self._score_rows(logits, probs, hot, mask)
        rows += self.overlap_rows(probs, hot, mask) if self.gamma else []
        return torch.stack(rows + last, dim=1)

    def _score_rows(self, logits: Tensor, probs: Tensor, hot: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Rows of the own cost and of the hinge."""
        rows = []
        largest = logits.amax(1, keepdim=True) if self.own or self.margin is not None else logits
        if self.own:
            # log p of the own label is exact even where p underflows: from the largest logit and its probability.
            nll = largest - torch.mul(logits, hot, out=self.buffer("spare", logits)).sum(1, keepdim=True)
            nll.sub_(probs.amax(1, keepdim=True).log_())
            if mask is not None:
                # Without a label it may be far below 0, where a cost can be infinite.
                nll.mul_(mask)
            # One-hot labels are 0 where a voxel does not count, and so is the cost in each class.
            cost = self.costs(self.own, nll, None if self.own.blind else hot[:, :1])
            rows.append(torch.mul(hot, cost, out=self.buffer("spare", logits)).sum(-1))
        if self.margin is not None:
            hinge = self.hinge(torch.sub(largest, logits, out=self.buffer("spare", logits)), self.margin, mask)
            rows.append(hot.new_zeros(hot.shape[:2]) if hinge is None else hinge.sum(-1))
        return rows

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        hot, mask = self._hot(targets[0], logits, check=False)
        probs = out if kept else torch.softmax(logits, dim=1, out=self.buffer("probs", logits))
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        parts = []
        if self.gamma:
            slope = self.probability_slope(probs, hot, columns, self.buffer("slope", logits)).mul_(probs)
            parts.append(slope.addcmul_(probs, slope.sum(1, keepdim=True), value=-1))
            columns = columns[self.overlap_width :]
        if self.own:
            parts.append(self._own_slope(self.own, probs, hot, columns[0]))
            columns = columns[1:]
        if self.margin is not None and not self._within:
            parts.append(self._margin_slope(logits, self.margin, columns[0]))
        slope = parts[0] if parts else torch.zeros_like(hot)
        for part in parts[1:]:
            slope.add_(part)
        out.copy_(slope if mask is None else slope.mul_(mask))

    def _own_slope(self, own: OwnCost, probs: Tensor, hot: Tensor, column: Tensor) -> Tensor:
        """Slope of the cost's row with respect to the logits: with respect to log p times y - p."""
        spare = self.buffer("spare", hot)
        share = column[:, :1] if self._uniform else torch.mul(hot, column, out=spare).sum(1, keepdim=True)
        if not self._straight:
            own_prob = torch.mul(hot, probs, out=spare).sum(1, keepdim=True)
            share = share * own.slope(own_prob, None if own.blind else hot[:, :1])
        return torch.sub(probs, hot, out=spare).mul_(share)

    def _margin_slope(self, logits: Tensor, margin: float, column: Tensor) -> Tensor:
        """Slope of the hinge: each violating logit is pushed up, one of the largest down by their number."""
        largest, index = logits.max(dim=1, keepdim=True)
        violated = torch.sub(largest, logits, out=self.buffer("violated", logits))
        violated = torch.gt(violated, margin, out=violated).mul_(column)
        number = violated.sum(1, keepdim=True)
        return violated.neg_().scatter_add_(1, index, number)


def fast_kernel(
    num_classes: int,
    ignore_index: int | None,
    gamma: float = 0.0,
    clip: float = 0.0,
    own: OwnCost | None = None,
    margin: float | None = None,
) -> FastKernel:
    """Choose the kernel for a number of classes; arguments as those of :class:`FastKernel`."""
    kernel = SigmoidKernel if num_classes == 2 else SoftmaxKernel
    return kernel(num_classes, ignore_index, gamma, clip, own, margin)
