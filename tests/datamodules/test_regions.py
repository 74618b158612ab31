"""Regions that overlap: of BraTS, of nnU-Net's dataset.json, and of anybody's classes."""

import json

import pytest

from datamodules import BraTS, DataError, Decathlon, NNUNetRaw, Phantom
from datamodules.checks import Labels
from datamodules.nnunet_json import read_dataset_json
from datamodules.regions import find_regions
from tests.data.nnunet_raw.make import make as make_nnunet

NESTED = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def written(folder, labels, **more):
    facts = {"channel_names": {"0": "T1"}, "labels": labels, "file_ending": ".nii.gz", **more}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder / "dataset.json"


def test_the_challenges_regions_of_brats():
    regions = BraTS(root="nowhere", regions=True).regions
    assert regions.united == {"whole tumour": (1, 2, 3), "tumour core": (1, 3), "enhancing tumour": (3,)}
    assert regions.order == (2, 1, 3)
    assert BraTS(root="nowhere").regions is None is BraTS(root="nowhere", regions=False).regions
    with pytest.raises(DataError, match="give different classes of 1 to 1"):
        _ = BraTS(root="nowhere", regions=True, target="whole").regions


def test_nnunets_regions_are_read_as_nnunet_means_them(tmp_path):
    found = read_dataset_json(written(tmp_path, NESTED, regions_class_order=[1, 2, 3]))
    assert found.class_names == ("background", "label 1", "label 2", "enhancing")
    assert found.regions == {"whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    assert found.order == [1, 2, 3]
    assert found.mapping == {0: 0, 1: 1, 2: 2, 3: 3}


def test_stored_numbers_with_gaps_and_an_ignored_one_become_classes(tmp_path):
    labels = {"whole": [2, 5, 7], "background": 0, "core": [5, 7], "ignore": 9}
    found = read_dataset_json(written(tmp_path, labels, regions_class_order=[2, 7]))
    assert found.mapping == {0: 0, 2: 1, 5: 2, 7: 3, 9: 255}
    assert found.regions == {"whole": [1, 2, 3], "core": [2, 3]}
    assert (found.order, found.stored) == ([1, 3], (0, 2, 5, 7))


def test_lists_of_one_number_are_plain_classes(tmp_path):
    found = read_dataset_json(written(tmp_path, {"background": [0], "b": [2], "a": 1}))
    assert (found.class_names, found.regions) == (("background", "a", "b"), {})


@pytest.mark.parametrize(
    ("labels", "order", "match"),
    [
        (NESTED, None, r"regions_class_order must give the label that each of whole, core, enhancing writes"),
        (NESTED, [1, 2], "regions_class_order must give"),
        (NESTED, [1, 2, 4], "is not understood"),
        ({"background": 0, "whole": [0, 1]}, [1], r"'whole' is \[0, 1\]. Give it different numbers"),
        ({"background": 0, "whole": [1, 2], "ignore": 2}, [1], "not background nor ignored"),
        ({"background": 0, "whole": [1, 2], "ignore": [3, 4]}, [1], r"ignore is \[3, 4\]"),
        ({"background": 0, "whole": [1, 1]}, [1], "Give it different numbers"),
        ({"whole": [1, 2]}, [1], "no background 0"),
        ({"0": "background", "1": "a", "2": "a"}, None, "two classes share a name"),
        ({"background": 0, "a": 1, "b": 1}, None, "value 1 belongs to 'b' and to another label"),
    ],
)
def test_a_json_that_cannot_be_meant_is_refused(tmp_path, labels, order, match):
    path = written(tmp_path, labels, **({} if order is None else {"regions_class_order": order}))
    with pytest.raises(DataError, match=match) as error:
        read_dataset_json(path)
    assert str(path) in str(error.value)


def test_a_raw_folder_with_regions_trains_by_itself(tmp_path):
    data = NNUNetRaw(root=str(make_nnunet(tmp_path, "regions")))
    assert data.regions.united == {"core": (2, 3), "oedema": (1,)}
    assert data.regions.order == (2, 1)
    assert data.regions.told(data.class_names) == "core = label 2 + label 3; oedema = oedema"


def test_a_task_in_the_decathlons_form_has_the_regions_of_its_json_unless_others_are_asked_for(tmp_path):
    make_nnunet(tmp_path / "Task99_Own", "regions")
    data = Decathlon(root=str(tmp_path), task="Task99_Own")
    assert (data.regions.united, data.regions.order) == ({"core": (2, 3), "oedema": (1,)}, (2, 1))
    asked = Decathlon(root=str(tmp_path), task="Task99_Own", regions={"any": [1, 2, 3]}, regions_class_order=[1])
    assert asked.regions.united == {"any": (1, 2, 3)}


@pytest.mark.parametrize(
    ("regions", "order", "match"),
    [
        ({"a": [1, 4]}, None, r"'a' is \[1, 4\]; give different classes of 1 to 3"),
        ({"a": []}, None, "give different classes"),
        ({"a": [0, 1]}, None, "give different classes"),
        ({}, None, "name one or more"),
        ({"all": [1]}, None, "none of them background or all"),
        ({"a/b": [1]}, None, "without a slash"),
        ({"whole": [1, 2, 3], "inner": [3]}, None, r"of 'whole' the classes \[1, 2\] .* Give regions_class_order"),
        ({"inner": [3], "whole": [3]}, None, "Give regions_class_order"),
        ({"whole": [1, 2, 3], "inner": [3]}, [1], "give the label that each of whole, inner writes"),
    ],
)
def test_regions_that_cannot_be_are_refused(regions, order, match):
    with pytest.raises(DataError, match=match):
        find_regions(regions, 4, order)
    with pytest.raises(DataError, match=match):
        _ = Phantom(num_classes=4, regions=regions, regions_class_order=order).regions


def test_the_order_of_regions_that_do_not_nest_can_be_given():
    assert find_regions({"whole": [1, 2, 3], "inner": [3]}, 4, [2, 3]).order == (2, 3)


def test_a_class_may_be_absent_where_no_region_needs_it():
    data = BraTS(root="nowhere", regions=True)
    case = type("Case", (), {"masks": ["mask.png"]})
    found = [Labels((50, 0, 20, 10), 0), Labels((60, 0, 10, 0), 0)]
    assert data.regions.counts(found[0]).counts == (50, 30, 10, 10)
    assert data.class_problem(found, [case]) == ""
    assert BraTS(root="nowhere").class_problem([Labels((1, 0, 1, 1), 0)], []) == ""
