"""A folder of new images becomes one case a file; nothing is merged, overwritten or passed over."""

import numpy as np
import pytest

from datamodules import DataError, Decathlon, ImageFolder, VolumeFolder
from tests.data.common import save_image, save_volume

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
VOLUME = np.arange(64, dtype=np.float32).reshape(4, 4, 4)


def names(data, folder):
    return [case.name for case in data.find_new_cases(folder)]


def two_channels(folder):
    """A task of one's own whose images have two channels."""
    root = folder.with_name(f"{folder.name}-root")
    task = root / "Task99_Two"
    save_volume(task / "imagesTr" / "c.nii.gz", np.stack([VOLUME, VOLUME], -1))
    save_volume(task / "labelsTr" / "c.nii.gz", (VOLUME > 9).astype(np.uint8))
    data = Decathlon(root=str(root), task=task.name, classes=["background", "a"], predict_root=str(folder))
    assert data.in_channels == 2
    return data


def test_four_final_digits_are_a_patient_where_there_is_one_channel(tmp_path):
    for number in (1, 2, 3):
        save_volume(tmp_path / f"patient_{number:04d}.nii.gz", VOLUME + number)
    data = Decathlon(predict_root=str(tmp_path))
    data.setup("predict")
    assert [case.name for case in data.new_cases] == ["patient_0001", "patient_0002", "patient_0003"]
    assert all(len(case.images) == 1 for case in data.new_cases)
    assert len(list(data.predict_dataloader())) == 3


def test_channels_in_files_of_their_own_are_one_case_and_4d_files_one_each(tmp_path):
    for number in (0, 1):
        save_volume(tmp_path / f"b_{number:04d}.nii.gz", VOLUME)
        save_volume(tmp_path / f"four_{number:04d}.nii.gz", np.stack([VOLUME, VOLUME], -1))
    cases = two_channels(tmp_path).find_new_cases(tmp_path)
    assert {case.name: [path.name for path in case.images] for case in cases} == {
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
        "four_0000": ["four_0000.nii.gz"],
        "four_0001": ["four_0001.nii.gz"],
    }
    (tmp_path / "b_0000.nii.gz").unlink()
    with pytest.raises(DataError, match=r"b_0001\.nii\.gz: case b has channel 0001 of 2"):
        two_channels(tmp_path).find_new_cases(tmp_path)


def test_folders_below_are_walked_and_keep_their_names(tmp_path):
    for place in ("a.png", "p1/a.png", "p2/deep/a.png", "p2/deep/a10.png", "p2/deep/a9.png"):
        save_image(tmp_path / place, GREY)
    found = names(ImageFolder(), tmp_path)
    assert found == ["a", "p1/a", "p2/deep/a9", "p2/deep/a10", "p2/deep/a"]


def test_what_is_no_image_of_the_user_s_is_passed_over(tmp_path):
    save_image(tmp_path / "a.png", GREY)
    for place in ("._a.png", ".hidden/b.png", "__MACOSX/a.png", "Thumbs.db", "desktop.ini", "a.json", ".DS_Store"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"\0\5\26\7" + bytes(100))
    assert names(ImageFolder(), tmp_path) == ["a"]
    save_volume(tmp_path / "v.nii.gz", VOLUME)
    save_volume(tmp_path / "._v.nii.gz", VOLUME)
    (tmp_path / "a.png").unlink()
    assert names(Decathlon(), tmp_path) == ["v"]


def test_two_files_of_one_name_are_refused_naming_both(tmp_path):
    save_image(tmp_path / "a.png", GREY)
    save_image(tmp_path / "a.tif", GREY)
    with pytest.raises(DataError, match=r"a\.png and .*a\.tif: both are case 'a'"):
        names(ImageFolder(), tmp_path)
    save_volume(tmp_path / "volumes" / "v.nii", VOLUME)
    save_volume(tmp_path / "volumes" / "v.nii.gz", VOLUME)
    with pytest.raises(DataError, match=r"v\.nii and .*v\.nii\.gz: both are case 'v'"):
        names(Decathlon(), tmp_path / "volumes")


def test_links_in_a_circle_end(tmp_path):
    save_image(tmp_path / "a" / "a.png", GREY)
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    assert names(ImageFolder(), tmp_path) == ["a/a"]


@pytest.mark.parametrize("cache", [None, "memory", "disk"])
def test_a_new_image_with_a_known_name_is_not_the_image_that_was_trained_on(tmp_path, cache):
    kind, ending, save = (ImageFolder, "png", save_image) if cache is None else (VolumeFolder, "nii.gz", save_volume)
    shape = (16, 16) if cache is None else (8, 8, 8)
    mask = np.zeros(shape, np.uint8)
    mask[2:5] = 255 if cache is None else 1
    draws = np.random.default_rng(0)
    for folder in ("set/images", "new"):
        for name in ("a", "b", "c"):
            save(tmp_path / f"{folder}/{name}.{ending}", draws.integers(0, 255, shape).astype(np.uint8))
    for name in ("a", "b", "c"):
        save(tmp_path / f"set/masks/{name}.{ending}", mask)
    own = {"divisor": 1} | (
        {"channels": 1} if cache is None else {"cache": cache, "cache_dir": str(tmp_path / "cache")}
    )
    options = {"root": str(tmp_path / "set"), "split_sizes": [1, 1, 1], "predict_root": str(tmp_path / "new"), **own}
    used, fresh = kind(**options), kind(**options)
    used.setup("fit")
    for subset in ("train", "val", "test"):
        assert used.dataset(subset)[0]["image"].any()
    images = {}
    for data in (used, fresh):
        data.setup("predict")
        cases = data.dataset("predict")
        images[data] = {cases[number]["case"]: cases[number]["image"] for number in range(3)}
    assert all((images[used][name] == images[fresh][name]).all() for name in "abc")
