"""Divide cases into training, validation and test sets, the same way every time.

A split depends on the case names, the seed and the sizes, on nothing else. With shares, each case's place follows from
its own name: a file that is added moves no other. Cases of one group are never divided.
"""

import csv
import hashlib
import json
import logging
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from .case import Case
from .errors import DataError
from .readers import natural

log = logging.getLogger(__name__)
SUBSETS = ("train", "val", "test")
DEFAULT_SIZES = (0.64, 0.16, 0.2)
_PART = re.compile(
    r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?=$|[^a-z]|data|set|folder|images|imgs|masks|labels)"
)
Split = dict[str, list[Case]]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # of a cell that lightning_app.files quotes
_HASH_ORDER = (2, 1, 0)  # test first: another share of validation leaves the test cases


def own_part(folder: str) -> str:
    """Which part of the owner's split a folder's name says, as "train"; empty where it says none, or two.

    Example:
        >>> [own_part(name) for name in ("Training400", "Val_Folder", "TestDataset", "latest", "train_test")]
        ['train', 'val', 'test', '', '']
    """
    found = set(_PART.findall(folder.lower()))
    return found.pop() if len(found) == 1 else ""


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


def sized_split(cases: Sequence[Case], sizes: Sequence[float], seed: int, grouped: bool) -> Split:
    """Seeded split: exact for counts, stable under additions for shares."""
    divide = stable_split if sum(sizes) <= 1 + 1e-9 else random_split
    return divide(cases, sizes, seed, grouped)


def stable_split(cases: Sequence[Case], sizes: Sequence[float], seed: int, grouped: bool) -> Split:
    """Split by shares in which the place of a case, or of its group, is a hash of its name and the seed.

    The counts meet the shares up to chance. Only where a part would stay empty, the group next to it moves over.

    Args:
        cases: All cases.
        sizes: Three shares that sum to at most one; what is left of one stays out.
        seed: Seed.
        grouped: Keep groups together.

    Raises:
        DataError: If the sizes are no shares.
    """
    targets(len(cases), sizes)
    groups: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: natural(case.name)):
        groups.setdefault((case.group if grouped else "") or case.name, []).append(case)
    places = {name: _place(name, seed) for name in groups}
    edges = np.cumsum([0.0, *(sizes[part] for part in _HASH_ORDER)])
    edges[-1] = 1.0 if abs(edges[-1] - 1) < 1e-9 else edges[-1]
    parts = {name: int(np.searchsorted(edges, place, side="right")) - 1 for name, place in places.items()}
    wanted = [number for number, part in enumerate(_HASH_ORDER) if sizes[part] > 0]
    for number in wanted:
        spare = [name for name, part in parts.items() if list(parts.values()).count(part) > 1 or part not in wanted]
        if number not in parts.values() and spare:
            middle = (edges[number] + edges[number + 1]) / 2
            parts[min(spare, key=lambda name: abs(places[name] - middle))] = number
    split: Split = {subset: [] for subset in SUBSETS}
    for name, part in parts.items():
        if part < len(_HASH_ORDER):
            split[SUBSETS[_HASH_ORDER[part]]].extend(groups[name])
    return split


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) that follows from name and seed."""
    return (
        int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()[:6], "big") / 2**48
    )


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
    inner = stable_split(rest, (1 - share, share, 0), seed, grouped)
    return {"train": inner["train"], "val": inner["val"], "test": parts[fold]}


def file_split(cases: Sequence[Case], path: Path, fold: int | None = None) -> Split:
    """Split by a file of names.

    Args:
        cases: All cases.
        path: CSV with columns `case,subset` (as in a run folder), JSON `{"train": [names], ...}`, or nnU-Net's
            `splits_final.json`, a list of folds with `train` and `val`, where the owner's test cases are the test set.
        fold: Which fold of a list, by default the first.

    Raises:
        DataError: If the file is absent or unreadable, names a case twice, or names one that was not found, or a fold
            is asked for of a file that is no list of folds.
    """
    if not path.is_file():
        raise DataError(f"split file {path} does not exist. Give the path of a .csv or .json file of names.")
    known = {case.name for case in cases}
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            lists = json.loads(text)
            if isinstance(lists, list):
                lists, fold = _fold_of(lists, cases, path, fold), None
            pairs = [(str(name), subset) for subset, names in lists.items() for name in names]
        else:
            pairs = [(_unquoted(row["case"], known), row["subset"]) for row in csv.DictReader(text.splitlines())]
    except DataError:
        raise
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"split file {path} is not understood ({error}). Use columns case,subset.") from error
    refuse_fold(fold, f"split={str(path)!r}")
    names: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for name, subset in pairs:
        if subset not in names:
            raise DataError(f"split file {path}: subset {subset!r} of case {name!r} is none of {', '.join(SUBSETS)}.")
        names[subset].append(name)
    return named_split(cases, names, str(path))


def refuse_fold(fold: int | None, what: str) -> None:
    """Refuse a fold of a split that is the same whatever the fold.

    Raises:
        DataError: If there is one.
    """
    if fold is not None:
        raise DataError(
            f"fold={fold}: {what} has one test part, the same for every fold. Leave fold out, or set split to "
            "grouped, random or a list of folds as nnU-Net's splits_final.json."
        )


def _unquoted(name: str, known: Collection[str]) -> str:
    """Name of a case without the apostrophe that keeps a spreadsheet from running the cell as a formula."""
    quoted = name not in known and name.startswith("'") and name.lstrip("'").startswith(FORMULA_STARTS)
    return name[1:] if quoted else name


def _fold_of(folds: list[dict[str, list[str]]], cases: Sequence[Case], path: Path, fold: int | None) -> dict:
    number = fold or 0
    if not 0 <= number < len(folds):
        raise DataError(f"split file {path}: has folds 0..{len(folds) - 1}. Set fold to one of them, not {fold}.")
    named = {name for names in folds[number].values() for name in names}
    return {**folds[number], "test": [c.name for c in cases if c.subset == "test" and c.name not in named]}


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


def official_split(cases: Sequence[Case], sizes: Sequence[float], seed: int, data: str) -> Split:
    """The owner's test and validation cases; without the latter, some of the rest by the sizes' proportion.

    Args:
        cases: The cases, which know the owner's subset.
        sizes: Shares or counts of training, validation and test cases.
        seed: Seed of the validation cases.
        data: Name of the data set, for the message.

    Raises:
        DataError: If the owner gives neither.
    """
    parts: Split = {subset: [case for case in cases if case.subset == subset] for subset in ("val", "test")}
    rest = [case for case in cases if case.subset not in parts]
    if not parts["test"] and not parts["val"]:
        raise DataError(f"{data}: the owner gives no test set. Use split=grouped.")
    if parts["val"]:
        return {"train": rest, **parts}
    share = sizes[1] / (sizes[0] + sizes[1])
    return {**stable_split(rest, (1 - share, share, 0), seed, True), "test": parts["test"]}


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


def warn_of_leaks(split: Split, what: str) -> None:
    """Warn where groups are divided, so that a score would be too good."""
    leaks = leaking_groups(split)
    if leaks:
        warnings.warn(
            f"{what} leaks: cases of {len(leaks)} groups (as {leaks[0]!r}) are in several subsets. "
            "Prefer split=grouped.",
            stacklevel=2,
        )
