"""Write predictions on the original grid; a file appears whole or not at all."""

import os
import uuid
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .dicom import find_series, is_dicom, save_segmentation
from .errors import DataError
from .geometry import Geometry
from .itk import write_nrrd
from .metaimage import write_metaimage
from .nifti import write_nibabel
from .paths import META_ENDINGS, NIFTI_ENDINGS, NRRD_ENDINGS, TIFF_ENDINGS
from .pictures import ORIENTATION, orientation_of, turned_back
from .tiff import write_stack

MASK_ENDINGS = (".png", ".nii.gz", ".mgz", ".mha", ".nrrd", ".tif")
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
    """Write a label map `(*original_shape)`: a palette PNG with labels as indices, or a volume.

    Volumes are written in the format and with the header of the case's file (`geometry.source`): NIfTI, MetaImage,
    FreeSurfer, NRRD or TIFF; NIfTI for DICOM and where there is no file. Pictures lie as the file's pixels do, with its
    orientation tag.

    Args:
        stem: Target without ending.
        mask: Class numbers, or the values that stood for them in the data, in as many bits as they need.
        geometry: Of the case.

    Returns:
        The file written.

    Raises:
        DataError: If the mask is not on the original grid.

    Example:
        >>> import pathlib, numpy
        >>> from datamodules import Geometry, write_mask
        >>> write_mask(pathlib.Path("case"), numpy.eye(8, dtype="uint8"), Geometry("image", (8, 8))).name
        'case.png'
    """
    _check(stem, mask.shape, geometry)
    mask = np.ascontiguousarray(mask, dtype=np.min_scalar_type(int(mask.max(initial=0))))
    if geometry.kind == "volume":
        return _volume(stem, mask, geometry)
    return _picture(Path(f"{stem}.png"), mask, geometry, _PALETTE if mask.dtype == np.uint8 else ())


def write_probabilities(stem: Path, probs: np.ndarray, geometry: Geometry, regions: bool = False) -> Path:
    """Write class probabilities `(K, *original_shape)`, or those of regions that may overlap, `(R, *original_shape)`.

    Volumes become float32 as `write_mask` has it, in NIfTI `(X, Y, Z, K)`, elsewhere with K channels. Images become a
    16-bit grey PNG in which 65,535 is probability 1: of the foreground for two classes, else one a foreground class,
    `<stem>_<class>.png`, or one a region, counted from 1.

    Args:
        stem: Target without ending.
        probs: Probabilities.
        geometry: Of the case.
        regions: They are of regions, none of them background.

    Returns:
        The (last) file written.

    Raises:
        DataError: If the probabilities are not on the original grid.

    Example:
        >>> import pathlib, numpy
        >>> from datamodules import Geometry, write_probabilities
        >>> probs = numpy.full((2, 4, 8, 8), 0.5, "float32")
        >>> write_probabilities(pathlib.Path("case"), probs, Geometry("volume", (4, 8, 8), affine=numpy.eye(4))).name
        'case.nii.gz'
    """
    _check(stem, probs.shape[1:], geometry)
    if geometry.kind == "volume":
        return _volume(stem, np.moveaxis(probs, 0, -1).astype(np.float32, copy=False), geometry)
    levels = _levels(probs if regions else probs[1:])
    names = [f"{stem}.png"] if len(levels) == 1 else [f"{stem}_{k}.png" for k in range(1, len(levels) + 1)]
    return [_picture(Path(name), level, geometry) for name, level in zip(names, levels, strict=True)][-1]


def write_map(stem: Path, values: np.ndarray, geometry: Geometry, largest: float) -> Path:
    """Write one number a voxel, such as an entropy, `(*original_shape)` in [0, largest].

    Volumes become float32, the numbers themselves, as `write_mask` has it. Images become a 16-bit grey PNG in
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

    Example:
        >>> import pathlib, numpy
        >>> from datamodules import Geometry, write_map
        >>> write_map(pathlib.Path("entropy"), numpy.full((8, 8), 0.5), Geometry("image", (8, 8)), largest=0.693).name
        'entropy.png'
    """
    _check(stem, values.shape, geometry)
    if geometry.kind == "volume":
        return _volume(stem, values.astype(np.float32, copy=False), geometry)
    return _picture(Path(f"{stem}.png"), _levels(values / largest), geometry)


def _levels(shares: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] as 16-bit grey levels."""
    return np.rint(np.clip(shares, 0, 1) * np.iinfo(np.uint16).max).astype(np.uint16)


def _volume(stem: Path, array: np.ndarray, geometry: Geometry) -> Path:
    """Write a volume in the format and with the header of the case's file; NIfTI where it has none of its own."""
    like = geometry.source
    if like is None:
        return write_atomic(Path(f"{stem}.nii.gz"), lambda path: write_nibabel(path, array, geometry.affine, None))
    name = like.name.lower()
    if name.endswith(META_ENDINGS):
        return write_atomic(Path(f"{stem}.mha"), lambda path: write_metaimage(path, array, like))
    if name.endswith(NRRD_ENDINGS):
        return write_atomic(Path(f"{stem}.nrrd"), lambda path: write_nrrd(path, array, like))
    if name.endswith(TIFF_ENDINGS):
        return write_atomic(Path(f"{stem}.tif"), lambda path: write_stack(path, array, geometry.spacing))
    if name.endswith((".mgz", ".mgh")):
        return write_atomic(Path(f"{stem}.mgz"), lambda path: write_nibabel(path, array, None, like))
    header = like if name.endswith(NIFTI_ENDINGS) else None
    return write_atomic(Path(f"{stem}.nii.gz"), lambda path: write_nibabel(path, array, geometry.affine, header))


def _picture(path: Path, pixels: np.ndarray, geometry: Geometry, palette: Sequence[int] = ()) -> Path:
    """Write a PNG whose pixels lie as those of the case's file do, under the same orientation tag."""
    from PIL import Image

    orientation = orientation_of(geometry.source) if geometry.source else 1
    image = Image.fromarray(np.ascontiguousarray(turned_back(pixels, orientation)))
    if palette:
        image.putpalette(palette)
    tags = Image.Exif()
    if orientation != 1:
        tags[ORIENTATION] = orientation
    return write_atomic(path, lambda part: image.save(part, exif=tags))


def write_segmentation(stem: Path, mask: np.ndarray, geometry: Geometry, class_names: Sequence[str]) -> Path:
    """Write a label map as a DICOM segmentation of the series that it was predicted of, where highdicom is installed.

    Args:
        stem: Target without ending.
        mask: Labels, uint8, `(*original_shape)`.
        geometry: Of the case, whose `source` is a DICOM series.
        class_names: Names of the classes, background first.

    Returns:
        The file written, `<stem>.dcm`.

    Raises:
        DataError: If the mask is not on the original grid, the case's file is no DICOM series, or its headers lack what
            a segmentation needs.

    Example:
        >>> import pathlib, numpy
        >>> from datamodules import Geometry, write_segmentation
        >>> geometry = Geometry("volume", (1, 8, 8), source=pathlib.Path("case.nii.gz"))
        >>> mask = numpy.eye(8, dtype="uint8")[None]
        >>> write_segmentation(pathlib.Path("case"), mask, geometry, ["background", "line"])
        Traceback (most recent call last):
            ...
        datamodules.errors.DataError: case: the case comes from case.nii.gz, no DICOM series. Write it with write_mask.
    """
    _check(stem, mask.shape, geometry)
    if not is_series(geometry):
        raise DataError(f"{stem}: the case comes from {geometry.source}, no DICOM series. Write it with write_mask.")
    assert geometry.source is not None  # as is_series has seen
    series = find_series(geometry.source)
    try:
        return write_atomic(Path(f"{stem}.dcm"), lambda path: save_segmentation(path, mask, series, class_names))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of highdicom, over headers that lack something
        raise DataError(
            f"{series.paths[0]}: its header makes no DICOM segmentation ({error}). Use the NIfTI."
        ) from error


def is_series(geometry: Geometry) -> bool:
    """Whether a case comes from a DICOM series and highdicom is there to write a segmentation of it.

    Example:
        >>> import pathlib
        >>> from datamodules import Geometry, is_series
        >>> is_series(Geometry("volume", (8, 8, 8), source=pathlib.Path("case.nii.gz")))
        False
    """
    source = geometry.source
    dicom = geometry.kind == "volume" and source is not None and (source.is_dir() or is_dicom(source))
    return dicom and find_spec("highdicom") is not None


def is_written(stem: Path) -> bool:
    """Whether a mask was written under this name, in any format.

    Example:
        >>> import pathlib, numpy
        >>> from datamodules import Geometry, is_written, write_mask
        >>> path = write_mask(pathlib.Path("case"), numpy.eye(8, dtype="uint8"), Geometry("image", (8, 8)))
        >>> is_written(pathlib.Path("case")), is_written(pathlib.Path("other"))
        (True, False)
    """
    return any(Path(f"{stem}{ending}").is_file() for ending in MASK_ENDINGS)


def _check(stem: Path, shape: tuple[int, ...], geometry: Geometry) -> None:
    if tuple(shape) != geometry.original_shape:
        raise DataError(f"{stem}: shape {tuple(shape)} is not the case's {geometry.original_shape}. Restore it first.")
