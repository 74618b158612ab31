"""Sums of losses, any by name and weight; one loss on each output or region; and losses of other libraries."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .adaptive import AdaptiveMultiplierLoss
from .base import SegmentationLoss
from .engine import IGNORED


class WeightedSumLoss(nn.Module):
    """Sum of losses, each with a weight; the parts can be logged by name.

    Args:
        losses: Loss of each name, of this package or any other of logits and int64 labels.
        weights: Weight of each name; names that are left out weigh 1. May be scheduled, as ``weights.<name>``.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> loss = losses.WeightedSumLoss({"dice": losses.DiceLoss(), "ce": losses.CrossEntropyLoss()}, {"ce": 0.5})
        >>> loss(logits, labels)
        tensor(1.5410)
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

    Example:
        >>> import torch, losses
        >>> fine, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.DeepSupervisionLoss(losses.DiceLoss())([fine, fine[..., ::2, ::2]], labels)
        tensor(0.6675)
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


class MultiLabelLoss(nn.Module):
    """Mean of a two-class loss over regions that may overlap, each the sigmoid of a channel of its own.

    Each region is the two-class problem that it would be alone: a foreground logit against a background logit of 0, its
    own labels, and the same loss, gradient and conventions for absent classes.

    Args:
        loss: Loss of one region, of this package or any other that takes one channel of logits.

    Raises:
        ValueError: If the loss keeps a state by class, which regions cannot share.

    Example:
        >>> import torch, losses
        >>> logits, whole = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.ones(1, 4, 4).long()
        >>> core = torch.eye(4).long()[None]
        >>> loss = losses.MultiLabelLoss(losses.DicePlusPlusLoss())
        >>> loss(logits, torch.stack([whole, core], 1))
        tensor(0.6355)
        >>> alone = [losses.DicePlusPlusLoss()(logits[:, k, None], labels) for k, labels in enumerate((whole, core))]
        >>> sum(alone) / 2
        tensor(0.6355)
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        if kept := [part for part in loss.modules() if isinstance(part, AdaptiveMultiplierLoss)]:
            name = type(kept[0]).__name__
            raise ValueError(f"{name} adapts multipliers to classes, regions have none: take a loss without a state")
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean for ``(B, R, *S)`` logits and labels of 0, 1 and what is ignored, ``(B, R, *S)``.

        Raises:
            ValueError: If logits and labels differ in shape, or the labels are soft.
        """
        pairs = self._pairs(logits, target)
        return torch.stack([call(self.loss, *pair) for pair in pairs]).mean()

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the parts of a compound loss by name, each the mean over the regions; none of others."""
        if not hasattr(self.loss, "components"):
            return {}
        parts: list[dict[str, Tensor]] = [self.loss.components(*pair) for pair in self._pairs(logits, target)]  # type: ignore[operator]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    @staticmethod
    def _pairs(logits: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        if target.shape != logits.shape or target.is_floating_point():
            raise ValueError(
                f"target must hold integer labels of each region, {tuple(logits.shape)}, got {target.dtype} "
                f"{tuple(target.shape)}"
            )
        return [(logits[:, k, None], target[:, k]) for k in range(logits.shape[1])]


def call(loss: nn.Module, logits: Any, target: Tensor) -> Tensor:
    """Value of a loss from anywhere; one that is not ours gets its labels as its library wants them.

    All get int64 labels. Torch's and segmentation-models-pytorch's find their own ``ignore_index`` in place of 255,
    MONAI's a channel axis, and ``torch.nn.BCEWithLogitsLoss`` the foreground's logit and labels of the counted voxels.

    Raises:
        ValueError: If the loss can not leave out voxels that do not count, wants probabilities, or refuses the shapes.
    """
    if isinstance(loss, SegmentationLoss | WeightedSumLoss | DeepSupervisionLoss | MultiLabelLoss):
        return loss(logits, target)
    name = f"{type(loss).__module__}.{type(loss).__name__}"
    labels = target if target.is_floating_point() else _ignored_its_way(loss, target.long(), name)
    try:
        return loss(*_as_wanted(loss, logits, labels, name))
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else "several"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} refuses logits {shape} with labels {tuple(target.shape)}: {reason}") from error


def _ignored_its_way(loss: nn.Module, labels: Tensor, name: str) -> Tensor:
    """Labels whose voxels that do not count bear the label that a loss of a known library ignores."""
    if not _is_from(loss, "torch", "monai", "segmentation_models_pytorch") or isinstance(loss, nn.BCEWithLogitsLoss):
        return labels
    ignore_index = getattr(loss, "ignore_index", None)
    ignored = labels == IGNORED
    if isinstance(ignore_index, int):
        return torch.where(ignored, ignore_index, labels)
    if bool(ignored.any()):
        has_one = "ignore_index" in inspect.signature(type(loss)).parameters
        cure = "add --model.loss.ignore_index 255" if has_one else "take one of ours, as losses.DiceLoss"
        raise ValueError(f"{name} counts every voxel, and labels of 255 do not count: {cure}")
    return labels


def _as_wanted(loss: nn.Module, logits: Any, labels: Tensor, name: str) -> tuple[Any, Tensor]:
    """Logits and labels in the form that a loss of a known library wants."""
    if isinstance(loss, nn.BCEWithLogitsLoss) and not labels.is_floating_point():
        if logits.shape[1] > 2:
            raise ValueError("it has two classes, the logits more; take torch.nn.CrossEntropyLoss")
        counted = labels != IGNORED
        score = logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        return score[counted], labels[counted].to(logits.dtype)
    if _is_from(loss, "monai"):
        part = getattr(loss, "dice", loss)
        activations = [key for key in ("softmax", "sigmoid", "use_softmax") if hasattr(part, key)]
        on = [key for key in activations if getattr(part, key)]
        if "softmax" in activations and not on and not getattr(part, "other_act", None):
            raise ValueError("it takes probabilities and would get logits; add --model.loss.softmax true (or sigmoid)")
        if logits.shape[1] == 1 and set(on) - {"sigmoid"}:
            raise ValueError(
                f"there is no softmax of one channel; leave out {on[0]}, or leave --model.binary at softmax"
            )
        if labels.ndim < logits.ndim and type(loss).__name__ != "NACLLoss":
            labels = labels.unsqueeze(1)
    return logits, labels


def _is_from(loss: nn.Module, *libraries: str) -> bool:
    """Whether a class or one that it is derived from comes from a library."""
    return any(base.__module__.startswith(tuple(f"{name}." for name in libraries)) for base in type(loss).__mro__[:-2])


def nearest_grid(target: Tensor, shape: Sequence[int]) -> Tensor:
    """Take the voxel of ``target`` nearest to each voxel centre of a grid of ``shape``, over the last axes."""
    for axis, size in enumerate(shape, start=target.ndim - len(shape)):
        old = target.shape[axis]
        if old != size:
            centres = (torch.arange(size, device=target.device) * 2 + 1) * old // (2 * size)
            target = target.index_select(axis, centres)
    return target
