"""The user's own volumes, laid out in any way."""

from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .masks import Binary, Index, PerClass
from .pairs import Pairing, check_masks, grey_coding, index_coding
from .patterns import Listing
from .volumes import VolumeData


class VolumeFolder(VolumeData):
    """Your own volumes and masks, found by pattern; `data inspect FOLDER` proposes the patterns and the values.

    The patterns are those of `ImageFolder`: `{name}` stands for what a volume and its mask have in common, `{folder}`
    for the part of the path that they have in common. Folders named train, val and test are the split unless another
    is asked for. Several files a case, one a channel, are read in nnU-Net's form by `NNUNetRaw`.

    As `--data datamodules.VolumeFolder --data.root my_scans --data.images "{folder}/ct.nii.gz" --data.masks
    "{folder}/liver.nii.gz" --data.classes [background,liver]`.

    Args:
        images: Pattern of the volumes below the root; channels lie in their last axis.
        masks: Pattern of the mask files of a volume below the root; several matches are united ("binary") or taken as
            one file a class ("files").
        classes: Names of the classes, background first.
        coding: How masks hold classes: "index" (the value is the class), "binary" (above the threshold) or "files" (a
            file a class, in natural order).
        threshold: Value above which a voxel is foreground, for "binary" and "files"; by default 0.5, and masks with
            more than one object value are refused.
        values: For "index", the stored value of each class where it is not the class number.
        ignore: For "index", stored values that do not count, as [255].
        channels: Number of channels of the volumes.
        group: Regular expression on the volume's path below the root whose first group says what must stay in one
            subset, as a patient number.
        exclude: Pattern of files below the root to leave out, or a list of such.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import VolumeFolder
        >>> data = VolumeFolder(images="scans/*", masks="labels/{name}.*", values=[0, 255])
        >>> data.num_classes, data.label_values
        (2, [0, 255])
    """

    info = DataInfo(
        title="VolumeFolder",
        task="the user's own volumes",
        cases="any",
        size="any",
        spacing="any",
        licence="the user's",
        citation="-",
        source="your own disk",
        layout="the volumes and masks that the patterns name",
        classes="by argument",
    )
    default_split = "own"

    def __init__(
        self,
        images: str = "images/*",
        masks: str = "masks/{name}.*",
        classes: list[str] | None = None,
        coding: str = "index",
        threshold: float | None = None,
        values: list[int] | None = None,
        ignore: list[int] | None = None,
        channels: int = 1,
        group: str | None = None,
        exclude: list[str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pairing = Pairing(images, masks, exclude, group)
        self.class_names = tuple(classes or ("background", "foreground"))
        self.in_channels = channels
        self.coding = _coding(coding, len(self.class_names), threshold, values, ignore)
        if coding == "index" and values is not None:
            self.label_values = values

    def find_cases(self) -> list[Case]:
        """Volumes that match the pattern, each with its masks; those without go to `unlabelled`, masks to `orphans`."""
        found = self.pairing.find(Listing(self.existing_root(), readers.VOLUME_ENDINGS))
        self.unlabelled, self.orphans = found.unlabelled, found.orphans
        for case in found.cases:
            check_masks(case, self.coding, self.num_classes)
        return found.cases

    def mask_pattern(self) -> str:
        """The pattern."""
        return f" by masks={', '.join(self.pairing.masks)}"


def _coding(
    kind: str, num_classes: int, threshold: float | None, values: list[int] | None, ignore: list[int] | None
) -> Index | Binary | PerClass:
    found = grey_coding(kind, num_classes, threshold, 0.5) or index_coding(kind, num_classes, values, ignore or ())
    if found is None:
        raise DataError(
            f"coding={kind!r} with {num_classes} classes: use index (a value for each class, none of them ignored), "
            "binary (2 classes) or files."
        )
    return found
