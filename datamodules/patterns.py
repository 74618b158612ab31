"""Find files below a folder by patterns with `{name}` and `{folder}`.

The folder is listed once; a pattern is then matched against the list, so that thousands of images find their masks in
no time. Hidden files, and folders such as `__MACOSX`, are not seen.
"""

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from .paths import headed, is_visible, natural

_TOKEN = re.compile(r"(\{name\}|\{folder\}|\*\*/|\*\*|\.\*$|\*|\?|\[[^\]]+\])")
_ENDING = ".*"  # at the end of a pattern; else a dot and a star
_WILD = {
    "**/": "(?:.*/)?",
    "**": ".*",
    _ENDING: r"(?i:\.nii\.gz|\.ome\.tiff?|\.seg\.nrrd|\.[^/.]*)",
    "*": "[^/]*",
    "?": "[^/]",
}
_GROUPS = {"{name}": "[^/]+", "{folder}": ".+"}


def expression(pattern: str, values: Mapping[str, str] | None = None, grouped: bool = False) -> re.Pattern[str]:
    """Regular expression of a path pattern.

    Args:
        pattern: Path with `*`, `?`, `[ab]`, `**`, and `{name}` (a part of a file or folder name) or `{folder}` (one or
            more folders), which stand for the same text wherever they occur. At its end `.*` is any one ending.
        values: Text of `name` and `folder` where it is known; else they become groups.
        grouped: Make groups of the wildcards, but for the ending's.
    """
    parts, seen = [], set()
    for token in _TOKEN.split(pattern.replace("\\", "/").removeprefix("./")):
        word = token[1:-1]
        if token in _GROUPS and values is not None:
            parts.append(re.escape(values[word]))
        elif token in _GROUPS:
            parts.append(f"(?P={word})" if word in seen else f"(?P<{word}>{_GROUPS[token]})")
            seen.add(word)
        elif _TOKEN.fullmatch(token):
            wild = _WILD.get(token) or token.replace("[!", "[^")
            parts.append(f"({wild})" if grouped and token != _ENDING else wild)
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts))


class Listing:
    """The visible files below a folder that have one of the endings.

    Args:
        root: The folder; links to folders are followed, circles are not.
        endings: Endings in small letters.
    """

    def __init__(self, root: Path, endings: Iterable[str]) -> None:
        self.root = root
        self.names: dict[str, list[str]] = {}
        self._folders: dict[str, list[str]] = {}
        self._walk(root, "", tuple(endings), frozenset())

    def _walk(self, folder: Path, inside: str, endings: tuple[str, ...], above: frozenset[str]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            return
        names = []
        for entry in os.scandir(folder):
            if not is_visible(folder / entry.name):
                continue
            if entry.is_dir():
                self._walk(folder / entry.name, f"{inside}{entry.name}/", endings, above | {real})
            elif entry.name.lower().endswith(endings):
                names.append(entry.name)
        if names:
            self.names[inside] = sorted(headed(names))

    def paths(self) -> list[Path]:
        """All files, folder by folder."""
        return [self.root / folder / name for folder, names in self.names.items() for name in names]

    def find(self, pattern: str) -> list[tuple[Path, dict[str, str]]]:
        """Files that match, in natural order, each with what `{name}` and `{folder}` stand for."""
        rule = expression(pattern)
        inside = [f"{folder}{name}" for folder, names in self.names.items() for name in names]
        found = [(path, match.groupdict()) for path in inside if (match := rule.fullmatch(path))]
        for path, groups in found:
            if path.lower().endswith(".nii.gz") and groups.get("name", "").lower().endswith(".nii"):
                groups["name"] = groups["name"][:-4]  # one ending, of which a pattern `{name}.*` would take half
        return [(self.root / path, groups) for path, groups in sorted(found, key=lambda item: natural(item[0]))]

    def of(self, pattern: str, values: Mapping[str, str]) -> list[Path]:
        """Files that match a pattern whose `{name}` and `{folder}` are known, in natural order."""
        rule = expression(pattern, values)
        pieces = PurePosixPath(pattern.replace("\\", "/"))
        parent = expression(f"{pieces.parent}/" if len(pieces.parts) > 1 else "", values)
        start = _literal(pieces.name, values)
        found = []
        for folder in self._below(parent):
            names = self.names[folder]
            for name in names[bisect_left(names, start) :]:
                if not name.startswith(start):
                    break
                if rule.fullmatch(folder + name):
                    found.append(folder + name)
        return [self.root / path for path in sorted(found, key=natural)]

    def _below(self, parent: re.Pattern[str]) -> list[str]:
        known = self._folders.get(parent.pattern)
        if known is None:
            known = self._folders[parent.pattern] = [folder for folder in self.names if parent.fullmatch(folder)]
        return known


def _literal(pattern: str, values: Mapping[str, str]) -> str:
    """What every name that matches begins with."""
    start = ""
    for token in _TOKEN.split(pattern):
        if token in _GROUPS:
            start += values[token[1:-1]]
        elif token == _ENDING:
            return f"{start}."
        elif _TOKEN.fullmatch(token):
            break
        else:
            start += token
    return start
