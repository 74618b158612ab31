"""What all losses share: the check of common arguments, full precision under autocast, sums over processes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from .inputs import IGNORED, compute_dtype


class SegmentationLoss(nn.Module):
    """A loss of logits ``(B, K, *S)`` and labels ``(B, *S)`` or soft labels ``(B, K, *S)``.

    Half and bfloat16 logits are computed in single precision, double stays double. A voxel that does not count has no
    gradient; where no voxel counts the loss and its gradient are 0.

    Args:
        ignore_index: Label of voxels that do not count (soft labels: voxels whose channels sum to 0).
        class_weights: One weight for each class, background first; none weighs all classes alike.
    """

    class_weights: Tensor | None

    def __init__(self, ignore_index: int | None = IGNORED, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float64)
        if weights is not None and (weights.ndim != 1 or not bool((weights >= 0).all()) or float(weights.sum()) <= 0):
            raise ValueError(f"class_weights must be a list of weights >= 0 with a sum above 0, got {class_weights}")
        self.register_buffer("class_weights", weights)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss outside of any autocast, so that half precision ends at the door."""
        with torch.autocast(logits.device.type, enabled=False):
            return super().__call__(logits, target)

    def weights_for(self, logits: Tensor) -> Tensor:
        """Class weights ``(K,)`` in double precision on the logits' device; 1 where none were given.

        Raises:
            ValueError: If their number is not that of the classes.
        """
        classes = max(logits.shape[1], 2)
        if self.class_weights is None:
            return torch.ones(classes, dtype=torch.float64, device=logits.device)
        if len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} entries, but the logits have {classes} classes"
            )
        return self.class_weights.double()

    def extra_repr(self) -> str:
        """Show the arguments, so that a printed model says which loss trained it."""
        names = [name for name in vars(self) if not name.startswith("_") and name != "training"]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def result(loss: Tensor, logits: Tensor) -> Tensor:
    """Bring a loss from double precision to that of the computation: single for half, double for double."""
    return loss.to(compute_dtype(logits))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``values`` with ``weights`` (broadcast together); 0 where all weights are 0."""
    weights = weights.expand_as(values)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def in_range(
    name: str, value: float, low: float = -math.inf, high: float = math.inf, *, open_low: bool = False
) -> float:
    """Return ``value`` if it lies within the bounds.

    Raises:
        ValueError: If it does not, naming argument and value.
    """
    if not (low < value if open_low else low <= value) or not value <= high:
        raise ValueError(f"{name} must be in {'(' if open_low else '['}{low}, {high}], got {value}")
    return value


def one_of(name: str, value: str, choices: Sequence[str] | Mapping[str, object]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: If it is not, naming argument and value.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over the processes; the gradient is summed over them too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum over all processes, with gradient: distributed training averages gradients, so each process gets the sum.

    The loss of the sum is the same on all processes. Each one's backward pass multiplies by the number of processes
    (every process holds a copy of the loss), and the averaging of gradients divides by it: what results is the gradient
    of one process with the whole batch.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        return _SumOverProcesses.apply(values)
    return values
