"""Read MetaImage files (.mha, .mhd), in which PROMISE12 and the first BraTS years are shipped."""

import zlib
from pathlib import Path

import numpy as np

from .errors import DataError

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_header(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header and the number of bytes it takes.

    Raises:
        DataError: If the file is no MetaImage.
    """
    with path.open("rb") as file:
        fields: dict[str, str] = {}
        for _ in range(200):
            line = file.readline(4096)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    raise DataError(f"{path}: is no MetaImage file. Copy or download it again.")


def shape_and_affine(path: Path, fields: dict[str, str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (x, y, z) and affine to mm, turned from MetaImage's left-posterior to nibabel's right-anterior axes.

    Raises:
        DataError: If fields are missing or not numbers.
    """
    try:
        shape = tuple(int(n) for n in fields["DimSize"].split())
        spacing = np.array([float(s) for s in fields.get("ElementSpacing", "1 1 1").split()])
        origin = [float(o) for o in (fields.get("Offset") or fields.get("Position") or "0 0 0").split()]
        turn = fields.get("TransformMatrix") or "1 0 0 0 1 0 0 0 1"
        matrix = np.array([float(v) for v in turn.split()]).reshape(3, 3).T
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix * spacing, origin
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: the header is not understood ({error}). Copy or download it again.") from error
    return shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def read_metaimage(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array `(X, Y, Z)` and affine.

    Raises:
        DataError: If the file is broken, or of a kind that is not supported.
    """
    fields, start = read_header(path)
    shape, affine = shape_and_affine(path, fields)
    kind = _TYPES.get(fields.get("ElementType", ""))
    if kind is None or len(shape) != 3 or fields.get("ElementNumberOfChannels", "1") != "1":
        raise DataError(f"{path}: {fields.get('ElementType')} of shape {shape} is not supported. Convert it to NIfTI.")
    local = fields["ElementDataFile"] == "LOCAL"
    source = path if local else path.parent / Path(fields["ElementDataFile"]).name
    if not source.exists():
        raise DataError(f"{path}: its data file {source.name} is missing. Unpack the data set again.")
    data = source.read_bytes()[start if local else 0 :]
    try:
        if fields.get("CompressedData", "False").lower() == "true":
            data = zlib.decompress(data)
        order = ">" if fields.get("BinaryDataByteOrderMSB", "False").lower() == "true" else "<"
        array = np.frombuffer(data, order + kind).reshape(shape[::-1]).transpose()
    except (zlib.error, ValueError) as error:
        raise DataError(f"{source}: cannot be read ({error}). Copy or download it again.") from error
    return array.astype(array.dtype.newbyteorder("=")), affine
