"""Base of the 3D data sets: prepare once, cut patches for training, whole volumes or slices for evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from . import readers
from .base import SegmentationData
from .cache import VolumeCache, default_cache, entry_key
from .case import Case
from .checks import LabelReader
from .errors import DataError
from .fingerprint import Fingerprint, from_plain, measure
from .geometry import Geometry, Resize, Step, Window, padded
from .items import CaseDataset, MemoryCache, Pipeline, Sample, TrainingPatches
from .masks import IGNORE, Binary, Index, PerClass
from .new_cases import channel_cases, find_volumes, single_cases
from .patches import PatchSampling, Target, Uniform, cut
from .preparation import NORMALISATIONS, Preparation, PreparedVolume
from .raters import Raters, augmented, chosen, taught, whole
from .sampling import Draw
from .transforms import Augment2D, Augment3D, Augmentation
from .volume_reader import VolumeReader


class VolumePipeline(Pipeline):
    """Prepares volumes and cuts patches from them.

    Args:
        reader: Reads a case.
        preparation: Orientation, spacing and intensities.
        patches: What is cut out for training.
        storage: Where prepared volumes are kept: in memory up to a limit, or on disk.
    """

    def __init__(
        self,
        reader: VolumeReader,
        preparation: Preparation,
        patches: TrainingPatches,
        storage: MemoryCache | VolumeCache,
    ) -> None:
        self.reader, self.preparation, self.patches, self.storage = reader, preparation, patches, storage

    def prepare(self, case: Case) -> PreparedVolume:
        """The prepared volume, from storage where it is there."""

        def make() -> PreparedVolume:
            return self.preparation.run(self.reader.read(case))

        if isinstance(self.storage, VolumeCache):
            return self.storage.get(case, self.preparation, repr(self.reader), make)
        known = self.storage.get(case.key)
        if known is None:
            known = make()
            self.storage.put(case.key, known, known.nbytes)
        return known

    def draw_patch(self, case: Case, draw: Draw) -> tuple[PreparedVolume, list[int], np.random.Generator]:
        """The volume, the first index of a patch, and the draw's generator."""
        volume = self.prepare(case)
        if volume.labels is None:
            raise DataError(f"{case.images[0]}: has no mask, so it cannot be trained on. Add it or remove the image.")
        rng = draw.rng(self.patches.seed)
        target = Target(case.name, volume.labels, volume.foreground)
        return volume, self.patches.sampling.start(target, self.patch_size(volume), rng), rng

    def patch_size(self, volume: PreparedVolume) -> Sequence[int]:
        """Patch size in this volume."""
        return self.patches.size or padded(volume.image.shape[1:], self.patches.divisor).after

    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Augmented patch."""
        volume, start, rng = self.draw_patch(case, draw)
        size = self.patch_size(volume)
        image = cut(volume.image, start, size, volume.fill)
        seed = int(rng.integers(1 << 31))
        maps = chosen(cut(_maps(volume), start, size, IGNORE), self.patches.raters, rng)
        if self.patches.augmentation is not None:
            image, maps = augmented(self.patches.augmentation, image, maps, seed)
        geometry = volume.geometry.then(Window(volume.image.shape[1:], start, size))
        sample = {"image": torch.from_numpy(image), "mask": self._taught(maps), "case": case.name}
        return sample | _grid(geometry)

    def _taught(self, maps: np.ndarray) -> Tensor:
        return taught(maps, self.preparation.num_classes)

    def whole_item(self, case: Case) -> Sample:
        """Whole volume, padded to the divisor, with its geometry and, where it has them, its masks as stored."""
        volume = self.prepare(case)
        window = padded(volume.image.shape[1:], self.patches.divisor)
        geometry = volume.geometry.then(window)
        image = cut(volume.image, window.start, window.after, volume.fill)
        sample: Sample = {"image": torch.from_numpy(image), "case": case.name} | _grid(geometry)
        if volume.mask is not None:
            maps = cut(volume.mask, window.start, window.after, IGNORE)
            sample |= whole(maps, self.original_maps(case, volume), self.preparation.num_classes)
        sample["geometry"] = geometry
        return sample

    def original_maps(self, case: Case, volume: PreparedVolume) -> np.ndarray:
        """Labels of each rater as stored: undone from the prepared ones, or where those were resampled read again."""
        if len(volume.geometry.steps) == 1:
            return volume.geometry.steps[0].undo(torch.from_numpy(np.array(_maps(volume)))).contiguous().numpy()
        return self.reader.read_raters(case, volume.geometry.original_shape)


class SlicePipeline(VolumePipeline):
    """Axial slices of prepared volumes as images: patches one voxel thick for training, whole slices for evaluation."""

    def patch_size(self, volume: PreparedVolume) -> Sequence[int]:
        """One slice thick."""
        return (1, *(self.patches.size or padded(volume.image.shape[2:], self.patches.divisor).after))

    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Augmented patch of a slice."""
        volume, start, rng = self.draw_patch(case, draw)
        size = self.patch_size(volume)
        image = self.cut_slice(volume, start[0], start[1:], size[1:])
        seed = int(rng.integers(1 << 31))
        maps = chosen(cut(_maps(volume), start, size, IGNORE)[:, 0], self.patches.raters, rng)
        if self.patches.augmentation is not None:
            pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
            pixels, maps = augmented(self.patches.augmentation, pixels, maps, seed)
            image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return {"image": torch.from_numpy(image), "mask": self._taught(maps), "case": case.name}

    @staticmethod
    def cut_slice(volume: PreparedVolume, number: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Window of a slice; beyond it, its smallest value, as where the slice is predicted in tiles."""
        inside = all(s >= 0 and s + n <= m for s, n, m in zip(start, size, volume.image.shape[2:], strict=True))
        fill = 0.0 if inside else float(volume.image[:, number].min())
        return cut(volume.image[:, number], start, size, fill)

    def whole_item(self, case: Case) -> Sample:
        """Slice number `case.page` of the volume `case.extra`."""
        source, number = case.extra, int(case.page or 0)
        volume = self.prepare(source)
        orient, *resize = volume.geometry.steps
        shape = volume.image.shape[2:]
        before = resize[0].before[1:] if resize and isinstance(resize[0], Resize) else shape
        window = padded(shape, self.patches.divisor)
        spacing = Geometry("volume", volume.geometry.original_shape, volume.geometry.spacing, steps=[orient])
        steps: list[Step] = [Resize(before, shape), window] if before != shape else [window]
        geometry = Geometry("image", before, spacing.grid_spacing()[1:], steps=steps)
        image = self.cut_slice(volume, number, window.start, window.after)
        sample: Sample = {"image": torch.from_numpy(image), "case": case.name}
        if volume.mask is not None:
            maps = cut(volume.mask[:, number], window.start, window.after, IGNORE)
            stored = orient.apply(torch.from_numpy(self.original_maps(source, volume)))
            sample |= whole(maps, stored[:, number].contiguous().numpy(), self.preparation.num_classes)
        sample["geometry"] = geometry
        return sample


def _maps(volume: PreparedVolume) -> np.ndarray:
    if volume.mask is None:
        raise DataError("the volume has no mask. Add it.")
    return volume.mask


def _grid(geometry: Geometry) -> Sample:
    return {
        "affine": torch.from_numpy(geometry.grid_affine()),
        "spacing": torch.tensor(geometry.grid_spacing(), dtype=torch.float64),
    }


class VolumeData(SegmentationData):
    """Base of the 3D data sets.

    Args:
        patch_size: Shape of training patches (z, y, x), or (y, x) with slices.
        spacing: Spacing (z, y, x) in mm to which volumes are resampled; `native` keeps each volume's own, `fingerprint`
            takes the median of the training cases.
        clip: Lower and upper bound of the intensities.
        normalisation: Per channel: "zscore", "nonzero" (z-score over voxels not 0), "tissue" (over the tissue mask,
            where the data set has one), "fingerprint" (clip and z-score by the foreground of the training cases, as
            nnU-Net does for CT), "minmax" or "none".
        slices: Axial slices as images, for 2D networks; cases are still split by volume.
        divisor: Whole volumes are padded to multiples of this.
        sampling: Where training patches lie.
        augmentation: Augmentation of the patches, by default mirroring, rotation, zoom and brightness.
        cache: Where prepared volumes are kept: "memory", "disk", or "auto" (memory where all fit into memory_limit).
        cache_dir: Folder of prepared volumes; by default `$SEGMENTATION_CACHE`, else in the user's cache.
        memory_limit: Bytes of prepared volumes kept in memory.
        batch_size: Patches in a training batch; whole volumes come one at a time.
        ignore_affine: Take masks and channels voxel by voxel where their headers place them elsewhere than the image.
        **kwargs: Arguments of `SegmentationData`.

    Example:
        >>> import pathlib, nibabel, numpy
        >>> pathlib.Path("mine").mkdir()
        >>> for name in "abcd":
        ...     volume = nibabel.Nifti1Image(numpy.eye(16, dtype="uint8")[:, :, None].repeat(8, 2), numpy.eye(4))
        ...     volume.to_filename(f"mine/{name}.nii.gz")
        ...     volume.to_filename(f"mine/{name}_mask.nii.gz")
        >>> from datamodules import VolumeData
        >>> from datamodules.case import Case, DataInfo
        >>> class Mine(VolumeData):
        ...     info = DataInfo("Mine", "lines", "4", "16 x 16 x 8", "1", "mine", "-", "mine", "<name>[_mask].nii.gz")
        ...     class_names = ("background", "line")
        ...     def find_cases(self):
        ...         masks = sorted(self.existing_root().glob("*_mask.nii.gz"))
        ...         return [Case(m.name[0], (m.with_name(m.name.replace("_mask", "")),), (m,)) for m in masks]
        >>> data = Mine(root="mine", patch_size=[4, 8, 8], batch_size=2)
        >>> data.setup()
        >>> next(iter(data.train_dataloader()))["image"].shape
        torch.Size([2, 1, 4, 8, 8])
    """

    coding: Index | Binary | PerClass = Index(2)
    spatial_dims = 3
    in_channels = 1
    channels: Sequence[int] | None = None
    default_patch: Sequence[int] = (96, 96, 96)
    default_spacing: Sequence[float] | None = None
    default_clip: Sequence[float] | None = None
    default_normalisation: str | tuple[str, ...] = "zscore"
    resample_order = 1
    reads_images = False
    padding = "minimum"
    raters: Raters = "mean"

    def __init__(
        self,
        patch_size: list[int] | None = None,
        spacing: list[float] | str | None = None,
        clip: list[float] | None = None,
        normalisation: str | None = None,
        slices: bool = False,
        divisor: int = 16,
        sampling: PatchSampling | None = None,
        augmentation: Augmentation | None = None,
        cache: str = "auto",
        cache_dir: str | None = None,
        memory_limit: int = 1 << 30,
        batch_size: int = 2,
        ignore_affine: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        self.spatial_dims = 2 if slices else 3
        self.patch_size = tuple(patch_size or self.default_patch[-self.spatial_dims :])
        self.spacing = None if spacing == "native" else spacing or self.default_spacing
        self.clip = clip or self.default_clip
        self.normalisation: str | tuple[str, ...] = normalisation or self.default_normalisation
        self._fingerprint: Fingerprint | None = None
        self.slices, self.divisor = slices, divisor
        self.sampling, self.augmentation = sampling, augmentation
        self.cache, self.cache_dir, self.memory_limit = cache, cache_dir, memory_limit
        self.ignore_affine = ignore_affine
        self._check(patch_size, spacing)

    def _check(self, patch_size: object, spacing: object) -> None:
        if len(self.patch_size) != self.spatial_dims or min(self.patch_size) < 1:
            raise DataError(f"patch_size={patch_size}: give {self.spatial_dims} sizes, as 96 96 96 or 96 96.")
        numbers = self.spacing is None or self.spacing == "fingerprint" or not isinstance(self.spacing, str)
        if not numbers or (isinstance(self.spacing, list) and (len(self.spacing) != 3 or min(self.spacing) <= 0)):
            raise DataError(f"spacing={spacing!r}: give three numbers (z, y, x) in mm, native or fingerprint.")
        if not set(self.methods()) <= set(NORMALISATIONS):
            raise DataError(f"normalisation={self.normalisation!r}: use one of {', '.join(NORMALISATIONS)}.")
        if self.cache not in ("auto", "memory", "disk"):
            raise DataError(f"cache={self.cache!r}: use auto, memory or disk.")

    def reader(self) -> VolumeReader:
        """The reader with this data set's mask coding."""
        return VolumeReader(self.coding, self.channels, self.in_channels, self.ignore_affine)

    def label_reader(self) -> LabelReader | None:
        """The reader."""
        return self.reader()

    def preparation(self) -> Preparation:
        """Preparation by this data set's parameters; looks at the training cases where a fingerprint is asked for."""
        preparation = Preparation(
            spacing=None if isinstance(self.spacing, str | None) else tuple(float(s) for s in self.spacing),
            clip=None if self.clip is None else (float(self.clip[0]), float(self.clip[1])),
            normalisation=self.normalisation,
            order=self.resample_order,
            num_classes=self.num_classes,
        )
        if self.spacing != "fingerprint" and "fingerprint" not in self.methods():
            return preparation
        found = self.fingerprint()
        if self.spacing == "fingerprint":
            preparation = replace(preparation, spacing=found.spacing)
        if "fingerprint" in self.methods():
            preparation = replace(preparation, bounds=found.bounds, mean=found.mean, deviation=found.deviation)
        return preparation

    def methods(self) -> tuple[str, ...]:
        """Normalisation of each channel."""
        return (self.normalisation,) if isinstance(self.normalisation, str) else self.normalisation

    def fingerprint(self) -> Fingerprint:
        """Spacing and foreground intensities of the training cases.

        Measured once, printed, and kept in the cache folder and in every checkpoint, whose numbers then rule.
        """
        if self._fingerprint is None:
            cases = (self.subsets or {}).get("train", [])
            if not cases:
                name = type(self).__name__
                raise DataError(f"{name}: a fingerprint needs training cases. Run setup, or give numbers.")
            reader = self.reader()
            self._fingerprint = measure(cases, reader.read, self.cache_folder() / "fingerprints", repr(reader))
            rank_zero_info(self._told(self._fingerprint))
        return self._fingerprint

    def _told(self, found: Fingerprint) -> str:
        numbers = zip(found.bounds, found.mean, found.deviation, strict=True)
        channels = "; ".join(f"{a:.4g}..{b:.4g}, mean {m:.4g}, deviation {d:.4g}" for (a, b), m, d in numbers)
        spacing = " x ".join(f"{s:.4g}" for s in found.spacing)
        use = "used" if self.spacing == "fingerprint" else "--data.spacing fingerprint would resample to it"
        return (
            f"fingerprint of the training cases: foreground {channels}; normalisation {', '.join(self.methods())}; "
            f"spacing {spacing} mm ({use})"
        )

    def state_dict(self) -> dict[str, Any]:
        """The fingerprint, which predictions on other data need."""
        return {"fingerprint": asdict(self._fingerprint)} if self._fingerprint else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the fingerprint of the training."""
        if "fingerprint" in state_dict:
            self._fingerprint, self._pipeline = from_plain(state_dict["fingerprint"]), None

    def cache_folder(self) -> Path:
        """Where prepared volumes lie on disk."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else default_cache()

    def make_pipeline(self) -> VolumePipeline:
        """The 3D or slice pipeline with this data set's mask coding."""
        default = Augment2D if self.slices else Augment3D
        augmentation = (self.augmentation or default()) if self.augment else None
        sampling = self.sampling or Uniform()
        patches = TrainingPatches(self.patch_size, self.divisor, sampling, augmentation, self.seed, self.raters)
        preparation = self.preparation()
        make: Callable[..., VolumePipeline] = SlicePipeline if self.slices else VolumePipeline
        return make(self.reader(), preparation, patches, self._storage(preparation))

    def _storage(self, preparation: Preparation) -> MemoryCache | VolumeCache:
        cases = [case for members in (self.subsets or {}).values() for case in members]
        if self.cache == "memory" or not cases:
            return MemoryCache(self.memory_limit // max(1, self.num_workers))
        sizes = {case.name: self.prepared_bytes(case, preparation) for case in cases}
        if self.cache == "auto" and sum(sizes.values()) * max(1, self.num_workers) <= self.memory_limit:
            return MemoryCache(self.memory_limit // max(1, self.num_workers))
        storage = VolumeCache(self.cache_folder())
        salt = (preparation, repr(self.reader()))
        storage.check_room(sum(sizes[c.name] for c in cases if not storage.path(entry_key(c, salt)).exists()))
        return storage

    def prepared_bytes(self, case: Case, preparation: Preparation) -> int:
        """Size of a case after preparation, from its header."""
        shape, affine = readers.volume_header(case.images[0])
        spacing = readers.volume_spacing(case.images[0], affine, shape)
        voxels = int(np.prod(preparation.grid_shape(shape[:3], affine, spacing), dtype=np.int64))
        return voxels * (4 * self.in_channels + (len(case.raters) or bool(case.masks)))

    def dataset(self, subset: str) -> CaseDataset:
        """Data set of "train", "val", "test" or "predict"; with `slices` one item a slice, except for training.

        Raises:
            DataError: If the subset is empty, or slices would be resampled along the body.
        """
        dataset = super().dataset(subset)
        if self.slices and not dataset.train and isinstance(dataset.pipeline, VolumePipeline):
            preparation = dataset.pipeline.preparation
            dataset.cases = [part for case in dataset.cases for part in self._slices(case, preparation)]
        return dataset

    @staticmethod
    def _slices(case: Case, preparation: Preparation) -> list[Case]:
        shape, affine = readers.volume_header(case.images[0])
        spacing = readers.volume_spacing(case.images[0], affine, shape)
        depth = preparation.grid_shape(shape[:3], affine, spacing)[0]
        if depth != replace(preparation, spacing=None).grid_shape(shape[:3], affine, spacing)[0]:
            raise DataError(f"{case.images[0]}: slices cannot be resampled along z. Set spacing native.")
        return [replace(case, name=f"{case.name}_z{z:03d}", page=z, extra=case) for z in range(depth)]

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Every volume of the folder and those below; with several channels 4D files or `_0000`, `_0001`, ..."""
        paths = find_volumes(folder)
        return single_cases(folder, paths) if self.in_channels == 1 else channel_cases(folder, paths, self.in_channels)
