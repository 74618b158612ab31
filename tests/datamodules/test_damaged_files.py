"""A part of `benchmarks.damaged_files`: every damaged file is refused in one line or read as it was."""

import pytest

from benchmarks.damaged_files import kinds, tries

pytest.importorskip("SimpleITK")


def test_no_damaged_file_is_accepted_and_none_crashes():
    seen = list(tries(160, seed=3))
    assert {name for name, *_ in seen} == set(kinds())
    wrong = [(name, how, what) for name, how, tells, what in seen if what == "crash" or (what == "other" and tells)]
    assert wrong == []
    assert sum(what == "refused" for *_, what in seen) > 90
