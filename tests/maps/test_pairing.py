"""Which map belongs to which label: patterns, folders, orphans, what must not be guessed."""

import pytest

from lightning_app.errors import UserError
from lightning_app.maps.pairing import find, group_classes, pair, root_of


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_pattern_names_the_case_between_prefix_and_suffix(tmp_path):
    touch(tmp_path, "p/10_test.png", "p/2_test.png", "p/2_other.png", "p/._2_test.png")
    found = find(f"{tmp_path}/p/{{name}}_test.png", "--probs")
    assert list(found) == ["2", "10"]  # in numeric order
    assert found["2"].all == [tmp_path / "p" / "2_test.png"]


def test_a_pattern_may_hold_the_case_twice_and_signs_that_mean_something_elsewhere(tmp_path):
    touch(tmp_path, "o/a [1]/a [1]_trans.nii.gz", "o/b/b_trans.nii.gz", "o/b/c_trans.nii.gz")
    found = find(f"{tmp_path}/o/{{name}}/{{name}}_trans.nii.gz", "--probs")
    assert list(found) == ["a [1]", "b"]


def test_a_pattern_that_two_files_fit_is_refused_naming_both(tmp_path):
    touch(tmp_path, "p/a_1.png", "p/a_2.png")
    with pytest.raises(UserError, match=r"a_1\.png and .*a_2\.png are both a"):
        find(f"{tmp_path}/p/{{name}}_*.png", "--probs")


def test_a_folder_is_read_by_stems_and_sub_folders_of_one_file_as_monai_writes_them(tmp_path):
    touch(tmp_path, "flat/x.nii.gz", "flat/y.nii.gz", "flat/dataset.json")
    touch(tmp_path, "monai/x/x_trans.nii.gz", "monai/y/y_trans.nii.gz")
    assert list(find(str(tmp_path / "flat"), "--probs")) == ["x", "y"]
    assert list(find(str(tmp_path / "monai"), "--probs")) == ["x", "y"]


def test_class_files_are_taken_together_only_where_they_are_that(tmp_path):
    touch(tmp_path, "p/a_1_cell.png", "p/a_1_wall.png", "p/a_2_cell.png", "p/a_2_wall.png")
    classes = ("background", "cell", "wall")
    grouped = group_classes(find(str(tmp_path / "p"), "--probs"), classes, ["a_1", "a_2"])
    assert {name: list(files.by_class) for name, files in grouped.items()} == {
        "a_1": ["cell", "wall"],
        "a_2": ["cell", "wall"],
    }
    touch(tmp_path, "q/img_0.png", "q/img_1.png", "q/img_2.png")  # three cases, not three classes of one
    cases = find(str(tmp_path / "q"), "--probs")
    assert group_classes(cases, classes, ["img_0", "img_1", "img_2"]) == cases


def test_orphans_on_both_sides_are_told_and_no_pair_is_refused(tmp_path):
    touch(tmp_path, "p/a.png", "p/b.png", "l/b.png", "l/c.png", "m/z_gt.png")
    maps = find(str(tmp_path / "p"), "--probs")
    pairs = pair(maps, find(str(tmp_path / "l"), "--labels"))
    assert ([p.name for p in pairs.pairs], pairs.maps_alone, pairs.labels_alone) == (["b"], ["a"], ["c"])
    with pytest.raises(UserError, match="maps are a, b, labels z_gt"):
        pair(maps, find(str(tmp_path / "m"), "--labels"))


def test_a_case_without_its_field_of_view_is_refused(tmp_path):
    touch(tmp_path, "p/a.png", "p/b.png", "l/a.png", "l/b.png", "v/a.png")
    maps, labels, valid = (find(str(tmp_path / part), part) for part in "plv")
    with pytest.raises(UserError, match="no file for 1 of 2 cases, first b"):
        pair(maps, labels, valid)


@pytest.mark.parametrize("text", ["nowhere", "nowhere/{name}.png", "*.png"])
def test_what_names_nothing_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="--probs"):
        find(str(tmp_path / text), "--probs")


def test_the_root_is_what_comes_before_the_first_place(tmp_path):
    assert root_of(f"{tmp_path}/a/{{name}}/b.png") == tmp_path / "a"
    assert root_of(str(tmp_path / "a")) == tmp_path / "a"


def test_the_one_file_of_a_sub_folder_is_its_case_whatever_its_name_and_what_is_left_out_is_said(tmp_path, capsys):
    touch(tmp_path, "m/c4/c4_seg.nii.gz", "m/c5/pred.nii.gz", "m/c6/one.nii.gz", "m/c6/two.nii.gz", "m/c7/notes.txt")
    found = find(str(tmp_path / "m"), "--probs")
    assert {name: files.all for name, files in found.items()} == {
        "c4": [tmp_path / "m" / "c4" / "c4_seg.nii.gz"],
        "c5": [tmp_path / "m" / "c5" / "pred.nii.gz"],
    }
    assert "1 sub-folders hold several files of other names and are left out, first c6" in capsys.readouterr().out
    touch(tmp_path, "m/c4/c4_other.nii.gz")
    with pytest.raises(UserError, match="are both c4"):
        find(str(tmp_path / "m"), "--probs")
