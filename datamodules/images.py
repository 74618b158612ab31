"""Base of the 2D data sets: decode, resize or crop, augment, normalise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from . import readers
from .base import SegmentationData
from .case import Case
from .checks import LabelReader
from .errors import DataError
from .geometry import Geometry, Resize, Window, centred, padded, resize_labels
from .items import MemoryCache, Pipeline, Sample, TrainingPatches
from .masks import IGNORE, Binary, MaskCoding, one_channel
from .new_cases import find_files, single_cases
from .patches import PatchSampling, Target, Uniform
from .raters import Raters, augmented, by_rater, chosen, majority, taught, whole
from .sampling import Draw
from .transforms import Augment2D, Augmentation, normalise

Fit = Literal["stretch", "pad", "crop"]


class PreparedImage:
    """A decoded, resized and normalised case.

    Args:
        image: `(H, W, C)` float32.
        mask: `(R, H, W)` uint8, a map for each rater, or None.
        original_mask: The mask `(R, H, W)` before resizing, or None.
        geometry: Way back to the original grid.
    """

    def __init__(
        self, image: np.ndarray, mask: np.ndarray | None, original_mask: np.ndarray | None, geometry: Geometry
    ) -> None:
        self.image, self.mask, self.original_mask, self.geometry = image, mask, original_mask, geometry

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(array.nbytes for array in (self.image, self.mask, self.original_mask) if array is not None)


class ImagePipeline(Pipeline, LabelReader):
    """Prepares images.

    Args:
        coding: Rule for the masks.
        channels: Image channels.
        num_classes: Number of classes.
        size: Height and width all images are resized to, or None to keep theirs.
        normalisation: Method of `transforms.normalise`.
        patches: What is cut out for training.
        memory: Bytes of prepared images to keep.
        fit: How images of another aspect come to the size: "stretch" squeezes them, "pad" keeps the aspect and fills
            up, "crop" keeps the aspect and cuts what hangs over.
    """

    def __init__(
        self,
        coding: MaskCoding,
        channels: int,
        num_classes: int,
        size: Sequence[int] | None,
        normalisation: str,
        patches: TrainingPatches,
        memory: int,
        fit: Fit = "stretch",
    ) -> None:
        self.coding, self.channels, self.num_classes, self.size = coding, channels, num_classes, size
        self.normalisation, self.patches, self.fit = normalisation, patches, fit
        self.memory = MemoryCache(memory)

    def __repr__(self) -> str:
        return f"ImagePipeline({self.coding})"

    def read_image(self, case: Case) -> np.ndarray:
        """Image as stored, `(H, W, C)`."""
        if len(case.images) == 1:
            return readers.read_image(case.images[0], self.channels, case.page)
        planes = [readers.read_image(path, 1) for path in case.images]
        if len({plane.shape for plane in planes}) > 1:
            raise DataError(f"{case.images[0]}: the channel files differ in size. Export them on one grid.")
        return np.concatenate(planes, axis=-1)

    def read_mask(self, case: Case, shape: Sequence[int] | None) -> np.ndarray | None:
        """Label map on the original grid, of several raters what most say; None if the case has no mask.

        Args:
            case: The case.
            shape: Height and width of its image, or None to leave it unchecked.

        Raises:
            DataError: If a mask file's size is not the image's, or it holds what the coding does not know.
        """
        return majority(self.read_raters(case, shape)) if case.masks else None

    def raters(self, case: Case) -> np.ndarray:
        """Label maps of all raters without reading the image, of which only the header is looked at."""
        return self.read_raters(case, readers.image_size(case.images[0]) if case.page is None else None)

    def read_raters(self, case: Case, shape: Sequence[int] | None) -> np.ndarray:
        """Label maps `(R, H, W)` of all raters on the original grid, 255 outside the field of view."""
        maps = []
        for own in by_rater(case):
            arrays: list[np.ndarray] = []
            for path in own:
                arrays.append(self._sized(path, shape, self.coding.kind, case.page))
                shape = arrays[0].shape[:2]
            maps.append(self.coding.decode(arrays, own))
        if case.valid is not None:
            outside = Binary().decode([self._sized(case.valid, shape, "grey")], [case.valid]) == 0
            for labels in maps:
                labels[outside] = IGNORE
        return np.stack(maps)

    def _sized(
        self, path: Path, shape: Sequence[int] | None, kind: readers.MaskKind, page: int | None = None
    ) -> np.ndarray:
        array = readers.read_mask(path, kind, page)
        shape = array.shape[:2] if shape is None else shape
        if tuple(array.shape[:2]) != tuple(shape):
            raise DataError(
                f"{path}: mask of {array.shape[1]}x{array.shape[0]} pixels for an image of {shape[1]}x{shape[0]}. "
                "Use the mask that belongs to the image, on its grid."
            )
        return one_channel(array, shape, self.num_classes, path) if kind == "labels" else array

    def prepare(self, case: Case) -> PreparedImage:
        """Decode, resize and normalise; kept in memory as long as the budget lasts."""
        known = self.memory.get(case.key)
        if known is not None:
            return known
        image = self.read_image(case)
        shape = image.shape[:2]
        mask = self.read_raters(case, shape) if case.masks else None
        original = mask  # before resizing
        geometry = Geometry("image", shape, source=case.images[0])
        inner = shape if self.size is None else inner_size(shape, self.size, self.fit)
        if inner != tuple(shape):
            geometry = geometry.then(Resize(shape, inner))
            image = _resize(image, inner)
            if mask is not None:
                maps = [resize_labels(torch.from_numpy(one), inner, self.num_classes).numpy() for one in mask]
                mask = np.stack(maps)
        image = normalise(image, self.normalisation)
        if self.size is not None and inner != tuple(self.size):
            window = centred(inner, self.size)
            geometry = geometry.then(window)
            image = window.apply(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).contiguous().numpy()
            mask = None if mask is None else window.apply(torch.from_numpy(mask), IGNORE).numpy()
        prepared = PreparedImage(image, mask, original, geometry)
        self.memory.put(case.key, prepared, prepared.nbytes)
        return prepared

    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Augmented image or crop."""
        prepared = self.prepare(case)
        patches = self.patches
        rng = draw.rng(patches.seed)
        image, mask = prepared.image, prepared.mask
        if mask is None:
            raise DataError(
                f"{case.images[0]}: has no mask, so it cannot be trained on. Add the mask or remove the image."
            )
        if patches.size is not None:
            target = Target(case.name, majority(mask))
            start = patches.sampling.start(target, patches.size, rng)
            window = Window(mask.shape[1:], start, patches.size)
            image = window.apply(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).contiguous().numpy()
            mask = window.apply(torch.from_numpy(mask), IGNORE).numpy()
        seed = int(rng.integers(1 << 31))
        mask = chosen(mask, patches.raters, rng)  # after place and seed, so that the image is that of the mean
        if patches.augmentation is not None:
            image, mask = augmented(patches.augmentation, image, mask, seed)
        window = padded(mask.shape[1:], patches.divisor)
        labels = taught(window.apply(torch.from_numpy(mask), IGNORE).numpy(), self.num_classes)
        return {"image": window.apply(_to_tensor(image)), "mask": labels, "case": case.name}

    def whole_item(self, case: Case) -> Sample:
        """Whole image, padded to the divisor, with its geometry; of several raters each one's mask as stored too."""
        prepared = self.prepare(case)
        window = padded(prepared.image.shape[:2], self.patches.divisor)
        sample: Sample = {"image": window.apply(_to_tensor(prepared.image)), "case": case.name}
        if prepared.mask is not None and prepared.original_mask is not None:
            maps = window.apply(torch.from_numpy(prepared.mask), IGNORE).numpy()
            sample |= whole(maps, prepared.original_mask, self.num_classes)
        sample["geometry"] = prepared.geometry.then(window)
        return sample


def inner_size(shape: Sequence[int], size: Sequence[int], fit: Fit) -> tuple[int, ...]:
    """Height and width that an image is resized to before it is filled up or cut to `size`."""
    if fit == "stretch":
        return tuple(size)
    ratios = [after / before for before, after in zip(shape, size, strict=True)]
    ratio = min(ratios) if fit == "pad" else max(ratios)
    return tuple(max(1, round(length * ratio)) for length in shape)


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _resize(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Average over areas when shrinking, cubic when enlarging; the same edge-aligned grid as `geometry.Resize`.

    Of two axes that go different ways the one that shrinks goes first: areas of a shrunk and an enlarged axis together
    OpenCV computes on another grid.
    """
    import cv2

    work = image if image.dtype in (np.uint8, np.uint16, np.float32) else image.astype(np.float32)
    smaller = tuple(min(pair) for pair in zip(work.shape[:2], size, strict=True))
    for goal, method in ((smaller, cv2.INTER_AREA), (tuple(size), cv2.INTER_CUBIC)):
        if work.shape[:2] != goal:
            work = cv2.resize(work, goal[::-1], interpolation=method)
    return work[..., None] if work.ndim == 2 else work


class ImageData(SegmentationData):
    """Base of the 2D data sets.

    Args:
        size: Height and width to which all images are resized; `native` keeps each image's own.
        fit: How images of another aspect come to the size: "stretch" squeezes them, "pad" keeps the aspect and fills
            up, "crop" keeps the aspect and cuts what hangs over.
        patch_size: Height and width of training crops; whole images if left out.
        divisor: Whole images are padded to multiples of this.
        normalisation: "zscore" (over the image), "channel", "minmax" or "none".
        sampling: Where training crops lie.
        augmentation: Augmentation of the training images, by default the DSC++ paper's.
        memory_limit: Bytes of prepared images kept in memory.
        **kwargs: Arguments of `SegmentationData`.

    Example:
        >>> import pathlib, numpy, PIL.Image
        >>> pathlib.Path("mine").mkdir()
        >>> for name in "abcdefgh":
        ...     PIL.Image.fromarray(numpy.eye(32, dtype="uint8") * 255).save(f"mine/{name}.png")
        ...     PIL.Image.fromarray(numpy.eye(32, dtype="uint8") * 255).save(f"mine/{name}_mask.png")
        >>> from datamodules import ImageData
        >>> from datamodules.case import Case, DataInfo
        >>> class Mine(ImageData):
        ...     info = DataInfo("Mine", "lines", "8", "32 x 32", "-", "mine", "-", "my disk", "<name>[_mask].png")
        ...     class_names = ("background", "line")
        ...     in_channels = 1
        ...     def find_cases(self):
        ...         masks = sorted(self.existing_root().glob("*_mask.png"))
        ...         return [Case(m.stem[:-5], (m.with_name(m.name.replace("_mask", "")),), (m,)) for m in masks]
        >>> data = Mine(root="mine", size=[32, 32], split_sizes=[4, 2, 2])
        >>> data.setup()
        >>> {subset: len(cases) for subset, cases in data.subsets.items()}
        {'train': 4, 'val': 2, 'test': 2}
    """

    coding: MaskCoding = Binary()
    default_size: Sequence[int] | None = (256, 256)
    default_patch: Sequence[int] | None = None
    raters: Raters = "mean"

    def __init__(
        self,
        size: list[int] | str | None = None,
        fit: Fit = "stretch",
        patch_size: list[int] | None = None,
        divisor: int = 16,
        normalisation: str = "zscore",
        sampling: PatchSampling | None = None,
        augmentation: Augmentation | None = None,
        memory_limit: int = 1 << 30,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if normalisation not in ("zscore", "channel", "minmax", "none"):
            raise DataError(f"normalisation={normalisation!r}: use zscore, channel, minmax or none.")
        self.size = None if size == "native" else _pair("size", size or self.default_size)
        self.patch_size = _pair("patch_size", patch_size or self.default_patch)
        if fit not in get_args(Fit):
            raise DataError(f"fit={fit!r}: use {', '.join(get_args(Fit))}.")
        self.fit = fit
        self.divisor, self.normalisation, self.memory_limit = divisor, normalisation, memory_limit
        self.sampling, self.augmentation = sampling, augmentation

    def make_pipeline(self) -> ImagePipeline:
        """The 2D pipeline with this data set's mask coding."""
        augmentation = (self.augmentation or Augment2D()) if self.augment else None
        sampling = self.sampling or Uniform()
        return ImagePipeline(
            self.coding,
            self.in_channels,
            self.num_classes,
            self.size,
            self.normalisation,
            TrainingPatches(self.patch_size, self.divisor, sampling, augmentation, self.seed, self.raters),
            self.memory_limit // max(1, self.num_workers),
            self.fit,
        )

    def label_reader(self) -> LabelReader | None:
        """The pipeline."""
        return self.make_pipeline()

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Every image of the folder and the folders below it."""
        return single_cases(folder, find_files(folder, readers.IMAGE_ENDINGS))


def _pair(name: str, value: Sequence[int] | str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, str) or len(value) != 2 or min(value) < 1:
        raise DataError(f"{name}={value!r}: give height and width, as [256,256].")
    return (int(value[0]), int(value[1]))


def pair_by_stem(images: Sequence[Path], masks: Sequence[Path], suffix: str = "") -> list[tuple[Path, Path]]:
    """Pair images with masks of the same stem (plus a suffix).

    Raises:
        DataError: If an image has no mask, or a mask no image.
    """
    by_stem = {readers.stem(path): path for path in masks}
    pairs = []
    for image in images:
        mask = by_stem.pop(readers.stem(image) + suffix, None)
        if mask is None:
            raise DataError(f"{image}: has no mask {readers.stem(image) + suffix}.*. Add the mask or remove the image.")
        pairs.append((image, mask))
    if by_stem:
        raise DataError(f"{next(iter(by_stem.values()))}: mask without an image. Add the image or remove the mask.")
    return pairs
