"""Read and write MetaImage files (.mha, .mhd), in which PROMISE12 and the first BraTS years are shipped."""

import zlib
from pathlib import Path

import numpy as np

from .errors import DataError
from .paths import check_size, decoding, present

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_ORIGIN = ("Offset", "Position", "Origin")
_SPACING = ("ElementSpacing", "ElementSize")
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
_BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_header(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header and the number of bytes it takes.

    Raises:
        DataError: If the file is absent or no MetaImage.
    """
    present(path)
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


def _first(fields: dict[str, str], names: tuple[str, ...]) -> list[float]:
    """The numbers of the first of the fields that is there."""
    return next(([float(v) for v in fields[name].split()] for name in names if fields.get(name)), [])


def _true(fields: dict[str, str], *names: str) -> bool:
    return any(fields.get(name, "").lower() in ("true", "1") for name in names)


def _channels(fields: dict[str, str]) -> int:
    return int(fields.get("ElementNumberOfChannels") or 1)


def shape_and_affine(path: Path, fields: dict[str, str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (x, y, z, with channels last if any) and affine to mm, turned from left-posterior to right-anterior axes.

    A plane is one voxel thick. A fourth axis counts as channels.

    Raises:
        DataError: If fields are missing or not numbers.
    """
    with decoding(path):
        sizes = [int(n) for n in fields["DimSize"].split()]
        axes, inside = len(sizes), min(3, len(sizes))
        if axes not in (2, 3, 4) or axes != int(fields.get("NDims", axes)):
            raise DataError(f"{path}: DimSize {fields['DimSize']} is no plane or volume. Save it as a volume.")
        spacing = np.array(_first(fields, _SPACING) or [1.0] * axes)[:3]
        origin = np.array(_first(fields, _ORIGIN) or [0.0] * axes)[:3]
        turn = np.array(_first(fields, _DIRECTION) or np.eye(axes).ravel()).reshape(axes, axes).T
        affine = np.eye(4)
        affine[:inside, :inside], affine[:inside, 3] = turn[:inside, :inside] * spacing, origin
        last = _channels(fields) * (sizes[3] if axes == 4 else 1)
        shape = (*sizes[:3], *[1] * (3 - inside), *([last] if last > 1 else []))
    check_size(path, shape)
    return shape, _TO_RAS @ affine


def read_metaimage(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array `(X, Y, Z)` or `(X, Y, Z, C)` and affine.

    Raises:
        DataError: If the file is broken, or of a kind that is not supported.
    """
    fields, start = read_header(path)
    shape, affine = shape_and_affine(path, fields)
    kind = _TYPES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    if kind is None:
        raise DataError(f"{path}: ElementType {fields.get('ElementType')} is not supported. Save it as NIfTI.")
    source = data_file(path, fields)
    present(source)
    with decoding(source):
        data = source.read_bytes()[start if source == path else 0 :]
        order = ">" if _true(fields, *_BIG_ENDIAN) else "<"
        array = _parse(path, fields, data, np.dtype(order + kind), shape)
    return array, affine


def data_file(path: Path, fields: dict[str, str]) -> Path:
    """The file that holds the voxels.

    Raises:
        DataError: If they are spread over several files.
    """
    name = fields["ElementDataFile"]
    if name.upper() in ("LOCAL", "LOCAL_FILE"):
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise DataError(f"{path}: its voxels are spread over several files. Save it as one .mha file.")
    return path.parent / Path(name.replace("\\", "/")).name


def _parse(path: Path, fields: dict[str, str], data: bytes, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels from the bytes after the header."""
    channels, sizes = _channels(fields), [int(n) for n in fields["DimSize"].split()]
    count = int(np.prod(shape, dtype=np.int64))
    if "BinaryData" in fields and not _true(fields, "BinaryData"):
        array = np.array(data.split(), dtype=kind.newbyteorder("="))
    else:
        array = np.frombuffer(_binary(path, fields, data, count * kind.itemsize), kind)
    array = array.astype(kind.newbyteorder("=")).reshape(*sizes[::-1], channels)
    array = np.moveaxis(array, -1, 0).transpose(*range(len(sizes), 0, -1), 0)  # (x, y, z, [t,] c)
    return array.reshape(shape)


def _binary(path: Path, fields: dict[str, str], data: bytes, size: int) -> bytes:
    """The `size` bytes of voxels, decompressed; HeaderSize bytes before them are skipped, -1 counts from the end."""
    skip = int(fields.get("HeaderSize") or 0)
    data = data[len(data) - size if skip == -1 else skip :]
    if _true(fields, "CompressedData"):
        stream = zlib.decompressobj(wbits=47)  # zlib or gzip, each with its checksum
        data = stream.decompress(data, size + 1)
        if not stream.eof:
            raise ValueError("the compressed data end too early")
    if len(data) < size or data[size:].strip(b"\0"):
        raise DataError(f"{path}: {len(data)} bytes of voxels, its header declares {size}. Copy or download it again.")
    return data[:size]


def write_metaimage(path: Path, array: np.ndarray, like: Path) -> None:
    """Write `(X, Y, Z)` or `(X, Y, Z, C)` as one compressed `.mha` file on the grid of another MetaImage.

    Args:
        path: Target.
        array: Of a type that MetaImage has.
        like: File of whose header the fields on position, direction and spacing are kept as they are.
    """
    old, _ = read_header(like)
    planar = len(old["DimSize"].split()) == 2
    sizes = array.shape[: 2 if planar else 3]
    data = zlib.compress(np.moveaxis(array, -1, 0).T.tobytes() if array.ndim == 4 else array.T.tobytes(), 1)
    kept = {name: " ".join(f"{v:.17g}" for v in _spatial(old, name, len(sizes))) for name in _kept(old)}
    fields = {
        "ObjectType": "Image",
        "NDims": len(sizes),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": len(data),
        **kept,
        "DimSize": " ".join(map(str, sizes)),
        "ElementNumberOfChannels": array.shape[3] if array.ndim == 4 else 1,
        "ElementType": next(name for name, kind in _TYPES.items() if np.dtype(kind) == array.dtype),
        "ElementDataFile": "LOCAL",
    }
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in fields.items()).encode("latin-1") + data)


def _kept(fields: dict[str, str]) -> list[str]:
    """Names of the fields that say where the grid lies."""
    return [name for names in (_DIRECTION, _ORIGIN, _SPACING) for name in names if fields.get(name)]


def _spatial(fields: dict[str, str], name: str, axes: int) -> list[float]:
    """A field cut to the first axes, since channels of the input need not be those of the output."""
    values = [float(v) for v in fields[name].split()]
    if name in _DIRECTION:
        old = len(fields["DimSize"].split())
        return np.array(values).reshape(old, old)[:axes, :axes].ravel().tolist()
    return values[:axes]
