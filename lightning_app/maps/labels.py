"""A case's label on its own grid, under the codings of `ImageFolder`; with regions the numbers that regions unite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules import DataError, readers
from datamodules.masks import IGNORE, Binary, Colour, Index, MaskCoding, PerClass
from lightning_app.errors import UserError
from lightning_app.maps.pairing import Files, class_number, ending_of
from lightning_app.maps.space import check_place
from lightning_app.maps.storage import NUMPY, TIFF, VOLUMES, read_array


@dataclass(frozen=True)
class Coding:
    """How label files hold classes; the options that begin with `label_`.

    Attributes:
        classes: Class names, background first.
        regions: Region name to the numbers that it unites, or None.
        coding: One of `CODINGS` of the command; left out, a file of class numbers is read as such, and other two-class
            images are grey values to be cut.
        values: Stored value of each class under "index".
        threshold: Grey value above which a pixel is foreground.
        colours: Red, green and blue of each class under "colour".
        ignore: Stored value of voxels that do not count, or None.
    """

    classes: tuple[str, ...]
    regions: dict[str, list[int]] | None = None
    coding: str | None = None
    values: tuple[int, ...] | None = None
    threshold: int = 127
    colours: tuple[tuple[int, int, int], ...] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        if self.values is not None and len(self.values) != len(self.classes):
            raise UserError(f"--label_values {list(self.values)} must give a value for each of {list(self.classes)}")
        if self.coding == "binary" and len(self.classes) != 2:
            raise UserError(f"--label_coding binary means two classes, --classes names {len(self.classes)}")
        if self.coding == "binary" and self.ignore is not None and self.ignore > self.threshold:
            raise UserError(
                f"--label_coding binary --ignore {self.ignore}: is {self.ignore} foreground, or does it not count? "
                "Leave --ignore out, or name the values of the classes by --label_values"
            )
        if (self.coding == "colour") != (self.colours is not None):
            raise UserError("--label_coding colour and --label_colours go together")
        if self.colours is not None and len(self.colours) != len(self.classes):
            raise UserError(f"--label_colours must give a colour for each of {list(self.classes)}")

    def numbers(self) -> Index:
        """The rule for files of numbers: only those declared may occur."""
        if self.regions:
            known = {0, *(number for united in self.regions.values() for number in united)}
            mapping = {number: number for number in known}
        else:
            mapping = {value: k for k, value in enumerate(self.values or range(len(self.classes)))}
        if self.ignore is not None:
            mapping[self.ignore] = IGNORE
        return Index(max(*mapping.values(), 1) + 1, mapping)


FEW = 16  # values of a mask without soft edges
CURE = (
    "Name what does not count by --ignore, class numbers by --label_coding index (--label_values), or give "
    "--label_coding binary where these are grey values, with --label_threshold 0 where they are numbers of objects."
)


@dataclass(frozen=True)
class Label:
    """A case's label.

    Attributes:
        array: (*S) uint8, 255 where nothing counts.
        affine: 4x4 matrix from indices to mm, for volumes.
        spacing: Distance between neighbours along each axis.
        volume: Read by a reader of volumes, whose axes are (x, y, z).
    """

    array: np.ndarray
    affine: np.ndarray | None
    spacing: tuple[float, ...]
    volume: bool


def read_label(files: Files, coding: Coding, valid: Path | None = None) -> Label:
    """Read a label, with the field of view that a mask gives.

    Raises:
        DataError: If a file cannot be read, holds a value that is no class, or the mask has another size.
    """
    paths = _ordered(files, coding)
    ending = ending_of(paths[0])
    if ending in VOLUMES or readers.is_stack(paths[0]):
        volumes = [readers.read_volume(path, labels=True) for path in paths]
        first, place = volumes[0], _place(paths[0], volumes[0].affine)
        for path, volume in zip(paths[1:], volumes[1:], strict=True):
            check_place(path, _place(path, volume.affine), paths[0], place, first.array.shape)
        label = Label(_decoded([volume.array for volume in volumes], paths, coding), place, first.spacing, True)
    else:
        arrays = _planes(paths, coding) if ending not in NUMPY else [read_array(path).array for path in paths]
        array = _decoded(arrays, paths, coding)
        label = Label(array, None, (1.0,) * array.ndim, False)
    if valid is not None:
        outside, affine = outside_view(valid)
        if outside.shape != label.array.shape:
            raise DataError(f"{valid}: shape {outside.shape}, but the label's is {label.array.shape}.")
        check_place(valid, affine, paths[0], label.affine, outside.shape)
        label.array[outside] = IGNORE
    return label


def _place(path: Path, affine: np.ndarray) -> np.ndarray | None:
    """Where a volume lies; a TIFF stack knows the size of its voxels at most."""
    return None if ending_of(path) in TIFF else affine


def _ordered(files: Files, coding: Coding) -> list[Path]:
    """The label files in the order of the classes.

    Raises:
        DataError: If one is called by no class, or a class has none, or there are several without
            `--label_coding files`.
    """
    if set(files.by_class) != {""}:
        return _by_class(files, coding.classes)
    paths = files.all
    if len(paths) > 1 and coding.coding != "files":
        raise DataError(f"{paths[0]}: {files.name} has {len(paths)} labels, as {paths[1].name}; narrow --labels.")
    return paths


def _by_class(files: Files, classes: Sequence[str]) -> list[Path]:
    numbered: dict[int, Path] = {}
    for name, (path, *_) in files.by_class.items():
        number = class_number(name, classes)
        if number is None or number in numbered:
            told = f"and {numbered[number].name} are both" if number is not None else f"is called {name!r}: none of"
            raise DataError(f"{path}: {told} the classes {', '.join(classes)}.")
        numbered[number] = path
    if missing := [name for number, name in enumerate(classes) if number and number not in numbered]:
        raise DataError(f"{files.all[0]}: has no label of {', '.join(missing)} beside it.")
    return [numbered[number] for number in range(1, len(classes))]


def _planes(paths: Sequence[Path], coding: Coding) -> list[np.ndarray]:
    """Images as the coding wants them: numbers where they are class numbers, else grey values or colours."""
    if coding.coding in ("index", "colour"):
        return [readers.read_mask(path, "labels") for path in paths]
    if coding.coding is None and len(paths) == 1:
        numbers = readers.read_mask(paths[0], "labels")
        if numbers.ndim == 2 and _are_numbers(numbers, coding):
            return [numbers]
    return [readers.read_mask(path, "grey") for path in paths]


def _are_numbers(array: np.ndarray, coding: Coding) -> bool:
    return len(coding.classes) > 2 or coding.values is not None or int(array.max(initial=0)) <= 1


def _decoded(arrays: Sequence[np.ndarray], paths: Sequence[Path], coding: Coding) -> np.ndarray:
    if len(arrays) > 1:
        if len(arrays) != len(coding.classes) - 1:
            raise DataError(f"{paths[0]}: {len(arrays)} label files for {len(coding.classes) - 1} classes.")
        plain = [array * (1 if array.max(initial=0) > 1 else 255) for array in arrays]  # 0 and 1 beside 0 and 255
        rule = PerClass(coding.threshold, given=False, cure=CURE)
        return _united(plain, paths, rule, coding.regions) if coding.regions else rule.decode(plain, paths)
    single = _rule(arrays[0], paths[0], coding)
    if not isinstance(single, Binary) or coding.ignore is None:
        return single.decode(arrays, paths)
    left_out = arrays[0] == coding.ignore
    labels = single.decode([np.where(left_out, 0, arrays[0])], paths)
    labels[left_out] = IGNORE
    return labels


def _united(
    arrays: Sequence[np.ndarray], paths: Sequence[Path], rule: PerClass, regions: Mapping[str, Sequence[int]]
) -> np.ndarray:
    """The numbers that lie in just the regions that a file a region says.

    Raises:
        DataError: If some voxels are in regions that no number is in together.
    """
    inside = np.stack([rule.decode([array], [path]) for array, path in zip(arrays, paths, strict=True)])
    held = np.tensordot(1 << np.arange(len(regions)), inside.astype(np.int64), 1)  # a bit a region
    labels = np.zeros(held.shape, np.uint8)
    left = held > 0
    for number in sorted({number for united in regions.values() for number in united}, reverse=True):
        own = held == sum(1 << k for k, united in enumerate(regions.values()) if number in united)
        labels[own] = number
        left &= ~own
    if left.any():
        told = [name for k, name in enumerate(regions) if int(held[left][0]) >> k & 1]
        raise DataError(
            f"{paths[0]}: {int(left.sum()):,} voxels are in {' and '.join(told)} alone, where no number of --regions "
            "is. Give the regions by numbers that lie in one another as the files do."
        )
    return labels


def _rule(array: np.ndarray, path: Path, coding: Coding) -> MaskCoding:
    """The rule for one file.

    Raises:
        DataError: If 0 and the ignored value alone may mean grey values or an empty case.
    """
    if coding.colours is not None:
        return Colour(coding.colours)
    grey = coding.coding == "binary" or (
        coding.coding is None and not coding.regions and not _are_numbers(array, coding) and coding.ignore is None
    )
    open_ = coding.coding is None and coding.values is None and len(coding.classes) == 2 and not coding.regions
    if open_ and coding.ignore == IGNORE == array.max(initial=0) and not (array == 1).any():
        raise DataError(
            f"{path}: holds 255, which --ignore names, and no 1. Leave --ignore out if these are grey values; give "
            "--label_coding index if nothing is foreground here."
        )
    return Binary(coding.threshold, given=coding.coding == "binary", cure=CURE) if grey else coding.numbers()


def outside_view(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Where a mask of the field of view is zero (or not above the middle, for soft edges of grey), and its affine."""
    volume = readers.read_volume(path, labels=True) if ending_of(path) in VOLUMES else None
    array = readers.read_mask(path, "grey") if volume is None else volume.array
    soft = volume is None and len(np.unique(array)) > FEW
    return array <= (127 if soft else 0), None if volume is None else volume.affine
