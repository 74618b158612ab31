"""A raw folder of nnU-Net v2."""

import json
from pathlib import Path
from typing import Any

from . import readers
from .base import Pipeline, TrainingPatches
from .case import Case, DataInfo
from .errors import DataError
from .images import ImagePipeline
from .masks import IGNORE, Index
from .patches import Uniform
from .transforms import Augment2D
from .volumes import VolumeData


class NNUNetRaw(VolumeData):
    """A data set in nnU-Net v2's raw form, volumes or images: `dataset.json` says channels, labels and file ending.

    Region-based labels (lists of numbers, which overlap) become one class a number, named by the regions it belongs to;
    the label `ignore` is ignored. RGB images in one file count as their three channels. The classes must be known
    before training, so `dataset.json` is read at once.

    Layout: `dataset.json`, `imagesTr/<case>_0000.<ending>` (one file a channel), `labelsTr/<case>.<ending>`.
    Licence: the user's. Citation: Isensee et al., Nature Methods 2021.

    Args:
        root: Folder with `dataset.json`, as nnUNet_raw/Dataset004_Hippocampus.
        patch_size: Shape of training patches (z, y, x), or (y, x) for images.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.
    """

    info = DataInfo(
        title="nnU-Net v2 raw folder",
        task="the user's own volumes or images",
        cases="any",
        size="any",
        spacing="any",
        licence="the user's",
        citation="Isensee et al., Nature Methods 2021",
        source="your own disk",
        layout="dataset.json, imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz",
        classes="by dataset.json",
        dimensions="2D, 3D",
    )
    folder = "nnunet_raw"

    def __init__(self, root: str | None = None, patch_size: list[int] | None = None, **kwargs: Any) -> None:
        self.root = root
        facts = self._facts()
        self.reads_images = self.ending.lower().endswith(readers.IMAGE_ENDINGS)
        super().__init__(root=root, patch_size=None if self.reads_images else patch_size, **kwargs)
        self.in_channels = len(facts["channel_names"])
        self.class_names, mapping = read_labels(facts["labels"])
        self.coding = Index(len(self.class_names), mapping)
        if self.reads_images:
            self.spatial_dims = 2
            self.patch_size = tuple(patch_size or (256, 256))

    def _facts(self) -> dict[str, Any]:
        """`dataset.json`, checked."""
        path = self.existing_root() / "dataset.json"
        if not path.is_file():
            raise DataError(f"NNUNetRaw: {path} does not exist. Set root to a folder as Dataset004_Hippocampus.")
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self.ending = str(facts["file_ending"])
            self.files_a_case = len(facts["channel_names"])
            read_labels(facts["labels"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: is not understood ({error!r}). See nnU-Net v2's dataset_format.md.") from error
        if not self.ending.lower().endswith((*readers.IMAGE_ENDINGS, *readers.VOLUME_ENDINGS)):
            raise DataError(f"{path}: file_ending {self.ending!r} cannot be read. Convert to .nii.gz or .png.")
        return facts

    def find_cases(self) -> list[Case]:
        """Cases with a label file."""
        root = self.existing_root()
        return [
            self._case(mask, root / "imagesTr", (mask,)) for mask in readers.files(root / "labelsTr", (self.ending,))
        ]

    def _case(self, name: Path, folder: Path, masks: tuple[Path, ...]) -> Case:
        base = name.name.removesuffix(self.ending)
        images = [folder / f"{base}_{number:04d}{self.ending}" for number in range(self.files_a_case)]
        if self.reads_images and not all(path.exists() for path in images[1:]):
            images = images[:1]
        for path in images:
            if not path.exists():
                raise DataError(f"{path}: does not exist, but {name} does. Add the channel, or remove the case.")
        return Case(base, tuple(images), masks)

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Cases of a folder such as imagesTs."""
        first = readers.files(folder, (f"_0000{self.ending}",))
        return [self._case(Path(p.name.replace(f"_0000{self.ending}", self.ending)), folder, ()) for p in first]

    def make_pipeline(self) -> Pipeline:  # type: ignore[override]
        """The pipeline for volumes, or for images."""
        if not self.reads_images:
            return super().make_pipeline()
        augmentation = (self.augmentation or Augment2D()) if self.augment else None
        patches = TrainingPatches(self.patch_size, self.divisor, self.sampling or Uniform(), augmentation, self.seed)
        memory = self.memory_limit // max(1, self.num_workers)
        return ImagePipeline(self.coding, self.in_channels, self.num_classes, None, self.normalisation, patches, memory)


def read_labels(labels: dict[str, Any]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names and the mapping from stored numbers to classes.

    Args:
        labels: As in `dataset.json`: name to number, or name to a list of numbers.

    Raises:
        ValueError: If there is no background 0.
    """
    regions: dict[int, list[str]] = {}
    ignored = []
    for name, value in labels.items():
        numbers = [int(number) for number in (value if isinstance(value, list) else [value])]
        if name == "ignore":
            ignored = numbers
            continue
        for number in numbers:
            regions.setdefault(number, []).append(name)
    order = sorted(regions)
    if not order or order[0] != 0:
        raise ValueError("labels hold no background 0")
    mapping = {number: position for position, number in enumerate(order)} | dict.fromkeys(ignored, IGNORE)
    return tuple(" + ".join(regions[number]) for number in order), mapping
