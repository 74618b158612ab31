"""The user's own images."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData
from .masks import IGNORE, Binary, Colour, Index, MaskCoding, PerClass
from .patterns import Listing, expression
from .splits import OWN_FOLDERS


class ImageFolder(ImageData):
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
            one file a class ("files"). A list of patterns, one a rater: the label is then soft, the mean of the raters.
        classes: Names of the classes, background first.
        coding: How masks hold classes: "binary" (grey above the threshold), "index" (the value is the class), "colour"
            (see `colours`) or "files" (a file a class, in natural order).
        threshold: Grey value above which a pixel is foreground, for "binary" and "files"; by default 127, and masks
            with more than one object value are refused.
        invert: For "binary": the object is dark on a bright ground.
        values: For "index", the stored value of each class where it is not the class number.
        ignore: For "index", stored values that do not count, as [255].
        colours: For "colour", red, green and blue of each class, as [[0,0,0],[255,0,0]].
        channels: Channels of the images: 1 grey, 3 colour.
        group: Regular expression on the image's path below the root whose first group says what must stay in one
            subset, as a patient number.
        exclude: Pattern of image files below the root to leave out, as "images/*_overlay.png".
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
    default_split = "own"

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
        exclude: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images, self.group, self.exclude = images, group, exclude
        if isinstance(masks, str) and masks.startswith("[") and masks.endswith("]"):
            raise DataError(f"masks={masks}: quote each pattern of a list, as ['a/{{name}}.png','b/{{name}}.png'].")
        self.masks = [masks] if isinstance(masks, str) else masks
        self.class_names = tuple(classes or ("background", "foreground"))
        self.in_channels = channels
        self.coding = _coding(coding, len(self.class_names), threshold, invert, values, ignore, colours)
        if coding == "index" and values is not None:
            self.label_values = values
        for pattern in self.masks:
            if "{name}" not in pattern and "{folder}" not in pattern:
                raise DataError(f"masks={pattern!r}: must hold {{name}}, which stands for the image's name.")

    def find_cases(self) -> list[Case]:
        """Images that match the pattern, each with its masks; images without go to `unlabelled`, masks to `orphans`."""
        root = self.existing_root()
        listing = Listing(root, readers.IMAGE_ENDINGS)
        cases: list[Case] = []
        owners: dict[Path, Path] = {}
        self.unlabelled = []
        for image, words in self.named_images(listing):
            inside = image.relative_to(root)
            raters = [[path for path in listing.of(pattern, words) if path != image] for pattern in self.masks]
            if not all(raters):
                self.unlabelled.append(image)
                continue
            for masks in raters:
                self._check_masks(image, masks)
            for path in (path for masks in raters for path in masks):
                if path in owners:
                    raise DataError(self._claimed(path, owners[path], image))
                owners[path] = image
            cases.append(self._case(image, inside, words, raters))
        self.unlabelled = [path for path in self.unlabelled if path not in owners]  # a mask that the images match
        taken = {*owners, *(case.images[0] for case in cases), *self.unlabelled}
        self.orphans = [path for pattern in self.masks for path, _ in listing.find(pattern) if path not in taken]
        return cases

    def mask_pattern(self) -> str:
        """The patterns."""
        return f" by masks={', '.join(self.masks)}"

    def _images(self, listing: Listing) -> list[tuple[Path, dict[str, str]]]:
        """Images with the words of their pattern, without those to exclude."""
        found = listing.find(self.images)
        if self.exclude:
            left_out = expression(self.exclude)
            found = [pair for pair in found if not left_out.fullmatch(pair[0].relative_to(listing.root).as_posix())]
        return found

    def masks_of(self, listing: Listing, words: Mapping[str, str]) -> list[Path]:
        """All mask files of an image of this name and folder."""
        return [path for pattern in self.masks for path in listing.of(pattern, words)]

    def named_images(self, listing: Listing) -> list[tuple[Path, dict[str, str]]]:
        """Images with name and folder where the pattern does not say.

        The name is the file's without ending or, where no mask goes by that, what the one `*` in the pattern's file
        name stands for.
        """
        named = []
        for image, words in self._images(listing):
            folder = image.relative_to(listing.root).parent.as_posix()
            named.append((image, {"name": image.stem, "folder": folder} | words))
        parent, _, last = self.images.rpartition("/")
        if "{name}" in self.images or last.count("*") != 1:
            return named
        if any(listing.of(pattern, words) for _, words in named for pattern in self.masks):
            return named
        starred = dict(listing.find(f"{parent}/{last.replace('*', '{name}')}".lstrip("/")))
        return [(image, words | {"name": starred[image]["name"]}) for image, words in named]

    def _case(self, image: Path, inside: Path, words: dict[str, str], raters: Sequence[Sequence[Path]]) -> Case:
        parent = str(Path(self.images).parent)
        if "{folder}" in self.images:
            name = "__".join((*words["folder"].split("/"), words["name"]))
        elif "*" in parent or "{name}" in parent:
            name = "__".join(inside.with_suffix("").parts)
        else:
            name = words["name"] if "{name}" in self.images else image.stem
        masks = tuple(path for masks in raters for path in masks)
        counts = tuple(len(masks) for masks in raters) if len(raters) > 1 else ()
        subset = next((OWN_FOLDERS[p.lower()] for p in inside.parts[:-1] if p.lower() in OWN_FOLDERS), "")
        return Case(name, (image,), masks, self._group(inside), subset, raters=counts)

    def _claimed(self, mask: Path, first: Path, second: Path) -> str:
        if first.with_suffix("") == second.with_suffix(""):
            cure = "Remove one of the two, or exclude it"
        elif first.stem == second.stem:
            cure = "Put {folder} for the folder that tells them apart into images and masks, as x/{folder}/{name}.*"
        else:
            cure = "Write what follows the name into masks, as {name}_*.png"
        return f"{mask}: is a mask of {first} and of {second} by masks={self.masks}. {cure}."

    def _check_masks(self, image: Path, masks: Sequence[Path]) -> None:
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
    kind: str,
    num_classes: int,
    threshold: float | None,
    invert: bool,
    values: list[int] | None,
    ignore: list[int] | None,
    colours: list[list[int]] | None,
) -> MaskCoding:
    cut, given = (127.0, False) if threshold is None else (threshold, True)
    if kind == "binary" and num_classes == 2:
        return Binary(cut, invert, given, None)
    if kind == "files":
        return PerClass(cut, given, None)
    if kind == "index":
        known = values if values is not None else list(range(num_classes))
        if len(known) == num_classes == len(set(known)) and not set(known) & set(ignore or ()):
            mapping = dict.fromkeys(ignore or (), IGNORE) | {value: number for number, value in enumerate(known)}
            return Index(
                num_classes, mapping, "Set --data.values and --data.classes, or --data.ignore for what is none."
            )
    if kind == "colour" and colours and len(colours) == num_classes and all(len(c) == 3 for c in colours):
        return Colour(tuple((c[0], c[1], c[2]) for c in colours))
    raise DataError(
        f"coding={kind!r} with {num_classes} classes: use binary (2 classes), files, index (a value for each class, "
        "none of them ignored) or colour (colours for each class)."
    )
