"""Splits: counts, groups, folds, files, and what is refused."""

import json
from pathlib import Path

import pytest

from datamodules import DataError, splits
from datamodules.case import Case
from datamodules.published import (
    CVC_TEST,
    CVC_VAL,
    DSB_TEST,
    DSB_VAL,
    ISIC_TEST,
    ISIC_VAL,
    KITS_TEST,
    KITS_VAL,
    numbers,
)
from lightning_app.files import write_csv


def cases(count, per_group=1):
    return [Case(f"c{i:03d}", (), group=f"g{i // per_group}") for i in range(count)]


def names(split):
    return {subset: {case.name for case in members} for subset, members in split.items()}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((80, 20, 30), (80, 20, 30)),
        ((0.64, 0.16, 0.2), (83, 21, 26)),
        ((10, 0, 1), (10, 0, 1)),
        ((0.5, 0.1, 0.1), (65, 13, 13)),
    ],
)
def test_sizes(sizes, expected):
    split = splits.random_split(cases(130), sizes, 0, grouped=False)
    assert tuple(len(members) for members in split.values()) == expected
    splits.check_split(split)


def test_split_depends_on_names_and_seed_only():
    one = names(splits.random_split(cases(30), (0.6, 0.2, 0.2), 3, grouped=False))
    assert one == names(splits.random_split(cases(30)[::-1], (0.6, 0.2, 0.2), 3, grouped=False))
    assert one != names(splits.random_split(cases(30), (0.6, 0.2, 0.2), 4, grouped=False))


def test_groups_stay_together():
    split = splits.random_split(cases(60, per_group=5), (0.6, 0.2, 0.2), 0, grouped=True)
    assert splits.leaking_groups(split) == []
    assert sum(len(members) for members in split.values()) == 60
    assert splits.leaking_groups(splits.random_split(cases(60, per_group=5), (0.6, 0.2, 0.2), 0, grouped=False))


def test_folds_cover_every_case_once():
    tests = [names(splits.fold_split(cases(23, 2), fold, 5, (0.8, 0.2, 0), 0, True))["test"] for fold in range(5)]
    assert set().union(*tests) == {case.name for case in cases(23)}
    assert sum(len(test) for test in tests) == 23
    assert max(map(len, tests)) - min(map(len, tests)) <= 2


def test_file_of_names(tmp_path):
    rows = "case,subset\nc000,train\nc001,val\nc002,test\n"
    (tmp_path / "split.csv").write_text(rows)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["c000"], "val": ["c001"], "test": ["c002"]}))
    expected = {"train": {"c000"}, "val": {"c001"}, "test": {"c002"}}
    assert names(splits.file_split(cases(5), tmp_path / "split.csv")) == expected
    assert names(splits.file_split(cases(5), tmp_path / "split.json")) == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case,subset\nc000,train\nc000,test\n", "'c000' is in train and in test"),
        ("case,subset\nnobody,train\n", "'nobody'"),
        ("case,subset\nc000,dev\n", "subset 'dev'"),
        ("name;part\nc000;train\n", "columns case,subset"),
    ],
)
def test_bad_file_of_names(tmp_path, text, match):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        splits.file_split(cases(5), path)


@pytest.mark.parametrize(
    ("sizes", "match"),
    [((1, 2), "three numbers"), ((5, 5, 5), "10 cases"), ((0.5, 0.9, 3.0), "10 cases"), ((0, 0, 0), "three")],
)
def test_bad_sizes(sizes, match):
    with pytest.raises(DataError, match=match):
        splits.targets(10, sizes)


def test_bad_folds():
    with pytest.raises(DataError, match="fold=5"):
        splits.fold_split(cases(10), 5, 5, (0.8, 0.2, 0), 0, True)
    with pytest.raises(DataError, match="2 independent groups"):
        splits.fold_split(cases(10, 5), 0, 5, (0.8, 0.2, 0), 0, True)


@pytest.mark.parametrize(
    ("val", "test", "counts"),
    [
        (DSB_VAL, DSB_TEST, (108, 134)),
        (CVC_VAL, CVC_TEST, (98, 122)),
        (KITS_VAL, KITS_TEST, (33, 41)),
        (ISIC_VAL, ISIC_TEST, (415, 518)),
    ],
)
def test_published_numbers_are_complete_and_disjoint(val, test, counts):
    assert (len(set(numbers(val))), len(set(numbers(test)))) == counts
    assert not set(numbers(val)) & set(numbers(test))


def test_one_file_under_two_names_in_two_subsets_is_refused(tmp_path):
    same = (tmp_path / "a.png",)
    split = {"train": [Case("a", same)], "val": [], "test": [Case("b", same)]}
    with pytest.raises(DataError, match=r"case 'b' is in train and in test\. A case belongs to one subset"):
        splits.check_split(split)
    splits.check_split({"train": [Case("a", same, page=0)], "val": [Case("b", same, page=1)], "test": []})


@pytest.mark.parametrize("name", ["=1+1", "-a", "@b", "'=c", "+d"])
def test_names_that_a_spreadsheet_would_run_come_back_from_a_split_file(tmp_path, name):
    written = write_csv(tmp_path / "split.csv", [{"case": name, "subset": "train"}, {"case": "e", "subset": "val"}])
    split = splits.file_split([Case(name, (Path("a"),)), Case("e", (Path("b"),))], written)
    assert [case.name for case in split["train"]] == [name]
