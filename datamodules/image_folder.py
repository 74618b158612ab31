"""The user's own images."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData
from .masks import Binary, Colour, Index, MaskCoding, PerClass


class ImageFolder(ImageData):
    """Your own images and masks, found by pattern.

    Example: `--data datamodules.ImageFolder --data.root my_images --data.images "scans/*.tif" --data.masks
    "labels/{name}_label.png" --data.coding index --data.classes [background,cell,wall]`.

    Args:
        images: Pattern of the image files below the root.
        masks: Pattern of the mask files of an image below the root, with {name} for the image's name without ending and
            {folder} for its folder; several matches are united ("binary") or taken as one file a class ("files").
        classes: Names of the classes, background first.
        coding: How masks hold classes: "binary" (grey above the threshold), "index" (the value is the class), "colour"
            (see `colours`) or "files" (a file a class, in sorted order).
        threshold: Grey value above which a pixel is foreground, for "binary" and "files".
        values: For "index", the stored value of each class where it is not the class number; 255 is ignored unless
            listed.
        colours: For "colour", red, green and blue of each class, as [[0,0,0],[255,0,0]].
        channels: Channels of the images: 1 grey, 3 colour.
        group: Regular expression on the image's path below the root whose first group says what must stay in one
            subset, as a patient number.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.
    """

    info = DataInfo(
        title="ImageFolder",
        task="the user's own images",
        cases="any",
        size="any",
        spacing="-",
        licence="the user's",
        citation="-",
        source="your own disk",
        layout="the images and masks that the patterns name",
        classes="by argument",
    )

    def __init__(
        self,
        images: str = "images/*",
        masks: str = "masks/{name}.*",
        classes: list[str] | None = None,
        coding: str = "binary",
        threshold: int = 127,
        values: list[int] | None = None,
        colours: list[list[int]] | None = None,
        channels: int = 3,
        group: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images, self.masks, self.group = images, masks, group
        self.class_names = tuple(classes or ("background", "foreground"))
        self.in_channels = channels
        self.coding = _coding(coding, len(self.class_names), threshold, values, colours)
        if "{name}" not in masks:
            raise DataError(f"masks={masks!r}: must hold {{name}}, which stands for the image's name.")

    def find_cases(self) -> list[Case]:
        """Images that match the pattern, each with its masks."""
        root, cases = self.existing_root(), []
        found = [path for path in root.glob(self.images) if path.name.lower().endswith(readers.IMAGE_ENDINGS)]
        for image in sorted(found, key=lambda path: readers.natural(str(path))):
            inside = image.relative_to(root)
            folder = inside.parent.as_posix()
            pattern = self.masks.replace("{name}", glob.escape(image.stem)).replace("{folder}", glob.escape(folder))
            masks = sorted(path for path in root.glob(pattern) if path != image)
            self._check_masks(image, masks, pattern)
            nested = "*" in str(Path(self.images).parent)
            name = "__".join(inside.with_suffix("").parts) if nested else image.stem
            cases.append(Case(name, (image,), tuple(masks), self._group(inside)))
        return cases

    def _check_masks(self, image: Path, masks: Sequence[Path], pattern: str) -> None:
        if not masks:
            raise DataError(f"{image}: has no mask {pattern}. Add it, remove the image, or correct masks.")
        if isinstance(self.coding, PerClass) and len(masks) != self.num_classes - 1:
            raise DataError(
                f"{image}: {len(masks)} masks for {self.num_classes - 1} classes. Give a file for each class."
            )
        if isinstance(self.coding, Index | Colour) and len(masks) > 1:
            raise DataError(f"{image}: {len(masks)} masks, as {masks[1].name}. Make the pattern match one.")

    def _group(self, inside: Path) -> str:
        if self.group is None:
            return ""
        match = re.search(self.group, inside.as_posix())
        if match is None or not match.groups():
            raise DataError(f"{inside}: group={self.group!r} finds no group in it. Correct the expression.")
        return match.group(1)


def _coding(
    kind: str, num_classes: int, threshold: int, values: list[int] | None, colours: list[list[int]] | None
) -> MaskCoding:
    if kind == "binary" and num_classes == 2:
        return Binary(threshold)
    if kind == "files":
        return PerClass(threshold)
    if kind == "index":
        known = values if values is not None else list(range(num_classes))
        if len(known) == num_classes:
            return Index(num_classes, {255: 255} | {value: number for number, value in enumerate(known)})
    if kind == "colour" and colours and len(colours) == num_classes and all(len(c) == 3 for c in colours):
        return Colour(tuple((c[0], c[1], c[2]) for c in colours))
    raise DataError(
        f"coding={kind!r} with {num_classes} classes: use binary (2 classes), files, index (values for each class) "
        "or colour (colours for each class)."
    )
