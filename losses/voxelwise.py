"""Losses that are a mean over voxels: how a formula on one chunk becomes a loss on millions of voxels."""

from collections.abc import Callable

import torch
from torch import Tensor

from losses.chunks import ChunkKernel, chunked_sums
from losses.inputs import compact_labels, flatten_pair, two_channels
from losses.statistics import one_hot

#: From logits, labels ``(G, K, n)`` (one-hot or soft, 0 where ignored) and the mask of counted voxels ``(G, 1, n)`` to
#: R sums for each class, ``(G, R, K)``.
VoxelFormula = Callable[[Tensor, Tensor, Tensor], Tensor]


class VoxelKernel(ChunkKernel):
    """Apply a formula to each chunk; the gradient is autograd's.

    Args:
        formula: What to sum.
        num_classes: Classes K.
        ignore_index: Label that does not count.
    """

    def __init__(self, formula: VoxelFormula, num_classes: int, ignore_index: int | None) -> None:
        self.formula = formula
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Turn labels into channels and sum the formula."""
        if target.is_floating_point():
            labels = target.to(logits.dtype)
            counted = (labels.sum(1, keepdim=True) > 0).to(logits.dtype)
        else:
            compact = compact_labels(target, self.num_classes, self.ignore_index)
            labels = one_hot(compact, self.num_classes, logits.dtype)
            counted = labels.sum(1, keepdim=True)
        return self.formula(two_channels(logits), labels, counted)


def voxel_sums(formula: VoxelFormula, logits: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    """Sum a formula over the counted voxels of each item: ``(B, R, K)`` in double precision."""
    flat, labels = flatten_pair(logits, target)
    return chunked_sums(VoxelKernel(formula, max(flat.shape[1], 2), ignore_index), flat, labels)


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """Mean from a sum and a count; 0 where nothing was counted."""
    return total / torch.where(count > 0, count, 1.0)
