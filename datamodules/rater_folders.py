"""Folders of several raters beside each other: masks of the same images that agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import readers
from .errors import DataError
from .guesses import Guess
from .patterns import Listing

_SAMPLE = 12  # images whose masks are compared


def rated(listing: Listing, guess: Guess) -> tuple[list[str], list[str], list[str]]:
    """Patterns of all raters where folders beside that of the masks hold masks of the same images that agree.

    Raters whose masks are those of another folder, as copies of a consensus, are left out.

    Returns:
        The patterns, what to tell of them, and patterns of the copies.
    """
    parent, _, name = guess.masks.rpartition("/")
    if "{" in parent or not parent:
        return [guess.masks], [], []
    words = dict(listing.find(guess.images))
    files = {}
    for folder in (folder.rstrip("/") for folder in listing.names):
        own = [listing.of(f"{folder}/{name}", {"folder": "", "name": ""} | groups) for groups in words.values()]
        if all(len(paths) == 1 and paths[0] not in words for paths in own):
            files[folder] = [paths[0] for paths in own][:_SAMPLE]
    alike = [folder for folder in sorted(files) if "/" in folder and _agree(files.get(parent, []), files[folder])]
    shared = Counter(folder.rpartition("/")[0] for folder in alike).most_common(1)
    if not shared or shared[0][1] < 2:
        return [guess.masks], [], []
    beside = [folder for folder in alike if folder.rpartition("/")[0] == shared[0][0]]
    copies = _copies(files, beside)
    told = []
    if copies and len(copies) < len(beside):
        told = [f"{', '.join(copies)}: the same masks as another folder, so left out as no rater of its own"]
        beside = [folder for folder in beside if folder not in copies]
    return [f"{folder}/{name}" for folder in beside], told, [f"{folder}/{name}" for folder in _copies(files, files)]


def read_any_mask(path: Path) -> np.ndarray:
    """What a mask file holds, of an image or of a volume."""
    if path.name.lower().endswith(readers.VOLUME_ENDINGS):
        return readers.read_volume(path, labels=True).array
    return readers.read_mask(path, "grey")


def _copies(files: Mapping[str, Sequence[Path]], folders: Iterable[str]) -> list[str]:
    """Those of the folders whose masks are, value for value, those of another one."""
    held = {folder: tuple(hash(read_any_mask(path).tobytes()) for path in paths) for folder, paths in files.items()}
    return [folder for folder in folders if list(held.values()).count(held[folder]) > 1]


def _agree(one: Sequence[Path], other: Sequence[Path]) -> bool:
    """Whether two series of masks mark much the same; else they may be classes."""
    if len(one) != len(other):
        return False
    for a, b in list(zip(one, other, strict=True))[:3]:
        try:
            first, second = (read_any_mask(path) > 0 for path in (a, b))
        except DataError:
            return False
        first, second = (dark ^ bool(np.mean(dark) > 0.5) for dark in (first, second))
        if first.shape != second.shape or 2 * (first & second).sum() < 0.5 * (first.sum() + second.sum()):
            return False
    return True
