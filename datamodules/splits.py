"""Divide cases into training, validation and test sets, the same way every time.

A split depends on the sorted case names, the seed and the sizes, on nothing else. Cases of one group are never divided.
"""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .case import Case
from .errors import DataError
from .readers import natural

log = logging.getLogger(__name__)
SUBSETS = ("train", "val", "test")
DEFAULT_SIZES = (0.64, 0.16, 0.2)
Split = dict[str, list[Case]]


def targets(count: int, sizes: Sequence[float]) -> list[int]:
    """Number of cases for training, validation and test.

    Args:
        count: Cases there are.
        sizes: Three shares that sum to at most one, or three whole numbers.

    Raises:
        DataError: If the sizes are not three, negative, or ask for more cases than there are.
    """
    if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) <= 0:
        raise DataError(f"split_sizes={list(sizes)}: three numbers for train, val, test are needed, as 0.6 0.2 0.2.")
    if sum(sizes) <= 1 + 1e-9 and max(sizes) <= 1:
        numbers = [int(np.floor(count * share + 0.5)) for share in sizes]
        if count >= len(sizes):
            numbers = [max(number, 1) if share > 0 else 0 for number, share in zip(numbers, sizes, strict=True)]
        if abs(sum(sizes) - 1) < 1e-9:
            numbers[0] = count - numbers[1] - numbers[2]
        return numbers
    if any(float(size) != int(size) for size in sizes) or sum(sizes) > count:
        raise DataError(f"split_sizes={list(sizes)}: {count} cases were found. Give shares, or counts that fit.")
    return [int(size) for size in sizes]


def _groups(cases: Sequence[Case], grouped: bool, rng: np.random.Generator) -> list[list[Case]]:
    together: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: natural(case.name)):
        together.setdefault((case.group if grouped else "") or case.name, []).append(case)
    groups = list(together.values())
    order = rng.permutation(len(groups))
    return sorted((groups[i] for i in order), key=len, reverse=True)


def _fill(groups: Sequence[list[Case]], numbers: Sequence[int]) -> list[list[Case]]:
    """Give each group to the part that lacks most; when every part is full, the rest stays out.

    The last groups go to parts that would stay empty, so that a few large groups still make three subsets.
    """
    parts: list[list[Case]] = [[] for _ in numbers]
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        lacking = [number - len(part) for number, part in zip(numbers, parts, strict=True)]
        empty = [i for i, part in enumerate(parts) if not part and numbers[i] > 0]
        choice = empty if 0 < left <= len(empty) else range(len(parts))
        best = max(choice, key=lambda i: lacking[i])
        if lacking[best] > 0:
            parts[best].extend(group)
    return parts


def random_split(cases: Sequence[Case], sizes: Sequence[float], seed: int, grouped: bool) -> Split:
    """Seeded split by shares or counts; with `grouped`, groups stay whole, counts are met as nearly as they allow."""
    groups = _groups(cases, grouped, np.random.default_rng([seed, 0]))
    return dict(zip(SUBSETS, _fill(groups, targets(len(cases), sizes)), strict=True))


def fold_split(
    cases: Sequence[Case], fold: int, num_folds: int, sizes: Sequence[float], seed: int, grouped: bool
) -> Split:
    """K-fold split: the test set is part `fold` of `num_folds`, validation is drawn from the rest.

    Args:
        cases: All cases.
        fold: 0-based number of the test part.
        num_folds: Number of parts.
        sizes: Shares or counts of which validation against training is used.
        seed: Seed of the parts; the same for every fold.
        grouped: Keep groups together.

    Raises:
        DataError: If the fold does not exist, or there are fewer groups than folds.
    """
    if not 0 <= fold < num_folds:
        raise DataError(f"fold={fold}: must be 0..{num_folds - 1} with num_folds={num_folds}.")
    groups = _groups(cases, grouped, np.random.default_rng([seed, 1]))
    if len(groups) < num_folds:
        raise DataError(f"num_folds={num_folds}: only {len(groups)} independent groups of cases. Use fewer folds.")
    parts = _fill(groups, [-(-len(cases) // num_folds) + len(groups[0])] * num_folds)
    rest = [case for number, part in enumerate(parts) if number != fold for case in part]
    share = sizes[1] / (sizes[0] + sizes[1])
    inner = random_split(rest, (1 - share, share, 0), seed, grouped)
    return {"train": inner["train"], "val": inner["val"], "test": parts[fold]}


def file_split(cases: Sequence[Case], path: Path) -> Split:
    """Split by a file of names: CSV with columns `case,subset` (as in a run folder) or JSON `{"train": [names], ...}`.

    Raises:
        DataError: If the file is absent or unreadable, names a case twice, or names one that was not found.
    """
    if not path.is_file():
        raise DataError(f"split file {path} does not exist. Give the path of a .csv or .json file of names.")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            pairs = [(str(name), subset) for subset, names in json.loads(text).items() for name in names]
        else:
            pairs = [(row["case"], row["subset"]) for row in csv.DictReader(text.splitlines())]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"split file {path} is not understood ({error}). Use columns case,subset.") from error
    names: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for name, subset in pairs:
        if subset not in names:
            raise DataError(f"split file {path}: subset {subset!r} of case {name!r} is none of {', '.join(SUBSETS)}.")
        names[subset].append(name)
    return named_split(cases, names, str(path))


def named_split(cases: Sequence[Case], names: Mapping[str, Sequence[str]], origin: str) -> Split:
    """Split by lists of case names.

    Args:
        cases: All cases; those not named stay out.
        names: Case names of each subset.
        origin: What to call the lists in an error.

    Raises:
        DataError: If a name is unknown or stands twice.
    """
    by_name = {case.name: case for case in cases}
    seen: dict[str, str] = {}
    for subset, members in names.items():
        for name in members:
            if name in seen:
                raise DataError(
                    f"{origin}: case {name!r} is in {seen[name]} and in {subset}. A case belongs to one subset."
                )
            seen[name] = subset
    missing = [name for name in seen if name not in by_name]
    if missing:
        raise DataError(
            f"{origin}: {len(missing)} of {len(seen)} named cases were not found, the first is {missing[0]!r}. "
            "Complete the data set, or use another split."
        )
    if len(seen) < len(cases):
        log.info("%s leaves %d of %d cases unused", origin, len(cases) - len(seen), len(cases))
    return {subset: [by_name[name] for name in names.get(subset, ())] for subset in SUBSETS}


def check_split(split: Split) -> None:
    """Refuse a split in which a case, or one of its files, is in two subsets.

    Raises:
        DataError: If subsets overlap.
    """
    seen: dict[object, tuple[str, str]] = {}
    for subset, cases in split.items():
        for case in cases:
            for key in (case.name, *(f"{path}#{case.page}" for path in case.images)):
                if seen.get(key, (subset,))[0] != subset:
                    raise DataError(
                        f"case {case.name!r} is in {seen[key][0]} and in {subset}. A case belongs to one subset."
                    )
                seen[key] = (subset, case.name)


def leaking_groups(split: Split) -> list[str]:
    """Groups of which cases are in more than one subset."""
    where: dict[str, set[str]] = {}
    for subset, cases in split.items():
        for case in cases:
            where.setdefault(case.group or case.name, set()).add(subset)
    return [group for group, subsets in where.items() if len(subsets) > 1]
