"""Folders or files of several raters beside each other: masks of the same images that agree."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import readers
from .errors import DataError
from .guesses import Guess
from .pairs import Pairing
from .patterns import Listing, expression

_SAMPLE = 12  # images whose masks are compared
_COMPARED = 3  # of them where both mark something
_ENDING = ".*"
_NUMBER, _LAST_NUMBER = re.compile(r"\d+"), re.compile(r"\d+(?!.*\d)")


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


def rated_files(listing: Listing, guess: Guess) -> list[str]:
    """Patterns of all raters where each image has masks that agree and whose names differ by a number alone.

    Else the one pattern. Names that differ by more may be those of classes, as cup and disc.
    """
    parent, slash, name = guess.masks.removesuffix(_ENDING).rpartition("/")
    ending = guess.masks[len(parent + slash + name) :]
    starred = name if "*" in name else _LAST_NUMBER.sub("*", name)
    pattern = f"{parent}{slash}{starred}{ending}"
    if "*" in parent or starred.count("*") != 1:
        return [guess.masks]
    try:
        paired = Pairing(guess.images, pattern).find(listing)
    except DataError:
        return [guess.masks]
    kinds = [
        tuple(_starred(pattern, words, mask.relative_to(listing.root).as_posix()) for mask in case.masks)
        for case, words in zip(paired.cases, paired.words, strict=True)
    ]
    if len(set(kinds)) != 1 or len(kinds[0]) < 2 or len({_NUMBER.sub("", kind) for kind in kinds[0]}) > 1:
        return [guess.masks]
    raters = list(zip(*(case.masks for case in paired.cases[:_SAMPLE]), strict=True))
    if not all(_agree(raters[0], other) for other in raters[1:]):
        return [guess.masks]
    return [pattern.replace("*", kind, 1) for kind in kinds[0]]


def _starred(pattern: str, words: Mapping[str, str], path: str) -> str:
    """What the one star of a pattern stands for in a path."""
    match = expression(pattern, words, grouped=True).fullmatch(path)
    return match.group(1) if match else ""


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
    """Whether two series of masks mark much the same where both mark something; else they may be classes."""
    if len(one) != len(other):
        return False
    compared = 0
    for a, b in zip(one, other, strict=True):
        try:
            first, second = (read_any_mask(path) > 0 for path in (a, b))
        except DataError:
            return False
        first, second = (dark ^ bool(np.mean(dark) > 0.5) for dark in (first, second))
        if first.shape != second.shape:
            return False
        if not (first.any() and second.any()):
            continue
        if 2 * (first & second).sum() < 0.5 * (first.sum() + second.sum()):
            return False
        compared += 1
        if compared == _COMPARED:
            break
    return compared > 0
