"""Base of the 3D data sets: read, prepare once, cut patches for training, whole volumes for evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules import readers
from datamodules.base import MemoryCache, Pipeline, Sample, SegmentationData
from datamodules.case import Case
from datamodules.errors import DataError
from datamodules.geometry import Window, padded
from datamodules.masks import IGNORE, Index, MaskCoding
from datamodules.patches import PatchSampling, Uniform, cut
from datamodules.preparation import NORMALISATIONS, Preparation, PreparedVolume, RawVolume
from datamodules.sampling import Draw
from datamodules.transforms import Augment3D, Augmentation


class VolumePipeline(Pipeline):
    """Prepares volumes.

    Args:
        coding: Rule for the masks.
        channels: Which channels of a 4D file to take, or None for all.
        in_channels: Number of channels that must come out.
        preparation: Orientation, spacing and intensities.
        patch_size: Shape of training patches (z, y, x), or None for whole volumes.
        divisor: Whole volumes are padded to multiples of this.
        augmentation: For training, or None.
        sampling: Where training patches lie.
        seed: Seed of patches and augmentation.
        memory: Bytes of prepared volumes to keep.
    """

    def __init__(
        self,
        coding: MaskCoding,
        channels: Sequence[int] | None,
        in_channels: int,
        preparation: Preparation,
        patch_size: Sequence[int] | None,
        divisor: int,
        augmentation: Augmentation | None,
        sampling: PatchSampling,
        seed: int,
        memory: int,
    ) -> None:
        self.coding, self.channels, self.in_channels, self.preparation = coding, channels, in_channels, preparation
        self.patch_size, self.divisor = patch_size, divisor
        self.augmentation, self.sampling, self.seed = augmentation, sampling, seed
        self.memory = MemoryCache(memory)

    def read(self, case: Case) -> RawVolume:
        """The case as stored, checked for agreement of its files.

        Raises:
            DataError: If a file is broken, or shapes or channels do not fit.
        """
        first, *others = (readers.read_volume(path) for path in case.images)
        arrays = [np.moveaxis(v.array, -1, 0) if v.array.ndim == 4 else v.array[None] for v in (first, *others)]
        for path, array in zip(case.images, arrays, strict=True):
            if array.shape[1:] != arrays[0].shape[1:]:
                raise DataError(
                    f"{path}: shape {array.shape[1:]}, other channels have {arrays[0].shape[1:]}. Register them."
                )
        image = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        if self.channels is not None and len(image) > max(self.channels):
            image = image[list(self.channels)]
        if len(image) != self.in_channels:
            raise DataError(f"{case.images[0]}: {len(image)} channels, {self.in_channels} expected. Check channels.")
        tissue = self._labels(case.field, image.shape[1:]) > 0 if case.field is not None else None
        return RawVolume(image, self.read_mask(case, image.shape[1:]), first.affine, first.spacing, tissue, case.name)

    def read_mask(self, case: Case, shape: Sequence[int]) -> np.ndarray | None:
        """Labels on the stored grid, or None.

        Raises:
            DataError: If the mask's shape is not the image's, or a label is out of range.
        """
        if not case.masks:
            return None
        return self.coding.decode([self._labels(path, shape) for path in case.masks], case.masks)

    def _labels(self, path: Path, shape: Sequence[int]) -> np.ndarray:
        array = readers.read_volume(path, labels=True).array
        if array.shape != tuple(shape):
            raise DataError(
                f"{path}: mask of shape {array.shape} for an image of {tuple(shape)}. Use the matching mask."
            )
        return array

    def prepare(self, case: Case) -> PreparedVolume:
        """Read and prepare; kept in memory as long as the budget lasts."""
        known = self.memory.get(case.name)
        if known is not None:
            return known
        prepared = self.preparation.run(self.read(case))
        size = prepared.image.nbytes + (0 if prepared.mask is None else prepared.mask.nbytes)
        self.memory.put(case.name, prepared, size)
        return prepared

    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Augmented patch."""
        volume = self.prepare(case)
        if volume.mask is None:
            raise DataError(
                f"{case.images[0]}: has no mask, so it cannot be trained on. Add the mask or remove the image."
            )
        rng = draw.rng(self.seed)
        size = self.patch_size or padded(volume.mask.shape, self.divisor).after
        start = self.sampling.start(case.name, volume.mask, size, rng)
        image = cut(volume.image, start, size, volume.fill)
        mask = cut(volume.mask[None], start, size, IGNORE)[0]
        if self.augmentation is not None:
            image, mask = self.augmentation(image, mask, int(rng.integers(1 << 31)))
        geometry = volume.geometry.then(Window(volume.mask.shape, start, size))
        return {
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "case": case.name,
            "affine": torch.from_numpy(geometry.grid_affine()),
            "spacing": torch.tensor(geometry.grid_spacing(), dtype=torch.float64),
        }

    def whole_item(self, case: Case) -> Sample:
        """Whole volume, padded to the divisor, with its geometry and, where it has one, its mask as stored."""
        volume = self.prepare(case)
        shape = volume.image.shape[1:]
        window = padded(shape, self.divisor)
        geometry = volume.geometry.then(window)
        sample: Sample = {
            "image": torch.from_numpy(cut(volume.image, window.start, window.after, volume.fill)),
            "case": case.name,
            "affine": torch.from_numpy(geometry.grid_affine()),
            "spacing": torch.tensor(geometry.grid_spacing(), dtype=torch.float64),
        }
        if volume.mask is not None:
            sample["mask"] = torch.from_numpy(cut(volume.mask[None], window.start, window.after, IGNORE)[0])
            sample["original_mask"] = torch.from_numpy(self._original(case, volume))
        sample["geometry"] = geometry
        return sample

    def _original(self, case: Case, volume: PreparedVolume) -> np.ndarray:
        """Mask on the stored grid: undone from the prepared one if no resampling was done, else read again."""
        if len(volume.geometry.steps) == 1:
            step = volume.geometry.steps[0]
            return step.undo(torch.from_numpy(np.array(volume.mask))[None])[0].contiguous().numpy()
        mask = self.read_mask(case, volume.geometry.original_shape)
        return np.empty(0, np.uint8) if mask is None else mask


class VolumeData(SegmentationData):
    """Base of the 3D data sets.

    Args:
        patch_size: Shape of training patches (z, y, x).
        spacing: Spacing (z, y, x) in mm to which volumes are resampled; `native` keeps each volume's own.
        clip: Lower and upper bound of the intensities.
        normalisation: Per channel: "zscore", "nonzero" (z-score over voxels not 0), "tissue" (over the tissue mask,
            where the data set has one), "minmax" or "none".
        divisor: Whole volumes are padded to multiples of this.
        patches_per_case: Patches drawn from each training volume in an epoch.
        sampling: Where training patches lie.
        augmentation: Augmentation of the patches, by default mirroring, rotation, zoom and brightness.
        memory_limit: Bytes of prepared volumes kept in memory.
        batch_size: Patches in a training batch; whole volumes come one at a time.
        **kwargs: Arguments of `SegmentationData`.
    """

    coding: MaskCoding = Index(2)
    spatial_dims = 3
    in_channels = 1
    default_patch: Sequence[int] = (96, 96, 96)
    default_spacing: Sequence[float] | None = None
    default_clip: Sequence[float] | None = None
    default_normalisation = "zscore"
    resample_order = 1

    def __init__(
        self,
        patch_size: list[int] | None = None,
        spacing: list[float] | str | None = None,
        clip: list[float] | None = None,
        normalisation: str | None = None,
        divisor: int = 16,
        patches_per_case: int = 1,
        sampling: PatchSampling | None = None,
        augmentation: Augmentation | None = None,
        memory_limit: int = 1 << 30,
        batch_size: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        self.patch_size = tuple(patch_size or self.default_patch)
        self.spacing = None if spacing == "native" else spacing or self.default_spacing
        self.clip = clip or self.default_clip
        self.normalisation = normalisation or self.default_normalisation
        if len(self.patch_size) != 3 or min(self.patch_size) < 1:
            raise DataError(f"patch_size={patch_size}: give three sizes (z, y, x), as 96 96 96.")
        if self.spacing is not None and (
            isinstance(self.spacing, str) or len(self.spacing) != 3 or min(self.spacing) <= 0
        ):
            raise DataError(f"spacing={spacing!r}: give three numbers (z, y, x) in mm, or native.")
        if self.normalisation not in NORMALISATIONS:
            raise DataError(f"normalisation={self.normalisation!r}: use one of {', '.join(NORMALISATIONS)}.")
        self.divisor, self.patches_per_case, self.memory_limit = divisor, patches_per_case, memory_limit
        self.sampling, self.augmentation = sampling, augmentation
        self.channels: Sequence[int] | None = None

    def draws_per_epoch(self, num_cases: int) -> int:
        """`patches_per_case` for each case."""
        return num_cases * self.patches_per_case

    def preparation(self) -> Preparation:
        """Preparation by this data set's parameters."""
        return Preparation(
            spacing=None if self.spacing is None else tuple(float(s) for s in self.spacing),
            clip=None if self.clip is None else (float(self.clip[0]), float(self.clip[1])),
            normalisation=self.normalisation,
            order=self.resample_order,
            num_classes=self.num_classes,
        )

    def make_pipeline(self) -> VolumePipeline:
        """The 3D pipeline with this data set's mask coding."""
        augmentation = (self.augmentation or Augment3D()) if self.augment else None
        return VolumePipeline(
            self.coding,
            self.channels,
            self.in_channels,
            self.preparation(),
            self.patch_size,
            self.divisor,
            augmentation,
            self.sampling or Uniform(),
            self.seed,
            self.memory_limit // max(1, self.num_workers),
        )

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Every volume of the folder; with several channels either 4D files or files ending in `_0000`, `_0001`, ..."""
        found = readers.files(folder, readers.VOLUME_ENDINGS)
        groups: dict[str, list[Path]] = {}
        for path in found:
            name = readers.stem(path)
            head, _, tail = name.rpartition("_")
            groups.setdefault(head if len(tail) == 4 and tail.isdigit() else name, []).append(path)
        return [Case(name, tuple(sorted(paths))) for name, paths in groups.items()]
