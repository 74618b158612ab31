"""The user's own volumes, laid out in any way."""

from typing import Any

from . import readers
from .errors import DataError
from .masks import Binary, Index, PerClass
from .own_folder import OwnFolder, own_info
from .pairs import Pairing, grey_coding, index_coding, refuse_unread
from .raters import Raters
from .volumes import VolumeData


class VolumeFolder(OwnFolder, VolumeData):
    """Your own volumes and masks, found by pattern; `data inspect FOLDER` proposes the patterns and the values.

    The patterns are those of `ImageFolder`: `{name}` stands for what a volume and its mask have in common, `{folder}`
    for the part of the path that they have in common. Folders named train, val and test are the split unless another
    is asked for. Several files a case, one a channel, are read in nnU-Net's form by `NNUNetRaw`.

    As `--data datamodules.VolumeFolder --data.root my_scans --data.images "{folder}/ct.nii.gz" --data.masks
    "{folder}/liver.nii.gz" --data.classes [background,liver]`.

    Args:
        images: Pattern of the volumes below the root; channels lie in their last axis.
        masks: Pattern of the mask files of a volume below the root; several matches are united ("binary") or taken as
            one file a class ("files"). A list of patterns, one a rater: see `raters`.
        classes: Names of the classes, background first.
        coding: How masks hold classes: "index" (the value is the class), "binary" (above the threshold) or "files" (a
            file a class, in natural order).
        threshold: Value above which a voxel is foreground, for "binary" and "files"; by default 0.5, and masks with
            more than one object value are refused.
        values: For "index", the stored value of each class where it is not the class number.
        ignore: For "index", stored values that do not count, as [255].
        channels: Number of channels of the volumes.
        group: Regular expression on the volume's path below the root whose first group says what must stay in one
            subset, as a patient number; by default the {folder} of the volumes, and "(.+)" makes each its own group.
        exclude: Pattern of files below the root to leave out, or a list of such.
        raters: What training takes of several raters: "mean" their mean, a soft label, or "draw" the labels of one,
            whom each step draws anew for each patch, or "first" those of the first alone. Validation and
            test have them all in any case.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import VolumeFolder
        >>> data = VolumeFolder(images="scans/*", masks="labels/{name}.*", values=[0, 255])
        >>> data.num_classes, data.label_values
        (2, [0, 255])
    """

    info = own_info("VolumeFolder", "volumes", "any")
    endings = readers.VOLUME_ENDINGS

    def __init__(
        self,
        images: str = "images/*",
        masks: list[str] | str = "masks/{name}.*",
        classes: list[str] | None = None,
        coding: str = "index",
        threshold: float | None = None,
        values: list[int] | None = None,
        ignore: list[int] | None = None,
        channels: int = 1,
        group: str | None = None,
        exclude: list[str] | str | None = None,
        raters: Raters = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pair(Pairing(images, masks, exclude, group), raters)
        self.class_names = tuple(classes or ("background", "foreground"))
        self.in_channels = channels
        self.coding = _coding(coding, len(self.class_names), threshold, values, ignore)
        if coding == "index" and values is not None:
            self.label_values = values


def _coding(
    kind: str, num_classes: int, threshold: float | None, values: list[int] | None, ignore: list[int] | None
) -> Index | Binary | PerClass:
    refuse_unread(kind, threshold=threshold, values=values, ignore=ignore or None)
    found = grey_coding(kind, num_classes, threshold, 0.5) or index_coding(kind, num_classes, values, ignore or ())
    if found is None:
        raise DataError(
            f"coding={kind!r} with {num_classes} classes: use index (a value for each class, none of them ignored), "
            "binary (2 classes) or files."
        )
    return found
