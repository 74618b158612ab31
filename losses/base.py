"""What all losses share: how a formula becomes a loss, the check of common arguments, sums over processes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, distributed, nn

from .engine import IGNORED, HandSlopes, Summed, Sums, Terms, Voxels, compute_dtype, voxel_sums

Choice = TypeVar("Choice", bound=str)
Pool = Literal["image", "batch"]
Absent = Literal["count", "skip"]
Soft = Literal["product", "semimetric"]


class SegmentationLoss(nn.Module):
    """A loss of logits ``(B, K, *S)`` and labels ``(B, *S)`` or soft labels ``(B, K, *S)``.

    A subclass says :meth:`summands`, the formula voxel by voxel, and :meth:`value`, the loss from their sums; for speed
    also :meth:`fast`, which names what the engine has that is the same. Half and bfloat16 logits are computed in single
    precision, double stays double. A voxel that does not count has no gradient; where no voxel counts the loss and its
    gradient are 0.

    Args:
        class_weights: One weight for each class, background first; none weighs all classes alike.
        ignore_index: Label of voxels that do not count (soft labels: voxels whose channels sum to 0).

    Example:
        >>> import torch, losses
        >>> class BrierLoss(losses.SegmentationLoss):
        ...     def summands(self, voxels):
        ...         return {"voxels": voxels.counted, "error": (voxels.probs - voxels.labels) ** 2 * voxels.counted}
        ...     def value(self, sums, weights):
        ...         return (weights * sums.error).sum() / sums.voxels[:, 0].sum()
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> BrierLoss()(logits, labels)
        tensor(1.1876)
        >>> losses.BrierLoss()(logits, labels)
        tensor(1.1876)
    """

    class_weights: Tensor | None
    #: Whether sums are formed for each image, or for the whole batch over all processes.
    pool: Pool = "image"
    #: Exponent of the DSC++ loss whose optimum this loss has, which ``models.DicePlusPlusInverse`` undoes; or none.
    inverse_gamma: float | None = None

    def __init__(self, class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float64)
        if weights is not None and (weights.ndim != 1 or not bool((weights >= 0).all()) or float(weights.sum()) <= 0):
            raise ValueError(f"class_weights must be a list of weights >= 0 with a sum above 0, got {class_weights}")
        self.register_buffer("class_weights", weights)

    def summands(self, voxels: Voxels) -> Mapping[str, Tensor | Summed]:
        """Give what is summed, by name: of each voxel and class ``(G, K, n)``, or ``(G, 1, n)`` for all classes."""
        raise NotImplementedError

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums ``(B, K)``, named as the summands, and the class weights ``(K,)``."""
        raise NotImplementedError

    def fast(self) -> Terms | HandSlopes | None:
        """Give what runs the summands fast: terms of the engine, or slopes by hand; none is autograd."""
        return None

    def extra(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Give what else the summands need to know of each voxel, each ``(B, ..., *S)``."""
        return []

    def sums(self, logits: Tensor, target: Tensor) -> Sums:
        """Sum the summands over the voxels of each image, or of the whole batch over all processes."""
        extra = self.extra(logits, target)
        sums = voxel_sums(logits, target, self.ignore_index, self.summands, self.fast(), extra)
        return sums if self.pool == "image" else pooled(sums)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        return result(self.value(self.sums(logits, target), self.weights_for(logits)), logits)

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SegmentationLoss":
        """Move, but keep numbers in double precision: a trainer in half precision would round them."""
        wide = {name: b for name, b in self._buffers.items() if b is not None and b.dtype == torch.float64}
        self._buffers.update(dict.fromkeys(wide, torch.empty(0)))
        super()._apply(fn, recurse)
        for name, buffer in wide.items():
            device = fn(torch.empty(0)).device
            self._buffers[name] = buffer if device.type == "mps" else buffer.to(device)
        return self


class LossOfParts(SegmentationLoss):
    """A weighted sum of parts that can be logged by name.

    Example:
        >>> import torch, losses
        >>> class DiceAndSize(losses.LossOfParts):
        ...     def summands(self, voxels):
        ...         y, p = voxels.labels, voxels.probs
        ...         return {"true": y, "found": p * voxels.counted, "overlap": y * p}
        ...     def parts(self, sums, weights):
        ...         dice = 1 - 2 * sums.overlap / (sums.true + sums.found)
        ...         return {"dice": dice.mean(), "size": (sums.found / sums.true - 1).abs().mean()}
        ...     def part_weights(self):
        ...         return {"size": 0.1}
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> DiceAndSize()(logits, labels)
        tensor(0.8770)
        >>> {name: round(float(part), 4) for name, part in DiceAndSize().components(logits, labels).items()}
        {'dice': 0.7071, 'size': 1.6997}
    """

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the unweighted parts by name from the sums and the class weights."""
        raise NotImplementedError

    def part_weights(self) -> dict[str, float]:
        """Give the weight of each part; names that are left out weigh 1."""
        return {}

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the unweighted parts by name."""
        parts = self.parts(self.sums(logits, target), self.weights_for(logits))
        return {name: result(part, logits) for name, part in parts.items()}

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        by_name = self.part_weights()
        return torch.stack([by_name.get(name, 1.0) * part for name, part in self.parts(sums, weights).items()]).sum()


def result(loss: Tensor, logits: Tensor) -> Tensor:
    """Bring a loss from double precision to that of the computation: single for half, double for double."""
    return loss.to(compute_dtype(logits))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``values`` with ``weights`` (broadcast together); 0 where all weights are 0."""
    weights = weights.expand_as(values)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def weighted_cost(cost: Tensor, volume: Tensor, weights: Tensor) -> Tensor:
    """Mean over voxels of a cost from its sums ``(B, K)`` by the label's class, each class weighted."""
    return ratio((weights * cost).sum(), (weights * volume).sum())


def mean_of_items(values: Tensor, voxels: Tensor) -> Tensor:
    """Mean of ``(B,)`` values over the items that have a counted voxel, from their numbers ``(B, K)``."""
    return weighted_mean(values, (voxels[:, 0] > 0).double())


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """Mean from a sum and a count; 0 where nothing was counted."""
    return total / torch.where(count > 0, count, 1.0)


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


def one_of(name: str, value: Choice, choices: Any) -> Choice:
    """Return ``value`` if it is one of the choices of a ``Literal``.

    Raises:
        ValueError: If it is not, naming argument and value.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
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


def pooled(sums: Sums) -> Sums:
    """Add up sums ``(B, K)`` over the batch and over all processes, in one exchange: ``(1, K)`` each."""
    by_name = vars(sums)
    totals = sum_over_processes(torch.stack(list(by_name.values())).sum(1, keepdim=True))
    return Sums(**dict(zip(by_name, totals, strict=True)))
