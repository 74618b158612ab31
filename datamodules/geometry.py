"""Where an array came from, and the way back to its original grid.

Preparation is a list of small steps (orient, crop, resize, pad). Each knows how to do and to undo itself and what it
does to the affine, so that there is one definition of the way there and back.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
SAME = 1e-5  # shares closer than this differ by rounding alone


class Step(Protocol):
    """One invertible change of grid of a tensor `(C, *S)`."""

    def apply(self, array: Tensor, fill: float = 0.0) -> Tensor:
        """Go from the grid before to the grid after."""

    def undo(self, probs: Tensor) -> Tensor:
        """Bring probabilities `(K, *S)` from the grid after back to the grid before."""

    def matrix(self) -> np.ndarray:
        """Homogeneous matrix from indices after the step to indices before it."""


class Orient:
    """Permute the axes, then flip some.

    Args:
        order: For each new axis, the old one.
        flip: For each new axis, whether it is reversed.
        shape: Spatial shape before.
    """

    def __init__(self, order: Sequence[int], flip: Sequence[bool], shape: Sequence[int]) -> None:
        self.order, self.flip, self.shape = tuple(order), tuple(flip), tuple(shape)

    def _dims(self) -> list[int]:
        return [axis + 1 for axis, flip in enumerate(self.flip) if flip]

    def apply(self, array: Tensor, fill: float = 0.0) -> Tensor:
        """Permute and flip `(C, *S)`."""
        return array.permute(0, *(axis + 1 for axis in self.order)).flip(self._dims())

    def undo(self, probs: Tensor) -> Tensor:
        """Flip and permute back."""
        return probs.flip(self._dims()).permute(0, *(int(axis) + 1 for axis in np.argsort(self.order)))

    def matrix(self) -> np.ndarray:
        """Signed permutation with the offsets of the reversed axes."""
        matrix = np.zeros((len(self.order) + 1,) * 2)
        matrix[-1, -1] = 1
        for new, (old, flip) in enumerate(zip(self.order, self.flip, strict=True)):
            matrix[old, new] = -1 if flip else 1
            matrix[old, -1] = self.shape[old] - 1 if flip else 0
        return matrix


class Resize:
    """Linear resampling between two shapes with the voxel edges (not the centres) aligned.

    Args:
        before: Spatial shape before.
        after: Spatial shape after.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        self.before, self.after = tuple(before), tuple(after)

    def apply(self, array: Tensor, fill: float = 0.0) -> Tensor:
        """Resample `(C, *S)` linearly."""
        return _interpolate(array, self.after)

    def undo(self, probs: Tensor) -> Tensor:
        """Resample back linearly, which keeps sums over channels."""
        return _interpolate(probs, self.before)

    def matrix(self) -> np.ndarray:
        """Scaling about the outer edge of the first voxel."""
        scale = np.array(self.before) / np.array(self.after)
        matrix = np.diag([*scale, 1.0])
        matrix[:-1, -1] = (scale - 1) / 2
        return matrix


class Window:
    """Crop and pad in one: the grid after starts at `start` of the grid before, which may be negative.

    Args:
        before: Spatial shape before.
        start: First index of the window on each axis; negative pads in front.
        after: Spatial shape after.
    """

    def __init__(self, before: Sequence[int], start: Sequence[int], after: Sequence[int]) -> None:
        self.before, self.start, self.after = tuple(before), tuple(start), tuple(after)

    def apply(self, array: Tensor, fill: float = 0.0) -> Tensor:
        """Cut the window out of `(C, *S)`, with `fill` where it hangs over."""
        if self.after == self.before and not any(self.start):
            return array
        result = array.new_full((array.shape[0], *self.after), fill)
        inside, there = self._overlap()
        result[(slice(None), *there)] = array[(slice(None), *inside)]
        return result

    def undo(self, probs: Tensor) -> Tensor:
        """Put the window back; what it did not cover is background with probability one."""
        if self.after == self.before and not any(self.start):
            return probs
        result = probs.new_zeros((probs.shape[0], *self.before))
        result[0] = 1
        inside, there = self._overlap()
        result[(slice(None), *inside)] = probs[(slice(None), *there)]
        return result

    def matrix(self) -> np.ndarray:
        """Translation by the start."""
        matrix = np.eye(len(self.start) + 1)
        matrix[:-1, -1] = self.start
        return matrix

    def covered(self) -> float:
        """Share of the window that lies on the grid before."""
        _, there = self._overlap()
        return math.prod(part.stop - part.start for part in there) / math.prod(self.after)

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        inside, there = [], []
        for before, start, after in zip(self.before, self.start, self.after, strict=True):
            low, high = max(0, start), min(before, start + after)
            inside.append(slice(low, high))
            there.append(slice(low - start, high - start))
        return tuple(inside), tuple(there)


class Geometry:
    """Original grid of one case and the steps that led to the network's grid.

    A plain immutable class and not a dataclass, because Lightning takes dataclasses in a batch apart.

    Args:
        kind: "image" or "volume".
        original_shape: Spatial shape of the file's array, in the file's axis order.
        spacing: Distance between neighbours on each original axis (mm for volumes, ones for images).
        affine: 4x4 matrix from original indices to mm, for volumes.
        steps: The steps done, in order.
        source: File of the case, whose format and header predictions are written with.

    Example:
        >>> import torch
        >>> from datamodules import Geometry
        >>> from datamodules.geometry import Resize
        >>> geometry = Geometry("image", (30, 40)).then(Resize((30, 40), (32, 32)))
        >>> grid = geometry.apply(torch.rand(1, 30, 40))
        >>> probs = geometry.restore(torch.cat([grid, 1 - grid]))
        >>> grid.shape, probs.shape
        (torch.Size([1, 32, 32]), torch.Size([2, 30, 40]))
    """

    def __init__(
        self,
        kind: Literal["image", "volume"],
        original_shape: Sequence[int],
        spacing: Sequence[float] | None = None,
        affine: np.ndarray | None = None,
        steps: Sequence[Step] = (),
        source: Path | None = None,
    ) -> None:
        self.kind = kind
        self.original_shape = tuple(int(size) for size in original_shape)
        self.spacing = tuple(float(s) for s in spacing) if spacing is not None else (1.0,) * len(self.original_shape)
        self.affine = affine
        self.steps = tuple(steps)
        self.source = source

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError(f"Geometry is immutable; {name} cannot be set again.")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        done = ", ".join(type(step).__name__ for step in self.steps)
        return f"Geometry({self.kind}, {self.original_shape}, spacing={self.spacing}, steps=[{done}])"

    def then(self, *steps: Step) -> "Geometry":
        """Geometry with further steps."""
        done = (*self.steps, *steps)
        return Geometry(self.kind, self.original_shape, self.spacing, self.affine, done, self.source)

    def apply(self, array: Tensor, fill: float = 0.0) -> Tensor:
        """Bring `(C, *original_shape)` to the network's grid with all steps."""
        for step in self.steps:
            array = step.apply(array, fill)
        return array

    def restore(self, probs: Tensor) -> Tensor:
        """Bring probabilities `(K, *S)` back to `(K, *original_shape)`.

        Resampling is linear and the result is renormalised to sum one; taking the argmax is left to the caller.
        """
        for step in reversed(self.steps):
            probs = step.undo(probs)
        if tuple(probs.shape[1:]) != self.original_shape:
            raise ValueError(f"probs of shape {tuple(probs.shape)} do not come back to {self.original_shape}")
        if self.resized:
            probs = probs.clamp_min(0)
            probs = probs / probs.sum(0, keepdim=True)
        return probs

    @property
    def resized(self) -> bool:
        """Whether the network's grid is of another size or spacing than the original one."""
        return any(isinstance(step, Resize) for step in self.steps)

    def padding(self) -> float:
        """Share of the network's grid that lies beyond the case, where windows hang over it."""
        inside = 1.0
        for step in self.steps:
            if isinstance(step, Window):
                inside *= step.covered()
        return 1 - inside

    def grid_affine(self) -> np.ndarray:
        """4x4 affine of the network's grid (indices there to mm)."""
        affine = np.eye(4) if self.affine is None else self.affine
        for step in self.steps:
            affine = affine @ step.matrix()
        return affine

    def grid_spacing(self) -> tuple[float, ...]:
        """Spacing of the network's grid on each of its axes."""
        matrix = np.diag([*self.spacing, 1.0])
        for step in self.steps:
            matrix = matrix @ step.matrix()
        return tuple(float(s) for s in np.linalg.norm(matrix[:-1, :-1], axis=0))


def _interpolate(array: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(array.shape[1:]) == tuple(shape):
        return array
    return F.interpolate(array[None].float(), size=tuple(shape), mode=_LINEAR[len(shape)], align_corners=False)[0]


def resize_labels(labels: Tensor, shape: Sequence[int], num_classes: int) -> Tensor:
    """Resample a label map `(*S)` linearly for each class and take the largest share; 255 is treated like a class.

    Of equal shares (a block that is half nucleus, where sides are halved) the lower class gets the places of even
    parity and the higher one those of odd parity, so that no class grows, shrinks or is shifted.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    best = torch.full(tuple(shape), -1.0)
    result = torch.zeros(tuple(shape), dtype=torch.uint8)
    odd = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).sum(0) % 2 == 1
    for value in (*range(num_classes), 255):
        share = _interpolate((labels == value)[None].float(), shape)[0]
        better = torch.where(odd, share >= best - SAME, share > best + SAME) & (share > SAME)
        best[better], result[better] = share[better], value
    return result


def centred(before: Sequence[int], after: Sequence[int]) -> Window:
    """Window of shape `after` about the middle of `before`."""
    return Window(before, [(b - a) // 2 for b, a in zip(before, after, strict=True)], after)


def padded(before: Sequence[int], divisor: int) -> Window:
    """Smallest window about the middle that holds everything and whose sides are multiples of `divisor`."""
    return centred(before, [-(-size // divisor) * divisor for size in before])
