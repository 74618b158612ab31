"""From a volume as stored to the network's grid and intensities: orientation, spacing, clip, normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from .errors import DataError
from .geometry import Geometry, Orient, Resize, Step, resize_labels
from .raters import majority

NORMALISATIONS = ("zscore", "nonzero", "tissue", "fingerprint", "minmax", "none")


@dataclass(frozen=True)
class RawVolume:
    """A case as stored.

    Args:
        image: `(C, *S0)`.
        mask: Labels `(R, *S0)` uint8, a map for each rater, or None.
        affine: 4x4, indices to mm.
        spacing: mm on each stored axis.
        tissue: Boolean `(*S0)` over which mean and deviation are taken, or None.
        source: File that predictions are written like.
    """

    image: np.ndarray
    mask: np.ndarray | None
    affine: np.ndarray
    spacing: tuple[float, ...]
    tissue: np.ndarray | None = None
    source: Path | None = None

    @property
    def labels(self) -> np.ndarray | None:
        """Labels `(*S0)`, of several raters what most say, or None."""
        return None if self.mask is None else majority(self.mask)


@dataclass
class PreparedVolume:
    """A case on the network's grid.

    Args:
        image: `(C, D, H, W)` float32, perhaps a memory map.
        mask: `(R, D, H, W)` uint8, a map for each rater, or None.
        geometry: Way back to the original grid.
        foreground: Flat positions of foreground voxels (at most 10,000).
        fill: Value of what lies outside, the smallest of the volume.
    """

    image: np.ndarray
    mask: np.ndarray | None
    geometry: Geometry
    foreground: np.ndarray
    fill: float

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.image.nbytes + self.foreground.nbytes + (0 if self.mask is None else self.mask.nbytes))

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Labels `(D, H, W)`, of several raters what most say, or None."""
        return None if self.mask is None else majority(self.mask)


@dataclass(frozen=True)
class Preparation:
    """Parameters of the preparation; two equal ones give equal results.

    Args:
        spacing: Target spacing (z, y, x) in mm, or None to keep each volume's own.
        clip: Lower and upper bound of the intensities, or None.
        normalisation: Of each channel, or one for all: "zscore" over all voxels, "nonzero" over those not 0, "tissue"
            over the data set's tissue mask, "fingerprint" (by the numbers below), "minmax" or "none".
        bounds: For "fingerprint", lower and upper bound of each channel.
        mean: For "fingerprint", the mean of each channel.
        deviation: For "fingerprint", the standard deviation of each channel.
        order: Order of the spline for images (1 linear, 3 cubic); labels are resampled linearly per class.
        num_classes: Number of classes.
    """

    spacing: tuple[float, ...] | None = None
    clip: tuple[float, float] | None = None
    normalisation: str | tuple[str, ...] = "zscore"
    bounds: tuple[tuple[float, float], ...] = ()
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    order: int = 1
    num_classes: int = 2

    def geometry(
        self, shape: Sequence[int], affine: np.ndarray, spacing: Sequence[float], source: Path | None = None
    ) -> Geometry:
        """Steps from the stored grid to the network's: axes (superior, anterior, right), then spacing."""
        orient = _orientation(affine, shape)
        geometry = Geometry("volume", shape, spacing, affine, [orient], source)
        if self.spacing is not None:
            now = geometry.grid_spacing()
            before = tuple(shape[axis] for axis in orient.order)
            after = [
                max(1, int(n * s / t + 1e-6)) if abs(s - t) > 1e-3 * t else n
                for n, s, t in zip(before, now, self.spacing, strict=True)
            ]
            if np.prod(after, dtype=float) > 2e9:
                name = source or "volume"
                raise DataError(f"{name}: would have shape {after} at {self.spacing} mm. Check its spacing {now} mm.")
            if tuple(after) != before:
                geometry = geometry.then(Resize(before, after))
        return geometry

    def grid_shape(self, shape: Sequence[int], affine: np.ndarray, spacing: Sequence[float]) -> tuple[int, ...]:
        """Shape (z, y, x) of the network's grid."""
        last = self.geometry(shape, affine, spacing).steps[-1]
        return last.after if isinstance(last, Resize) else tuple(shape[axis] for axis in last.order)  # type: ignore[attr-defined]

    def run(self, raw: RawVolume) -> PreparedVolume:
        """Prepare a volume."""
        from .patches import foreground_index

        geometry = self.geometry(raw.image.shape[1:], raw.affine, raw.spacing, raw.source)
        orient, *resize = geometry.steps
        image = _move(raw.image, orient).astype(np.float32)
        tissue = None if raw.tissue is None else _move(raw.tissue[None], orient)[0]
        mask = None if raw.mask is None else _move(raw.mask, orient)
        if resize:
            shape = resize[0].after  # type: ignore[attr-defined]
            image = np.stack([_resample(channel, shape, self.order) for channel in image])
            if tissue is not None:
                tissue = resize_labels(torch.from_numpy(tissue.astype(np.uint8)), shape, 2).numpy() == 1
            if mask is not None:
                maps = [resize_labels(torch.from_numpy(one.copy()), shape, self.num_classes).numpy() for one in mask]
                mask = np.stack(maps)
        index = np.empty(0, np.int64) if mask is None else foreground_index(majority(mask))
        image = np.ascontiguousarray(self.intensities(image, tissue))
        mask = None if mask is None else np.ascontiguousarray(mask)
        return PreparedVolume(image, mask, geometry, index, float(image.min()))

    def intensities(self, image: np.ndarray, tissue: np.ndarray | None) -> np.ndarray:
        """Clip and normalise a float32 image `(C, *S)` in place."""
        if self.clip is not None:
            np.clip(image, *self.clip, out=image)
        for number, channel in enumerate(image):
            method = self.method(number)
            if method == "none":
                continue
            if method == "fingerprint":
                np.clip(channel, *self.bounds[number], out=channel)
            if method == "minmax":
                low, high = float(channel.min()), float(channel.max())
                channel -= low
                channel /= max(high - low, 1e-6)
                continue
            mean, deviation = self._statistics(channel, tissue, number, method)
            channel -= np.float32(mean)
            channel /= np.float32(max(deviation, 1e-6))
        return image

    def method(self, number: int) -> str:
        """Normalisation of a channel."""
        return self.normalisation if isinstance(self.normalisation, str) else self.normalisation[number]

    def _statistics(
        self, channel: np.ndarray, tissue: np.ndarray | None, number: int, method: str
    ) -> tuple[float, float]:
        if method == "fingerprint" and self.mean is not None and self.deviation is not None:
            return self.mean[number], self.deviation[number]
        values = channel
        if method == "nonzero":
            values = channel[channel != 0]
        elif method == "tissue" and tissue is not None:
            values = channel[tissue]
        if not values.size:
            values = channel
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _orientation(affine: np.ndarray, shape: Sequence[int]) -> Orient:
    """Step to axes (S, A, R), the transposed canonical order, so that depth is the body's long axis."""
    from nibabel.orientations import io_orientation

    axes = io_orientation(affine)
    order = [int(np.flatnonzero(axes[:, 0] == target)[0]) for target in (2, 1, 0)]
    return Orient(order, [bool(axes[axis, 1] < 0) for axis in order], shape)


def _move(array: np.ndarray, orient: Step) -> np.ndarray:
    """The orientation step for numpy arrays of any type, without a copy."""
    assert isinstance(orient, Orient)
    moved = np.transpose(array, (0, *(axis + 1 for axis in orient.order)))
    return moved[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in orient.flip))]


def _resample(channel: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """Spline resampling on the edge-aligned grid of `geometry.Resize`."""
    if order == 1:
        tensor = torch.from_numpy(np.ascontiguousarray(channel))[None]
        return Resize(channel.shape, shape).apply(tensor)[0].numpy()
    from scipy import ndimage

    zoom = [after / before for after, before in zip(shape, channel.shape, strict=True)]
    return ndimage.zoom(channel, zoom, order=order, mode="nearest", grid_mode=True)
