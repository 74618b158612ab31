"""Reads the volumes of a case, image and masks, and checks that they agree in shape, labels and place."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import readers
from .case import Case
from .checks import LabelReader
from .errors import DataError
from .masks import IGNORE, Binary, Index, PerClass, one_channel
from .preparation import RawVolume
from .raters import by_rater


class Examined(NamedTuple):
    """A case as stored, and what the headers of its files tell.

    Args:
        raw: Image and labels.
        misplaced: Files whose grid in space is not the first image's, one sentence each.
        remarks: What is odd about headers that can be read.
    """

    raw: RawVolume
    misplaced: list[str]
    remarks: list[str]


class VolumeReader(LabelReader):
    """Reads the files of a case and checks that they agree.

    Args:
        coding: Rule for the masks.
        channels: Which channels of a 4D file to take, or None for all.
        in_channels: Number of channels that must come out.
        ignore_affine: Take files of a case voxel by voxel, wherever their headers place them.
    """

    def __init__(
        self,
        coding: Index | Binary | PerClass,
        channels: Sequence[int] | None,
        in_channels: int,
        ignore_affine: bool = False,
    ) -> None:
        self.coding, self.channels, self.in_channels = coding, channels, in_channels
        self.ignore_affine = ignore_affine

    def __repr__(self) -> str:
        return f"VolumeReader({self.coding}, {self.channels}, {self.in_channels}, {self.ignore_affine})"

    def read(self, case: Case) -> RawVolume:
        """The case as stored.

        Raises:
            DataError: If a file is broken, or shapes or channels do not fit.
        """
        return self.examine(case).raw

    def examine(self, case: Case) -> Examined:
        """The case as stored and what its headers tell, each file read once.

        Raises:
            DataError: If a file is broken, or shapes or channels do not fit.
        """
        images = [readers.read_volume(path) for path in case.images]
        image = self._stacked(case, [volume.array for volume in images])
        shape = image.shape[1:]
        tissue = None if case.tissue is None else self._flat(case.tissue, self._mask(case.tissue, shape)) > 0.5
        masks = [self._mask(path, shape, case.images[0]) for path in case.masks]
        maps = self._maps(case, masks) if masks else None
        volumes = (*images, *masks)
        return Examined(
            RawVolume(image, maps, images[0].affine, images[0].spacing, tissue, case.images[0]),
            self._misplaced(case, shape, [volume.affine for volume in volumes]),
            [volume.remark for volume in volumes if volume.remark],
        )

    def _stacked(self, case: Case, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Channels `(C, *S)` of the files of a case."""
        arrays = [np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None] for array in arrays]
        for path, array in zip(case.images, arrays, strict=True):
            if array.shape[1:] != arrays[0].shape[1:]:
                shape = arrays[0].shape[1:]
                raise DataError(f"{path}: shape {array.shape[1:]}, other channels have {shape}. Register them.")
        image = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        if self.channels is not None and len(image) > max(self.channels):
            image = image[list(self.channels)]
        if len(image) != self.in_channels:
            raise DataError(f"{case.images[0]}: {len(image)} channels, {self.in_channels} expected. Check channels.")
        return image

    def read_raters(self, case: Case, shape: Sequence[int]) -> np.ndarray:
        """Label maps `(R, *S)` of all raters on the stored grid, 255 outside the field of view.

        Raises:
            DataError: If a mask's shape is not the image's, or a label is out of range.
        """
        return self._maps(case, [self._mask(path, shape, case.images[0]) for path in case.masks])

    def raters(self, case: Case) -> np.ndarray:
        """Label maps of all raters on the stored grid without reading the image.

        Raises:
            DataError: As `read_raters`, and if a file's grid in space is not the image's.
        """
        headers = [readers.volume_header(path) for path in case.images]
        shape = headers[0][0][:3]
        masks = [self._mask(path, shape, case.images[0]) for path in case.masks]
        affines = [*(affine for _, affine in headers), *(mask.affine for mask in masks)]
        problems = self._misplaced(case, shape, affines)
        if problems:
            raise DataError(problems[0])
        return self._maps(case, masks)

    def _mask(self, path: Path, shape: Sequence[int], like: Path | None = None) -> readers.Volume:
        volume = readers.read_volume(path, labels=True, like=like)
        if volume.array.shape[:3] != tuple(shape):
            raise DataError(
                f"{path}: shape {volume.array.shape} for an image of {tuple(shape)}. Use the matching mask."
            )
        return volume

    def _flat(self, path: Path, volume: readers.Volume) -> np.ndarray:
        classes = self.coding.num_classes if isinstance(self.coding, Index) else 1  # of which channels may be one each
        return one_channel(volume.array, volume.array.shape[:3], classes, path)

    def _maps(self, case: Case, masks: Sequence[readers.Volume]) -> np.ndarray:
        """The label map of each rater from the masks of a case, ignored outside the field of view."""
        flat = iter([self._flat(*pair) for pair in zip(case.masks, masks, strict=True)])
        maps = np.stack([self.coding.decode([next(flat) for _ in own], own) for own in by_rater(case)])
        if case.valid is not None:
            maps[:, self._flat(case.valid, self._mask(case.valid, maps.shape[1:])) < 0.5] = IGNORE
        return maps

    def _misplaced(self, case: Case, shape: Sequence[int], affines: Sequence[np.ndarray]) -> list[str]:
        """Files of a case whose grid in space is not the first image's, given the grids of images, then of masks."""
        if self.ignore_affine:
            return []
        first = affines[0]
        size = np.linalg.norm(first[:3, :3], axis=0).min()
        extent = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*shape, 1]
        problems = []
        for path, affine in zip((*case.images, *case.masks), affines, strict=True):
            difference = float(np.abs(extent @ (affine - first).T).max())
            if difference > 0.5 * size:
                problems.append(
                    f"{path}: lies up to {difference:.3g} mm off the image {case.images[0].name} in space. Resample it "
                    "on the image, or set ignore_affine true if voxels match."
                )
        return problems
