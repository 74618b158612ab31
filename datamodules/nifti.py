"""NIfTI, Analyze and FreeSurfer files through nibabel: whole with their checksums, and where they lie in space."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .paths import check_size, decoding, inflate, present

_FREESURFER = (".mgh", ".mgz")
_UNITS = {1: (1000.0, "metre"), 2: (1.0, "mm"), 3: (0.001, "micrometre")}
_UNIT_BITS = 7
_TOLERANCE = 0.01  # of a spacing
_ODD = 1e-3  # the smallest spacing that is believed, in the file's own unit
_HEAD = 1024  # bytes that tell which format a file has
_SLACK = 1 << 16  # bytes that may follow the voxels: padding, FreeSurfer's footer


@dataclass(frozen=True)
class Grid:
    """Where a volume lies.

    Args:
        shape: Shape as stored.
        affine: 4x4, indices to mm.
        remark: What is odd about the header though it can be read; empty if nothing is.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    remark: str = ""


def read_grid(path: Path) -> Grid:
    """Shape and affine from the header alone.

    Raises:
        DataError: If the file is absent or its header is no header.
    """
    return _grid(path, open_header(path))


def read_nifti(path: Path) -> tuple[np.ndarray, Grid]:
    """Array as stored, scaled as the header says, and where it lies; a compressed file's checksum is checked.

    The file is read once, and its header parsed once.

    Raises:
        DataError: If the file is absent, damaged, or holds colours or complex numbers.
    """
    with decoding(path):
        ending = path.suffix.lower()
        image = _unpacked(path) if ending in (".gz", ".mgz") else open_header(path)
        if ending == ".mgh":
            image = type(image).from_bytes(path.read_bytes())
        elif ending not in (".gz", ".mgz"):
            _check_length(path, image)
        return np.asanyarray(image.dataobj), _grid(path, image)


def _unpacked(path: Path) -> Any:
    """Image of nibabel's of a compressed file, after a look at the size that its first bytes declare."""
    data = path.read_bytes()
    if b"n+1" in data[344:348] or b"n+2" in data[4:8]:
        raise DataError(f"{path}: is named as compressed and is not. Rename it to .nii, or compress it.")
    head = zlib.decompressobj(wbits=31).decompress(data, _HEAD)
    kind = _kind(path, head)
    header = kind.header_class(head[: kind.header_class.template_dtype.itemsize], check=False)
    _check_numbers(path, header)
    return kind.from_bytes(inflate(path, data, _end(header, header.get_data_offset()) + _SLACK))


def _kind(path: Path, head: bytes) -> Any:
    """Class of nibabel's for a file of this name that begins so."""
    import nibabel

    if path.suffix.lower() in _FREESURFER:
        return nibabel.MGHImage
    for kind in nibabel.imageclasses.all_image_classes:
        if kind.path_maybe_image(str(path), (head, str(path)))[0]:
            return kind
    raise DataError(f"{path}: its first bytes are no header of an image. Copy or download it again.")


def open_header(path: Path) -> Any:
    """Image of nibabel's of a file, of which only the header has been read.

    Raises:
        DataError: If the file is absent, no such file, or declares what is no volume of numbers.
    """
    import nibabel

    present(path)
    with decoding(path):
        image: Any = _freesurfer(path) if path.suffix.lower() in _FREESURFER else nibabel.load(path)
        _check_numbers(path, image.header)
        return image


def _check_numbers(path: Path, header: Any) -> None:
    """Check that a header declares numbers, and not too many.

    Raises:
        DataError: If it declares colours, complex numbers, or more voxels than the limit.
    """
    check_size(path, header.get_data_shape())
    kind = header.get_data_dtype()
    if kind.fields is not None:
        raise DataError(f"{path}: its voxels are colours ({kind.names}). Save one file a channel, or grey values.")
    if kind.kind == "c":
        raise DataError(f"{path}: its voxels are complex numbers. Save their magnitude.")


def _freesurfer(path: Path) -> Any:
    """Header of a FreeSurfer file, which nibabel would leave open."""
    import nibabel

    with gzip.open(path) if path.suffix.lower() == ".mgz" else path.open("rb") as file:
        return nibabel.MGHImage.from_stream(file)


def _end(header: Any, offset: int) -> int:
    """Number of bytes up to the last voxel, given where the first lies: nibabel's images forget it in their headers."""
    return int(offset + np.prod(header.get_data_shape(), dtype=np.int64) * header.get_data_dtype().itemsize)


def _check_length(path: Path, image: Any) -> None:
    """Compare the length of an uncompressed file with what its header declares; only zeros may follow the voxels."""
    expected = _end(image.header, image.dataobj.offset)
    with Path(image.file_map["image"].filename).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(expected)
        rest = file.read(_SLACK + 1)
    if size < expected or len(rest) > _SLACK or rest.strip(b"\0"):
        raise DataError(f"{path}: {size} bytes, its header declares {expected}. Copy or download it again.")


def _grid(path: Path, image: Any) -> Grid:
    affine, remark = np.asarray(image.affine, float), ""
    if hasattr(image, "get_qform"):
        affine, remark = _nifti_affine(path, image)
    return Grid(tuple(image.shape), affine, remark)


def _nifti_affine(path: Path, image: Any) -> tuple[np.ndarray, str]:
    """Affine in mm, and a remark where the header contradicts itself.

    The sform is taken where there is one, as all readers do, unless it has lost the scale that qform and pixdim agree
    on (ACDC's files say 1.3 x 1.3 x 10 mm there and 1 x 1 x 1 in the sform): then the qform.
    """
    header = image.header
    scale, unit = _UNITS.get(int(header["xyzt_units"]) & _UNIT_BITS, (1.0, "mm"))
    affine, remark = np.asarray(image.affine, float), ""
    axes = min(3, len(image.shape))
    pixdim = np.abs(header["pixdim"][1 : 1 + axes].astype(float))
    norms = np.linalg.norm(affine[:3, :axes], axis=0)
    if int(header["sform_code"]) > 0 and (np.abs(norms - pixdim) > _TOLERANCE * np.maximum(norms, pixdim)).any():
        taken = "sform"
        if int(header["qform_code"]) > 0:
            affine, taken = np.asarray(image.get_qform(), float), "qform, which agrees with pixdim,"
        remark = f"{path}: spacing {_words(norms)} in the sform, {_words(pixdim)} in pixdim: the {taken} is taken."
    elif turned := _turned(image, axes):
        remark = f"{path}: axes point to {turned[0]} in the sform, to {turned[1]} in the qform: the sform is taken."
    if axes < 3 and not affine[:3, 2].any():
        affine[2, 2] = 1.0  # a plane has no thickness
    _believe(path, norms, unit)
    affine[:3] *= scale
    return affine, remark


def _turned(image: Any, axes: int) -> tuple[str, str] | None:
    """Where the axes of a volume point by its sform and by its qform, if both are there and do not agree."""
    header = image.header
    if axes < 3 or int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return None
    import nibabel

    ways = tuple("".join(nibabel.aff2axcodes(affine)) for affine in (image.get_sform(), image.get_qform()))
    return (ways[0], ways[1]) if ways[0] != ways[1] else None


def _believe(path: Path, spacing: np.ndarray, unit: str) -> None:
    if not (spacing >= _ODD).all():
        raise DataError(f"{path}: spacing {_words(spacing)} {unit} is absurd. Fix pixdim, sform or xyzt_units.")


def _words(spacing: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in spacing)


def write_nibabel(path: Path, array: np.ndarray, affine: np.ndarray | None, like: Path | None) -> None:
    """Write `(X, Y, Z)` or `(X, Y, Z, K)` as NIfTI or FreeSurfer file.

    With `like` its header is kept, so that whatever a reader makes of its sform, qform, pixdim and unit, it makes the
    same of what is written.

    Args:
        path: Target.
        array: uint8 or float32.
        affine: Indices to mm, for a header of its own.
        like: File on whose grid the array lies.
    """
    import nibabel

    image = None if like is None else open_header(like)
    if image is None or not hasattr(image, "get_qform"):
        affine = affine if image is None else image.affine
        if path.suffix.lower() in (".mgz", ".mgh"):
            known = array.dtype in (np.uint8, np.int16, np.int32, np.float32)
            result: Any = nibabel.MGHImage(array if known else array.astype(np.int32), affine)
        else:
            result = nibabel.Nifti1Image(array, affine)
            result.header.set_xyzt_units("mm")
    else:
        if len(image.shape) < 3:
            array = array.reshape(*image.shape, *array.shape[3:]) if array.ndim == 3 else array
        kind = nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Image) else nibabel.Nifti1Image
        result = kind(array, None, _bare(image.header.copy(), array))
    nibabel.save(result, path)


def _bare(header: Any, array: np.ndarray) -> Any:
    """A header of another image without what tells of its values."""
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["cal_max"] = header["cal_min"] = header["scl_slope"] = header["scl_inter"] = 0
    header["intent_code"] = 0
    header["pixdim"][4:] = 1
    header.extensions.clear()
    return header
