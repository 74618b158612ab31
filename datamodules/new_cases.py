"""How a folder of new images becomes cases: one a file, named by its place, and no two with one name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import readers
from .case import Case
from .errors import DataError

_CHANNEL = re.compile(r"(.+)_([0-9]{4})")


def find_files(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Visible files of the folder and all folders below it, in natural order."""
    endings = tuple(endings)
    return [path for below in readers.folders(folder) for path in readers.files(below, endings)]


def find_volumes(folder: Path) -> list[Path]:
    """Visible volumes of the folder and all folders below it: files, and what stands for each DICOM series."""
    found: list[Path] = []
    for below in readers.folders(folder):
        found += [path for path in readers.files(below, readers.VOLUME_ENDINGS) if path.suffix.lower() != ".dcm"]
        found += readers.dicom_series(below)
    return found


def case_name(folder: Path, path: Path) -> str:
    """Name of a file's case: its path below the folder without ending, with `/` between folders."""
    if path == folder:
        return folder.resolve().name
    return (path.parent.relative_to(folder) / readers.stem(path)).as_posix()


def single_cases(folder: Path, paths: Sequence[Path]) -> list[Case]:
    """A case for each file.

    Raises:
        DataError: If two files would have one name, so that the prediction of one would overwrite the other's.
    """
    return unique([Case(case_name(folder, path), (path,)) for path in paths])


def channel_cases(folder: Path, paths: Sequence[Path], channels: int) -> list[Case]:
    """Cases of several channels: a file that holds them all, or `<case>_0000`, `<case>_0001`, ... with one each.

    Raises:
        DataError: If a channel is missing, or two cases have one name.
    """
    groups: dict[str, dict[int, Path]] = {}
    cases = []
    for path in paths:
        number = _CHANNEL.fullmatch(case_name(folder, path))
        if number is None or len(readers.volume_header(path)[0]) > 3:
            cases.append(Case(case_name(folder, path), (path,)))
            continue
        group = groups.setdefault(number[1], {})
        if int(number[2]) in group:
            raise _collision(number[1], group[int(number[2])], path)
        group[int(number[2])] = path
    for name, group in groups.items():
        if set(group) != set(range(channels)):
            some = next(iter(group.values()))
            have = ", ".join(f"{number:04d}" for number in sorted(group))
            raise DataError(f"{some}: case {name} has channel {have} of {channels}. Add 0000 to {channels - 1:04d}.")
        cases.append(Case(name, tuple(group[number] for number in range(channels))))
    return unique(sorted(cases, key=lambda case: readers.natural(case.name)))


def unique(cases: list[Case]) -> list[Case]:
    """The cases, none of which has another's name.

    Raises:
        DataError: If two have, naming both files.
    """
    seen: dict[str, Path] = {}
    for case in cases:
        if case.name in seen:
            raise _collision(case.name, seen[case.name], case.images[0])
        seen[case.name] = case.images[0]
    return cases


def _collision(name: str, first: Path, second: Path) -> DataError:
    return DataError(f"{first} and {second}: both are case {name!r}. Rename one, or put them into separate folders.")
