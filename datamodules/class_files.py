"""Which mask file is which class, where each has a file of its own: by what the wildcards of a pattern stand for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .case import Case
from .errors import DataError
from .patterns import expression
from .raters import by_rater

Words = Mapping[str, str]


class ClassFiles:
    """Checks that the files of all cases stand for the same classes in the same order.

    Args:
        root: Folder that the patterns are below.
        patterns: Patterns of masks, one a rater.
        class_names: Names of the classes, background first.
    """

    def __init__(self, root: Path, patterns: Sequence[str], class_names: Sequence[str]) -> None:
        self.root, self.patterns, self.class_names = root, patterns, class_names
        self._first: dict[str, tuple[list[str], Path]] = {}

    def check(self, case: Case, words: Words) -> None:
        """Check a case against those before it, and against the names of the classes.

        Raises:
            DataError: If its files differ by other words than those of the first case, or by names of classes that
                stand at another place.
        """
        for pattern, masks in zip(self.patterns, by_rater(case), strict=True):
            if len(masks) < 2:
                continue
            endings = self._endings(pattern, masks, words)
            known, example = self._first.setdefault(pattern, (endings, masks[0]))
            if endings != known:
                place = next((i for i, (a, b) in enumerate(zip(endings, known, strict=True)) if a != b), 0)
                raise DataError(
                    f"{masks[place]}: the files of the classes are told apart by {', '.join(endings)}, those beside "
                    f"{example.name} by {', '.join(known)}: one class may stand for another. Rename them alike."
                )
            self._check_names(endings, masks)

    def _endings(self, pattern: str, masks: Sequence[Path], words: Words) -> list[str]:
        """What the wildcards stand for in each file, without what they stand for in all of them."""
        rule = expression(pattern, words, grouped=True)
        found = [rule.fullmatch(mask.relative_to(self.root).as_posix()) for mask in masks]
        columns = zip(*(match.groups() for match in found if match), strict=True)
        apart = [[part or "" for part in column] for column in columns if len(set(column)) > 1]
        return ["/".join(parts).strip("_- ./") for parts in zip(*apart, strict=True)]

    def _check_names(self, endings: Sequence[str], masks: Sequence[Path]) -> None:
        held = [_words(ending) for ending in endings]
        for place, name in enumerate(map(_words, self.class_names[1:])):
            others = [number for number, ending in enumerate(held) if name in ending]
            if others and place not in others:
                raise DataError(
                    f"{masks[others[0]]}: holds the name of class {self.class_names[place + 1]!r} and is read as "
                    f"{self.class_names[others[0] + 1]!r}: files are classes in natural order, {', '.join(endings)}. "
                    "Name classes in that order."
                )


def _words(name: str) -> str:
    """The words of a name in small letters, each between blanks."""
    return " ".join(["", *re.findall(r"[^\W_]+", name.casefold()), ""])
