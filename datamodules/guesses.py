"""Patterns under which images find their masks, guessed from the names of folders and files."""

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import DataError
from .pairs import Pairing
from .patterns import Listing
from .readers import stem

_MASK_WORDS = ("mask", "gold", "label", "truth", "seg", "anno", "manual", "gt", "target")
_PLAIN = "mask"  # which may also be the field of view, where another folder has a name that says more
_DIGITS, _BEFORE_NUMBER = re.compile(r"\d+"), re.compile(r"\D+(?=\d)")
_FOLDERS, _MARKED, _FILES = 400, 16, 4000  # folders, folders of masks, and files of a folder that are looked at


class Guess(NamedTuple):
    """Patterns of images and masks.

    Args:
        images: Pattern of the images.
        masks: Pattern of their masks.
        hits: Images that find a mask.
        missed: Images that find none.
    """

    images: str
    masks: str
    hits: int
    missed: int

    @property
    def fits(self) -> bool:
        """Whether no more images go without a mask than with one."""
        return self.hits >= self.missed


def ranked(listing: Listing) -> list[Guess]:
    """For each folder of masks the best patterns, best folder first.

    Best are those that fit, under which most images find a mask that is no other's; else those that do for some.
    """
    best: dict[str, tuple[tuple[bool, int, bool, bool, int, int], Guess]] = {}
    for images, masks in _candidates(listing):
        found = listing.find(images)
        taken = set[Path]()
        hits = 0
        for image, words in found:
            own = [path for path in listing.of(masks, {"folder": "", "name": ""} | words) if path != image]
            if own and not taken & set(own):
                hits += 1
                taken |= set(own)
        guess = Guess(images, masks, hits, sum(image not in taken for image, _ in found) - hits)
        says_more = any(word in masks.lower() for word in _MASK_WORDS if word != _PLAIN)
        plain = says_more, "{name}" in masks
        key = (guess.fits, hits, *plain, -len(taken), -len(images + masks))
        folder = masks.rpartition("/")[0]
        if hits and (folder not in best or key > best[folder][0]):
            best[folder] = key, guess
    order = sorted(best.values(), key=lambda one: one[0], reverse=True)
    return [_without_one_folder(guess, listing) for _, guess in order]


def unambiguous(listing: Listing, guesses: Sequence[Guess]) -> tuple[list[Guess], list[str]]:
    """The guesses under which each mask goes with one image, and why those before the first of them do not."""
    sound, refused = list[Guess](), list[str]()
    for guess in guesses:
        try:
            Pairing(guess.images, guess.masks).find(listing)
            sound.append(guess)
        except DataError as error:
            if guess.fits and not sound:
                refused.append(f"--data.images '{guess.images}' --data.masks '{guess.masks}' is not taken: {error}")
    return sound, refused


def widened(listing: Listing, guess: Guess) -> Guess:
    """The guess with a star before the ending where images without a mask are named as further masks of others."""
    paired = Pairing(guess.images, guess.masks).find(listing)
    known = {mask.with_name(stem(mask)) for case in paired.cases for mask in case.masks}
    if not guess.masks.endswith(".*") or not any(_goes_on(path, known) for path in paired.unlabelled):
        return guess
    wider = guess._replace(masks=f"{guess.masks.removesuffix('.*')}*.*")
    try:
        found = Pairing(wider.images, wider.masks).find(listing)
    except DataError:
        return guess
    return wider if len(found.cases) == len(paired.cases) else guess


def _goes_on(path: Path, known: Container[Path]) -> bool:
    """Whether a file's name begins with one that is known."""
    name = stem(path)
    return any(path.with_name(name[:place]) in known for place in range(1, len(name)))


def _without_one_folder(guess: Guess, listing: Listing) -> Guess:
    """The guess with the folder's name in place of `{folder}`, where that is always the same."""
    places = {words.get("folder", "") for image, words in Pairing(guess.images, guess.masks).named_images(listing)}
    if len(places) != 1:
        return guess
    place = places.pop()
    return guess._replace(**{name: getattr(guess, name).replace("{folder}", place) for name in ("images", "masks")})


def is_mask(word: str) -> bool:
    """Whether a part of a name says that it is a mask."""
    return any(part in word.lower() for part in _MASK_WORDS)


def _candidates(listing: Listing) -> Iterator[tuple[str, str]]:
    folders = [folder.rstrip("/") for folder in list(listing.names)[:_FOLDERS]]
    common = set.intersection(*(set(folder.split("/")) for folder in folders)) if folders else set()
    marked = {f for f in folders if any(is_mask(part) for part in f.split("/") if part not in common)}
    seen: dict[tuple[str, str], None] = {}
    images = [folder for folder in folders if folder not in marked]
    images = images or [folder for folder in folders if _PLAIN not in folder.lower()]  # as CT-Seg beside Lung_Mask
    for mask in sorted(marked - set(images))[:_MARKED]:
        for image in images[:40]:
            seen |= dict.fromkeys(_folder_pairs(image, mask))
            seen |= dict.fromkeys(_tail_pairs(listing, image, mask))
    for folder in folders[:8]:
        names = listing.names[f"{folder}/" if folder else ""]
        seen |= dict.fromkeys(_name_pairs(folder, [stem(Path(name)) for name in names[:_FILES]]))
    yield from {**seen, **dict.fromkeys(_case_folders(listing, folders))}


def _folder_pairs(image: str, mask: str) -> Iterator[tuple[str, str]]:
    """Patterns for two folders that differ in one part of their path, or wholly."""
    for a, b in _heads(image, mask):
        for second in ("{name}", "{name}_*", "*_{name}", "{name}.*"):
            yield f"{a}/{{name}}.*", f"{b}/{second}.*"
        if "{folder}" in a:
            yield f"{a}/{{name}}.*", f"{b}/*.*"
        for word in ("img", "image", "im"):
            for other in ("mask", "label", "seg", "gt"):
                yield f"{a}/{word}_{{name}}.*", f"{b}/{other}_{{name}}.*"


def _tail_pairs(listing: Listing, image: str, mask: str) -> Iterator[tuple[str, str]]:
    """Patterns for two folders in each of which all names end or begin alike, as 01_test.tif and 01_manual1.gif."""
    names = [listing.names[f"{folder}/" if folder else ""][:_FILES] for folder in (image, mask)]
    stems = [[stem(Path(name)) for name in inside] for inside in names]
    (first, second), (start, other) = map(_tail, stems), map(_start, stems)
    for a, b in _heads(image, mask) if first or second else ():
        yield f"{a}/{{name}}{first}.*".lstrip("/"), f"{b}/{{name}}{second}.*".lstrip("/")
    for a, b in _heads(image, mask) if start != other else ():
        yield f"{a}/{start}{{name}}.*".lstrip("/"), f"{b}/{other}{{name}}.*".lstrip("/")


def _tail(stems: Sequence[str]) -> str:
    """What all names end with, from a separator on; nothing of a single name."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(name[::-1] for name in stems), strict=False))
    shared = "".join(letters[0] for letters in alike)[::-1] if len(stems) > 1 else ""
    starts = [place for place, letter in enumerate(shared) if letter in "_-"]
    return shared[starts[0] :] if starts else ""


def _start(stems: Sequence[str]) -> str:
    """What all names begin with before their first number, as `img` of img0001 and img0002; else nothing."""
    alike = takewhile(lambda letters: len(set(letters)) == 1 and not letters[0].isdigit(), zip(*stems, strict=False))
    return "".join(letters[0] for letters in alike) if len(stems) > 1 else ""


def _heads(image: str, mask: str) -> list[tuple[str, str]]:
    """The two folders, and, where their paths end or begin alike, patterns that stand for their like."""
    one, two = image.split("/"), mask.split("/")
    heads = [(image, mask)]
    shared = 0
    while shared < min(len(one), len(two)) and one[-1 - shared] == two[-1 - shared]:
        shared += 1
    if shared:
        heads.append(("/".join([*one[:-shared], "{folder}"]), "/".join([*two[:-shared], "{folder}"])))
    if len(one) == len(two) > 1 and one[:-1] == two[:-1]:
        heads.append((f"{{folder}}/{one[-1]}", f"{{folder}}/{two[-1]}"))
    return heads


def _name_pairs(folder: str, stems: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Patterns for images and masks that lie side by side, told apart by what their names end or begin with."""
    heads = [f"{folder}/" if folder else "", *(["{folder}/"] if folder else [])]
    tails = {stem[place:] for stem in stems for place in range(1, len(stem)) if stem[place] in "_-"}
    starts = {stem[: stem.index("_") + 1] for stem in stems if "_" in stem}
    starts |= {match[0] for stem in stems if (match := _BEFORE_NUMBER.match(stem))}
    for head in heads:
        for tail in sorted(filter(is_mask, tails), key=lambda tail: (len(tail), tail))[:60]:
            yield f"{head}{{name}}.*", f"{head}{{name}}{tail}.*"
            for other in sorted(tail for tail in tails if not is_mask(tail))[:20]:
                yield f"{head}{{name}}{other}.*", f"{head}{{name}}{tail}.*"
        for start in sorted(filter(is_mask, starts))[:60]:
            for other in sorted(start for start in starts if not is_mask(start))[:20]:
                yield f"{head}{other}{{name}}.*", f"{head}{start}{{name}}.*"


def _case_folders(listing: Listing, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Patterns for a folder a case, in each of which the files have the same names."""
    inside = {folder: set(listing.names[f"{folder}/" if folder else ""]) for folder in folders}
    common = Counter(name for names in inside.values() for name in names)
    often = sorted(name for name, count in common.items() if count > 1)[:40]
    masks = [name for name in often if is_mask(name)]
    most = [name for name in often if 2 * common[name] > len(folders)]
    below = {PurePosixPath(folder).name for folder in folders if is_mask(PurePosixPath(folder).name)}
    for image in (name for name in often if name not in masks):
        for mask in masks or (most if image in most else ()):
            if _DIGITS.sub("", mask) != _DIGITS.sub("", image):  # else they are cases of one folder
                yield f"{{folder}}/{image}", f"{{folder}}/{mask}"
        for folder in sorted(below)[:_MARKED]:
            yield f"{{folder}}/{image}", f"{{folder}}/{folder}/*.*"
