"""Names of files: endings, order, what is no data at all; and the checks that every reader makes first."""

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import DataError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".pnm", ".pbm")
LOSSY_ENDINGS = (".jpg", ".jpeg")
TIFF_ENDINGS = (".tif", ".tiff")
NIFTI_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
META_ENDINGS = (".mha", ".mhd")
NRRD_ENDINGS = (".nrrd", ".nhdr")
VOLUME_ENDINGS = (
    *NIFTI_ENDINGS,
    ".mgz",
    ".mgh",
    *META_ENDINGS,
    *NRRD_ENDINGS,
    ".dcm",
    *TIFF_ENDINGS,
)
MAX_VOXELS = 1_000_000_000
LIMIT_VARIABLE = "SEGMENTATION_MAX_VOXELS"
_JUNK = {"thumbs.db", "desktop.ini", "__macosx", "dicomdir"}


def stem(path: Path) -> str:
    """File name without its ending, where `.nii.gz` is one ending."""
    name = path.name
    if path.is_dir():
        return name
    return name[:-7] if name.lower().endswith(".nii.gz") else path.stem


def is_lossy(path: Path) -> bool:
    """Whether the format of a file keeps no exact values."""
    return str(path).lower().endswith(LOSSY_ENDINGS)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `2` before `10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def is_visible(path: Path) -> bool:
    """Whether a file or folder is the user's: not hidden (`._a.png` of macOS), not `Thumbs.db` and the like."""
    return not path.name.startswith(".") and path.name.lower() not in _JUNK


def files(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Visible files of a folder with one of the endings, sorted by name with numbers in numeric order.

    Of the two files of an Analyze or NIfTI pair (`a.hdr`, `a.img`) the header stands for both.
    """
    endings = tuple(ending.lower() for ending in endings)
    found = [p for p in folder.iterdir() if p.name.lower().endswith(endings) and is_visible(p) and not p.is_dir()]
    return [folder / name for name in sorted(headed([path.name for path in found]), key=natural)]


def headed(names: Sequence[str]) -> list[str]:
    """The names of a folder's files without those of voxels (`a.img`) that a header (`a.hdr`) stands for."""
    headers = {name[:-4] for name in names if name.lower().endswith(".hdr")}
    return [name for name in names if not (name.lower().endswith(".img") and name[:-4] in headers)]


def folders(root: Path) -> Iterator[Path]:
    """The folder and all visible ones below it, in natural order; links to folders are followed once each."""
    seen: set[Path] = set()
    stack = [root]
    while stack:
        folder = stack.pop()
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        yield folder
        below = [path for path in folder.iterdir() if path.is_dir() and is_visible(path)]
        stack.extend(sorted(below, key=lambda path: natural(path.name), reverse=True))


def present(path: Path) -> None:
    """Check that a file is there and not empty.

    Raises:
        DataError: If it is not.
    """
    if not path.exists():
        cause = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise DataError(f"{path}: {cause}. Unpack the data set again.")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Copy or download it again.")


def check_size(path: Path, shape: Sequence[int]) -> None:
    """Check what a header declares against the limit, one for all formats, before memory is taken.

    Raises:
        DataError: If there are more pixels or voxels than `$SEGMENTATION_MAX_VOXELS` (by default 10^9).
    """
    limit = int(float(os.environ.get(LIMIT_VARIABLE) or MAX_VOXELS))
    total = int(np.prod([int(size) for size in shape], dtype=object))
    if min(shape, default=0) < 1:
        raise DataError(f"{path}: the header declares the shape {tuple(map(int, shape))}. Copy or export it again.")
    if total > limit:
        raise DataError(
            f"{path}: {'x'.join(str(int(size)) for size in shape)} are more than {limit:,} pixels or voxels. "
            f"Cut it into parts, or set {LIMIT_VARIABLE}={total} if the memory suffices."
        )


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises over a file into one line that names the file.

    The decoders of other projects raise exceptions of every kind over damaged files, hence all are caught.

    Raises:
        DataError: In place of any other exception.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: there is not enough memory to read it. Cut it into parts.") from error
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}".split())[:200]
        raise DataError(f"{path}: cannot be read ({reason}). Copy or download it again, or save it anew.") from error


def inflate(path: Path, data: bytes, most: int) -> bytes:
    """Content of gzip data of one or several members, each of which zlib checks against its CRC and length.

    Args:
        path: The file they come from, for errors.
        data: The compressed bytes; zeros may follow them.
        most: Bytes that the content may have.

    Raises:
        DataError: If they end too early or hold more.
    """
    parts, length = [], 0
    while data.lstrip(b"\0"):  # from the left alone: gzip data mostly end in a zero, and stripping it copies them
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(data, most + 1 - length))
        length += len(parts[-1])
        if length > most:
            raise DataError(f"{path}: holds more than its header declares. Copy or download it again.")
        if not member.eof:
            raise DataError(f"{path}: cannot be read (the file ends too early). Copy or download it again.")
        data = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)
