"""Write predictions on the original grid; a file appears whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import DataError
from .geometry import Geometry

_PALETTE = (0, 0, 0, 230, 75, 53, 77, 187, 213, 0, 160, 135, 243, 155, 127, 60, 84, 136, 132, 145, 180, 126, 97, 72)


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Call `write` with a temporary path beside `path`, then move the result there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    part = path.parent / f".part-{uuid.uuid4().hex}{suffix}"
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def write_mask(stem: Path, mask: np.ndarray, geometry: Geometry) -> Path:
    """Write a label map `(*original_shape)`: a palette PNG with labels as indices, or NIfTI with the input's affine.

    Args:
        stem: Target without ending.
        mask: Labels, uint8.
        geometry: Of the case.

    Returns:
        The file written.

    Raises:
        DataError: If the mask is not on the original grid.
    """
    _check(stem, mask.shape, geometry)
    mask = np.ascontiguousarray(mask, dtype=np.uint8)
    if geometry.kind == "volume":
        return _nifti(stem, mask, geometry)
    from PIL import Image

    image = Image.fromarray(mask)
    image.putpalette(_PALETTE)
    return write_atomic(Path(f"{stem}.png"), image.save)


def write_probabilities(stem: Path, probs: np.ndarray, geometry: Geometry) -> Path:
    """Write class probabilities `(K, *original_shape)`.

    Volumes become a 4D float32 NIfTI `(X, Y, Z, K)` with the input's affine. Images become a 16-bit grey PNG in which
    65,535 is probability 1: of the foreground for two classes, else one a foreground class, `<stem>_<class>.png`.

    Args:
        stem: Target without ending.
        probs: Probabilities.
        geometry: Of the case.

    Returns:
        The (last) file written.

    Raises:
        DataError: If the probabilities are not on the original grid.
    """
    _check(stem, probs.shape[1:], geometry)
    if geometry.kind == "volume":
        return _nifti(stem, np.moveaxis(probs, 0, -1).astype(np.float32, copy=False), geometry)
    from PIL import Image

    levels = _levels(probs)
    names = {1: f"{stem}.png"} if len(probs) == 2 else {k: f"{stem}_{k}.png" for k in range(1, len(probs))}
    return [write_atomic(Path(name), Image.fromarray(levels[k]).save) for k, name in names.items()][-1]


def write_map(stem: Path, values: np.ndarray, geometry: Geometry, largest: float) -> Path:
    """Write one number a voxel, such as an entropy, `(*original_shape)` in [0, largest].

    Volumes become a float32 NIfTI of the numbers themselves with the input's affine. Images become a 16-bit grey PNG in
    which 65,535 is `largest`.

    Args:
        stem: Target without ending.
        values: The numbers.
        geometry: Of the case.
        largest: The largest number that the map can hold.

    Returns:
        The file written.

    Raises:
        DataError: If the map is not on the original grid.
    """
    _check(stem, values.shape, geometry)
    if geometry.kind == "volume":
        return _nifti(stem, values.astype(np.float32, copy=False), geometry)
    from PIL import Image

    return write_atomic(Path(f"{stem}.png"), Image.fromarray(_levels(values / largest)).save)


def _levels(shares: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] as 16-bit grey levels."""
    return np.rint(np.clip(shares, 0, 1) * np.iinfo(np.uint16).max).astype(np.uint16)


def _nifti(stem: Path, array: np.ndarray, geometry: Geometry) -> Path:
    import nibabel

    image = nibabel.Nifti1Image(array, geometry.affine)
    image.header.set_xyzt_units("mm")
    return write_atomic(Path(f"{stem}.nii.gz"), lambda path: nibabel.save(image, path))


def _check(stem: Path, shape: tuple[int, ...], geometry: Geometry) -> None:
    if tuple(shape) != geometry.original_shape:
        raise DataError(f"{stem}: shape {tuple(shape)} is not the case's {geometry.original_shape}. Restore it first.")
