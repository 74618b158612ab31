r"""The fast path: integer labels, exponent 1 or 2, everything a compound of overlap, cross entropy and margin needs.

Works on the residual :math:`e = p - y`: all overlap statistics follow from :math:`\sum e, \sum y e, \sum e^2` and
:math:`\sum (y e)^2`. With two classes one sigmoid carries everything, since the background's residual is the
foreground's with the other sign (:class:`SigmoidKernel`); with more, one softmax does (:class:`SoftmaxKernel`). The
gradients are derived by hand, the steps write into buffers that stay in the cache, and the same pass sums

* a cost of each voxel's own log probability, such as cross entropy (:class:`OwnCost`), and
* the hinge on logit distances of margin-based label smoothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from losses.chunks import ChunkKernel
from losses.inputs import IGNORED, all_counted, compact_labels


class OwnCost(NamedTuple):
    """Cost of a voxel's own log probability l <= 0, and its slope.

    Both take l and a mask that is 1 where the label is the background, each ``(G, 1, n)``.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


class FastKernel(ChunkKernel):
    """What the two kernels share: the choice of rows, labels and buffers.

    Args:
        num_classes: Classes K.
        ignore_index: Label that does not count.
        gamma: 1 or 2; 0 leaves out the overlap.
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

    def labels(self, target: Tensor) -> tuple[Tensor, bool]:
        """Compact labels of a chunk, and whether all of them count."""
        labels = compact_labels(target, self.num_classes, self.ignore_index)
        return labels, all_counted(labels, self.num_classes)

    def mask(self, labels: Tensor, like: Tensor) -> Tensor:
        """Mask ``(G, 1, n)`` of the voxels that count."""
        return torch.ne(labels.unsqueeze(1), IGNORED, out=self.buffer("mask", like, 1))


class SigmoidKernel(FastKernel):
    """Two classes: rows voxels, volume, e, y e, then as chosen e^2, (y e)^2; cost, y cost; hinge: ``(G, R, 1)``.

    The residual is the foreground's.
    """

    def _residual(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Form score z_1 - z_0, probability, labels as numbers and, if some voxel does not count, the mask."""
        labels, whole = self.labels(target)
        score = logits
        if logits.shape[1] == 2:
            score = torch.sub(logits[:, 1:], logits[:, :1], out=self.buffer("score", logits, 1))
        probs = torch.sigmoid(score, out=self.buffer("probs", score))
        hot = self.buffer("hot", score)
        if whole:
            hot.copy_(labels.unsqueeze(1))
        else:
            torch.eq(labels.unsqueeze(1), 1, out=hot)
        return score, probs, hot, None if whole else self.mask(labels, score)

    def _own_log_prob(self, score: Tensor, hot: Tensor) -> tuple[Tensor, Tensor]:
        """Log probability of the own label, and the mask of the background."""
        background = torch.sub(1, hot)
        sign = torch.sub(background, hot, out=self.buffer("sign", score))
        return torch.nn.functional.softplus(sign.mul_(score)).neg_(), background

    def sums(self, logits: Tensor, *targets: Tensor) -> Tensor:
        """Sum the rows."""
        score, probs, hot, mask = self._residual(logits, targets[0])
        volume = hot.sum(-1)
        rows = [torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1), volume]
        spare = self.buffer("spare", score)
        if self.own:
            log_prob, background = self._own_log_prob(score, hot)
            cost = self.own.value(log_prob, background)
            cost = cost if mask is None else cost.mul_(mask)
            own_rows = [cost.sum(-1), torch.mul(cost, hot, out=spare).sum(-1)]
        if self.gamma:
            probs = probs.clamp_(self.clip, 1 - self.clip) if self.clip else probs
            residual = probs.sub_(hot)
            if mask is not None:
                residual.mul_(mask)
            rows += [residual.sum(-1), torch.mul(hot, residual, out=spare).sum(-1)]
            if self.gamma == 2.0:
                rows += [residual.mul_(residual).sum(-1), spare.mul_(spare).sum(-1)]
        rows += own_rows if self.own else []
        if self.margin is not None:
            hinge = torch.abs(score, out=spare).sub_(self.margin).clamp_min_(0)
            rows.append((hinge if mask is None else hinge.mul_(mask)).sum(-1))
        return torch.stack(rows, dim=1)

    def gradient(self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        score, probs, hot, mask = self._residual(logits, targets[0])
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        parts = []
        if self.gamma:
            parts.append(self._overlap_slope(probs, hot, columns))
            columns = columns[4 if self.gamma == 2.0 else 2 :]
        if self.own:
            log_prob, background = self._own_log_prob(score, hot)
            share = torch.mul(hot, columns[1], out=self.buffer("share", score)).add_(columns[0])
            # dl/ds is y - p.
            parts.append(self.own.slope(log_prob, background) * share.mul_(hot.sub_(probs)))
            columns = columns[2:]
        if self.margin is not None:
            violated = torch.gt(torch.abs(score), self.margin, out=self.buffer("violated", score))
            parts.append(violated.mul_(torch.sign(score)).mul_(columns[0]))
        slope = parts[0]
        for part in parts[1:]:
            slope = slope.add_(part)
        if mask is not None:
            slope.mul_(mask)
        out[:, -1:].copy_(slope)
        if out.shape[1] == 2:
            torch.neg(slope, out=out[:, :1])

    def _overlap_slope(self, probs: Tensor, hot: Tensor, columns: Sequence[Tensor]) -> Tensor:
        """Slope of the overlap's rows with respect to the score."""
        slope = torch.mul(hot, columns[1], out=self.buffer("slope", probs)).add_(columns[0])
        spare = self.buffer("spare", probs)
        if self.gamma == 2.0:
            twice = torch.mul(hot, 2 * columns[3], out=spare).add_(2 * columns[2])
            slope.add_(twice.mul_(torch.sub(probs, hot)))
        return slope.mul_(torch.addcmul(probs, probs, probs, value=-1, out=spare))


class SoftmaxKernel(FastKernel):
    """Any number of classes: rows voxels, volume, e, y e, then as chosen e^2, (y e)^2; cost; hinge: ``(G, R, K)``."""

    def _residual(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Form probabilities, one-hot labels and, if some voxel does not count, the mask."""
        labels, whole = self.labels(target)
        probs = torch.softmax(logits, dim=1, out=self.buffer("probs", logits))
        classes = torch.arange(self.num_classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1)
        hot = torch.eq(labels.unsqueeze(1), classes, out=self.buffer("hot", logits))
        return probs, hot, None if whole else self.mask(labels, logits)

    def _own_log_prob(self, logits: Tensor, probs: Tensor, hot: Tensor) -> Tensor:
        """Log probability of the own label: exact where it underflows, from the largest logit and probability."""
        own = torch.mul(logits, hot, out=self.buffer("spare", logits)).sum(1, keepdim=True)
        own -= logits.amax(1, keepdim=True)
        return own.add_(probs.amax(1, keepdim=True).log_())

    def sums(self, logits: Tensor, *targets: Tensor) -> Tensor:
        """Sum the rows."""
        probs, hot, mask = self._residual(logits, targets[0])
        volume = hot.sum(-1)
        counted = torch.full_like(volume, hot.shape[-1]) if mask is None else mask.sum(-1).expand_as(volume)
        rows = [counted, volume]
        spare = self.buffer("spare", logits)
        own_rows = []
        if self.own:
            # One-hot labels are 0 where a voxel does not count, and so is the cost in each class.
            cost = self.own.value(self._own_log_prob(logits, probs, hot), hot[:, :1])
            own_rows = [torch.mul(hot, cost, out=spare).sum(-1)]
        if self.gamma:
            probs = probs.clamp_(self.clip, 1 - self.clip) if self.clip else probs
            residual = probs.sub_(hot)
            if mask is not None:
                residual.mul_(mask)
            rows += [residual.sum(-1), torch.mul(hot, residual, out=spare).sum(-1)]
            if self.gamma == 2.0:
                rows += [residual.mul_(residual).sum(-1), spare.mul_(spare).sum(-1)]
        rows += own_rows
        if self.margin is not None:
            hinge = torch.sub(logits.amax(1, keepdim=True), logits, out=spare).sub_(self.margin).clamp_min_(0)
            rows.append((hinge if mask is None else hinge.mul_(mask)).sum(-1))
        return torch.stack(rows, dim=1)

    def gradient(self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor) -> None:
        """Write the gradient; where ``clip`` holds a probability, the overlap's slope is below ``clip`` and kept."""
        probs, hot, mask = self._residual(logits, targets[0])
        columns = list(weight.unsqueeze(-1).unbind(1))[2:]
        parts = []
        if self.gamma:
            parts.append(torch._softmax_backward_data(self._overlap_slope(probs, hot, columns), probs, 1, probs.dtype))
            columns = columns[4 if self.gamma == 2.0 else 2 :]
        if self.own:
            slope = self.own.slope(self._own_log_prob(logits, probs, hot), hot[:, :1])
            share = torch.mul(hot, columns[0], out=self.buffer("spare", logits)).sum(1, keepdim=True).mul_(slope)
            # dl/dz is y - p.
            parts.append(torch.sub(hot, probs, out=self.buffer("slope", logits)).mul_(share))
            columns = columns[1:]
        if self.margin is not None:
            parts.append(self._margin_slope(logits, columns[0]))
        slope = parts[0]
        for part in parts[1:]:
            slope = slope.add_(part)
        out.copy_(slope if mask is None else slope.mul_(mask))

    def _overlap_slope(self, probs: Tensor, hot: Tensor, columns: Sequence[Tensor]) -> Tensor:
        """Slope of the overlap's rows with respect to the probabilities."""
        slope = torch.mul(hot, columns[1], out=self.buffer("slope", probs)).add_(columns[0])
        if self.gamma == 2.0:
            spare = self.buffer("spare", probs)
            twice = torch.mul(hot, 2 * columns[3], out=spare).add_(2 * columns[2])
            slope.add_(twice.mul_(torch.sub(probs, hot)))
        return slope

    def _margin_slope(self, logits: Tensor, column: Tensor) -> Tensor:
        """Slope of the hinge: each violating logit is pushed up, one of the largest down by their number."""
        largest, index = logits.max(dim=1, keepdim=True)
        violated = torch.gt(largest - logits, self.margin or 0.0, out=self.buffer("violated", logits)).mul_(column)
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
