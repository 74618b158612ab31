"""A case's probability map, whatever form it was stored in, as (K, *S) on the axes of its label; and the way back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import DataError, readers
from datamodules.regions import find_regions
from lightning_app.maps import nnunet, values
from lightning_app.maps.pairing import ENDINGS, Files, class_number, ending_of, stem_of
from lightning_app.maps.space import check_place
from lightning_app.maps.storage import NUMPY, TIFF, VOLUMES, Stored, read_array, write_array

FEW = 32  # values of a mask
KINDS: dict[str, tuple[str, ...]] = {
    "nnunet": (".npz",),
    "nifti": VOLUMES,
    "monai": VOLUMES,
    "npy": NUMPY,
    "png": tuple(end for end in readers.IMAGE_ENDINGS if end not in TIFF),
    "tiff": TIFF,
    "mask": ENDINGS,
}


@dataclass(frozen=True)
class Form:
    """What all maps of a folder have in common.

    Attributes:
        kind: One of `KINDS`.
        classes: Class names, background first; with regions, "background" and the regions' names.
        dims: Spatial axes of a case, 2 or 3.
        regions: Name to the labels that it unites, where each channel is a sigmoid of its own.
        order: The label that each region writes into a hard mask, where it is told.
        logits: The values are logits.
        turned: Volumes are stored as (z, y, x).
        classes_first: Of maps with an axis of classes, whether it is the first; None where there is none.
    """

    kind: str
    classes: tuple[str, ...]
    dims: int
    regions: dict[str, list[int]] | None = None
    order: tuple[int, ...] = ()
    logits: bool = False
    turned: bool = False
    classes_first: bool | None = None

    @property
    def channels(self) -> int:
        """Channels of a complete map: classes, or regions."""
        return len(self.regions) if self.regions else len(self.classes)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The label that each region writes into a hard mask: as was told, else the one of it that no later one has."""
        regions = self.regions or {}
        try:
            most = max(number for united in regions.values() for number in united)
            return self.order or find_regions(regions, most + 1).order
        except DataError:  # no region has one label of its own: then they are numbered
            return tuple(range(1, len(regions) + 1))


@dataclass
class Map:
    """A case's map.

    Attributes:
        probs: (K, *S), float32 or float64; with regions (R, *S).
        affine: 4x4 matrix from indices to mm, where the file knows it.
        stored: The files without their numbers, in the order of their channels.
        place: Of each channel that is stored, which channel of `probs` it is.
        axis: The classes' axis in the file, or None for a file a class.
        properties: nnU-Net's, where there are.
        found: What was doubtful.
    """

    probs: np.ndarray
    affine: np.ndarray | None
    stored: list[tuple[Path, Stored]]
    place: list[int]
    axis: int | None
    properties: dict[str, Any] | None = None
    found: Counter[str] = field(default_factory=Counter)


def files_of(files: Files, kind: str | None) -> tuple[dict[str, Path], Path | None]:
    """The map's files by class, and the hard mask beside them.

    Raises:
        DataError: If it is not plain which file is the map.
    """
    chosen: dict[str, Path] = {}
    beside: Path | None = None
    for label, paths in files.by_class.items():
        maps = [p for p in paths if kind is None or ending_of(p) in KINDS[kind]]
        packed = [p for p in maps if ending_of(p) == ".npz"]
        maps = packed if packed and kind in (None, "nnunet", "npy") else maps
        if len(maps) != 1:
            told = ", ".join(path.name for path in paths)
            raise DataError(f"{paths[0].parent}: which of {told} is the map of {files.name}? Say it by --format.")
        chosen[label] = maps[0]
        beside = next((path for path in paths if path != maps[0] and _may_be_mask(path)), None)
    if beside is None and len(chosen) == 1:
        beside = _mask_beside(next(iter(chosen.values())))
    return chosen, beside


def _mask_beside(path: Path) -> Path | None:
    """A hard mask of the same name: in the folder beside an .npz, or in `masks/` beside `probabilities/`."""
    stem = stem_of(path)
    folders = [path.parent] if ending_of(path) in NUMPY else []
    folders += [path.parent.parent / "masks"] if path.parent.name == "probabilities" else []
    ends = [end for end in ENDINGS if end not in NUMPY]
    there = (file for folder in folders for end in ends if (file := folder / f"{stem}{end}").is_file())
    return next(filter(_may_be_mask, there), None)


@lru_cache(maxsize=4096)
def _may_be_mask(path: Path) -> bool:
    """Whether a file is no preview or image, which are in colour or of many grey values."""
    if ending_of(path) in (*VOLUMES, *TIFF):
        return True
    try:
        array = readers.read_mask(path, "labels")
    except DataError:
        return False
    return array.ndim == 2 and len(np.unique(array)) <= FEW


def read_map(files: Files, form: Form, shape: Sequence[int] | None = None) -> Map:
    """Read a case's map.

    Args:
        files: Of the case.
        form: What the folder's maps have in common.
        shape: Spatial shape of the case's label, where there is one.

    Raises:
        DataError: If the file is no map of these classes.
    """
    named = in_order(files_of(files, form.kind)[0], form)
    stored = [(path, read_array(path, shown=True)) for _, path in named]
    path, first = stored[0]
    if len(stored) > 1:
        raw, axis = stacked(stored), None
    else:
        array = _one_slice(first.array, form, shape)
        axis = class_axis(path, array.shape, form, shape)
        raw = array[None] if axis is None else np.moveaxis(array, axis, 0)
    properties = _properties(path, form)
    raw, affine = _to_grid(path, raw, first, form, properties)
    found: Counter[str] = Counter()
    probs = _probabilities(path, raw, form, found)
    place = [k for k, _ in named] if len(stored) > 1 else list(range(form.channels - len(raw), form.channels))
    emptied = [(file, like.emptied()) for file, like in stored]
    return Map(probs, affine, emptied, place, axis, properties, found)


def write_map(map_: Map, probs: np.ndarray, form: Form, folder: Path, root: Path) -> list[Path]:
    """Write probabilities in the files, types, axes and headers that a map came in.

    Args:
        map_: The map as read.
        probs: What to write in its place, (K, *S).
        form: What the folder's maps have in common.
        folder: Where to write.
        root: The folder that the map's files lie in or under; their places under it are kept.

    Returns:
        The files written.
    """
    channels = probs[map_.place]
    first = map_.stored[0][1]
    if form.turned:
        channels = nnunet.from_file_axes(channels, map_.properties)
    if form.kind == "nnunet" and first.key == "softmax" and map_.properties is not None:
        channels = channels[nnunet.crop_of(_rest(first.array.shape, 0), map_.properties)]
    if len(map_.stored) > 1:
        parts = list(channels)
    else:
        parts = [channels[0] if map_.axis is None else np.moveaxis(channels, 0, map_.axis)]
    return [
        write_array(folder / file.relative_to(root), part.reshape(like.array.shape), like)
        for (file, like), part in zip(map_.stored, parts, strict=True)
    ]


def stacked(stored: Sequence[tuple[Path, Stored]]) -> np.ndarray:
    """The arrays of a file a class, one upon the other.

    Raises:
        DataError: If they differ in their shapes, or lie elsewhere in space.
    """
    other, first = stored[0]
    for path, part in stored[1:]:
        if part.array.shape != first.array.shape:
            raise DataError(f"{path}: shape {part.array.shape}, but {other} has {first.array.shape}.")
        check_place(path, part.affine, other, first.affine, first.array.shape)
    return np.stack([part.array for _, part in stored])


def in_order(chosen: Mapping[str, Path], form: Form) -> list[tuple[int, Path]]:
    """Channel and file in the order of the channels; one file that holds all has the channel 0.

    Raises:
        DataError: If a file is named after no class, or a class has none.
    """
    if set(chosen) == {""}:
        return [(0, chosen[""])]
    shift = 1 if form.regions else 0
    named = []
    for label, path in chosen.items():
        k = class_number(label, form.classes)
        if k is None:
            raise DataError(f"{path}: {label!r} is none of the classes {', '.join(form.classes)}.")
        if k >= shift:
            named.append((k - shift, path))
    missing = set(range(1 - shift, form.channels)) - {k for k, _ in named}
    if missing:
        without = ", ".join(form.classes[k + shift] for k in sorted(missing))
        raise DataError(f"{named[0][1] if named else next(iter(chosen.values()))}: has no map of {without} beside it.")
    return sorted(named)


def _probabilities(path: Path, raw: np.ndarray, form: Form, found: Counter[str]) -> np.ndarray:
    """Complete, checked probabilities of the channels as stored."""
    given = values.to_unit(raw, path)
    given = values.from_logits(given, path, bool(form.regions)) if form.logits else values.checked(given, path, found)
    found[f"bits_{8 * raw.dtype.itemsize}"] += 1
    if form.regions:
        return given
    probs = values.complete(given, len(form.classes), path)
    return values.normalised(probs, values.rounding_of(raw.dtype, len(form.classes)), found, path)


def _one_slice(array: np.ndarray, form: Form, shape: Sequence[int] | None) -> np.ndarray:
    """A volume of one slice with its classes first, of which readers drop the axis of length one, with that axis."""
    like_fit = shape is None and bool(form.classes_first)
    fits = like_fit or (shape is not None and tuple(shape) == (*array.shape[1:], 1))
    return array[..., None] if form.dims == array.ndim == 3 and array.shape[0] in _counts(form) and fits else array


def class_axis(path: Path, array: Sequence[int], form: Form, shape: Sequence[int] | None = None) -> int | None:
    """Which axis of an array is that of the classes; None where there is none.

    Raises:
        DataError: If no axis has as many entries as there are classes.
    """
    dims, counts = form.dims, _counts(form)
    flat = ending_of(path) == ".npz" and dims == 2 and len(array) == 4 and array[1] == 1  # nnU-Net's images
    if len(array) == dims and 1 in counts:
        return None
    if flat and array[0] in counts:
        return 0
    if len(array) == dims + 1:
        last = ending_of(path) in VOLUMES if form.classes_first is None else not form.classes_first
        last_first = (dims, 0) if last else (0, dims)
        able = [axis for axis in last_first if array[axis] in counts]
        fits = [axis for axis in able if shape is not None and _rest(array, axis) == tuple(shape)]
        if able:
            return (fits or able)[0]
    wanted = " or ".join(str(count) for count in counts)
    raise DataError(f"{path}: shape {tuple(array)} is no map of {', '.join(form.classes)}: {dims} axes, {wanted} maps.")


def _counts(form: Form) -> list[int]:
    """How many channels a map may have: all classes, or all but the background."""
    return [form.channels] if form.regions else [len(form.classes), len(form.classes) - 1]


def _rest(array: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(size for k, size in enumerate(array) if k != axis)


def _properties(path: Path, form: Form) -> dict[str, Any] | None:
    beside = path.with_suffix(".pkl")
    return nnunet.read_properties(beside) if form.kind == "nnunet" and beside.is_file() else None


def _to_grid(
    path: Path, raw: np.ndarray, stored: Stored, form: Form, properties: dict[str, Any] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Channels on the label's axes, and the affine."""
    if form.kind == "nnunet" and stored.key == "softmax":
        if properties is None:
            raise DataError(f"{path}: a map of nnU-Net v1 is cropped, and its {path.stem}.pkl is not there.")
        raw = nnunet.uncrop(path, raw, properties)
    if raw.ndim == form.dims + 2:
        raw = raw[:, 0]
    if form.turned:
        raw = nnunet.to_file_axes(raw, properties)
    return raw, stored.affine if properties is None else nnunet.affine_of(properties)
