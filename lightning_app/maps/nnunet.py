"""What nnU-Net leaves beside a map: properties in a .pkl (read without running code), labels in dataset.json."""

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import DataError

_PLAIN = {
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("builtins", "range"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
_LARGEST = 1 << 28


class _PlainUnpickler(pickle.Unpickler):
    """Makes containers, numbers and arrays of numbers alone."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of a name, where it is harmless.

        Raises:
            UnpicklingError: For all others, before anything of theirs runs.
        """
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


@dataclass(frozen=True)
class Labels:
    """What a dataset.json says of the classes.

    Attributes:
        names: Class names, background first; under regions the regions' names.
        regions: Region name to the labels it unites, or None.
        order: Under regions, the label that each writes into the hard mask, later ones over earlier ones.
        ignore: Label of voxels that do not count, or None.
    """

    names: list[str]
    regions: dict[str, list[int]] | None
    order: list[int]
    ignore: int | None


def read_properties(path: Path) -> dict[str, Any]:
    """The properties of a case from nnU-Net's .pkl, without running what the file asks to run.

    Raises:
        DataError: If the file asks for more than plain data, or is broken.
    """
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path}: {path.stat().st_size} bytes are too many for nnU-Net's properties of a case.")
    try:
        found = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a broken pickle raises anything
        raise DataError(f"{path}: holds no plain properties of nnU-Net ({error}); nothing of it was run.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds a {type(found).__name__}, not nnU-Net's properties of a case.")
    return found


def affine_of(properties: Mapping[str, Any]) -> np.ndarray | None:
    """The 4x4 matrix from indices (x, y, z) to mm that the properties tell, in NIfTI's directions, or None."""
    if "nibabel_stuff" in properties:
        return np.asarray(properties["nibabel_stuff"]["original_affine"], float)
    itk = properties.get("sitk_stuff") or {
        name: properties[f"itk_{name}"]
        for name in ("spacing", "origin", "direction")
        if properties.get(f"itk_{name}") is not None
    }
    if len(itk.get("origin", ())) != 3:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(itk["direction"], float).reshape(3, 3) * np.asarray(itk["spacing"], float)
    affine[:3, 3] = itk["origin"]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK's x and y run the other way


def uncrop(path: Path, softmax: np.ndarray, properties: Mapping[str, Any]) -> np.ndarray:
    """A map of nnU-Net v1 on the whole grid: what was cropped away is background.

    Raises:
        DataError: If the properties do not tell where the crop lay.
    """
    try:
        shape = tuple(int(n) for n in properties["original_size_of_raw_data"])
        place = crop_of(softmax.shape[1:], properties)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the .pkl does not tell where nnU-Net v1 cropped ({error!r}).") from error
    whole = np.zeros((len(softmax), *shape), softmax.dtype)
    if not properties.get("regions_class_order"):
        whole[0] = 1
    if whole[place].shape != softmax.shape:
        raise DataError(f"{path}: a crop of {softmax.shape[1:]} does not fit into {shape}, as the .pkl has it.")
    whole[place] = softmax
    return whole


def crop_of(shape: Sequence[int], properties: Mapping[str, Any]) -> tuple[slice, ...]:
    """Where on the whole grid a map of nnU-Net v1 of this spatial shape lies; the classes come first."""
    lows = [int(side[0]) for side in properties["crop_bbox"]]
    return (slice(None), *(slice(low, low + size) for low, size in zip(lows, shape, strict=True)))


def to_file_axes(array: np.ndarray, properties: Mapping[str, Any] | None) -> np.ndarray:
    """From nnU-Net's (K, z, y, x) to (K, x, y, z) of the NIfTI file, undoing a reorientation to RAS."""
    turned = array.transpose(0, 3, 2, 1)
    flips = _reorientation(properties)
    return turned if flips is None else _apply(turned, flips[1])


def from_file_axes(array: np.ndarray, properties: Mapping[str, Any] | None) -> np.ndarray:
    """The way back of `to_file_axes`."""
    flips = _reorientation(properties)
    turned = array if flips is None else _apply(array, flips[0])
    return turned.transpose(0, 3, 2, 1)


def _reorientation(properties: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Orientations there and back where nnU-Net's reader turned the volume (NibabelIOWithReorient)."""
    known = (properties or {}).get("nibabel_stuff", {})
    if "reoriented_affine" not in known:
        return None
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    there = io_orientation(np.asarray(known["original_affine"], float))
    return there, ornt_transform(axcodes2ornt("RAS"), there)


def _apply(array: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    from nibabel.orientations import apply_orientation

    return np.stack([apply_orientation(channel, orientation) for channel in array])


def read_labels(folder: Path) -> Labels | None:
    """Classes, regions and the ignored label from the dataset.json that nnU-Net copies beside its predictions.

    Raises:
        DataError: If the file is there and not understood.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
        labels = dict(facts["labels"])
        order = [int(n) for n in facts.get("regions_class_order", ())]
        if all(str(name).isdigit() for name in labels):  # v1 writes number: name
            labels = {name: int(number) for number, name in labels.items()}
        ignore = labels.pop("ignore", None)
        united = {name: [int(n) for n in (v if isinstance(v, list | tuple) else [v])] for name, v in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not understood ({error!r}); remove it or give --classes.") from error
    regions = {name: numbers for name, numbers in united.items() if numbers != [0]}
    has_regions = any(len(numbers) > 1 for numbers in regions.values())
    if has_regions:
        names = sorted(united, key=lambda name: united[name] != [0])  # background first, then as the file has them
    else:
        names = sorted(united, key=lambda name: united[name])  # channels are in the order of the numbers
        if [united[name] for name in names] != [[number] for number in range(len(names))]:
            raise DataError(
                f"{path}: labels {labels} are not numbered 0, 1, 2, ...; give --classes and remove the file."
            )
    return Labels(names, regions if has_regions else None, order, None if ignore is None else int(ignore))
