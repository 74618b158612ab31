"""`data inspect` on the layouts of public data sets: what it proposes finds the masks and reads them as drawn."""

import shlex

import numpy as np

from datamodules.inspection import inspect_folder
from lightning_app.data_command import main
from tests.data.common import blob, generator, save_image, save_volume

SHAPE = (24, 32)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[6:15, 8:22] = 1


def _noise(path, seed=0):
    save_image(path, generator(seed).integers(0, 255, (*SHAPE, 3), dtype=np.uint8))


def _scan(path, labels=None):
    rng = generator(len(path.name))
    save_volume(path, rng.normal(0, 1, (9, 8, 7)).astype(np.float32) if labels is None else labels)


def _data(found):
    """The data set as proposed, after `data verify` has found nothing to say."""
    assert found.data
    assert main(["verify", found.data, *shlex.split(found.arguments("--"))]) == 0
    from lightning_app.data_command import build, find

    return build(find(found.data), shlex.split(found.arguments("--")))


def _labels(found):
    data = _data(found)
    return {case.name: data.label_reader().labels(case) for case in data.checked_cases()}


def _told(found):
    return " ".join(found.hints)


def test_images_of_cities_find_the_masks_of_the_same_city_whose_names_end_otherwise(tmp_path):
    for number in range(6):
        city = f"train/{'ab'[number % 2]}"
        _noise(tmp_path / f"leftImg8bit/{city}/x_{number}_leftImg8bit.png", number)
        save_image(tmp_path / f"gtFine/{city}/x_{number}_gtFine_labelTrainIds.png", TRUTH * 255)
    assert len(_labels(inspect_folder(tmp_path))) == 6


def test_why_the_best_patterns_are_not_taken_is_told(tmp_path):
    for number in range(3):
        _noise(tmp_path / f"images/{number}.png", number)
        save_image(tmp_path / f"masks/{number}.png", TRUTH * 255)
    _noise(tmp_path / "images/1.jpg")
    assert "Remove one of the two, or exclude it" in _told(inspect_folder(tmp_path))


def test_files_that_the_proposal_leaves_aside_are_counted_and_named(tmp_path):
    for number in range(3):
        _noise(tmp_path / f"CXR/{number}.png", number)
        for side in ("left", "right"):
            save_image(tmp_path / f"ManualMask/{side}Mask/{number}.png", np.roll(255 * TRUTH, 12 * len(side), 0))
    found = inspect_folder(tmp_path)
    assert dict(found.options)["masks"] == "ManualMask/leftMask/{name}.*"
    assert "3 more files are in no case, as ManualMask/rightMask/0.png" in _told(found)
    for folder in ("gold", "annotations/a", "annotations/b", "annotations/c"):
        for number in range(3):
            shift = 0 if folder[-1] in "dc" else 1 + (folder[-1] == "b")
            save_image(tmp_path / f"rated/{folder}/{number}.png", np.roll(255 * TRUTH, (shift, number), (0, 1)))
            _noise(tmp_path / f"rated/images/{number}.png", number)
    found = inspect_folder(tmp_path / "rated")
    assert "no rater of its own" in _told(found)
    assert "in no case" not in _told(found)


def test_cases_of_two_folders_are_not_paired_with_each_other(tmp_path):
    for number in range(4):
        _noise(tmp_path / f"x/{number:03d}.png", number)
        save_image(tmp_path / f"y/{number:03d}.png", 255 * TRUTH)
    assert inspect_folder(tmp_path).options == []
    for number in range(3):
        _scan(tmp_path / f"liver/case{number}/ct.nii.gz")
        _scan(tmp_path / f"liver/case{number}/liver.nii.gz", blob((9, 8, 7), generator(number)).astype(np.uint8))
    options = dict(inspect_folder(tmp_path / "liver").options)
    assert (options["images"], options["masks"]) == ("{folder}/ct.nii.gz", "{folder}/liver.nii.gz")
