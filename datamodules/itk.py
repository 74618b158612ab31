"""NRRD through SimpleITK, a package of the extra `formats`."""

from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, missing
from .paths import check_size, inflate

_HEAD = 1 << 20  # bytes within which a header ends
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk(path: Path) -> Any:
    """The package, with its warnings silenced: what they tell of is checked here.

    Raises:
        DataError: If it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise missing(path, "SimpleITK") from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _header(path: Path) -> Any:
    reader = simpleitk(path).ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _grid(path: Path, image: Any) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape `(X, Y, Z)` or `(X, Y, Z, C)` and affine in mm of an image, or of a reader that knows the header."""
    size, axes = image.GetSize(), image.GetDimension()
    if axes not in (2, 3, 4):
        raise DataError(f"{path}: {axes} axes are no plane or volume. Save it as a volume.")
    inside = min(3, axes)
    turn = np.array(image.GetDirection()).reshape(axes, axes)[:inside, :inside]
    affine = np.eye(4)
    affine[:inside, :inside] = turn * np.array(image.GetSpacing())[:inside]
    affine[:inside, 3] = image.GetOrigin()[:inside]
    channels = image.GetNumberOfComponents() if hasattr(image, "GetNumberOfComponents") else 1
    channels *= size[3] if axes == 4 else 1
    shape = (*size[:inside], *[1] * (3 - inside), *([channels] if channels > 1 else []))
    check_size(path, shape)
    return shape, _TO_RAS @ affine


def read_nrrd_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a NRRD file from its header.

    Raises:
        DataError: If SimpleITK is missing, or the file is no volume.
    """
    return _grid(path, _header(path))


def read_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array `(X, Y, Z)` or `(X, Y, Z, C)` and affine of a NRRD file.

    Raises:
        DataError: If SimpleITK is missing, or the file is no volume.
    """
    sitk = simpleitk(path)
    header = _header(path)
    shape, affine = _grid(path, header)
    one = sitk.Image([1] * header.GetDimension(), header.GetPixelID(), header.GetNumberOfComponents())
    _check_payload(path, int(np.prod(shape, dtype=np.int64)) * sitk.GetArrayViewFromImage(one).itemsize)
    image = sitk.ReadImage(str(path))
    return as_array(sitk, image).reshape(shape), affine


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Fields of a NRRD header, names as written."""
    return dict(line.split(b": ", 1) for line in head.splitlines() if b": " in line)


def data_files(path: Path) -> tuple[Path, ...]:
    """The files that hold the voxels of a NRRD header; itself where they follow it.

    The format has one name, `LIST` with a name a line below, or a pattern such as `a%03d.raw 1 20 1`.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD).partition(b"\n\n")[0].replace(b"\r", b"")
    fields = {name.lower(): value.decode(errors="replace").strip() for name, value in _fields(head).items()}
    named = fields.get(b"data file") or fields.get(b"datafile")
    if not named or named.upper() == "LOCAL":
        return (path,)
    words = named.split()
    if words[0].upper() == "LIST":
        lines = head.decode(errors="replace").splitlines()
        start = next(i for i, line in enumerate(lines) if line.lower().startswith(("data file:", "datafile:")))
        names = [line.strip() for line in lines[start + 1 :] if line.strip()]
    elif "%" in words[0] and len(words) >= 4:
        first, last, step = (int(word) for word in words[1:4])
        names = [words[0] % number for number in range(first, last + (1 if step > 0 else -1), step)]
    else:
        names = [named]
    return tuple(path.parent / name for name in names)


def _check_payload(path: Path, size: int) -> None:
    """Check the voxels behind the header: their length, and the CRC of compressed ones, which SimpleITK does not check.

    Raises:
        DataError: If they are damaged.
    """
    head, blank, data = path.read_bytes().partition(b"\n\n")
    fields = _fields(head)
    encoding = fields.get(b"encoding", b"").strip().lower()
    if not blank or b"data file" in fields or b"datafile" in fields or encoding not in (b"raw", b"gz", b"gzip"):
        return  # elsewhere, or as text
    if encoding != b"raw":
        data = inflate(path, data, size)
    if len(data) < size or data[size:].strip(b"\0"):
        raise DataError(f"{path}: {len(data)} bytes of voxels, its header declares {size}. Copy or download it again.")


def as_array(sitk: Any, image: Any) -> np.ndarray:
    """Voxels with axes (x, y, ..., channels)."""
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return array.transpose(*range(array.ndim - 2, -1, -1), array.ndim - 1)
    return array.T


def write_nrrd(path: Path, array: np.ndarray, like: Path) -> None:
    """Write `(X, Y, Z)` or `(X, Y, Z, C)` as compressed NRRD on the grid of another one.

    Args:
        path: Target.
        array: uint8 or float32.
        like: File of which origin, direction and spacing are taken.
    """
    sitk, header = simpleitk(like), _header(like)
    axes = min(3, header.GetDimension())
    array = array.reshape(*array.shape[:axes], *array.shape[3:])
    channels = array.ndim > axes
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(np.moveaxis(array, -1, 0).T if channels else array.T), isVector=channels
    )
    turn = np.array(header.GetDirection()).reshape((header.GetDimension(),) * 2)[:axes, :axes]
    image.SetDirection(turn.ravel().tolist())
    image.SetOrigin(header.GetOrigin()[:axes])
    image.SetSpacing(header.GetSpacing()[:axes])
    sitk.WriteImage(image, str(path), useCompression=True)
