"""Decode pictures as a viewer shows them: turned by their orientation tag, in RGB or grey, and whole or not at all."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .paths import TIFF_ENDINGS, check_size, decoding, present

ORIENTATION = 0x0112
_BACK = {6: 8, 8: 6}  # the other orientations undo themselves
# Pillow warns of odd tags and palettes in sound files; damage it raises
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """Pixels as displayed, and which of their channels the file declares to be transparency.

    Args:
        array: `(H, W)`, or `(H, W, C)` with all channels of the file.
        alpha: Number of the channel that is transparency; None where the file declares none.
    """

    array: np.ndarray
    alpha: int | None = None

    @property
    def colours(self) -> np.ndarray:
        """All channels but the transparency, `(H, W, C)`."""
        array = self.array[..., None] if self.array.ndim == 2 else self.array
        return array if self.alpha is None else np.delete(array, self.alpha, axis=-1)

    @property
    def transparency(self) -> np.ndarray | None:
        """The transparency `(H, W)`, 0 where nothing is seen."""
        return None if self.alpha is None else self.array[..., self.alpha]


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Array `(H, W, ...)` as stored, brought to how it is displayed under an EXIF orientation 1..8."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


def turned_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turned`."""
    return turned(array, _BACK.get(orientation, orientation))


def orientation_of(path: Path) -> int:
    """EXIF or TIFF orientation of a picture file, 1 where it has none."""
    if path.suffix.lower() in TIFF_ENDINGS:
        from .tiff import tiff_orientation

        return tiff_orientation(path)
    with opened(path) as image:
        return _orientation(image)


def image_size(path: Path) -> tuple[int, int] | None:
    """Height and width as displayed, from the header; None for TIFF, which only reading tells.

    Raises:
        DataError: If the file is absent or damaged.
    """
    if path.suffix.lower() in TIFF_ENDINGS:
        return None
    present(path)
    with decoding(path), opened(path) as image:
        return (image.width, image.height) if _orientation(image) > 4 else (image.height, image.width)


def _orientation(image: Any) -> int:
    number = image.getexif().get(ORIENTATION, 1)
    return number if number in range(1, 9) else 1


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Pillow's image of a file, with our limit of its size.

    Raises:
        DataError: If it is too large or holds several frames.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # for good, since masks are read in several threads; ours holds in its place
    with Image.open(path) as image:
        check_size(path, (image.height, image.width))
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1:
            raise DataError(f"{path}: holds {frames} frames. Save one picture a file.")
        yield image


def read_picture(path: Path, raw: bool = False) -> Picture:
    """Pixels as displayed: `(H, W)` grey or `(H, W, 3)` RGB, with a last channel more where there is transparency.

    Args:
        path: The file.
        raw: Keep palette indices and the numbers of 1-, 2- and 4-bit files as stored; else they are shown as colours
            and stretched to 0..255.

    Raises:
        DataError: If it is damaged or of a colour space that has no plain RGB.
    """
    levels = _png_levels(path) if path.suffix.lower() == ".png" else 255
    with opened(path) as image:
        orientation = _orientation(image)
        image.load()
        if path.suffix.lower() in TIFF_ENDINGS:
            orientation = 1  # Pillow has turned it
        deep = levels > 255 and image.mode in ("RGB", "RGBA")
        array = _deep_png(path) if deep else _shown(path, image, raw)
    if raw and array.ndim == 2 and levels < 255 and image.mode == "L":  # Pillow stretches 2 and 4 bits, not 1
        array = array // (255 // levels)
    return Picture(turned(array, orientation), None if array.ndim == 2 or array.shape[-1] == 3 else array.shape[-1] - 1)


def _shown(path: Path, image: Any, raw: bool) -> np.ndarray:
    mode = image.mode
    if mode in ("LAB", "HSV"):
        raise DataError(f"{path}: is in the colour space {mode}. Save it as RGB.")
    if mode == "1":
        return np.asarray(image).astype(np.uint8) * (1 if raw else 255)
    if mode == "P" and not raw:
        return np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    plain = mode in ("P", "L", "LA", "RGB", "RGBA") or mode.startswith(("I", "F"))
    return np.asarray(image if plain else image.convert("RGB"))


def _deep_png(path: Path) -> np.ndarray:
    """RGB or RGBA of 16 bits a channel, which Pillow cuts to 8."""
    import cv2

    array = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("the data are damaged")
    return array[..., [2, 1, 0, 3][: array.shape[2]]]


def _png_levels(path: Path) -> int:
    """Largest number that a pixel of a PNG file can hold; checks the CRC of every chunk, which Pillow does not.

    Raises:
        ValueError: If a chunk is damaged or the end is missing.
    """
    data = memoryview(path.read_bytes())
    if data[:8] != _PNG:
        return 255
    start, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack(">I4s", data[start : start + 8])
        body = data[start + 4 : start + 8 + length]
        if struct.unpack(">I", data[start + 8 + length : start + 12 + length])[0] != zlib.crc32(body):
            raise ValueError(f"the checksum of {name!r} is wrong")
        start += 12 + length
    depth, colour = data[24], data[25]
    return 2**depth - 1 if colour != 3 else 255
