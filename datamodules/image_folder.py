"""The user's own images."""

from typing import Any

from . import readers
from .errors import DataError
from .images import ImageData
from .masks import Colour, MaskCoding
from .own_folder import OwnFolder, own_info
from .pairs import Pairing, grey_coding, index_coding, refuse_unread
from .raters import Raters


class ImageFolder(OwnFolder, ImageData):
    """Your own images and masks, found by pattern; `data inspect FOLDER` proposes the patterns and the coding.

    `{name}` stands for what an image and its mask have in common, `{folder}` for the part of the path that they have in
    common: `--data.images "{folder}/{name}_img.png" --data.masks "{folder}/{name}_mask.png"`. Folders named train, val
    and test are the split unless another is asked for.

    Example: `--data datamodules.ImageFolder --data.root my_images --data.images "scans/*.tif" --data.masks
    "labels/{name}_label.png" --data.coding index --data.classes [background,cell,wall]`.

    Args:
        images: Pattern of the image files below the root. Without {name} in it, the name is that of the file without
            ending; without {folder}, the folder is the whole path to the file.
        masks: Pattern of the mask files of an image below the root; several matches are united ("binary") or taken as
            one file a class ("files"). A list of patterns, one a rater: see `raters`.
        classes: Names of the classes, background first.
        coding: How masks hold classes: "binary" (grey above the threshold), "index" (the value is the class), "colour"
            (see `colours`) or "files" (a file a class, in natural order, or by the names of all classes in theirs).
        threshold: Grey value above which a pixel is foreground, for "binary" and "files"; by default 127, and masks
            with more than one object value are refused.
        invert: For "binary": the object is dark on a bright ground.
        values: For "index", the stored value of each class where it is not the class number.
        ignore: For "index", stored values that do not count, as [255].
        colours: For "colour", red, green and blue of each class, as [[0,0,0],[255,0,0]].
        channels: Channels of the images: 1 grey, 3 colour.
        group: Regular expression on the image's path below the root whose first group says what must stay in one
            subset, as a patient number; by default the {folder} of the images, and "(.+)" makes each its own group.
        exclude: Pattern of image files below the root to leave out, as "images/*_overlay.png", or a list of such.
        raters: What training takes of several raters: "mean" their mean, a soft label, or "draw" the labels of one,
            whom each step draws anew for each image, or "first" those of the first alone. Validation and
            test have them all in any case.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.

    Example:
        >>> import pathlib, numpy, PIL.Image
        >>> for folder in ("mine/images", "mine/masks"):
        ...     pathlib.Path(folder).mkdir(parents=True)
        ...     for name in "abcdefgh":
        ...         PIL.Image.fromarray(numpy.eye(32, dtype="uint8") * 255).save(f"{folder}/{name}.png")
        >>> from datamodules import ImageFolder
        >>> data = ImageFolder(root="mine", channels=1, size=[32, 32], batch_size=4)
        >>> data.setup()
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["image"].shape, batch["mask"].shape, batch["mask"].unique().tolist()
        (torch.Size([4, 1, 32, 32]), torch.Size([4, 32, 32]), [0, 1, 255])
    """

    info = own_info("ImageFolder", "images", "-")
    endings = readers.IMAGE_ENDINGS

    def __init__(
        self,
        images: str = "images/*",
        masks: list[str] | str = "masks/{name}.*",
        classes: list[str] | None = None,
        coding: str = "binary",
        threshold: float | None = None,
        invert: bool = False,
        values: list[int] | None = None,
        ignore: list[int] | None = None,
        colours: list[list[int]] | None = None,
        channels: int = 3,
        group: str | None = None,
        exclude: list[str] | str | None = None,
        raters: Raters = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pair(Pairing(images, masks, exclude, group), raters)
        self.class_names = tuple(classes or ("background", "foreground"))
        self.in_channels = channels
        self.coding = _coding(coding, len(self.class_names), threshold, invert, values, ignore, colours)
        if coding == "index" and values is not None:
            self.label_values = values


def _coding(
    kind: str,
    num_classes: int,
    threshold: float | None,
    invert: bool,
    values: list[int] | None,
    ignore: list[int] | None,
    colours: list[list[int]] | None,
) -> MaskCoding:
    refuse_unread(kind, threshold=threshold, invert=invert, values=values, ignore=ignore or None, colours=colours)
    grey = grey_coding(kind, num_classes, threshold, 127.0, invert)
    found = grey or index_coding(kind, num_classes, values, ignore or ())
    if found is not None:
        return found
    if kind == "colour" and colours and len(colours) == num_classes and all(len(c) == 3 for c in colours):
        return Colour(tuple((c[0], c[1], c[2]) for c in colours))
    raise DataError(
        f"coding={kind!r} with {num_classes} classes: use binary (2 classes), files, index (a value for each class, "
        "none of them ignored) or colour (colours for each class)."
    )
