"""Where a training patch lies: uniform, biased to foreground, or by the Generalised Dice paper's rule."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from datamodules.errors import DataError


class PatchSampling(ABC):
    """Chooses the first index of a patch; a pure function of the mask and the generator."""

    @abstractmethod
    def start(self, name: str, mask: np.ndarray, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """First index on each axis.

        Args:
            name: Case, under which what was found out about its mask is remembered.
            mask: Labels `(*S)`.
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
    """Every position inside the image is equally likely."""

    def start(self, name: str, mask: np.ndarray, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw a position."""
        return _uniform(mask.shape, size, rng)


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
    """

    def __init__(self, fraction: float = 0.5) -> None:
        if not 0 <= fraction <= 1:
            raise DataError(f"fraction={fraction}: must be 0..1.")
        self.fraction = fraction
        self._index: dict[str, np.ndarray] = {}

    def start(self, name: str, mask: np.ndarray, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw a position; the foreground is searched once a case."""
        if rng.random() >= self.fraction:
            return _uniform(mask.shape, size, rng)
        index = self._index.get(name)
        if index is None:
            index = self._index[name] = foreground_index(mask)
        if not len(index):
            return _uniform(mask.shape, size, rng)
        centre = np.unravel_index(int(index[rng.integers(len(index))]), mask.shape)
        return around([int(position) for position in centre], mask.shape, size)


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
        return np.array(array[(slice(None), *inside)], order="C")
    result = np.full((array.shape[0], *size), fill, array.dtype)
    there = tuple(slice(max(0, -s), max(0, -s) + part.stop - part.start) for s, part in zip(start, inside, strict=True))
    result[(slice(None), *there)] = array[(slice(None), *inside)]
    return result
