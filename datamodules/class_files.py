"""Which mask file is which class, where each has a file of its own: by what the wildcards of a pattern stand for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .case import Case
from .errors import DataError
from .patterns import expression
from .raters import by_rater

Words = Mapping[str, str]


class ClassFiles:
    """Puts the files of all cases in the order of the classes, the same for all.

    Args:
        root: Folder that the patterns are below.
        patterns: Patterns of masks, one a rater.
        class_names: Names of the classes, background first.
    """

    def __init__(self, root: Path, patterns: Sequence[str], class_names: Sequence[str]) -> None:
        self.root, self.patterns, self.class_names = root, patterns, class_names
        self._first: dict[str, tuple[list[str], Path]] = {}

    def ordered(self, case: Case, words: Words) -> Case:
        """A case with its files in the order of the classes whose names they hold, or as they are where they hold none.

        Raises:
            DataError: If its files differ by other words than those of the first case, or hold names of some classes
                that stand at another place.
        """
        masks = [path for pair in zip(self.patterns, by_rater(case), strict=True) for path in self._of(*pair, words)]
        return replace(case, masks=tuple(masks))

    def _of(self, pattern: str, masks: Sequence[Path], words: Words) -> Sequence[Path]:
        """The files of one rater in order."""
        if len(masks) < 2:
            return masks
        endings = self._endings(pattern, masks, words)
        known, example = self._first.setdefault(pattern, (endings, masks[0]))
        if endings != known:
            place = next((i for i, (a, b) in enumerate(zip(endings, known, strict=True)) if a != b), 0)
            raise DataError(
                f"{masks[place]}: the files of the classes are told apart by {', '.join(endings)}, those beside "
                f"{example.name} by {', '.join(known)}: one class may stand for another. Rename them alike."
            )
        return self._by_name(endings, masks)

    def _endings(self, pattern: str, masks: Sequence[Path], words: Words) -> list[str]:
        """What the wildcards stand for in each file, without what they stand for in all of them."""
        rule = expression(pattern, words, grouped=True)
        found = [rule.fullmatch(mask.relative_to(self.root).as_posix()) for mask in masks]
        columns = zip(*(match.groups() for match in found if match), strict=True)
        apart = [[part or "" for part in column] for column in columns if len(set(column)) > 1]
        return ["/".join(parts).strip("_- ./") for parts in zip(*apart, strict=True)]

    def _by_name(self, endings: Sequence[str], masks: Sequence[Path]) -> Sequence[Path]:
        held = [_words(ending) for ending in endings]
        names = [_words(name) for name in self.class_names[1:]]
        places = [[number for number, ending in enumerate(held) if name in ending] for name in names]
        chosen = [own[0] for own in places if len(own) == 1]
        if len(set(chosen)) == len(names) == len(masks):
            return [masks[number] for number in chosen]
        for place, others in enumerate(places):
            if others and place not in others:
                raise DataError(
                    f"{masks[others[0]]}: holds the name of class {self.class_names[place + 1]!r} and is read as "
                    f"{self.class_names[others[0] + 1]!r}: files are classes in natural order, {', '.join(endings)}. "
                    "Name classes in that order."
                )
        return masks


def _words(name: str) -> str:
    """The words of a name in small letters, each between blanks."""
    return " ".join(["", *re.findall(r"[^\W_]+", name.casefold()), ""])
