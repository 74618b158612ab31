"""TIFF and OME-TIFF: pictures as displayed, several channels, and stacks as volumes.

tifffile decodes, because Pillow refuses RGB files with a grey photometric tag, cuts 16-bit colours to 8, and knows no
channels. Files in colour spaces that tifffile leaves as they are go to Pillow.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, missing
from .lengths import in_mm
from .paths import check_size, decoding
from .pictures import Picture, read_picture, turned

_ORIENTATION = 274
_INVERTED, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_BY_PILLOW = (_CMYK, _YCBCR)
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha
_CHANNEL = re.compile(r"(.+)_[0-9]{4}")


@dataclass(frozen=True)
class Layout:
    """What the tags say of a TIFF file, its pixels unread.

    Args:
        axes: One letter an axis, axes of length one dropped: Y, X, Z (depth), C or S (channels), T, Q or I (unnamed).
        shape: Length of each.
        photometric: Number of the colour space.
        bits: Bits a sample.
        inverted: Small numbers are shown bright.
        orientation: 1..8.
        samples: Channels that a page holds.
        alpha: Which of them ExtraSamples declares to be transparency; None where it declares none.
    """

    axes: str
    shape: tuple[int, ...]
    photometric: int
    bits: int
    inverted: bool
    orientation: int
    samples: int = 1
    alpha: int | None = None


def tiff_orientation(path: Path) -> int:
    """Number 1..8 of the first page's orientation tag."""
    with _file(path) as file:
        return _orientation(file.pages[0])


def _orientation(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it logs of damage is raised here
    with tifffile.TiffFile(path) as file:
        if not len(file.pages):
            raise ValueError("it holds no page")
        yield file


def _source(path: Path, file: Any, page: int | None) -> Any:
    """The page, or the one series of the file; reduced copies of it do not count."""
    if page is not None:
        return file.pages[page]
    series = [s for s in file.series if not s.keyframe.is_reduced and s.kind != "thumbnail"] or file.series[:1]
    if len(series) > 1:
        raise DataError(f"{path}: holds {len(series)} pictures of different kinds. Save one picture a file.")
    return series[0]


def _layout(path: Path, source: Any, page: int | None) -> Layout:
    frame = source if page is not None else source.keyframe
    pairs = [(a, n) for a, n in zip(source.axes, source.shape, strict=True) if n > 1 or a in "YX"]
    axes, shape = "".join(a for a, _ in pairs), tuple(int(n) for _, n in pairs)
    check_size(path, shape)
    if "Y" not in axes or "X" not in axes or np.dtype(source.dtype).kind == "c":
        raise DataError(f"{path}: axes {source.axes} of {source.dtype} are no picture. Save it as plain TIFF.")
    bits = frame.bitspersample if isinstance(frame.bitspersample, int) else max(frame.bitspersample)
    ours = str(getattr(frame, "software", "")).startswith(
        "tifffile"
    )  # it tags boolean arrays so, but means them as given
    inverted = frame.photometric == _INVERTED and not (bits == 1 and ours)
    samples, extra = int(frame.samplesperpixel), tuple(int(kind) for kind in frame.extrasamples)
    alpha = next((samples - len(extra) + i for i, kind in enumerate(extra) if kind in _ALPHA), None)
    return Layout(axes, shape, int(frame.photometric), bits, inverted, _orientation(frame), samples, alpha)


def read_tiff(path: Path, channels: int | None = None, page: int | None = None, raw: bool = False) -> Picture:
    """One picture as displayed: `(H, W)`, or `(H, W, C)` with channels last wherever the file has them.

    A channel is transparency where ExtraSamples says so, and only there.

    Args:
        path: The file.
        channels: Number that is expected; it tells which of two unnamed axes is that of the channels.
        page: Page of a file of several pictures.
        raw: Keep palette indices and the numbers of 1-, 2- and 4-bit files as stored.

    Raises:
        DataError: If it is a stack, or of a colour space that has no plain RGB.
    """
    with _file(path) as file:
        source = _source(path, file, page)
        layout = _layout(path, source, page)
        if layout.photometric not in (_INVERTED, _GREY, _RGB, _PALETTE, *_BY_PILLOW):
            name = getattr(source.keyframe.photometric, "name", layout.photometric)
            raise DataError(f"{path}: is in the colour space {name}. Save it as RGB.")
        axis = _channel_axis(path, layout, channels)
        array = None if layout.photometric in _BY_PILLOW else _decoded(path, source, layout)
        if array is None:
            return _by_pillow(path, layout, axis, raw)
        colours = None if raw or layout.photometric != _PALETTE else source.keyframe.colormap
    array = _displayed(path, array.reshape(layout.shape), layout, raw)
    if colours is not None:
        array = np.moveaxis(colours[:, array] >> 8, 0, -1).astype(np.uint8)
    elif axis is not None:
        array = np.moveaxis(array, axis, -1)
    return Picture(turned(array, layout.orientation), _transparency(layout, axis))


def _transparency(layout: Layout, axis: int | None) -> int | None:
    """Which channel is transparency, where the channels are the samples of a page."""
    return layout.alpha if axis is not None and layout.shape[axis] == layout.samples else None


def _by_pillow(path: Path, layout: Layout, axis: int | None, raw: bool) -> Picture:
    """What Pillow makes of a file that tifffile does not decode.

    Raises:
        DataError: If a package is missing.
    """
    try:
        picture = read_picture(path, raw)
    except OSError as error:  # it knows no such file
        raise missing(path, "imagecodecs") from error
    if layout.photometric in (*_BY_PILLOW, _PALETTE):
        return picture
    array = picture.array
    if (array.shape[-1] if array.ndim == 3 else 1) != (1 if axis is None else layout.shape[axis]):
        raise missing(path, "imagecodecs")  # it has left out what is neither colour nor transparency
    stretched = raw and layout.bits in (2, 4)
    return Picture(array // (255 // (2**layout.bits - 1)) if stretched else array, _transparency(layout, axis))


def _decoded(path: Path, source: Any, layout: Layout) -> np.ndarray | None:
    """Samples as stored, or None where Pillow has to decode them, which it does without loss here.

    Raises:
        DataError: If a package is missing.
    """
    try:
        return source.asarray()
    except (ValueError, NotImplementedError, ImportError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise
        if layout.bits <= 8 or (len(layout.axes) == 2 and not layout.inverted):
            return None
        raise missing(path, "imagecodecs") from error


def _displayed(path: Path, array: np.ndarray, layout: Layout, raw: bool) -> np.ndarray:
    """Grey values the way a viewer shows them: not inverted, and few bits stretched to eight."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if layout.inverted:
        if array.dtype.kind != "u":
            raise DataError(f"{path}: WhiteIsZero with samples of {array.dtype} is undefined. Save it as BlackIsZero.")
        array = array.dtype.type(2**layout.bits - 1) - array
    if layout.bits < 8 and not raw and layout.photometric != _PALETTE:
        array = array * np.uint8(255 // (2**layout.bits - 1))
    return array


def _channel_axis(path: Path, layout: Layout, channels: int | None) -> int | None:
    """Position of the axis of channels, None where there is none.

    Raises:
        DataError: If the file is a stack, or it cannot be told which axis it is.
    """
    rest = [i for i, letter in enumerate(layout.axes) if letter not in "YX"]
    named = [i for i in rest if layout.axes[i] in "CS"]
    if len(rest) > 1 or (rest and not named and layout.axes[rest[0]] in "ZT"):
        raise DataError(f"{path}: axes {layout.axes} of {layout.shape} are a stack, no picture. Read it as a volume.")
    if not rest or named:
        return rest[0] if rest else None
    fitting = [i for i in (0, 2) if channels is not None and layout.shape[i] == channels]
    if len(fitting) != 1:
        raise DataError(
            f"{path}: shape {layout.shape} is a stack, or has channels on an axis without a name. "
            "Set the number of channels, save axes (OME-TIFF), or read it as a volume."
        )
    return fitting[0]


def has_depth(path: Path) -> bool:
    """Whether a TIFF file is a volume: it has a depth, or several pages without a name."""
    with _file(path) as file:
        layout = _layout(path, _source(path, file, None), None)
    return any(letter in layout.axes for letter in "ZQI")


def read_stack_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape `(X, Y, Z)` or `(X, Y, Z, C)` and affine in mm of a stack; 1 where it gives no spacing.

    Raises:
        DataError: If it has a time axis, or axes that are not understood.
    """
    with _file(path) as file:
        layout = _layout(path, _source(path, file, None), None)
        spacing = _told_spacing(path, file) or (1.0, 1.0, 1.0)
    sizes = dict(zip(layout.axes, layout.shape, strict=True))
    depth, last = _stack_axes(path, layout.axes)
    channels = (sizes[last],) if last else ()
    shape = (sizes["X"], sizes["Y"], sizes.get(depth, 1), *channels)
    return shape, np.diag([*spacing, 1.0])


def read_stack(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array `(X, Y, Z)` or `(X, Y, Z, C)` and affine of a stack.

    Raises:
        DataError: If it is damaged, or its axes are not understood.
    """
    shape, affine = read_stack_grid(path)
    with _file(path) as file:
        source = _source(path, file, None)
        layout = _layout(path, source, None)
        array = _decoded(path, source, layout)
    if array is None:
        raise missing(path, "imagecodecs")
    if layout.photometric == _PALETTE:
        layout = Layout(layout.axes, layout.shape, _GREY, layout.bits, False, layout.orientation)
    array = _displayed(path, array.reshape(layout.shape), layout, raw=True)
    order = [layout.axes.index(letter) for letter in ("X", "Y", *_stack_axes(path, layout.axes)) if letter]
    return array.transpose(order).reshape(shape), affine


def _stack_axes(path: Path, axes: str) -> tuple[str, str]:
    """Letters of depth and channels, empty where there is none."""
    rest = [letter for letter in axes if letter not in "YX"]
    last = next((letter for letter in rest if letter in "CS"), "")
    depth = next((letter for letter in "ZQI" if letter in rest), "")
    if set(rest) != {letter for letter in (depth, last) if letter} or len(rest) > 2:
        raise DataError(
            f"{path}: axes {axes} are no volume (X, Y, Z, channels). Save one file a time point, or call the axis Z if "
            "these are slices."
        )
    return depth, last


def _told_spacing(path: Path, file: Any) -> Sequence[float] | None:
    """Millimetres on x, y, z: from OME, a `.json` beside it as nnU-Net has it, or ImageJ; None where none tells."""
    told = _ome_spacing(path, file.ome_metadata) if file.is_ome else None
    told = told or spacing_beside(path)
    if told is None and file.is_imagej:
        told = _imagej_spacing(path, file)
    return told


def tells_spacing(path: Path) -> bool:
    """Whether a stack says where its voxels lie, or only how many there are."""
    with _file(path) as file:
        return _told_spacing(path, file) is not None


def notes(path: Path) -> list[Path]:
    """Files beside a stack that may tell its spacing: `a_0000.json`, and `a.json` as nnU-Net names it for all channels.

    The latter is not that of `a_0000.tif` where there is a file `a.tif`, whose it is.
    """
    found = [path.with_suffix(".json")]
    case = _CHANNEL.fullmatch(path.stem)
    if case and not path.with_name(f"{case[1]}{path.suffix}").exists():
        found.append(path.with_name(f"{case[1]}.json"))
    return [file for file in found if file.is_file()]


def spacing_beside(path: Path) -> tuple[float, ...] | None:
    """Millimetres on x, y, z that a `.json` beside a stack tells; None where there is none.

    Raises:
        DataError: If what it calls spacing is none, or two files differ.
    """
    told: dict[tuple[float, ...], Path] = {}
    for file in notes(path):
        with decoding(file):
            facts = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(facts, dict) or "spacing" not in facts:
                continue
            given = facts["spacing"]
            if not isinstance(given, list) or len(given) != 3:
                raise DataError(f"{file}: spacing {given} is not that of z, y and x. Give three numbers.")
            told.setdefault(tuple(float(size) for size in given[::-1]), file)
    if len(told) > 1:
        first, second = told.values()
        raise DataError(f"{first} and {second}: tell different spacings of {path.name}. Correct or remove one.")
    return next(iter(told), None)


def _ome_spacing(path: Path, text: str) -> Sequence[float] | None:
    """Millimetres on x, y, z, 1 on an axis without any; None where no axis has one."""
    import xml.etree.ElementTree as Tree

    pixels = next((node for node in Tree.fromstring(text).iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None or not any(pixels.get(f"PhysicalSize{axis}") for axis in "XYZ"):
        return None
    sizes = [(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XYZ"]
    return tuple(in_mm(path, float(size), unit) if size else 1.0 for size, unit in sizes)


def _imagej_spacing(path: Path, file: Any) -> Sequence[float] | None:
    """Millimetres on x, y, z, each axis in its own unit where ImageJ gives one; None where all is left out."""
    facts, tags = file.imagej_metadata or {}, file.pages[0].tags
    unit = str(facts.get("unit", ""))
    units = [unit, *(str(facts.get(name, unit)) for name in ("yunit", "zunit"))]
    sizes = []
    for name in ("XResolution", "YResolution"):
        top, bottom = tags[name].value if name in tags else (1, 1)
        sizes.append(bottom / top if top and bottom else 1.0)
    sizes.append(float(facts.get("spacing", 1.0)))
    if not unit and sizes == [1.0, 1.0, 1.0]:
        return None
    return tuple(in_mm(path, size, unit) for size, unit in zip(sizes, units, strict=True))


def write_stack(path: Path, array: np.ndarray, spacing: Sequence[float]) -> None:
    """Write `(X, Y, Z)` or `(X, Y, Z, C)` as compressed OME-TIFF with the spacing in mm.

    Args:
        path: Target.
        array: uint8 or float32.
        spacing: mm on x, y and z.
    """
    import tifffile

    axes = "ZYX" if array.ndim == 3 else "ZCYX"
    order = [{"X": 0, "Y": 1, "Z": 2, "C": 3}[letter] for letter in axes]
    sizes = {f"PhysicalSize{axis}": float(size) for axis, size in zip("XYZ", spacing, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "mm" for axis in "XYZ"}
    tifffile.imwrite(
        path,
        np.ascontiguousarray(array.transpose(order)),
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata={"axes": axes, **sizes, **units},
    )
