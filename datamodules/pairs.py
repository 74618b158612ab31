"""Images and the masks that go with them by name, for folders that are laid out in their owner's own way."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import readers
from .case import Case
from .errors import DataError
from .masks import IGNORE, Binary, Colour, Index, MaskCoding, PerClass
from .patterns import Listing, expression
from .raters import by_rater
from .splits import own_part

Words = dict[str, str]
_READS = {
    "binary": ("threshold", "invert"),
    "files": ("threshold",),
    "index": ("values", "ignore"),
    "colour": ("colours",),
}


@dataclass
class Paired:
    """What the files below a folder make.

    Args:
        cases: Images with their masks.
        unlabelled: Images without.
        orphans: Masks without an image.
        lacking: Images without, and the patterns by which they have none.
        words: What name and folder of each case stand for.
    """

    cases: list[Case] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)
    lacking: dict[Path, list[str]] = field(default_factory=dict)
    words: list[Words] = field(default_factory=list)


class Pairing:
    """How images and masks go together.

    Args:
        images: Pattern of the images below the root.
        masks: Patterns of the masks of an image, one a rater.
        exclude: Patterns of images to leave out.
        group: Regular expression on an image's path below the root whose first group must stay in one subset; by
            default the `{folder}` of the images, where several folders are and some hold more than one.

    Raises:
        DataError: If a pattern of masks holds neither `{name}` nor `{folder}`, or is a list that lost its quotes.
    """

    def __init__(
        self,
        images: str,
        masks: Sequence[str] | str,
        exclude: Sequence[str] | str | None = None,
        group: str | None = None,
    ) -> None:
        if isinstance(masks, str) and masks.startswith("[") and masks.endswith("]"):
            raise DataError(f"masks={masks}: quote each pattern of a list, as ['a/{{name}}.png','b/{{name}}.png'].")
        self.images, self.group = images, group
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude or ())
        self.masks = [masks] if isinstance(masks, str) else list(masks)
        for pattern in self.masks:
            if "{name}" not in pattern and "{folder}" not in pattern:
                raise DataError(f"masks={pattern!r}: must hold {{name}}, which stands for the image's name.")

    def find(self, listing: Listing) -> Paired:
        """All images with their masks.

        Raises:
            DataError: If a mask goes with two images, or the expression for the group finds none.
        """
        found, owners = Paired(), dict[Path, Path]()
        others = self._claims_of_excluded(listing)
        for image, words in self.named_images(listing):
            raters = [
                [
                    path
                    for path in listing.of(pattern, words)
                    if path != image and not _nearer(others.get(path, ()), words)
                ]
                for pattern in self.masks
            ]
            if not all(raters):
                found.unlabelled.append(image)
                found.lacking[image] = [p for p, masks in zip(self.masks, raters, strict=True) if not masks]
                continue
            for masks in raters:
                _refuse_twins(masks, image)
            for path in (path for masks in raters for path in masks):
                if path in owners:
                    raise DataError(self._claimed(path, owners[path], image))
                owners[path] = image
            found.cases.append(self._case(image, image.relative_to(listing.root), words, raters))
            found.words.append(words)
        if self.groups_folders:
            found.cases = _by_folder(found.cases, [words["folder"] for words in found.words])
        found.unlabelled = [path for path in found.unlabelled if path not in owners]  # a mask that the images match
        taken = {*owners, *others, *(case.images[0] for case in found.cases), *found.unlabelled}
        found.orphans = [path for pattern in self.masks for path, _ in listing.find(pattern) if path not in taken]
        return found

    @property
    def groups_folders(self) -> bool:
        """Whether the images of one folder stay in one subset."""
        return self.group is None and "{folder}" in self.images

    def named_images(self, listing: Listing) -> list[tuple[Path, Words]]:
        """Images with name and folder where the pattern does not say.

        The name is the file's without ending or, where no mask goes by that, what the one `*` in the pattern's file
        name stands for.
        """
        return self._named(listing, self._images(listing))

    def _named(self, listing: Listing, images: Sequence[tuple[Path, Words]]) -> list[tuple[Path, Words]]:
        named = []
        for image, words in images:
            folder = image.relative_to(listing.root).parent.as_posix()
            named.append((image, {"name": readers.stem(image), "folder": folder} | words))
        parent, _, last = self.images.rpartition("/")
        if "{name}" in self.images or last.count("*") != 1:
            return named
        if any(listing.of(pattern, words) for _, words in named for pattern in self.masks):
            return named
        starred = dict(listing.find(f"{parent}/{last.replace('*', '{name}')}".lstrip("/")))
        return [(image, words | {"name": starred[image]["name"]}) for image, words in named]

    def _images(self, listing: Listing, excluded: bool = False) -> list[tuple[Path, Words]]:
        """Images with the words of their pattern, without those to exclude, or those alone."""
        rules = [expression(pattern) for pattern in self.exclude]
        inside = ((pair, pair[0].relative_to(listing.root).as_posix()) for pair in listing.find(self.images))
        return [pair for pair, path in inside if any(rule.fullmatch(path) for rule in rules) == excluded]

    def _claims_of_excluded(self, listing: Listing) -> dict[Path, list[str]]:
        """Names of the excluded images that a mask goes with; an excluded file that is itself a mask has none."""
        claims = defaultdict[Path, list[str]](list)
        left_out = self._named(listing, self._images(listing, excluded=True)) if self.exclude else []
        patterns = [pattern for pattern in self.masks if "{name}" in pattern]
        if left_out and patterns:
            kept = [words for _, words in self.named_images(listing)]
            masks = {path for words in kept for pattern in patterns for path in listing.of(pattern, words)}
            for _, words in (pair for pair in left_out if pair[0] not in masks):
                for path in (path for pattern in patterns for path in listing.of(pattern, words)):
                    claims[path].append(words["name"])
        return claims

    def _case(self, image: Path, inside: Path, words: Mapping[str, str], raters: Sequence[Sequence[Path]]) -> Case:
        parent, stem = str(Path(self.images).parent), readers.stem(image)
        if "{folder}" in self.images:
            name = "__".join((*words["folder"].split("/"), words["name"]))
        elif "*" in parent or "{name}" in parent:
            name = "__".join((*inside.parent.parts, stem))
        else:
            name = words["name"] if "{name}" in self.images else stem
        masks = tuple(path for masks in raters for path in masks)
        counts = tuple(len(masks) for masks in raters) if len(raters) > 1 else ()
        subset = next(filter(None, map(own_part, inside.parts[:-1])), "")
        return Case(name, (image,), masks, self._group(inside), subset, raters=counts)

    def _claimed(self, mask: Path, first: Path, second: Path) -> str:
        if first.with_name(readers.stem(first)) == second.with_name(readers.stem(second)):
            cure = "Remove one of the two, or exclude it"
        elif readers.stem(first) == readers.stem(second):
            cure = "Put {folder} for the folder that tells them apart into images and masks, as x/{folder}/{name}.*"
        else:
            cure = "Write what follows the name into masks, as {name}_*.png"
        return f"{mask}: is a mask of {first} and of {second} by masks={self.masks}. {cure}."

    def _group(self, inside: Path) -> str:
        if self.group is None:
            return ""
        match = re.search(self.group, inside.as_posix())
        found = match.group(1) if match and match.groups() else None
        if not found:
            raise DataError(f"{inside}: group={self.group!r} finds no group in it. Correct the expression.")
        return found


def _nearer(others: Sequence[str], words: Words) -> bool:
    """Whether a mask goes with an image whose name holds this one's and more, as `a_flipped` that of `a`."""
    return any(words["name"] in other and other != words["name"] for other in others)


def _by_folder(cases: Sequence[Case], folders: Sequence[str]) -> list[Case]:
    """The cases, those of a folder that holds several as one group.

    Folders that are only called as parts of a split are none, and a single folder tells nothing.
    """
    names = [folder if not all(map(own_part, folder.split("/"))) else "" for folder in folders]
    held = Counter(names)
    if len(held) < 2:
        return list(cases)
    pairs = zip(cases, names, strict=True)
    return [replace(case, group=name) if held[name] > 1 else case for case, name in pairs]


def _refuse_twins(masks: Sequence[Path], image: Path) -> None:
    """Refuse two masks of an image whose names differ by the ending alone: one is another's export or of other age."""
    seen = dict[Path, Path]()
    for path in masks:
        twin = seen.setdefault(path.with_name(readers.stem(path)), path)
        if twin != path:
            raise DataError(
                f"{twin} and {path}: are both masks of {image.name} and differ by the ending alone. Remove one, or "
                f"write the ending into masks, as {{name}}{path.suffix}."
            )


def check_masks(case: Case, coding: MaskCoding, num_classes: int) -> None:
    """Check that a case has as many mask files as the coding reads.

    Raises:
        DataError: If not.
    """
    image = case.images[0]
    for masks in by_rater(case):
        if isinstance(coding, PerClass) and len(masks) != num_classes - 1:
            raise DataError(f"{image}: {len(masks)} masks for {num_classes - 1} classes. Give a file for each class.")
        if isinstance(coding, Index | Colour) and len(masks) > 1:
            raise DataError(f"{image}: {len(masks)} masks, as {masks[1].name}. Make the pattern match one.")


def united(cases: Sequence[Case]) -> str:
    """That a mask is made of more files in some cases than in others; empty where it is not."""
    counts = [(len(masks), masks[0]) for case in cases for masks in by_rater(case)]
    (low, few), (high, many) = min(counts, default=(0, Path())), max(counts, default=(0, Path()))
    if low == high:
        return ""
    return (
        f"masks of one image are united, {low} for {few.name}, {high} for {many.name}; where they are no "
        "objects of one image, narrow masks"
    )


def refuse_unread(kind: str, **options: object) -> None:
    """Refuse options of masks that their coding does not read.

    Raises:
        DataError: If one is given.
    """
    for name, value in options.items():
        others = [other for other, reads in _READS.items() if name in reads]
        given = value is not None and value is not False
        if given and kind in _READS and kind not in others:
            more = ", with the value of each class as values," if name == "ignore" else ""
            raise DataError(
                f"{name}={value}: coding={kind!r} does not read it. Set coding {' or '.join(others)}{more} or leave "
                f"{name} out."
            )


def grey_coding(
    kind: str, num_classes: int, threshold: float | None, default: float, invert: bool = False
) -> Binary | PerClass | None:
    """Coding of masks cut at a threshold, "binary" or "files"; None where another kind is asked for."""
    cut, given = (default, False) if threshold is None else (threshold, True)
    if kind == "binary" and num_classes == 2:
        return Binary(cut, invert, given, None)
    return PerClass(cut, given, None) if kind == "files" else None


def index_coding(kind: str, num_classes: int, values: Sequence[int] | None, ignore: Sequence[int]) -> Index | None:
    """Coding "index"; None where another kind is asked for, or the values do not fit the classes."""
    known = values if values is not None else list(range(num_classes))
    fits = len(known) == num_classes == len(set(known)) and not set(known) & set(ignore)
    if kind != "index" or not fits:
        return None
    mapping = dict.fromkeys(ignore, IGNORE) | {value: number for number, value in enumerate(known)}
    return Index(num_classes, mapping, "Set --data.values and --data.classes, or --data.ignore for what is none.")
