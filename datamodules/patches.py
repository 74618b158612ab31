"""Where a training patch lies: uniform, biased to foreground, or by the Generalised Dice paper's rule."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .errors import DataError


class Target(NamedTuple):
    """Mask of a case from which patches are drawn.

    Args:
        name: Case, under which what was found out about its mask is remembered.
        mask: Labels `(*S)`, perhaps a memory map.
        foreground: Flat positions of foreground voxels where they are known.
    """

    name: str
    mask: np.ndarray
    foreground: np.ndarray | None = None


class PatchSampling(ABC):
    """Chooses the first index of a patch; a pure function of the mask and the generator."""

    @abstractmethod
    def start(self, target: Target, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """First index on each axis.

        Args:
            target: The case's mask.
            size: Patch size; larger than the mask on an axis centres the mask in the patch.
            rng: Generator of this draw.
        """


def _uniform(shape: Sequence[int], size: Sequence[int], rng: np.random.Generator) -> list[int]:
    starts = []
    for length, side in zip(shape, size, strict=True):
        room = length - side
        starts.append(int(rng.integers(room + 1)) if room > 0 else room // 2)
    return starts


class Uniform(PatchSampling):
    """Every position inside the image is equally likely.

    Example:
        >>> import numpy
        >>> from datamodules import Uniform
        >>> from datamodules.patches import Target
        >>> mask = numpy.zeros((64, 64), "uint8")
        >>> Uniform().start(Target("case", mask), size=[64, 32], rng=numpy.random.default_rng(0))[0]
        0
    """

    def start(self, target: Target, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw a position."""
        return _uniform(target.mask.shape, size, rng)


def foreground_index(mask: np.ndarray, limit: int = 10_000, seed: int = 0) -> np.ndarray:
    """Flat positions of at most `limit` foreground voxels, int64, drawn without replacement where there are more."""
    flat = np.flatnonzero((mask != 0) & (mask != 255))
    if len(flat) > limit:
        flat = np.sort(np.random.default_rng([seed, len(flat)]).choice(flat, limit, replace=False))
    return flat.astype(np.int64)


class Foreground(PatchSampling):
    """With a given chance the patch is centred on a foreground voxel, otherwise uniform.

    Args:
        fraction: Share of patches about foreground.

    Example:
        >>> import numpy
        >>> from datamodules import Foreground
        >>> from datamodules.patches import Target
        >>> mask = numpy.zeros((64, 64), "uint8")
        >>> mask[40, 20] = 1
        >>> Foreground(fraction=1.0).start(Target("case", mask), size=[16, 16], rng=numpy.random.default_rng(0))
        [32, 12]
    """

    def __init__(self, fraction: float = 0.5) -> None:
        if not 0 <= fraction <= 1:
            raise DataError(f"fraction={fraction}: must be 0..1.")
        self.fraction = fraction
        self._index: dict[str, np.ndarray] = {}

    def start(self, target: Target, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw a position; the foreground is searched once a case."""
        shape = target.mask.shape
        if rng.random() >= self.fraction:
            return _uniform(shape, size, rng)
        index = target.foreground
        if index is None:
            index = self._index.get(target.name)
        if index is None:
            index = self._index[target.name] = foreground_index(target.mask)
        if not len(index):
            return _uniform(shape, size, rng)
        centre = np.unravel_index(int(index[rng.integers(len(index))]), shape)
        return around([int(position) for position in centre], shape, size)


class ContainsForeground(PatchSampling):
    """The Generalised Dice paper's rule: every patch that holds at least one foreground voxel is equally likely.

    Equal in law to drawing uniform patches until one holds foreground, but without trying: the admissible positions are
    the mask dilated by the window, they are counted once a case for every line of the last axis, and one of them is
    picked by its number. Patches lie inside the image; a case without foreground is drawn uniformly.

    Args:
        window: Central part of the patch that must hold the foreground, as the effective size of a network with valid
            convolutions; the whole patch if left out.

    References:
        Sudre et al., Generalised Dice overlap as a deep learning loss function, 2017, section 3.

    Example:
        >>> import numpy
        >>> from datamodules import ContainsForeground
        >>> from datamodules.patches import Target
        >>> mask = numpy.zeros((64, 64), "uint8")
        >>> mask[40, 20] = 1
        >>> sampling, target, rng = ContainsForeground(window=[4, 4]), Target("case", mask), numpy.random.default_rng(0)
        >>> starts = [sampling.start(target, [16, 16], rng) for _ in range(99)]
        >>> min(starts), max(starts)  # the voxel lies in the patch's central 4 x 4
        ([31, 11], [34, 14])
    """

    def __init__(self, window: list[int] | None = None) -> None:
        self.window = window
        self._counts: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}

    def start(self, target: Target, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw a position."""
        size = tuple(size)
        mask, window = target.mask, tuple(self.window or size)
        if len(window) < len(size):
            window = (*(1,) * (len(size) - len(window)), *window)
        if any(w > side for w, side in zip(window, size, strict=True)):
            raise DataError(f"window={list(window)} is larger than the patch {list(size)}. Make it smaller.")
        key = (target.name, size)
        totals = self._counts.get(key)
        if totals is None:
            starts = admissible_starts(mask, size, window)
            lines = starts.reshape(-1, starts.shape[-1]).sum(1, dtype=np.int64)
            totals = self._counts[key] = np.cumsum(lines)
        if not totals[-1]:
            return _uniform(mask.shape, size, rng)
        number = int(rng.integers(totals[-1]))
        line = int(np.searchsorted(totals, number, side="right"))
        rank = number - (int(totals[line - 1]) if line else 0)
        outer_shape = [max(n - side, 0) + 1 for n, side in zip(mask.shape, size, strict=True)][:-1]
        outer = [int(i) for i in np.unravel_index(line, outer_shape)] if outer_shape else []
        beam = mask[tuple(_reach(i, n, s, w) for i, n, s, w in zip(outer, mask.shape, size, window, strict=False))]
        held = np.asarray(_foreground(beam).any(axis=tuple(range(len(outer)))))[None]
        last = np.flatnonzero(_admissible_axis(held, 1, size[-1], window[-1])[0])[rank]
        found = [*outer, int(last)]
        return [i if n >= side else (n - side) // 2 for i, n, side in zip(found, mask.shape, size, strict=True)]


def _foreground(mask: np.ndarray) -> np.ndarray:
    return np.asarray((mask != 0) & (mask != 255))


def _reach(start: int, length: int, side: int, window: int) -> slice:
    """Voxels of an axis that the window of the patch at `start` covers."""
    first = (start if length >= side else (length - side) // 2) + (side - window) // 2
    return slice(max(first, 0), max(min(first + window, length), 0))


def _admissible_axis(held: np.ndarray, axis: int, side: int, window: int) -> np.ndarray:
    """For each start along one axis of a boolean array, whether the window covers a true element."""
    length = held.shape[axis]
    totals = np.cumsum(held, axis=axis, dtype=np.int32)
    totals = np.concatenate([np.zeros_like(totals.take([0], axis)), totals], axis=axis)
    reach = [_reach(start, length, side, window) for start in range(max(length - side, 0) + 1)]
    stops, firsts = [r.stop for r in reach], [r.start for r in reach]
    return totals.take(stops, axis) > totals.take(firsts, axis)


def admissible_starts(mask: np.ndarray, size: Sequence[int], window: Sequence[int]) -> np.ndarray:
    """Boolean map over patch starts: true where the patch's central window holds foreground.

    Args:
        mask: Labels `(*S)`.
        size: Patch size.
        window: Size of the central window.

    Returns:
        Array of shape `max(S - size, 0) + 1`.
    """
    held = _foreground(np.asarray(mask))
    for axis, (side, part) in enumerate(zip(size, window, strict=True)):
        held = _admissible_axis(held, axis, side, part)
    return held


def around(centre: Sequence[int], shape: Sequence[int], size: Sequence[int]) -> list[int]:
    """Start of the patch about a centre, moved so that it stays inside; a patch larger than the mask is centred."""
    starts = []
    for position, length, side in zip(centre, shape, size, strict=True):
        room = length - side
        starts.append(int(min(max(int(position) - side // 2, 0), room)) if room > 0 else room // 2)
    return starts


def cut(array: np.ndarray, start: Sequence[int], size: Sequence[int], fill: float) -> np.ndarray:
    """Window of `(C, *S)` as a new array; reads only the window from a memory map.

    Args:
        array: The whole.
        start: First index on each spatial axis; may be negative.
        size: Shape of the window; may hang over.
        fill: Value outside.
    """
    shape = array.shape[1:]
    ends = [first + side for first, side in zip(start, size, strict=True)]
    inside = tuple(slice(max(0, s), min(n, e)) for s, e, n in zip(start, ends, shape, strict=True))
    if all(s >= 0 and e <= n for s, e, n in zip(start, ends, shape, strict=True)):
        return _copy(array[(slice(None), *inside)])
    result = np.full((array.shape[0], *size), fill, array.dtype)
    there = tuple(slice(max(0, -s), max(0, -s) + part.stop - part.start) for s, part in zip(start, inside, strict=True))
    result[(slice(None), *there)] = array[(slice(None), *inside)]
    return result


def _copy(part: np.ndarray) -> np.ndarray:
    """A copy in C order; torch makes it in two thirds of numpy's time, but takes nothing read-only or reversed."""
    if part.flags.writeable and min(part.strides) >= 0:
        return torch.from_numpy(part).clone(memory_format=torch.contiguous_format).numpy()
    return np.array(part, order="C")
