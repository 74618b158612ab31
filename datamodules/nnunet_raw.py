"""A raw folder of nnU-Net."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from . import readers
from .case import Case, DataInfo
from .checks import LabelReader
from .errors import DataError
from .images import ImagePipeline
from .items import Pipeline, TrainingPatches
from .masks import Index
from .nnunet_json import read_dataset_json
from .patches import Uniform
from .transforms import Augment2D
from .volumes import VolumeData, VolumePipeline


class NNUNetRaw(VolumeData):
    """A data set in nnU-Net's raw form, volumes or images: `dataset.json` says channels, labels and file ending.

    Both versions of `dataset.json` are read. Where a label is a list of numbers, all are regions, which may overlap and
    get a sigmoid each, and `regions_class_order` says what they write into a label map, as nnU-Net has it. The label
    `ignore` is ignored. Labelled cases of `imagesTs` are the test set. RGB images in one file count as their
    three channels. Channels called CT are normalised by the fingerprint, others by z-score, unless `normalisation` says
    otherwise; `spacing fingerprint` resamples as nnU-Net does. `split splits_final.json` takes nnU-Net's folds. The
    classes must be known before training, so `dataset.json` is read at once.

    Layout: `dataset.json`, `imagesTr/<case>_0000.<ending>` (one file a channel), `labelsTr/<case>.<ending>`.
    Licence: the user's. Citation: Isensee et al., Nature Methods 2021.

    Args:
        root: Folder with `dataset.json`, as nnUNet_raw/Dataset004_Hippocampus.
        patch_size: Shape of training patches (z, y, x), or (y, x) for images.
        normalisation: As in `VolumeData`; by default what the names of the channels say.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> import json, pathlib, numpy, PIL.Image
        >>> for folder, channel in (("imagesTr", "_0000"), ("labelsTr", "")):
        ...     pathlib.Path("Dataset001_Mine", folder).mkdir(parents=True)
        ...     for name in "abcdefgh":
        ...         picture = PIL.Image.fromarray(numpy.eye(32, dtype="uint8"))
        ...         picture.save(f"Dataset001_Mine/{folder}/{name}{channel}.png")
        >>> facts = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "line": 1}, "file_ending": ".png"}
        >>> with open("Dataset001_Mine/dataset.json", "w") as file:
        ...     json.dump(facts, file)
        >>> from datamodules import NNUNetRaw
        >>> data = NNUNetRaw(root="Dataset001_Mine", batch_size=4)
        >>> data.setup()
        >>> data.class_names, next(iter(data.train_dataloader()))["image"].shape
        (('background', 'line'), torch.Size([4, 1, 256, 256]))
    """

    info = DataInfo(
        title="nnU-Net raw folder",
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
    default_split = "own"

    @property
    def padding(self) -> Literal["zero", "minimum"]:  # type: ignore[override]
        """Volumes are filled up with their minimum, images with zeros."""
        return "zero" if self.reads_images else "minimum"

    def __init__(
        self,
        root: str | None = None,
        patch_size: list[int] | None = None,
        normalisation: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.root = root
        self.json = self.existing_root() / "dataset.json"
        self.facts = read_dataset_json(self.json)
        if not self.facts.channels:
            raise DataError(f"{self.json}: is not understood (no channel_names). See nnU-Net's dataset_format.md.")
        self.ending = self._as_written(self.facts.ending or self._ending())
        if not self.ending.lower().endswith((*readers.IMAGE_ENDINGS, *readers.VOLUME_ENDINGS)):
            raise DataError(f"{self.json}: file_ending {self.ending!r} cannot be read. Convert to .nii.gz or .png.")
        self.reads_images = self.ending.lower().endswith(readers.IMAGE_ENDINGS) and not self._holds_stacks()
        size = None if self.reads_images else patch_size
        self.default_normalisation = "zscore" if self.reads_images or normalisation else self.facts.normalisation
        super().__init__(root=root, patch_size=size, normalisation=normalisation, **kwargs)
        self.in_channels, self.class_names = len(self.facts.channels), self.facts.class_names
        self.propose_regions(self.facts.regions, self.facts.order)
        cure = f'Name it in labels of {self.json}, as "ignore" where it does not count, or correct the file.'
        self.coding = Index(self.num_classes, self.facts.mapping, cure)
        self.label_values = self.facts.stored
        if self.reads_images:
            self.spatial_dims = 2
            self.patch_size = tuple(patch_size or (256, 256))

    def _as_written(self, ending: str) -> str:
        """The ending in the letters of the label files, as `.NII.GZ`."""
        folder = self.json.parent / "labelsTr"
        found = readers.files(folder, (ending,)) if folder.is_dir() else []
        return found[0].name[-len(ending) :] if found else ending

    def _ending(self) -> str:
        """Ending of the label files, where `dataset.json` does not say."""
        folder, known = self.json.parent / "labelsTr", (*readers.VOLUME_ENDINGS, *readers.IMAGE_ENDINGS)
        found = readers.files(folder, known) if folder.is_dir() else []
        if not found:
            raise DataError(f"{self.json}: gives no file_ending and {folder} holds no file that tells it. Add it.")
        return next(ending for ending in known if found[0].name.lower().endswith(ending))

    def _holds_stacks(self) -> bool:
        """Whether TIFF files are volumes here, which the labels tell: their pages are no channels."""
        folder = self.json.parent / "labelsTr"
        found = readers.files(folder, (self.ending,)) if folder.is_dir() else []
        return bool(found) and readers.is_stack(found[0])

    def find_cases(self) -> list[Case]:
        """Labelled cases: those that `dataset.json` lists under `dataset`, else of labelsTr, and of labelsTs."""
        root = self.existing_root()
        if self.facts.listed:
            return [
                Case(name, tuple(self._there(root / path, name) for path in images), (self._there(root / label, name),))
                for name, (images, label) in self.facts.listed.items()
            ]
        for part in ("imagesTr", "labelsTr"):
            if not (root / part).is_dir():
                raise DataError(f"NNUNetRaw: {root} holds no folder {part}. {self.advice(root)}")
        cases, self.unlabelled = [], []
        for part, subset in (("Tr", "train"), ("Ts", "test")):
            labels = readers.files(root / f"labels{part}", (self.ending,)) if (root / f"labels{part}").is_dir() else []
            found = self._alike([self._case(path, root / f"images{part}", (path,), subset) for path in labels])
            used = {path for case in found for path in case.images}
            if labels:
                images = readers.files(root / f"images{part}", (self.ending,))
                first = f"_{0:04d}{self.ending}"
                self.unlabelled += [p for p in images if p not in used and (p.name.endswith(first) or not used)]
            cases += found
        return cases

    def _case(self, label: Path, folder: Path, masks: tuple[Path, ...], subset: str = "") -> Case:
        base = label.name.removesuffix(self.ending)
        count = len(self.facts.channels)
        images = [folder / f"{base}_{number:04d}{self.ending}" for number in range(count)]
        beyond = folder / f"{base}_{count:04d}{self.ending}"
        if masks and images[0].exists() and beyond.exists():
            raise DataError(
                f"{beyond}: is a channel that {self.json} does not name, channel_names has {count}. Name it there, or "
                "remove the file."
            )
        if self.reads_images and not any(path.exists() for path in images[1:]):
            images = images[:1]
        whole = folder / f"{base}{self.ending}"
        if not images[0].exists() and whole.exists():  # one channel, or all in one file as in the Decathlon
            images = [whole]
        return Case(base, tuple(self._there(path, label.name) for path in images), masks, subset=subset)

    def _alike(self, cases: list[Case]) -> list[Case]:
        """The cases, of which either all have a file for each channel or all have one for all channels.

        Raises:
            DataError: If some have only their first channel.
        """
        first = f"_0000{self.ending}"
        if any(len(case.images) > 1 for case in cases):
            for path in (case.images[0] for case in cases if len(case.images) == 1 < len(self.facts.channels)):
                if path.name.endswith(first):
                    self._there(path.with_name(f"{path.name.removesuffix(first)}_0001{self.ending}"), path.name)
        return cases

    @staticmethod
    def _there(path: Path, name: str) -> Path:
        if not path.exists():
            raise DataError(f"{path}: does not exist, but {name} does. Add it, or remove the case.")
        return path

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Cases of a folder such as imagesTs; with one channel also files without `_0000`."""
        bases: dict[str, list[Path]] = defaultdict(list)
        single = len(self.facts.channels) == 1
        for path in readers.files(folder, (self.ending,)):
            base = path.name.removesuffix(self.ending)
            if base.endswith("_0000"):
                bases[base.removesuffix("_0000")].append(path)
            elif single or not (base[-5:-4] == "_" and base[-4:].isdigit()):
                bases[base].append(path)
        for base, paths in bases.items():
            if len(paths) > 1:
                raise DataError(f"{paths[0]} and {paths[1]} would both be case {base!r}. Rename one.")
        return self._alike([self._case(Path(f"{base}{self.ending}"), folder, ()) for base in bases])

    def make_pipeline(self) -> VolumePipeline | ImagePipeline:  # type: ignore[override]
        """The pipeline for volumes, or for images."""
        if not self.reads_images:
            return super().make_pipeline()
        augmentation = (self.augmentation or Augment2D()) if self.augment else None
        patches = TrainingPatches(self.patch_size, self.divisor, self.sampling or Uniform(), augmentation, self.seed)
        memory = self.memory_limit // max(1, self.num_workers)
        method = str(self.normalisation)
        return ImagePipeline(self.coding, self.in_channels, self.num_classes, None, method, patches, memory)

    def label_reader(self) -> LabelReader | None:
        """The reader of volumes, or of images."""
        pipeline: Pipeline | None = self.make_pipeline() if self.reads_images else None
        return pipeline if isinstance(pipeline, ImagePipeline) else super().label_reader()
