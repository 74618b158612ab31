"""What is found in somebody's folder, and what its images and volumes are like."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import readers
from .errors import DataError

SAMPLE = 12


@dataclass
class Finding:
    """What a folder holds.

    Args:
        facts: Rows (fact, found).
        data: Name of the data set class to read it with, or empty where none was found.
        options: Its options, without dashes, as (name, value).
        hints: What to do or to know beside that.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    data: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def arguments(self, prefix: str = "--data.") -> str:
        """The options as a command line has them."""
        return " ".join(f"{prefix}{name} {quoted(value)}" for name, value in self.options)


def quoted(value: str) -> str:
    """A value as a shell takes it, in the quotes that read best."""
    return f'"{value}"' if "'" in value and not set(value) & set('"$`\\!') else shlex.quote(value)


def some(items: Sequence[Any], count: int) -> list[Any]:
    """At most so many, spread over the list."""
    return list(items[:: max(1, len(items) // count)][:count])


def describe_volumes(paths: Sequence[Path], found: Finding) -> None:
    """Shapes and spacings of some volumes, by their headers."""
    shapes: Counter[str] = Counter()
    faults: list[str] = []
    channels, looked = 1, len(some(paths, SAMPLE))
    for path in some(paths, SAMPLE):
        try:
            shape, affine = readers.volume_header(path)
            spacing = " x ".join(f"{s:.3g}" for s in readers.volume_spacing(path, affine, shape))
            shapes[f"{' x '.join(map(str, shape))} voxels of {spacing} mm, as {path.name}"] += 1
            channels = max(channels, shape[3] if len(shape) > 3 else 1)
        except DataError as error:
            faults.append(str(error))
    found.facts += [("volume", text) for text in list(shapes)[:3]]
    if faults:
        found.hints.append(f"{faults[0]} {len(faults)} of {looked} volumes that were looked at cannot be read.")
    if channels > 1 and found.data == "VolumeFolder":
        found.options.append(("channels", str(channels)))
    if len(faults) == looked:
        found.data, found.options = "", []


def describe_images(paths: Sequence[Path], found: Finding) -> None:
    """Endings, sizes, and the channels of the smallest of some images."""
    sizes = _sizes(some(paths, SAMPLE), found)
    if not sizes:
        found.data, found.options = "", []
        return
    counts = {path: _channels(path) for path in sorted(sizes, key=lambda path: sizes[path])[:4]}
    channels = _shared(counts, found)
    low, high = np.min(list(sizes.values()), axis=0), np.max(list(sizes.values()), axis=0)
    endings = ", ".join(sorted({path.suffix.lower() for path in paths}))
    span = f"{low[1]} x {low[0]}" + ("" if (low == high).all() else f" to {high[1]} x {high[0]}")
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels" if channels else "unlike channels")
    found.facts.append(("format", f"{endings}, {span} pixels, {kind}"))
    if found.data == "ImageFolder" and channels not in (0, 3):
        found.options.append(("channels", str(channels)))
    if found.data == "ImageFolder" and (low != high).any():
        found.hints.append("sizes differ: --data.fit pad or crop keeps the aspect, --data.size native the size")


def _sizes(paths: Sequence[Path], found: Finding) -> dict[Path, tuple[int, ...]]:
    """Heights and widths; what cannot be read goes to the hints."""
    sizes: dict[Path, tuple[int, ...]] = {}
    for path in paths:
        try:
            sizes[path] = readers.image_size(path) or readers.read_colours(path).shape[:2]
        except DataError as error:
            found.hints.append(str(error))
    return sizes


def _channels(path: Path) -> int:
    """Number of channels of an image, 1 where all three are equal; 0 where it cannot be read."""
    try:
        array = readers.read_colours(path)[::4, ::4]
    except DataError:
        return 0
    return 1 if array.shape[-1] == 3 and (array == array[..., :1]).all() else int(array.shape[-1])


def _shared(counts: Mapping[Path, int], found: Finding) -> int:
    """Number of channels that all these images can be read with; 0 and a hint where there is none."""
    held = {count: path for path, count in counts.items() if count}
    if len(held) == 1 or set(held) <= {1, 3}:
        return max(held, default=3)
    told = ", ".join(f"{count} as {path.name}" for count, path in sorted(held.items()))
    found.hints.append(f"the numbers of channels differ: {told}; export all images alike, or exclude some")
    return 0
