"""Pictures in few bytes: a page of many runs still goes into a mail."""

import io
from collections.abc import Iterator

from PIL import Image

WEBP_LIMIT = 16383  # pixels along an axis
QUALITIES = (80, 65, 50, 35)
SMALL = ((50, 0.8), (50, 0.65), (50, 0.5), (35, 0.5), (35, 0.35), (20, 0.25))  # quality and share of each side


def webp(image: Image.Image, most: int | None = None) -> bytes:
    """A picture as WebP, coarser until it has at most that many bytes; PNG where it is smaller, or WebP impossible."""
    if max(image.size) > WEBP_LIMIT:
        return _png(image)
    sizes = list(_coarser(image.convert("RGB"), most))
    return min(sizes[-1], _png(image), key=len)


def _coarser(image: Image.Image, most: int | None) -> Iterator[bytes]:
    """The picture by falling quality, then by falling size, to the first that fits."""
    for quality, share in (*((quality, 1.0) for quality in QUALITIES), *SMALL):
        buffer = io.BytesIO()
        size = (round(share * image.width), round(share * image.height))
        image.resize(size, Image.Resampling.LANCZOS).save(buffer, format="WEBP", quality=quality)
        yield buffer.getvalue()
        if most is None or buffer.tell() <= most:
            return


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def media_type(data: bytes) -> str:
    """Media type of what `webp` returned."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/webp"
