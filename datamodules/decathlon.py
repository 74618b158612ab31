"""Medical Segmentation Decathlon, any task."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import readers
from .case import Case, DataInfo
from .download import Archive
from .errors import DataError
from .masks import Index
from .new_cases import find_volumes
from .nnunet_json import DatasetJson, read_dataset_json
from .volumes import VolumeData

_MR, _CT = "MR", "CT"
_KNOWN: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "Task01_BrainTumour": (_MR, 4, ("oedema", "non-enhancing tumour", "enhancing tumour")),
    "Task02_Heart": (_MR, 1, ("left atrium",)),
    "Task03_Liver": (_CT, 1, ("liver", "tumour")),
    "Task04_Hippocampus": (_MR, 1, ("anterior", "posterior")),
    "Task05_Prostate": (_MR, 2, ("peripheral zone", "transition zone")),
    "Task06_Lung": (_CT, 1, ("tumour",)),
    "Task07_Pancreas": (_CT, 1, ("pancreas", "tumour")),
    "Task08_HepaticVessel": (_CT, 1, ("vessel", "tumour")),
    "Task09_Spleen": (_CT, 1, ("spleen",)),
    "Task10_Colon": (_CT, 1, ("tumour",)),
}
# The open mirror that the organisers name, with the checksums published for it.
_SERVER = "https://msd-for-monai.s3-us-west-2.amazonaws.com/"
_MD5 = {
    "Task01_BrainTumour": "240a19d752f0d9e9101544901065d872",
    "Task02_Heart": "06ee59366e1e5124267b774dbd654057",
    "Task03_Liver": "a90ec6c4aa7f6a3d087205e23d4e6397",
    "Task04_Hippocampus": "9d24dba78a72977dbd1d2e110310f31b",
    "Task05_Prostate": "35138f08b1efaef89d7424d2bcc928db",
    "Task06_Lung": "8afd997733c7fc0432f71255ba4e52dc",
    "Task07_Pancreas": "4f7080cfca169fa8066d17ce6eb061e4",
    "Task08_HepaticVessel": "641d79e80ec66453921d997fbf12a29c",
    "Task09_Spleen": "410d4a301da4e5b2f6f86ec3ddba524e",
    "Task10_Colon": "bad7a188931dc2f6acf72b08eb6202d0",
}


class Decathlon(VolumeData):
    """Medical Segmentation Decathlon: ten tasks in CT and MR, one format.

    Layout: `<task>/imagesTr/<case>.nii.gz`, `<task>/labelsTr/<case>.nii.gz`, with or without the official
    `dataset.json`, which lists the cases. A task of your own takes channels and classes from its `dataset.json`, or all
    channels of its first image. Images may be DICOM series, a folder each, and image and label of unlike formats are
    paired by name. Labelled images of `imagesTs` are the test set. Licence: CC-BY-SA 4.0. Citation:
    Antonelli et al., Nature Comms 2022.

    Args:
        task: Folder of the task, as Task04_Hippocampus.
        classes: Names of the classes for a task that is not one of the ten and has no `dataset.json`, background first.
        channels: Numbers of the channels to use; all by default.
        patch_size: Shape of training patches (z, y, x).
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import Decathlon
        >>> data = Decathlon(root="decathlon", task="Task04_Hippocampus")
        >>> data.class_names
        ('background', 'anterior', 'posterior')
    """

    info = DataInfo(
        title="Medical Segmentation Decathlon",
        task="ten tasks: brain, heart, liver, hippocampus, prostate, lung, pancreas, vessels, spleen, colon",
        cases="20 to 484 a task (hippocampus 260)",
        size="hippocampus about 36 x 50 x 36; CT 512 x 512 x 30 to 900",
        spacing="hippocampus 1 mm; others anisotropic",
        licence="CC-BY-SA 4.0",
        citation="Antonelli et al., Nature Communications 2022",
        source="http://medicaldecathlon.com",
        layout="<task>/imagesTr/*.nii.gz and <task>/labelsTr/*.nii.gz",
        paper="all",
        classes="by task",
        downloadable=True,
    )
    default_split = "own"

    def __init__(
        self,
        task: str = "Task04_Hippocampus",
        classes: list[str] | None = None,
        channels: list[int] | None = None,
        patch_size: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if task == "Task04_Hippocampus" and patch_size is None:
            patch_size = [32, 48, 32]
        self.root, self.task, self.classes = kwargs.get("root"), task, classes
        own = None if task in _KNOWN else self._own()
        if own is not None:
            self.default_normalisation = own.normalisation
        super().__init__(patch_size=patch_size, **kwargs)
        if own is None:
            modality, total, names = _KNOWN[task]
            self.class_names = tuple(classes) if classes else ("background", *names)
            self.coding = Index(self.num_classes)
            if modality == _CT and self.clip is None:
                self.clip = (-1000.0, 1000.0)
        else:
            total, self.class_names, self.label_values = len(own.channels), own.class_names, own.stored
            self.coding = Index(self.num_classes, own.mapping, f"Name it in labels of {task}/dataset.json.")
            self.propose_regions(own.regions, own.order)
        self.channels = list(range(total)) if channels is None else channels
        if not self.channels or not set(self.channels) <= set(range(total)):
            raise DataError(f"channels={channels}: {task} has the channels 0 to {total - 1}.")
        self.in_channels = len(self.channels)
        if task in _MD5:
            self.archives = (Archive(f"{_SERVER}{task}.tar", f"md5:{_MD5[task]}"),)

    def _own(self) -> DatasetJson:
        """Channels and classes of a task that is not one of the ten, from its `dataset.json` or its first image."""
        folder, classes = self._task_folder(), self.classes
        path = folder / "dataset.json"
        if path.is_file():
            found = read_dataset_json(path)
            if classes and len(classes) != len(found.class_names):
                raise DataError(f"{path}: lists {len(found.class_names)} classes, classes={classes} {len(classes)}.")
            names = tuple(classes) if classes else found.class_names
            return replace(found, class_names=names, channels=found.channels or self._channels(folder))
        if not classes:
            raise DataError(
                f"task={self.task!r}: is none of {', '.join(_KNOWN)}, and {path} does not exist. Give classes."
            )
        return DatasetJson(self._channels(folder), tuple(classes), {number: number for number in range(len(classes))})

    @staticmethod
    def _channels(folder: Path) -> tuple[str, ...]:
        """A name for each channel of the first image."""
        images = find_volumes(folder / "imagesTr")
        shape = readers.volume_header(images[0])[0] if images else ()
        return tuple(f"channel {number}" for number in range(shape[3] if len(shape) > 3 else 1))

    def find_cases(self) -> list[Case]:
        """The labelled cases: those of `dataset.json` where there is one, else all files of `imagesTr`.

        Images of `imagesTs` that have a label in `labelsTs` are the test set.
        """
        folder = self._task_folder()
        listed = self._listed(folder)
        images = find_volumes(folder / "imagesTr") if listed is None else listed
        names = {readers.stem(image) for image in images}
        labels = _labels(readers.files(folder / "labelsTr", readers.VOLUME_ENDINGS), names)
        self.orphans = [path for name, path in labels.items() if name not in names]
        cases = []
        for image in images:
            mask = labels.get(readers.stem(image), folder / "labelsTr" / image.name)
            for path in (image, mask):
                if not path.exists():
                    raise DataError(f"{path}: does not exist. Unpack {self.task}.tar again, or leave the case out.")
            cases.append(Case(readers.stem(image), (image,), (mask,), subset="train"))
        tested = readers.files(folder / "labelsTs", readers.VOLUME_ENDINGS) if (folder / "labelsTs").is_dir() else []
        for mask in tested:
            image = folder / "imagesTs" / mask.name
            if not image.exists():
                raise DataError(f"{image}: does not exist, but {mask} does. Add it, or remove the label.")
            cases.append(Case(readers.stem(image), (image,), (mask,), subset="test"))
        return cases

    def _task_folder(self) -> Path:
        root = self.existing_root()
        folder = root if (root / "imagesTr").is_dir() else root / self.task
        for part in ("imagesTr", "labelsTr"):
            if not (folder / part).is_dir():
                raise DataError(f"Decathlon: {folder} holds no folder {part}. {self.advice(root)}")
        return folder

    def _listed(self, folder: Path) -> list[Path] | None:
        path = folder / "dataset.json"
        if not path.is_file():
            return None
        facts = read_dataset_json(path)
        if len(facts.class_names) != self.num_classes:
            count = len(facts.class_names)
            raise DataError(f"{path}: lists {count} classes, {self.num_classes} are expected. Give classes.")
        names = [Path(name).name for name in facts.training]
        if not names:
            return None
        return [folder / "imagesTr" / name for name in sorted(names, key=readers.natural)]


def _labels(paths: Sequence[Path], cases: Collection[str]) -> dict[str, Path]:
    """Labels by name.

    Raises:
        DataError: If a case has two, whose names differ by the ending alone.
    """
    labels: dict[str, Path] = {}
    for path in paths:
        other = labels.setdefault(readers.stem(path), path)
        if other != path and readers.stem(path) in cases:
            raise DataError(f"{other} and {path}: are both labels of {readers.stem(path)}. Remove one of the two.")
    return labels
