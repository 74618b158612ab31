"""Checks of what a metric is given: shapes always, values where the metric is asked to validate."""

from typing import Any, get_args

import torch
from torch import Tensor

from .binning import iter_blocks

MESSAGES = (
    "probs holds NaN",
    "probs holds values outside [0, 1]: metrics take probabilities; apply softmax to logits first",
    "probs does not sum to 1 over the classes (axis 1): apply softmax over the classes, or turn one sigmoid channel p "
    "into (1 - p, p)",
    "target holds labels outside 0..num_classes-1 that are not ignore_index",
)


def check_shapes(probs: Tensor, target: Tensor, num_classes: int) -> None:
    """Compare the shapes of probs (B, K, *S) and target (B, *S).

    Raises:
        ValueError: If the shapes or types do not fit.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: at least two; turn one sigmoid channel p into (1 - p, p)")
    if not probs.is_floating_point():
        raise ValueError(f"probs must be floating point, got {probs.dtype}")
    if probs.ndim < 3 or probs.shape[1] != num_classes:
        raise ValueError(f"probs must have the shape (B, {num_classes}, *S), got {tuple(probs.shape)}")
    if 0 in probs.shape[2:]:
        raise ValueError(f"probs holds images without a voxel: its shape is {tuple(probs.shape)}")
    expected = (probs.shape[0], *probs.shape[2:])
    if target.shape != expected:
        raise ValueError(f"target must have the shape {expected}, got {tuple(target.shape)}")
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target must hold integer labels, got {target.dtype}")


def check_regions(probs: Tensor, target: Tensor, regions: int) -> None:
    """Compare the shapes of probs (B, R, 2, *S) and target (B, R, *S) of regions that may overlap.

    Raises:
        ValueError: If the shapes or types do not fit.
    """
    if probs.ndim < 4 or tuple(probs.shape[1:3]) != (regions, 2):
        raise ValueError(
            f"probs must have the shape (B, {regions}, 2, *S), got {tuple(probs.shape)}: with multilabel=True turn "
            "sigmoids p (B, R, *S) into torch.stack((1 - p, p), 2)"
        )
    expected = (*probs.shape[:2], *probs.shape[3:])
    if target.shape != expected:
        raise ValueError(f"target must have the shape {expected}, got {tuple(target.shape)}")
    check_shapes(probs.flatten(0, 1), target.flatten(0, 1), 2)


def value_problems(probs: Tensor) -> Tensor:
    """Which of the first three `MESSAGES` hold for probs (K, *S), as (4,) bool on its device, without a wait for it."""
    tolerance = 1e-3 if probs.dtype in (torch.float32, torch.float64) else 3e-2
    if probs.numel() == 0:
        return torch.zeros(len(MESSAGES), dtype=torch.bool, device=probs.device)
    extremes = []
    for (block,) in iter_blocks(probs.reshape(len(probs), -1)):
        total = block[0].to(torch.promote_types(block.dtype, torch.float32))
        for channel in block[1:]:
            total = total + channel
        low_sum, high_sum = total.aminmax()
        # on rows apart in memory amin and amax together take half the time of aminmax
        extremes.append(torch.stack((block.amin().to(total), -block.amax().to(total), low_sum, -high_sum)))
    low, minus_high, low_sum, minus_high_sum = torch.stack(extremes).amin(0).unbind()
    outside = (low < 0) | (minus_high < -1)
    uneven = (low_sum < 1 - tolerance) | (minus_high_sum < -1 - tolerance)
    return torch.stack((low.isnan(), outside, uneven, torch.zeros_like(outside)))


def label_problems(target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Whether the last of `MESSAGES` holds, as (4,) bool on the device of target (*S)."""
    wrong = (target < 0) | (target >= num_classes)
    if ignore_index is not None:
        wrong &= target != ignore_index
    found = torch.zeros(len(MESSAGES), dtype=torch.bool, device=target.device)
    found[3] |= wrong.any()
    return found


def valid_voxels(target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor | None:
    """The voxels (*S) bool that are not ignored; None, at next to no cost, where the extremes show that all count."""
    if ignore_index is None:
        return None
    if target.device.type == "cpu" and target.numel() and not 0 <= ignore_index < num_classes:
        low, high = target.aminmax()
        if low >= 0 and high < num_classes:
            return None
    return target != ignore_index


def raise_problems(found: Tensor) -> None:
    """Raise for the first problem found.

    Raises:
        ValueError: If any entry is set.
    """
    flags = found.tolist()
    if any(flags):
        raise ValueError(MESSAGES[flags.index(True)])


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check that an argument is one of the choices of a ``Literal``.

    Raises:
        ValueError: If it is not.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name}={value!r} is unknown: choose one of {list(get_args(choices))}")
