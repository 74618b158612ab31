"""Read images, masks and volumes: each format's oddities have their one home here.

Every reader either returns a complete array or raises `DataError` naming the file.
"""

import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
VOLUME_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd")
_MAX_PIXELS = 400_000_000
_SPACING_RANGE = (1e-3, 100.0)
_BROKEN = (OSError, EOFError, ValueError, SyntaxError, zlib.error, IndexError, KeyError, TypeError)


def stem(path: Path) -> str:
    """File name without its ending, where `.nii.gz` is one ending."""
    name = path.name
    return name[:-7] if name.lower().endswith(".nii.gz") else path.stem


def _present(path: Path) -> None:
    if not path.exists():
        cause = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise DataError(f"{path}: {cause}. Unpack the data set again.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Copy or download it again.")


def _pillow(path: Path, mode: str | None) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise DataError(f"{path}: {image.width}x{image.height} pixels are too many. Cut the image into tiles.")
        if mode is None and image.mode in ("P", "I", "I;16", "F", "L"):
            return np.asarray(image)
        if mode is None and image.mode not in ("RGB", "1"):
            mode = "RGB"
        if image.mode.startswith(("I", "F")) and mode in ("L", "RGB"):
            return np.asarray(image)
        return np.asarray(image.convert(mode or ("L" if image.mode == "1" else "RGB")))


def _decode(path: Path, mode: str | None, page: int | None = None) -> np.ndarray:
    _present(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if path.suffix.lower() in (".tif", ".tiff"):
                return _tiff(path, mode, page)
            return _pillow(path, mode)
        except DataError:
            raise
        except (*_BROKEN, Warning) as error:
            raise DataError(f"{path}: cannot be read ({error}). Copy or download the file again.") from error


def _tiff(path: Path, mode: str | None, page: int | None) -> np.ndarray:
    """Read by tifffile, because Pillow refuses RGB files with a grey photometric tag; compressed ones go to Pillow."""
    import tifffile

    try:
        array = tifffile.imread(path, key=page)
    except (tifffile.TiffFileError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise OSError(str(error)) from error
        return _pillow(path, mode)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise DataError(f"{path}: shape {array.shape} is no single image. Store one image a file, channels last.")
    if mode == "L" and array.ndim == 3:
        return _grey(array)
    return array


def _grey(array: np.ndarray) -> np.ndarray:
    if array.shape[-1] == 1:
        return array[..., 0]
    weights = np.array([0.299, 0.587, 0.114])
    grey = array[..., :3].astype(np.float64) @ weights
    return np.rint(grey).astype(array.dtype) if array.dtype.kind in "ui" else grey


def read_image(path: Path, channels: int, page: int | None = None) -> np.ndarray:
    """Image as `(H, W, channels)`, 8-bit as uint8, deeper ones in their own type; alpha is dropped, grey repeated.

    Raises:
        DataError: If the file is absent, broken or holds values that are not finite.
    """
    array = _decode(path, "L" if channels == 1 else None, page)
    if array.ndim == 2 and _is_palette(path):
        array = _pillow(path, "RGB") if channels > 1 else _pillow(path, "L")
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[-1] == 4 and channels != 4:
        array = array[..., :3]
    if channels == 1 and array.shape[-1] > 1:
        array = _grey(array)[..., None]
    if array.shape[-1] == 1 and channels > 1:
        array = np.repeat(array, channels, axis=-1)
    if array.shape[-1] != channels:
        raise DataError(f"{path}: {array.shape[-1]} channels, but the data set declares {channels}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: holds values that are not finite. Repair the file or leave the case out.")
    return array


def _is_palette(path: Path) -> bool:
    if path.suffix.lower() in (".tif", ".tiff"):
        return False
    from PIL import Image

    with Image.open(path) as image:
        return image.mode == "P"


def read_mask(path: Path, raw: bool, page: int | None = None) -> np.ndarray:
    """Mask file as an array.

    Args:
        path: The file.
        raw: Keep palette indices, label numbers and colours as stored; otherwise give grey values 0..255 `(H, W)`.
        page: Page of a multi-page TIFF.

    Raises:
        DataError: If the file is absent or broken.
    """
    return _decode(path, None if raw else "L", page)


@dataclass(frozen=True)
class Volume:
    """A volume as stored.

    Args:
        array: `(X, Y, Z)` or `(X, Y, Z, C)` in the file's order and type.
        affine: 4x4 matrix from indices to mm.
        spacing: mm on each axis.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]


def read_volume(path: Path, labels: bool = False) -> Volume:
    """Read a NIfTI or MetaImage file whole, scaled as its header says, and check its values and its geometry.

    Args:
        path: `.nii`, `.nii.gz`, `.mha` or `.mhd`.
        labels: The file is a label map, so values that are not finite are left to the mask coding to refuse.

    Raises:
        DataError: If the file is absent, truncated, not 3D or 4D, holds NaN or infinity, or has an absurd spacing.
    """
    array, affine = _read_array(path)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise DataError(f"{path}: {array.ndim} axes; a volume has three, or four with channels last.")
    if not labels and array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            raise DataError(f"{path}: {bad} voxels are NaN or infinite. Repair the file or leave the case out.")
    return Volume(array, affine, volume_spacing(path, affine))


def _read_array(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix.lower() in (".mha", ".mhd"):
        from .metaimage import read_metaimage

        _present(path)
        return read_metaimage(path)
    image = open_volume(path)
    try:
        return np.asanyarray(image.dataobj), np.asarray(image.affine, float)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy or download the file again.") from error


def volume_header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (channels last, if any) and affine, without reading the voxels.

    Raises:
        DataError: If the file is absent or no volume.
    """
    if path.suffix.lower() in (".mha", ".mhd"):
        from .metaimage import read_header, shape_and_affine

        _present(path)
        return shape_and_affine(path, read_header(path)[0])
    image = open_volume(path)
    return tuple(image.shape), np.asarray(image.affine, float)


def open_volume(path: Path) -> Any:
    """Open a NIfTI file without reading its voxels."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    _present(path)
    try:
        return nibabel.load(path)
    except (*_BROKEN, ImageFileError) as error:
        raise DataError(f"{path}: is no readable NIfTI file ({error}). Copy or download it again.") from error


def volume_spacing(path: Path, affine: np.ndarray) -> tuple[float, float, float]:
    """Spacing in mm from the affine.

    Raises:
        DataError: If it is not finite, not in 0.001..100 mm, or the axes are linearly dependent.
    """
    matrix = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    low, high = _SPACING_RANGE
    if not np.isfinite(affine).all() or not ((spacing >= low) & (spacing <= high)).all():
        raise DataError(
            f"{path}: spacing {spacing.tolist()} mm is absurd ({low:g}..{high:g} expected). Fix its header."
        )
    if abs(np.linalg.det(matrix / spacing)) < 1e-3:
        raise DataError(f"{path}: the affine is singular. Fix the header.")
    x, y, z = (float(s) for s in spacing)
    return x, y, z


def files(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Visible files of a folder with one of the endings, sorted by name with numbers in numeric order."""
    endings = tuple(endings)
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings) and not p.name.startswith(".")]
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `2` before `10`."""
    import re

    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def pages(path: Path) -> int:
    """Number of pages of a multi-page TIFF.

    Raises:
        DataError: If the file cannot be read.
    """
    import tifffile

    _present(path)
    try:
        with tifffile.TiffFile(path) as file:
            return len(file.pages)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy or download it again.") from error
