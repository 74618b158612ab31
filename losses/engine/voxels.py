"""Formulas on the voxels of one chunk, as they stand in the families' files.

A formula takes :class:`Voxels` and gives summands by name. Its gradient is autograd's on the chunk, once more from the
logits; or, where that was measured to pay, a function of :mod:`losses.engine.slopes`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import Chunk, ChunkKernel, Found, Pass
from .inputs import compact_labels, two_channels
from .rows import Layout, Summed, pack


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
    def rest(self) -> Tensor:
        """What each probability leaves to 1, ``(G, K, n)``; of an integer label the sum of the others, exact near 1."""
        if self.soft:
            return 1 - self.probs
        others = (self.probs * (self.counted - self.labels)).sum(1, keepdim=True)
        return others * self.labels + (1 - self.probs) * (1 - self.labels)

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


#: From a chunk to summands by name, each ``(G, K, n)``, or ``(G, 1, n)`` for all classes together, or summed already.
Formula = Callable[[Voxels], Mapping[str, Tensor | Summed]]
#: From a chunk and the weights of its sums by name, each ``(G, K, M)``, to the slopes of their weighted sum.
HandSlopes = Callable[[Voxels, dict[str, Tensor]], Slopes]


class FormulaKernel(ChunkKernel):
    """Apply a formula to each chunk.

    Args:
        formula: What to sum.
        num_classes: Classes K.
        ignore_index: Label that does not count.
        slopes: Its slopes; without, the gradient is autograd's.
    """

    def __init__(
        self, formula: Formula, num_classes: int, ignore_index: int | None, slopes: HandSlopes | None = None
    ) -> None:
        self.formula = formula
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.slopes = slopes
        self.keeps = slopes is not None

    def voxels(self, chunk: Chunk, probs: Tensor | None = None) -> Voxels:
        """Voxels of a chunk."""
        labels, *extra = chunk.targets
        return Voxels(chunk.logits, labels, self.num_classes, self.ignore_index, extra, probs)

    def sums(self, chunk: Chunk) -> Pass:
        """Evaluate the formula."""
        voxels = self.voxels(chunk)
        if chunk.room is not None:
            chunk.room.copy_(voxels.probs[:, -chunk.room.shape[1] :])
        return Pass(*pack(self.formula(voxels)))

    def plan(self, weight: Tensor, layout: Layout, found: Found, dtype: torch.dtype) -> tuple[Tensor, Layout]:
        """Give the weights and their names."""
        return weight.to(dtype), layout

    def gradient(self, chunk: Chunk, plan: tuple[Tensor, Layout], items: slice) -> None:
        """Write the gradient."""
        assert chunk.room is not None
        weight, layout = plan[0][items], plan[1]
        if self.slopes is None:
            with torch.enable_grad():
                leaf = chunk.logits.detach().requires_grad_()
                rows = pack(self.formula(self.voxels(chunk._replace(logits=leaf))))[0]
            chunk.room.copy_(torch.autograd.grad(rows, leaf, weight.to(rows.dtype))[0])
            return
        voxels = self.voxels(chunk, chunk.room if chunk.kept and chunk.room.shape[1] > 1 else None)
        slopes = self.slopes(voxels, layout.columns(weight))
        chunk.room.copy_(slopes.chain(voxels.probs)[:, -chunk.room.shape[1] :])


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
