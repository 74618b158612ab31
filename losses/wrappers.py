"""Sums of losses: any by name and weight, and one loss on each output of a network with deep supervision."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .base import SegmentationLoss


class WeightedSumLoss(nn.Module):
    """Sum of losses, each with a weight; the parts can be logged by name.

    Args:
        losses: Loss of each name, of this package or any other of logits and int64 labels.
        weights: Weight of each name; names that are left out weigh 1. May be scheduled, as ``weights.<name>``.
    """

    def __init__(self, losses: dict[str, nn.Module], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        given: Mapping[str, float] = weights or {}
        if not losses:
            raise ValueError(f"losses must name at least one loss, got {losses}")
        if unknown := sorted(set(given) - set(losses)):
            raise ValueError(f"weights names {unknown}, which losses lacks; it has {sorted(losses)}")
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: float(given.get(name, 1.0)) for name in losses}

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the unweighted loss of each name."""
        return {name: call(loss, logits, target) for name, loss in self.losses.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the weighted sum for ``(B, K, *S)`` logits and labels ``(B, *S)`` or ``(B, K, *S)``."""
        parts = self.components(logits, target)
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()


class DeepSupervisionLoss(nn.Module):
    """Weighted mean of one loss over the outputs of a network that returns several, finest first.

    The target is brought to each output's grid by taking the nearest voxel.

    Args:
        loss: Loss of one output.
        weights: Weight of each output, finest first; halved from one output to the next where none are given.
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if weights is not None and (not len(weights) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"weights must be >= 0 with a sum above 0, got {weights}")
        self.loss = loss
        self.weights = None if weights is None else [float(w) for w in weights]

    def forward(self, logits: Sequence[Tensor] | Tensor, target: Tensor) -> Tensor:
        """Compute the loss of a list of ``(B, K, *S_i)`` logits, or of one tensor, and a target on the finest grid."""
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        if isinstance(logits, Tensor):
            return call(self.loss, logits, target)
        weights = self.weights or [0.5**level for level in range(len(levels))]
        if len(weights) != len(levels):
            raise ValueError(f"weights has {len(weights)} entries, but the network returned {len(levels)} outputs")
        total = sum(weights)
        parts = [
            weight / total * call(self.loss, level, nearest_grid(target, level.shape[2:]))
            for weight, level in zip(weights, levels, strict=True)
            if weight > 0
        ]
        return torch.stack(parts).sum()


def call(loss: nn.Module, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
    """Value of a loss from anywhere: one that is not ours gets its labels as int64, which torch's own losses want."""
    ours = isinstance(loss, SegmentationLoss | WeightedSumLoss | DeepSupervisionLoss)
    return loss(logits, target if ours or target.is_floating_point() else target.long())


def nearest_grid(target: Tensor, shape: Sequence[int]) -> Tensor:
    """Take the voxel of ``target`` nearest to each voxel centre of a grid of ``shape``, over the last axes."""
    for axis, size in enumerate(shape, start=target.ndim - len(shape)):
        old = target.shape[axis]
        if old != size:
            centres = (torch.arange(size, device=target.device) * 2 + 1) * old // (2 * size)
            target = target.index_select(axis, centres)
    return target
