"""Options that suit the masks of somebody's folder, from what some of them hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np

from . import readers
from .case import Case
from .errors import DataError
from .masks import IGNORE, Binary, doubtful, not_finite
from .paths import is_lossy
from .values import counted, filled, listed, suits

_MAX_COLOURS = 16
_MAX_CLASSES = 32
_PIXELS = 1 << 20  # of a mask that are looked at for colours
_VOXELS = 100_000_000  # of masks that are read
_BLACK = (0, 0, 0)
Colour = tuple[int, int, int]


@dataclass
class Proposal:
    """What to tell of masks, and the options that read them.

    Args:
        facts: Rows (fact, found).
        options: Options as (name, value).
        hints: What to know beside.
        readable: Whether any mask could be read.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    readable: bool = True


def names(count: int) -> str:
    """Names for so many classes, background first."""
    return f"[{','.join(['background', *(f'class{number}' for number in range(1, count))])}]"


def file_classes(cases: Sequence[Case]) -> list[str]:
    """Names of classes where every case has the same several mask files but for its own name; else none.

    Names without a letter number lesions or nuclei, not classes.
    """
    kinds = [_differing([readers.stem(mask) for mask in case.masks]) for case in cases]
    if not kinds or len(kinds[0]) < 2 or any(kind != kinds[0] for kind in kinds):
        return []
    classes = [kind.strip("_- .") for kind in kinds[0]]
    return classes if all(any(map(str.isalpha, name)) for name in classes) else []


def _differing(stems: Sequence[str]) -> list[str]:
    """What tells the names apart, from the last separator that they share on."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    shared = sum(1 for _ in alike)
    start = max(stems[0].rfind(mark, 0, shared) + 1 for mark in "_- .") if stems else 0
    return [stem[start:] for stem in stems]


def of_images(cases: Sequence[Case], masks: Sequence[Path]) -> Proposal:
    """Options of `ImageFolder` for its cases, of whose masks some are looked at."""
    proposal = Proposal()
    grey, colours, paths = _read(masks, proposal)
    if not grey:
        return Proposal(hints=proposal.hints, readable=False)
    several = _files_a_mask(cases)
    indices = _stored(paths) if several == 1 and len(colours) > 2 else []
    if indices:
        proposal.hints.append("the masks have a palette, whose indices are proposed as classes")
        proposal.options += _numbered(grey, indices, proposal, drawn=True)
    elif not _by_colour(colours, proposal):
        _by_value(grey, paths, file_classes(cases) if several > 1 else [], several, proposal)
    return proposal


def _files_a_mask(cases: Sequence[Case]) -> int:
    """The most files that one rater's mask of an image is made of."""
    return max(len(case.masks) // max(1, len(case.raters)) for case in cases)


def _read(masks: Sequence[Path], proposal: Proposal) -> tuple[list[np.ndarray], Counter[Colour], list[Path]]:
    """Grey values of the masks, how often colours occur in them, and those that can be read."""
    grey, colours, paths = [], Counter[Colour](), []
    for path in masks:
        try:
            if len(colours) <= _MAX_COLOURS and not is_lossy(path):
                colours.update(_colours(readers.read_mask(path, "colour")))
            array = readers.read_mask(path, "grey")
        except DataError as error:
            proposal.hints.append(str(error))
            continue
        if doubt := _doubt(path, array):
            proposal.hints.append(f"{path}: {doubt}")
        else:
            grey.append(array)
            paths.append(path)
    return grey, colours, paths


def _stored(paths: Sequence[Path]) -> list[np.ndarray]:
    """Numbers `(H, W)` of the masks as coding "index" reads them; none where one has several channels."""
    arrays = [readers.read_mask(path, "labels") for path in paths]
    return arrays if all(array.ndim == 2 for array in arrays) else []


def _doubt(path: Path, array: np.ndarray) -> str:
    """Why no coding reads a mask; empty where one does."""
    if is_lossy(path):
        return doubtful(array, path, Binary(given=False, cure=None))
    return not_finite(array)


def _colours(array: np.ndarray) -> dict[Colour, int]:
    """How often each colour occurs in a mask that has any, in a large one on a grid of its pixels; else none."""
    step = max(1, int(np.sqrt(array[..., 0].size / _PIXELS)))
    red, green, blue = (array[::step, ::step, channel].ravel() for channel in range(3))
    if array.dtype != np.uint8 or (np.array_equal(red, green) and np.array_equal(red, blue)):
        return {}
    packed, counts = counted(red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue)
    colours = [(code >> 16, code >> 8 & 255, code & 255) for code in packed.tolist()]
    return dict(zip(colours, counts.tolist(), strict=True))


def _by_colour(colours: Counter[Colour], proposal: Proposal) -> bool:
    """Whether the masks tell more than two classes by colour; the background is black, else what most pixels have."""
    if not colours or len(colours) > _MAX_COLOURS:
        return False
    ground = _BLACK if _BLACK in colours else max(colours, key=lambda colour: colours[colour])
    rows = [list(colour) for colour in sorted(colours, key=lambda colour: (colour != ground, colour))]
    proposal.facts.append(("colours in masks", str(rows)))
    if len(rows) < 3:
        return False
    if ground != _BLACK:
        proposal.hints.append(
            f"most pixels have the colour {rows[0]}, so it is the background; if not, put another first"
        )
    proposal.options += [("coding", "colour"), ("colours", str(rows).replace(" ", "")), ("classes", names(len(rows)))]
    return True


def _by_value(
    grey: Sequence[np.ndarray], paths: Sequence[Path], classes: Sequence[str], several: int, proposal: Proposal
) -> None:
    values, counts = counted(np.concatenate([array.ravel() for array in grey]))
    proposal.facts.append(("values in masks", listed(values)))
    options = suits(values, counts, any(filled(array, counted(array)[0]) for array in grey))
    coding = dict(options).get("coding")
    if classes and coding is None:
        options += [("coding", "files"), ("classes", f"[background,{','.join(classes)}]")]
        proposal.hints.append("a mask file a class; where two overlap, the later counts")
    elif several > 1:
        options = [option for option in options if option[0] == "threshold"] or _joined(values)
        proposal.hints.append(
            "masks of one image are united; for one a class set --data.coding files and --data.classes"
        )
    elif coding == "index":
        options = _numbered(grey, _stored(paths) or grey, proposal)
    elif len(values) > 2 and not options:
        proposal.hints.append(
            "values between come from soft or JPEG edges; what is above the threshold, 127, is object"
        )
    proposal.options += options
    if coding is None and several == 1:
        _bright(grey, values, proposal)


def _numbered(
    grey: Sequence[np.ndarray], stored: Sequence[np.ndarray], proposal: Proposal, drawn: bool = False
) -> list[tuple[str, str]]:
    """Options that read the stored numbers as classes, or others where they are objects, or one object in two codings.

    Args:
        grey: The masks as thresholds see them.
        stored: The masks as coding "index" does.
        proposal: Gets hints.
        drawn: The numbers have colours of their own, as classes have; pieces of them are no objects.
    """
    shades, values = (counted(np.concatenate([array.ravel() for array in arrays]))[0] for arrays in (grey, stored))
    if _mixed(grey, shades):
        proposal.hints.append("some masks hold 0 and 1, others 0 and 255: what is above 0 is object in all of them")
        return [("threshold", "0")]
    if not np.array_equal(shades, values):
        proposal.facts.append(("numbers stored in masks", listed(values)))
    if len(values) > _MAX_CLASSES:
        return [("threshold", f"{shades[0]:g}")]
    if not drawn and _are_objects(stored):
        proposal.hints.append(
            "each value of a mask is one connected object, so they are joined into one class; were they classes, set "
            "--data.coding index, --data.values and --data.classes"
        )
        return _joined(shades)
    ground = _ground(stored, values)
    if ground == values[0]:
        proposal.hints.append(f"were the values numbers of objects, --data.threshold {shades[0]:g} would join them")
    else:
        proposal.hints.append(
            f"most of the border has the value {ground:g}, so it is the background; if not, put another first"
        )
    if IGNORE in values.tolist() and len(values) > 2 and ground != IGNORE:
        proposal.hints.append("where 255 does not count, take it out of values and classes and set --data.ignore [255]")
    ordered = sorted(values.tolist(), key=lambda value: (value != ground, value))
    return [
        ("coding", "index"),
        ("values", f"[{','.join(f'{value:g}' for value in ordered)}]"),
        ("classes", names(len(ordered))),
    ]


def _ground(stored: Sequence[np.ndarray], values: np.ndarray) -> float:
    """The value of more than half of the pixels at the masks' borders, else the smallest."""
    held, counts = counted(np.concatenate([_border(array) for array in stored]))
    place = int(counts.argmax())
    return float(held[place] if 2 * counts[place] > counts.sum() else values[0])


def _border(array: np.ndarray) -> np.ndarray:
    """Outermost pixels."""
    return np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])


def _mixed(grey: Sequence[np.ndarray], values: np.ndarray) -> bool:
    """Whether one object is 1 in some masks and 255 in others."""
    return values.tolist() == [0, 1, IGNORE] and all(len(counted(array)[0]) < 3 for array in grey)


def _joined(values: np.ndarray) -> list[tuple[str, str]]:
    """Threshold above which all values but the smallest are."""
    return [] if len(values) == 2 and values[0] <= 127 < values[1] else [("threshold", f"{values[0]:g}")]


def _are_objects(grey: Sequence[np.ndarray]) -> bool:
    """Whether the values number objects: each is one piece, and there are as many as a mask happens to have."""
    from scipy import ndimage

    held = []
    for array in grey:
        values = counted(array)[0]
        held.append(set(values[values > 0].tolist()))
        for value in list(held[-1])[:_MAX_CLASSES]:
            if ndimage.label(array == value, np.ones((3, 3)))[1] > 1:
                return False
    return max(map(len, held)) > 2 and (len(set(map(frozenset, held))) > 1 or grey[0].dtype.itemsize > 1)


def _bright(grey: Sequence[np.ndarray], values: np.ndarray, proposal: Proposal) -> None:
    """Propose to invert masks of a bright ground, or say that it may be one."""
    bright = [array > (float(values[0]) + float(values[-1])) / 2 for array in grey]
    if len(values) < 2 or np.median([mask.mean() for mask in bright]) <= 0.6:
        return
    edges = [_border(mask).mean() for mask in bright]
    if len(values) == 2 and np.median(edges) > 0.9:
        proposal.options.append(("invert", "true"))
        proposal.hints.append("the ground of the masks is bright and the object dark; if not, leave invert out")
    else:
        proposal.hints.append("most of the typical mask is bright; where the object is dark, set --data.invert true")


def of_volumes(cases: Sequence[Case], masks: Sequence[Path]) -> Proposal:
    """Options of `VolumeFolder` for its cases, of whose masks some are looked at."""
    proposal, held = Proposal(), []
    for path in masks:
        try:
            held.append(counted(readers.read_volume(path, labels=True).array))
        except DataError as error:
            proposal.hints.append(str(error))
    if not held:
        return Proposal(hints=proposal.hints, readable=False)
    values = np.unique(np.concatenate([values for values, _ in held]))
    proposal.facts.append(("values in masks", listed(values)))
    several = _files_a_mask(cases)
    classes = file_classes(cases) if several > 1 else []
    whole = bool(np.isfinite(values).all()) and np.array_equal(values, np.rint(values))
    if classes:
        proposal.options += [("coding", "files"), ("classes", f"[background,{','.join(classes)}]")]
        proposal.hints.append("a mask file a class; where two overlap, the later counts")
    elif not whole or len(values) > _MAX_CLASSES or several > 1:
        middle = (float(values[0]) + float(values[-1])) / 2 if not whole else float(values[0])
        proposal.options += [("coding", "binary"), ("threshold", f"{middle:.4g}")]
        proposal.hints.append("above the threshold is object; look whether that is meant")
    else:
        _whole_numbers(values, proposal)
    return proposal


def _whole_numbers(values: np.ndarray, proposal: Proposal) -> None:
    numbers = [int(value) for value in values]
    if len(numbers) < 2:
        proposal.hints.append(f"the masks that were looked at hold {numbers[0]} alone, which tells no classes")
        return
    if numbers != list(range(len(numbers))):
        proposal.options.append(("values", str(numbers).replace(" ", "")))
    if numbers != [0, 1]:
        proposal.options.append(("classes", names(len(numbers))))
    if IGNORE in numbers and len(numbers) > 2:
        proposal.hints.append("where 255 does not count, take it out of values and classes and set --data.ignore [255]")


def affordable(masks: Sequence[Path]) -> list[Path]:
    """As many masks as hold no more than so many pixels or voxels together, one at least."""
    chosen: list[Path] = []
    left = _VOXELS
    for mask in masks:
        if left > 0 or not chosen:
            chosen.append(mask)
            left -= _size(mask)
    return chosen


def _size(path: Path) -> int:
    try:
        if path.name.lower().endswith(readers.IMAGE_ENDINGS):
            return int(np.prod(readers.image_size(path) or (1000, 1000)))
        return int(np.prod(readers.volume_header(path)[0]))
    except DataError:
        return 0
