"""Whether new cases look like those that a promise was made from: kept with the promise, told in a line.

No label is read. Where cases look unlike the promise may fail; where they look alike it need not hold.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_app.files import append_csv, read_csv, write_csv, write_text
from lightning_app.training.processes import tell
from metrics.drift import ERROR, TRAITS, Unlike, fewest_new, unlike

KEY = "traits"
VERSION = 1  # of what the numbers mean
RESULT = "drift.json"
TABLE = "traits.csv"
Case = Mapping[str, float]  # `<key>/<class>` to a number of one case, as `Head.traits` has them
Traits = Mapping[str, Sequence[float]]  # the same of many

OLD = (
    "the promise keeps no numbers of its cases, so whether these look like them cannot be told: made by an older "
    "version; calibrate again"
)


def to_record(traits: Traits) -> dict[str, Any]:
    """Plain data for the file of a promise."""
    return {"version": VERSION, "values": traits}


def from_record(record: Mapping[str, Any] | None) -> Traits:
    """The way back of `to_record`; nothing of older files, or where the numbers meant something else."""
    return record["values"] if record is not None and record["version"] == VERSION else {}


def columns(cases: Sequence[Case]) -> Traits:
    """The numbers of many cases."""
    return {key: [float(case[key]) for case in cases] for key in (cases[0] if cases else ())}


class Drift(NamedTuple):
    """What is found of new cases.

    Attributes:
        known: How many cases the promise was made from.
        new: How many new ones there are.
        numbers: How many numbers are compared.
        fewest: How many new ones it would take to tell any apart.
        found: The numbers that tell them apart, the surest first.
    """

    known: int
    new: int
    numbers: int
    fewest: int
    found: list[Unlike]

    @classmethod
    def of(cls, known: Traits, cases: Sequence[Case]) -> "Drift":
        """Compare; both sides have a case at least."""
        new = columns(cases)
        numbers, size = len(known.keys() & new.keys()), max(map(len, known.values()))
        return cls(size, len(cases), numbers, fewest_new(size, numbers), unlike(known, new))

    @property
    def line(self) -> str:
        """What is to be told; empty where the cases look alike."""
        these = f"{self.new} case{'s' if self.new > 1 else ''}"
        of = f"the {self.known} that the promise was made from"
        if self.found:
            first, *more = self.found
            known, new = (f"{value:.3g}" for value in (first.known, first.new))
            too = f", {len(more)} more of {self.numbers} numbers" if more else ""
            return (
                f"WARNING   {these} look{'' if self.new > 1 else 's'} unlike {of}: {title(first.key)}, median "
                f"{known} -> {new} (p = {first.p_value:.1g}{too}): the promise may not hold; calibrate on labelled "
                "cases like these"
            )
        return f"{these}: too few to tell whether they look like {of}; {self.fewest} would do" * self.too_few

    @property
    def too_few(self) -> bool:
        """Whether nothing could be told apart."""
        return self.new < self.fewest

    @property
    def verdict(self) -> str:
        """A word for the record."""
        return "unlike" if self.found else "too few to tell" if self.too_few else "alike"

    def record(self) -> dict[str, Any]:
        """Plain data for a file."""
        found = [one._asdict() for one in self.found]
        return {**self._asdict(), "found": found, "error": ERROR, "verdict": self.verdict}


def title(key: str) -> str:
    """`uncertain share (lesion)` of `uncertain_share/lesion`."""
    number, _, name = key.partition("/")
    return f"{TRAITS[number]} ({name})"


def check(folder: Path, known: Traits, cases: Sequence[Case]) -> None:
    """Compare, tell what there is to tell, and write `drift.json`.

    Args:
        folder: Of the stage or the predictions.
        known: Of the cases that the promise was made from; nothing if its file is older.
        cases: The new ones.
    """
    (folder / RESULT).unlink(missing_ok=True)  # it was of other cases, or of another promise
    if not cases:
        return
    if not known.keys() & cases[0].keys():
        tell(OLD)
        return
    drift = Drift.of(known, cases)
    write_text(folder / RESULT, json.dumps(drift.record(), indent=1) + "\n")
    if drift.line:
        tell(drift.line)


def likeness(folder: Path) -> str:
    """What `check` found, for a table: a word, and which number is the surest; empty where nothing was compared."""
    if not (folder / RESULT).is_file():
        return ""
    record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    first = next(iter(record["found"]), None)
    return record["verdict"] + (f": {title(first['key'])}, p = {first['p_value']:.1g}" if first else "")


class TraitTable:
    """`traits.csv`: the numbers of each case as it is done, so that a job that goes on after a kill knows them all.

    Args:
        folder: Of the predictions.
        names: Of the classes or regions, background first.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.path = folder / TABLE
        self.numbers = [f"{key}/{name}" for key in TRAITS for name in names[1:]]
        self.columns = ["case", "made_by", *self.numbers]

    def begin(self, made_by: Mapping[str, str]) -> None:
        """Leave one whole row of each of these cases that was made by this, and none of others."""
        write_csv(self.path, self._rows(made_by), self.columns)

    def add(self, case: str, traits: Case, made_by: str = "") -> None:
        """Write the row of a case."""
        append_csv(self.path, {"case": case, "made_by": made_by, **traits}, self.columns)

    def cases(self, made_by: Mapping[str, str]) -> list[Case]:
        """The numbers of each of these cases that was made by this."""
        return [{key: float(row[key] or "nan") for key in self.numbers} for row in self._rows(made_by)]

    def _rows(self, made_by: Mapping[str, str]) -> list[dict[str, str]]:
        rows = {row["case"]: row for row in read_csv(self.path, appended=True)}
        return [row for case, row in sorted(rows.items()) if made_by.get(case) == row["made_by"]]
