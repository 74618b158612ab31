"""Formulas on the voxels of one chunk, and how they become sums over millions.

A loss that is a mean over voxels is written as a function of :class:`Voxels`; several functions of one loss share its
probabilities, so that a compound costs one softmax.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from losses.chunks import ChunkKernel, chunked_sums
from losses.inputs import compact_labels, flatten_pair, two_channels


class Voxels:
    """A chunk: G items, K classes, n voxels; what is asked for is computed once.

    Args:
        logits: ``(G, K, n)``, or ``(G, 1, n)`` for a foreground logit against a background logit of 0.
        target: ``(G, n)`` labels or ``(G, K, n)`` soft labels.
        num_classes: Classes K.
        ignore_index: Label that does not count.
        extra: What else the loss knows of each voxel, ``(G, ..., n)``.
    """

    def __init__(
        self, logits: Tensor, target: Tensor, num_classes: int, ignore_index: int | None, extra: Sequence[Tensor] = ()
    ) -> None:
        self.extra = extra
        # Not functools.cached_property: its lock breaks the graph of torch.compile.
        self._log_probs: Tensor | None = None
        self._probs: Tensor | None = None
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
            self._log_probs = torch.log_softmax(self.logits, dim=1)
        return self._log_probs

    @property
    def probs(self) -> Tensor:
        """Probabilities ``(G, K, n)``."""
        if self._probs is None:
            self._probs = torch.softmax(self.logits, dim=1)
        return self._probs

    @property
    def distances(self) -> Tensor:
        """Distance of each logit from the largest, ``(G, K, n)``; its gradient reaches one of the largest."""
        return self.logits.max(dim=1, keepdim=True).values - self.logits


#: From a chunk to R sums for each class, ``(G, R, K)``.
VoxelFormula = Callable[[Voxels], Tensor]


class VoxelKernel(ChunkKernel):
    """Apply formulas to each chunk, one set of rows below the other; the gradient is autograd's.

    Args:
        formulas: What to sum.
        num_classes: Classes K.
        ignore_index: Label that does not count.
    """

    def __init__(self, formulas: Sequence[VoxelFormula], num_classes: int, ignore_index: int | None) -> None:
        self.formulas = formulas
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def sums(self, logits: Tensor, *targets: Tensor, keep: Tensor | None = None) -> Tensor:
        """Evaluate every formula on the same probabilities."""
        voxels = Voxels(logits, targets[0], self.num_classes, self.ignore_index, targets[1:])
        return torch.cat([formula(voxels) for formula in self.formulas], dim=1)


def voxel_sums(
    logits: Tensor, target: Tensor, ignore_index: int | None, *formulas: VoxelFormula, extra: Sequence[Tensor] = ()
) -> Tensor:
    """Sum formulas over the voxels of each item, ``(B, R, K)`` in double precision; ``extra`` is ``(B, ..., *S)``."""
    flat, labels = flatten_pair(logits, target)
    kernel = VoxelKernel(formulas, max(flat.shape[1], 2), ignore_index)
    grid = logits.ndim - 2
    return chunked_sums(kernel, flat, labels, *(part.flatten(part.ndim - grid) for part in extra))


def class_rows(*parts: Tensor) -> Tensor:
    """Sum each part ``(G, K, n)``, or ``(G, 1, n)`` for all classes together, over the voxels: ``(G, R, K)``."""
    sums = [part.sum(-1) for part in parts]
    classes = max(part.shape[1] for part in sums)
    return torch.stack([part.expand(-1, classes) for part in sums], dim=1)


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Compare compact labels ``(G, n)`` with every class: ``(G, K, n)``, all 0 where a voxel does not count."""
    classes = torch.arange(num_classes, dtype=torch.uint8, device=labels.device)
    return (labels.unsqueeze(1) == classes.view(1, -1, 1)).to(dtype)


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """Mean from a sum and a count; 0 where nothing was counted."""
    return total / torch.where(count > 0, count, 1.0)
