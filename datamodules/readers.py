"""Read images, masks and volumes: the one door to all formats.

Every reader either returns a complete array or raises `DataError` naming the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from .dicom import dicom_series, is_dicom, is_segmentation, read_dicom, read_dicom_grid, read_segmentation, series_files
from .errors import DataError
from .itk import data_files, read_nrrd, read_nrrd_grid
from .metaimage import data_file, read_header, read_metaimage, shape_and_affine
from .nifti import Grid, read_grid, read_nifti
from .paths import (
    IMAGE_ENDINGS,
    META_ENDINGS,
    NRRD_ENDINGS,
    TIFF_ENDINGS,
    VOLUME_ENDINGS,
    decoding,
    files,
    folders,
    is_visible,
    natural,
    present,
    stem,
)
from .pictures import Picture, image_size, read_picture
from .tiff import has_depth, notes, read_stack, read_stack_grid, read_tiff, spacing_beside, tells_spacing

__all__ = [
    "IMAGE_ENDINGS",
    "VOLUME_ENDINGS",
    "Volume",
    "dicom_series",
    "files",
    "folders",
    "image_size",
    "is_stack",
    "is_visible",
    "natural",
    "pages",
    "parts",
    "read_colours",
    "read_image",
    "read_mask",
    "read_volume",
    "stem",
    "volume_header",
    "volume_spacing",
]
_SPACING_RANGE = (1e-6, 100.0)


MaskKind = Literal["grey", "labels", "colour"]


def _decode(path: Path, raw: bool, channels: int | None = None, page: int | None = None) -> Picture:
    present(path)
    with decoding(path):
        if path.suffix.lower() in TIFF_ENDINGS:
            return read_tiff(path, channels, page, raw)
        return read_picture(path, raw)


def _grey(array: np.ndarray) -> np.ndarray:
    weights = np.array([0.299, 0.587, 0.114])
    grey = array[..., :3].astype(np.float64) @ weights
    return np.rint(grey).astype(array.dtype) if array.dtype.kind in "ui" else grey


def read_image(path: Path, channels: int, page: int | None = None) -> np.ndarray:
    """Image as displayed, `(H, W, channels)`: 8-bit as uint8, deeper ones in their own type.

    Transparency that the file declares is dropped, unless it is asked for as one channel more; grey is repeated where
    three channels are asked for, colours are made grey where one is.

    Args:
        path: The file.
        channels: How many to give.
        page: Page of a multi-page TIFF.

    Raises:
        DataError: If the file is absent, broken, has other channels, or holds values that are not finite.
    """
    picture = _decode(path, raw=False, channels=channels, page=page)
    array = picture.colours
    found = array.shape[-1]
    if picture.alpha is not None and channels == found + 1:
        array = picture.array
    if channels == 1 and array.shape[-1] == 3:
        array = _grey(array)[..., None]
    if array.shape[-1] == 1 and channels == 3:
        array = np.repeat(array, channels, axis=-1)
    if array.shape[-1] != channels:
        raise DataError(f"{path}: {found} channels, but the data set declares {channels}. Set channels to {found}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: holds values that are not finite. Repair the file or leave the case out.")
    return array


def read_colours(path: Path) -> np.ndarray:
    """Image as displayed, `(H, W, C)` with as many channels as the file has, without declared transparency.

    Raises:
        DataError: If the file is absent, broken or a stack.
    """
    return _decode(path, raw=False, channels=3).colours


def read_mask(path: Path, kind: MaskKind, page: int | None = None) -> np.ndarray:
    """Mask file as an array, as displayed.

    Args:
        path: The file.
        kind: Grey values `(H, W)`, of 1-, 2- and 4-bit files stretched to 0..255; label numbers and palette indices as
            stored, with all channels that the file does not declare to be transparency; or colours `(H, W, 3)`. A
            shape that lies in the transparency alone is read from there.
        page: Page of a multi-page TIFF.

    Raises:
        DataError: If the file is absent or broken, or its channels are neither grey values nor colours.
    """
    picture = _decode(path, kind == "labels", channels=3, page=page)
    array = _visible(path, picture, kind)
    if kind != "labels":
        array = _three(path, array)
    if array.shape[-1] == 1:
        array = array[..., 0]
    if kind == "grey" and array.ndim == 3:
        return _grey(array)
    return np.repeat(array[..., None], 3, axis=-1) if kind == "colour" and array.ndim == 2 else array


def _visible(path: Path, picture: Picture, kind: MaskKind) -> np.ndarray:
    """Channels `(H, W, C)` without transparency, or it alone where all that is seen has one colour.

    Of one colour that is transparent everywhere nothing is seen: it is ground.

    Raises:
        DataError: If colours are hidden by transparency, so that it cannot be told which of them holds the shape.
    """
    colours, alpha = picture.colours, picture.transparency
    if alpha is None or kind == "colour":
        return colours
    if (colours == colours[0, 0]).all():
        return alpha[..., None] if alpha.min() != alpha.max() or alpha.max() == 0 else colours
    seen = colours[alpha > 0]
    if kind == "grey" and alpha.min() == 0 and seen.any() and (seen == seen[0]).all():
        return alpha[..., None]  # painted in one colour on nothing: edges are soft in the transparency
    if colours[alpha == 0].any():
        raise DataError(
            f"{path}: the mask has colours where its last channel declares it transparent. Save it without "
            "transparency, or one channel a class as TIFF of undeclared channels."
        )
    return colours


def _three(path: Path, array: np.ndarray) -> np.ndarray:
    """Channels of a mask in grey or colour, one or three of them: of others all must be equal, or a fourth constant.

    Raises:
        DataError: If they are not.
    """
    count = array.shape[-1]
    if count in (1, 3) or (array == array[..., :1]).all():
        return array if count == 3 else array[..., :1]
    if count == 4 and np.ptp(array[..., 3]) == 0:
        return array[..., :3]
    raise DataError(
        f"{path}: {count} channels that differ and no transparency is declared: neither grey values nor colours. For "
        "one channel a class set --data.coding index, else save it with one or three channels."
    )


@dataclass(frozen=True)
class Volume:
    """A volume as stored.

    Args:
        array: `(X, Y, Z)` or `(X, Y, Z, C)` in the file's order and type.
        affine: 4x4 matrix from indices to mm.
        spacing: mm on each axis.
        remark: What is odd about the header though it can be read; empty if nothing is.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    remark: str = ""


class _Format(NamedTuple):
    """How to read one format: array and affine (or more of the grid), or shape and affine from the header alone."""

    read: Callable[[Path], tuple[np.ndarray, np.ndarray | Grid]]
    header: Callable[[Path], tuple[tuple[int, ...], np.ndarray]]


def _nifti_header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    grid = read_grid(path)
    return grid.shape, grid.affine


def _format(path: Path) -> _Format:
    name = path.name.lower()
    if name.endswith(META_ENDINGS):
        return _Format(read_metaimage, lambda p: shape_and_affine(p, read_header(p)[0]))
    if name.endswith(TIFF_ENDINGS):
        return _Format(read_stack, read_stack_grid)
    if name.endswith(NRRD_ENDINGS):
        return _Format(read_nrrd, read_nrrd_grid)
    if not name.endswith(VOLUME_ENDINGS) or name.endswith(".dcm"):
        return _Format(read_dicom, read_dicom_grid)
    return _Format(read_nifti, _nifti_header)


def read_volume(path: Path, labels: bool = False, like: Path | None = None) -> Volume:
    """Read a volume whole, scaled as its header says, and check its values and its geometry.

    Args:
        path: A file with one of `VOLUME_ENDINGS`, or a folder of one DICOM series.
        labels: The file is a label map, so values that are not finite are left to the mask coding to refuse.
        like: The image of a label map, on whose grid a DICOM segmentation is laid, and a TIFF stack without a spacing.

    Raises:
        DataError: If the file is absent, truncated, not 2D to 4D, holds NaN or infinity, or has an absurd spacing.
    """
    present(path)
    if like is not None and is_segmentation(path):
        shape, affine = volume_header(like)
        return Volume(read_segmentation(path, shape[:3], affine), affine, volume_spacing(like, affine, shape))
    with decoding(path):
        array, grid = _format(path).read(path)
    affine, remark = (grid.affine, grid.remark) if isinstance(grid, Grid) else (grid, "")
    if like is not None and path.name.lower().endswith(TIFF_ENDINGS) and not tells_spacing(path):
        affine = volume_header(like)[1]
    array = array.reshape(_with_depth(path, array.shape))
    if not labels and array.dtype.kind == "f" and not _sums_finite(array):
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise DataError(f"{path}: {bad} voxels are NaN or infinite. Repair the file or leave the case out.")
    return Volume(array, affine, volume_spacing(path, affine, array.shape), remark)


def _sums_finite(array: np.ndarray) -> bool:
    """Whether the sum is finite, as it can be only where every value is; large values may overflow it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def _with_depth(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape with three axes, or four with channels: a plane is one voxel deep, axes of length one are dropped."""
    inside, rest = shape[:3], [size for size in shape[3:] if size > 1]
    if len(shape) < 2 or len(rest) > 1:
        raise DataError(f"{path}: shape {shape}; a volume has three axes, or four with channels last. Save it so.")
    return (*inside, *[1] * (3 - len(inside)), *rest)


def volume_header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (channels last, if any) and affine, without reading the voxels.

    Raises:
        DataError: If the file is absent or no volume.
    """
    present(path)
    with decoding(path):
        shape, affine = _format(path).header(path)
    return _with_depth(path, tuple(int(size) for size in shape)), affine


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF that holds a volume: it has a depth, or several pages without a name.

    Raises:
        DataError: If it cannot be read.
    """
    if not path.name.lower().endswith(TIFF_ENDINGS):
        return False
    present(path)
    with decoding(path):
        return has_depth(path)


def parts(path: Path) -> tuple[Path, ...]:
    """All files that a volume is read from: header, voxels and what tells its spacing may lie apart.

    What cannot be read stands for itself.
    """
    name = path.name.lower()
    try:
        with decoding(path):
            if name.endswith((".hdr", ".img")):
                return _pair(path) or (path,)
            if name.endswith(".mhd"):
                return (path, data_file(path, read_header(path)[0]))
            if name.endswith(NRRD_ENDINGS):
                return (path, *(file for file in data_files(path) if file != path))
            if name.endswith(TIFF_ENDINGS):
                return (path, *notes(path)) if spacing_beside(path) else (path,)
            return series_files(path) if path.is_dir() or is_dicom(path) else (path,)
    except DataError:
        return (path,)


def _pair(path: Path) -> tuple[Path, ...]:
    """Header and voxels of an Analyze or NIfTI pair, in small letters or capitals."""
    names = [path.with_suffix(ending) for both in ((".hdr", ".HDR"), (".img", ".IMG")) for ending in both]
    found: dict[tuple[int, int], Path] = {}
    for file in names:
        if file.exists():  # on a disk that does not tell capitals apart two names are one file
            status = file.stat()
            found.setdefault((status.st_dev, status.st_ino), file)
    return tuple(found.values())


def volume_spacing(path: Path, affine: np.ndarray, shape: Sequence[int]) -> tuple[float, float, float]:
    """Spacing in mm from the affine; 1 between slices of which there is one, 999 mm from the next, as nnU-Net marks 2D.

    Raises:
        DataError: If it is not finite, not in 0.000001..100 mm, or the axes are linearly dependent.
    """
    matrix = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    low, high = _SPACING_RANGE
    spacing[(np.asarray(shape[:3]) == 1) & (spacing > high)] = 1.0
    if not np.isfinite(affine).all() or not ((spacing >= low) & (spacing <= high)).all():
        raise DataError(
            f"{path}: spacing {spacing.tolist()} mm is absurd ({low:g}..{high:g} expected). Fix its header."
        )
    if abs(np.linalg.det(matrix / np.linalg.norm(matrix, axis=0))) < 1e-3:
        raise DataError(f"{path}: the affine is singular. Fix the header.")
    x, y, z = (float(s) for s in spacing)
    return x, y, z


def pages(path: Path) -> int:
    """Number of pages of a multi-page TIFF.

    Raises:
        DataError: If the file cannot be read.
    """
    import tifffile

    present(path)
    with decoding(path), tifffile.TiffFile(path) as file:
        return len(file.pages)
