"""What is looked at once before training: every mask, its labels, and whether the files of a case lie on one grid."""

import hashlib
import json
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .cache import default_cache, entry_key
from .case import Case
from .errors import DataError
from .masks import IGNORE
from .raters import majority, twins
from .writers import write_atomic

log = logging.getLogger(__name__)


class LabelReader(ABC):
    """Reads the label maps of a case without its image."""

    @abstractmethod
    def raters(self, case: Case) -> np.ndarray:
        """Label maps `(R, *S)` on the stored grid, a map a rater, of a case that has masks.

        Raises:
            DataError: If a mask cannot be read, holds what is not declared, or does not lie on the image.
        """

    def labels(self, case: Case) -> np.ndarray:
        """The label map `(*S)`, of several raters what most say; see `raters`."""
        return majority(self.raters(case))


@dataclass(frozen=True)
class Labels:
    """What a mask holds.

    Args:
        counts: Voxels of each class.
        ignored: Voxels that do not count.
        twins: Pairs of raters whose maps are the same.
    """

    counts: tuple[int, ...]
    ignored: int
    twins: tuple[tuple[int, int], ...] = ()


def count_labels(maps: np.ndarray, case: Case, num_classes: int) -> Labels:
    """Voxels of each class in the label maps `(R, *S)` of a case: in what most raters say.

    Raises:
        DataError: If every voxel is ignored.
    """
    labels = majority(maps)
    *counts, ignored = (int(np.count_nonzero(labels == number)) for number in (*range(num_classes), IGNORE))
    if ignored == labels.size:
        raise DataError(f"{case.masks[0]}: everything is ignored. Check the mask.")
    return Labels(tuple(counts), ignored, tuple(twins(maps)))


class LabelCheck:
    """Reads every mask of a data set once; what was found sound is kept in the cache folder.

    Args:
        reader: Reads the label maps.
        num_classes: Number of classes.
        name: Name of the data set and its folder, by which results are kept.
        threads: Files read at once.
    """

    def __init__(self, reader: LabelReader, num_classes: int, name: str, threads: int = 2) -> None:
        self.reader, self.num_classes = reader, num_classes
        self.threads = min(threads, os.cpu_count() or 1)
        self.salt = (repr(reader), num_classes)
        self.path = (
            default_cache() / "checks" / f"{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:32]}.json"
        )

    def run(self, cases: Sequence[Case]) -> list[Labels]:
        """What the masks of the cases hold.

        Raises:
            DataError: At the first mask that cannot be used.
        """
        cases = [case for case in cases if case.masks]
        known = self._load()
        keys = [entry_key(case, self.salt) for case in cases]
        new = [(key, case) for key, case in zip(keys, cases, strict=True) if key not in known]
        known |= zip((key for key, _ in new), self._look(case for _, case in new), strict=True)
        if new:
            self._save({key: known[key] for key in keys})
        return [known[key] for key in keys]

    def _look(self, cases: Iterable[Case]) -> list[Labels]:
        from tqdm import tqdm

        listed = list(cases)
        pool = ThreadPoolExecutor(self.threads)
        try:
            found = pool.map(self._one, listed)
            bar = tqdm(found, "checking masks once", len(listed), False, unit="case", disable=not sys.stderr.isatty())
            return list(bar)
        finally:
            pool.shutdown(cancel_futures=True)

    def _one(self, case: Case) -> Labels:
        return count_labels(self.reader.raters(case), case, self.num_classes)

    def _load(self) -> dict[str, Labels]:
        try:
            facts = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: _labels(entry) for key, entry in facts.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _save(self, known: dict[str, Labels]) -> None:
        facts = json.dumps({key: asdict(entry) for key, entry in known.items()})
        try:
            write_atomic(self.path, lambda part: part.write_text(facts, encoding="utf-8"))
        except OSError as error:
            log.warning("%s: what was checked is not kept (%s)", self.path, error)


def _labels(entry: dict[str, Any]) -> Labels:
    """The labels that `dataclasses.asdict`, and then JSON, made plain."""
    return Labels(tuple(entry["counts"]), entry["ignored"], tuple((a, b) for a, b in entry["twins"]))


def twin_raters(found: Sequence[Labels], patterns: Sequence[str]) -> str:
    """Which raters have the same masks in every case; empty where none have.

    Args:
        found: What the masks of each case hold.
        patterns: Patterns of masks, one a rater.
    """
    pairs = set.intersection(*(set(labels.twins) for labels in found)) if found else set()
    if not pairs:
        return ""
    one, other = (patterns[number] for number in min(pairs))
    return (
        f"masks={other!r} are those of {one!r} in all {len(found)} cases: what counts as two raters is one. "
        "Leave one of the two out of masks, unless they did agree."
    )


def check_names(cases: Sequence[Case], data: str) -> None:
    """Check that every file's name is text and every case's name its own.

    Args:
        cases: The cases.
        data: Name of the data set, for the message.

    Raises:
        DataError: If a file's name is no UTF-8, or two cases have one name.
    """
    for path in (path for case in cases for path in case.files):
        if any("\udc80" <= letter <= "\udcff" for letter in str(path)):
            raise DataError(f"{os.fsencode(path)!r}: the file's name is no UTF-8. Rename it.")
    names = Counter(case.name for case in cases)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        one, two = [case.files[0] for case in cases if case.name == min(twice)][:2]
        raise DataError(f"{data}: case {min(twice)!r} was found twice, {one} and {two}. Remove one of the two.")


def refuse_links(cases: Sequence[Case], root: Path) -> None:
    """Refuse a file that is a link to something outside the root folder.

    Raises:
        DataError: If there is one.
    """
    home = root.resolve()
    for path in (path for case in cases for path in case.files):
        if path.is_symlink() and path.exists() and not path.resolve().is_relative_to(home):
            raise DataError(f"{path}: the link leads out of {root}. Copy the file, or set follow_links true.")


def class_problem(
    found: Sequence[Labels], class_names: Sequence[str], cases: Sequence[Case], absent: Sequence[str]
) -> str:
    """Why these masks do not teach the classes; empty where they do.

    Args:
        found: What each mask holds.
        class_names: Names of the classes.
        cases: The cases, of which the first mask is named.
        absent: Names of classes that may be absent.
    """
    missing = [
        name
        for name, total in zip(class_names, np.sum([labels.counts for labels in found], axis=0), strict=True)
        if not total and name not in absent
    ]
    masks = [case.masks[0] for case in cases if case.masks]
    if not missing or not masks:
        return ""
    if len(missing) == len(class_names) - 1:
        only = next(name for name in class_names if name not in missing)
        what = f"class {only!r} fills all {len(found)} masks, there is no {' and no '.join(missing)}"
    else:
        what = f"no voxel of {len(found)} masks is of class {', '.join(map(repr, missing))}"
    return (
        f"{what}; {masks[0]} holds {stored_values(masks[0])}. Correct coding, values, threshold or classes, "
        f"or set absent_classes [{','.join(missing)}]."
    )


def untaught(
    found: Sequence[Labels], class_names: Sequence[str], cases: Sequence[Case], trained: Sequence[Case]
) -> str:
    """Which classes some masks hold, but none of those that are trained on; empty where there are none such.

    Args:
        found: What the mask of each case holds.
        class_names: Names of the classes.
        cases: The cases.
        trained: Those of them that are trained on.
    """
    counts = np.array([labels.counts for labels in found])
    training = {case.name for case in trained}
    seen = counts[[case.name in training for case in cases]]
    told = [
        f"class {name!r}, which {cases[int(counts[:, number].argmax())].name} holds"
        for number, name in enumerate(class_names)
        if len(seen) and counts[:, number].any() and not seen[:, number].any()
    ]
    return (
        f"no training case holds {' and '.join(told)}: it cannot be learned. Divide the cases otherwise."
        if told
        else ""
    )


def stored_values(path: Path) -> str:
    """The values that a mask file holds, in words."""
    from . import readers
    from .values import counted, listed

    try:
        if path.name.lower().endswith(readers.VOLUME_ENDINGS):
            return listed(counted(readers.read_volume(path, labels=True).array)[0])
        return listed(counted(readers.read_mask(path, "grey"))[0])
    except DataError:
        return "values that cannot be read"
