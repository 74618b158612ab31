"""Formulas on the voxels of one chunk, and how they become sums over millions.

A loss that is a mean over voxels is written as a function of :class:`Voxels`, its rows, and for speed a second one, its
slopes with respect to logits, log probabilities or probabilities; the chain rule through the softmax is here. Without
slopes autograd goes through the rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import ChunkKernel, chunked_sums
from .inputs import compact_labels, flatten_pair, two_channels


class Voxels:
    """A chunk: G items, K classes, n voxels; what is asked for is computed once.

    Args:
        logits: ``(G, K, n)``, or ``(G, 1, n)`` for a foreground logit against a background logit of 0.
        target: ``(G, n)`` labels or ``(G, K, n)`` soft labels.
        num_classes: Classes K.
        ignore_index: Label that does not count.
        extra: What else the loss knows of each voxel, ``(G, ..., n)``.
        probs: The probabilities, if they are known.
    """

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        num_classes: int,
        ignore_index: int | None,
        extra: Sequence[Tensor] = (),
        probs: Tensor | None = None,
    ) -> None:
        self.extra = extra
        # Not functools.cached_property: its lock breaks the graph of torch.compile.
        self._log_probs: Tensor | None = None
        self._probs = probs
        self.logits = two_channels(logits)
        self.soft = target.is_floating_point()
        if self.soft:
            self.labels = target.to(logits.dtype)
            self.counted = (self.labels.sum(1, keepdim=True) > 0).to(logits.dtype)
        else:
            compact = compact_labels(target, num_classes, ignore_index)
            self.labels = one_hot(compact, num_classes, logits.dtype)
            self.counted = self.labels.sum(1, keepdim=True)

    @property
    def log_probs(self) -> Tensor:
        """Log probabilities ``(G, K, n)``."""
        if self._log_probs is None:
            if torch.is_grad_enabled() or self.logits.device.type != "cpu":
                self._log_probs = torch.log_softmax(self.logits, dim=1)
            else:
                # From the largest probability, which never underflows: one logarithm a voxel.
                largest = self.logits.amax(1, keepdim=True)
                self._log_probs = self.logits - largest.sub_(self.probs.amax(1, keepdim=True).log_())
        return self._log_probs

    @property
    def probs(self) -> Tensor:
        """Probabilities ``(G, K, n)``."""
        if self._probs is None:
            self._probs = torch.softmax(self.logits, dim=1)
        return self._probs

    @property
    def distances(self) -> Tensor:
        """Distance of each logit from the largest, ``(G, K, n)``."""
        return self.logits.amax(1, keepdim=True) - self.logits

    def share(self, values: Tensor) -> Tensor:
        """Where each voxel has its largest of some values ``(G, K, n)``: 1, or a part of it where several are equal."""
        values = values.detach()
        top = as_numbers(torch.eq, values, values.amax(1, keepdim=True), values)
        return top.div_(top.sum(1, keepdim=True))

    def by_label(self, column: Tensor) -> Tensor:
        """Number of each voxel's label, ``(G, 1, n)``, from those of the classes ``(G, K, 1)``; 0 where uncounted."""
        if column.device.type == "cpu" and not self.soft and bool((column == column[:, :1]).all()):
            return self.counted * column[:, :1]
        return (self.labels * column).sum(1, keepdim=True)


class Slopes(NamedTuple):
    """Slopes of a formula, each ``(G, K, n)`` or none; in a voxel that does not count all are 0."""

    logits: Tensor | None = None
    log_probs: Tensor | None = None
    probs: Tensor | None = None

    def chain(self, probs: Tensor) -> Tensor:
        """Slope with respect to the logits alone."""
        total = self.log_probs
        if self.probs is not None:
            total = self.probs * probs if total is None else torch.addcmul(total, self.probs, probs)
        if total is None:
            return probs * 0 if self.logits is None else self.logits
        slope = torch.addcmul(total, probs, total.sum(1, keepdim=True), value=-1)
        return slope if self.logits is None else slope.add_(self.logits)


#: From a chunk to R sums for each class, ``(G, R, K)``.
VoxelFormula = Callable[[Voxels], Tensor]
#: From a chunk and the weights of its R sums, each ``(G, K, 1)``, to the slopes of their weighted sum.
VoxelSlopes = Callable[[Voxels, Sequence[Tensor]], Slopes]


class VoxelKernel(ChunkKernel):
    """Apply a formula to each chunk.

    Args:
        formula: What to sum.
        num_classes: Classes K.
        ignore_index: Label that does not count.
        slopes: Its slopes; without, the gradient is autograd's.
    """

    def __init__(
        self, formula: VoxelFormula, num_classes: int, ignore_index: int | None, slopes: VoxelSlopes | None = None
    ) -> None:
        self.formula = formula
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.slopes = slopes
        self.keeps = slopes is not None

    def sums(self, logits: Tensor, *targets: Tensor, keep: Tensor | None = None) -> Tensor:
        """Evaluate the formula."""
        voxels = Voxels(logits, targets[0], self.num_classes, self.ignore_index, targets[1:])
        if keep is not None:
            keep.copy_(voxels.probs[:, -keep.shape[1] :])
        return self.formula(voxels)

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient."""
        if self.slopes is None:
            super().gradient(logits, targets, weight, out, kept)
            return
        probs = out if kept and out.shape[1] > 1 else None
        voxels = Voxels(logits, targets[0], self.num_classes, self.ignore_index, targets[1:], probs)
        slopes = self.slopes(voxels, weight.unsqueeze(-1).unbind(1))
        out.copy_(slopes.chain(voxels.probs)[:, -out.shape[1] :])


def voxel_sums(
    logits: Tensor,
    target: Tensor,
    ignore_index: int | None,
    formula: VoxelFormula,
    slopes: VoxelSlopes | None = None,
    extra: Sequence[Tensor] = (),
) -> Tensor:
    """Sum a formula over the voxels of each item, ``(B, R, K)`` in double precision; ``extra`` is ``(B, ..., *S)``."""
    flat, labels = flatten_pair(logits, target)
    kernel = VoxelKernel(formula, max(flat.shape[1], 2), ignore_index, slopes)
    grid = logits.ndim - 2
    return chunked_sums(kernel, flat, labels, *(part.flatten(part.ndim - grid) for part in extra))


def class_rows(*parts: Tensor) -> Tensor:
    """Sum each part ``(G, K, n)``, or ``(G, 1, n)`` for all classes together, over the voxels: ``(G, R, K)``."""
    sums = [part.sum(-1) for part in parts]
    classes = max(part.shape[1] for part in sums)
    return torch.stack([part.expand(-1, classes) for part in sums], dim=1)


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Compare compact labels ``(G, n)`` with every class: ``(G, K, n)``, all 0 where a voxel does not count."""
    classes = torch.arange(num_classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1)
    like = torch.empty((len(labels), num_classes, labels.shape[1]), dtype=dtype, device=labels.device)
    return as_numbers(torch.eq, labels.unsqueeze(1), classes, like)


def as_numbers(compare: Callable[..., Tensor], first: Tensor, second: Tensor | float, like: Tensor) -> Tensor:
    """Compare, and give 1 where true and 0 elsewhere, of the shape and type of ``like``.

    Written straight into floating point this is several times as fast as by way of booleans.
    """
    if torch.compiler.is_compiling():
        return compare(first, second).to(like.dtype)
    return compare(first, second, out=torch.empty_like(like, memory_format=torch.contiguous_format))


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """Mean from a sum and a count; 0 where nothing was counted."""
    return total / torch.where(count > 0, count, 1.0)
