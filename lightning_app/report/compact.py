"""Pictures in few bytes: a page of many runs still goes into a mail."""

import html
import io
import re
from collections.abc import Iterator

from PIL import Image

WEBP_LIMIT = 16383  # pixels along an axis
QUALITIES = (80, 65, 50, 35)


def compact_svg(svg: str) -> str:
    """The same drawing in fewer letters: two decimals of a point, no comments, metadata and line breaks, short names.

    Example:
        >>> compact_svg('<svg> <!-- a --> <path d="M 1.23456 2 L 3 4.0001 "/> </svg>')
        '<svg><path d="M1.23 2L3 4"/></svg>'
    """
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"scale\([^)]*\)|-?\d+\.\d{3,}(?![\w-])", _rounded, svg)  # a scale multiplies large units
    svg = re.sub(r"\b(id=\"|href=\"#)DejaVuSans-", r"\1f", svg)
    svg = re.sub(r' d="([^"]*)"', lambda found: f' d="{_tight(found[1])}"', svg)
    svg = re.sub(r' style="[^"]*"', lambda found: re.sub(r"([:;]) ", r"\1", found[0]), svg)
    return re.sub(r">\s+<", "><", svg).strip()


def _rounded(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("scale") else f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _tight(path: str) -> str:
    return re.sub(r"\s*([MLQCz])\s*", r"\1", path).strip()


def svg_uri(data: bytes) -> str:
    """A drawing as an address for an attribute in double quotes: as text, a third less than in base 64."""
    text = re.sub(r"\s+", " ", compact_svg(data.decode("utf-8"))).replace("%", "%25").replace("#", "%23")
    return "data:image/svg+xml," + html.escape(text.replace('"', "'"), quote=False)


def webp(image: Image.Image, most: int | None = None) -> bytes:
    """A picture as WebP, coarser until it has at most that many bytes; PNG where it is smaller, or WebP impossible."""
    if max(image.size) > WEBP_LIMIT:
        return _png(image)
    sizes = list(_coarser(image.convert("RGB"), most))
    return min(sizes[-1], _png(image), key=len)


def _coarser(image: Image.Image, most: int | None) -> Iterator[bytes]:
    """The picture by falling quality, then by falling size, to the first that fits."""
    small = ((50, share) for share in (0.8, 0.65, 0.5))
    for quality, share in (*((quality, 1.0) for quality in QUALITIES), *small):
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
