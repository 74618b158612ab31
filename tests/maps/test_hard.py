"""Hard masks in all the forms that programs write, and files a class or region, read as what they say."""

import numpy as np
import pytest

from datamodules import DataError
from tests.maps.fakes import AFFINE, make_probs, opened, read_all, save_nifti, save_png

THREE = ("--classes", "background,vessel,lesion")
TWO = ("--classes", "background,vessel")
NAMES = ("background", "vessel", "lesion")


def masks(root, classes, count=3, shape=(11, 9)):
    """Labels under `root`, and what a network says of each."""
    made = {}
    for seed in range(count):
        probs, labels = make_probs(shape, classes, seed)
        save_png(root / "labels" / f"c{seed}.png", labels)
        made[f"c{seed}"] = probs.argmax(0).astype(np.uint8)
    return made


def channels(root, made, write):
    (root / "hard").mkdir()
    for name, answer in made.items():
        write(root / "hard" / name, answer)
    return root / "hard", root / "labels"


def agree(folder, made):
    assert folder.hard
    for name, case in read_all(folder).items():
        assert np.array_equal(case.probs, np.stack([made[name] == k for k in range(len(case.probs))]))


@pytest.mark.parametrize(
    ("options", "write"),
    [
        (TWO, lambda place, said: np.save(f"{place}.npy", said[None])),
        (TWO, lambda place, said: np.save(f"{place}.npy", np.stack([said == 0, said == 1]))),
        (TWO, lambda place, said: save_png(place.with_suffix(".png"), said * np.uint8(100))),
        (THREE, lambda place, said: np.save(f"{place}.npy", said[None])),
        (THREE, lambda place, said: np.save(f"{place}.npy", np.stack([said == 1, said == 2]).astype(np.uint8))),
        (THREE, lambda place, said: np.save(f"{place}.npy", np.stack([said == k for k in range(3)], -1))),
    ],
)
def test_one_file_of_any_form_is_one_hot(tmp_path, options, write):
    made = masks(tmp_path, len(options[1].split(",")))
    agree(opened(*channels(tmp_path, made, write), *options, "--format", "mask"), made)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("options", [TWO, THREE])
def test_a_file_a_class_is_read_whole_with_the_background_or_without(tmp_path, options, value, first):
    classes = len(options[1].split(","))
    made = masks(tmp_path, classes)

    def write(place, said):
        for k in range(first, classes):
            save_png(place.with_name(f"{place.name}_{NAMES[k]}.png"), (said == k) * np.uint8(value))

    hard, labels = channels(tmp_path, made, write)
    agree(opened(hard, labels, *options), made)


def test_voxels_of_two_classes_are_refused(tmp_path):
    made = masks(tmp_path, 3)
    both = channels(tmp_path, made, lambda place, said: np.save(f"{place}.npy", np.stack([said > 0, said == 2])))
    with pytest.raises(DataError, match=r"c0\.npy: [0-9,]+ voxels belong to several classes"):
        read_all(opened(*both, *THREE))


def test_grey_values_are_no_hard_mask_of_one_class(tmp_path):
    made = masks(tmp_path, 2, shape=(40, 40))
    grey = channels(
        tmp_path,
        made,
        lambda place, said: save_png(
            place.with_suffix(".png"), np.random.default_rng(0).integers(0, 255, said.shape, np.uint8)
        ),
    )
    with pytest.raises(DataError, match=r"c0\.png: .*Leave out --format mask if these are probabilities"):
        read_all(opened(*grey, *TWO, "--format", "mask"))


def test_saturated_maps_before_others_do_not_make_hard_masks_of_all(tmp_path):
    stored = {}
    for seed in range(5):
        probs, labels = make_probs((11, 9), 2, seed)
        stored[f"c{seed}"] = np.zeros((11, 9), np.uint8) if seed < 3 else np.rint(probs[1] * 255).astype(np.uint8)
        save_png(tmp_path / "probs" / f"c{seed}.png", stored[f"c{seed}"])
        save_png(tmp_path / "labels" / f"c{seed}.png", labels)
    folder = opened(tmp_path / "probs", tmp_path / "labels", *TWO)
    assert not folder.hard
    for name, case in read_all(folder).items():
        assert np.allclose(case.probs[1], stored[name] / np.float32(255))


def test_files_of_all_classes_on_both_sides_are_taken_together(tmp_path):
    for seed in range(2):
        probs, labels = make_probs((11, 9), 2, seed)
        for k, name in enumerate(NAMES[:2]):
            save_png(tmp_path / "probs" / f"c{seed}_{name}.png", np.rint(probs[k] * 255).astype(np.uint8))
            save_png(tmp_path / "labels" / f"c{seed}_{name}.png", (labels == k) * np.uint8(255))
    cases = read_all(opened(tmp_path / "probs", tmp_path / "labels", *TWO))
    assert list(cases) == ["c0", "c1"]
    for seed, case in enumerate(cases.values()):
        assert np.array_equal(case.label.array, make_probs((11, 9), 2, seed)[1])


@pytest.mark.parametrize("spelled", [("Lesion", "Vessel"), ("lesion", "vessel"), ("2", "1")])
def test_label_files_go_by_the_names_of_classes_and_not_by_the_alphabet(tmp_path, spelled):
    probs, labels = make_probs((9, 8), 3)
    (tmp_path / "probs").mkdir()
    np.save(tmp_path / "probs" / "a.npy", probs)
    for name, k in zip(spelled, (2, 1), strict=True):
        save_png(tmp_path / "labels" / f"a_{name}.png", (labels == k) * np.uint8(255))
    pattern = tmp_path / "labels" / "{name}_{class}.png"
    assert np.array_equal(read_all(opened(tmp_path / "probs", pattern, *THREE))["a"].label.array, labels)
    (tmp_path / "labels" / f"a_{spelled[0]}.png").rename(tmp_path / "labels" / "a_tumour.png")
    with pytest.raises(DataError, match=r"a_tumour\.png: is called 'tumour': none of the classes background, vessel"):
        opened(tmp_path / "probs", pattern, *THREE)
    (tmp_path / "labels" / "a_tumour.png").unlink()
    with pytest.raises(DataError, match=rf"a_{spelled[1]}\.png: has no label of lesion beside it"):
        opened(tmp_path / "probs", pattern, *THREE)


def test_label_files_a_region_keep_the_inner_regions(tmp_path):
    regions = {"whole": (1, 2, 4), "core": (1, 4), "et": (4,)}
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 4], (9, 8)).astype(np.uint8)
    (tmp_path / "probs").mkdir()
    inside = np.stack([np.isin(labels, united) for united in regions.values()])
    np.save(tmp_path / "probs" / "c0.npy", 0.1 + 0.8 * inside.astype(np.float32))
    for name, mask in zip(regions, inside, strict=True):
        save_png(tmp_path / "labels" / f"c0_{name}.png", mask * np.uint8(255))
    options = ("--regions", "whole=1,2,4;core=1,4;et=4")
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels" / "{name}_{class}.png", *options))["c0"]
    assert np.array_equal(case.label.array, labels)
    save_png(tmp_path / "labels" / "c0_core.png", np.zeros((9, 8), np.uint8))
    with pytest.raises(DataError, match=r"voxels are in whole and et alone, where no number of --regions is"):
        opened(tmp_path / "probs", tmp_path / "labels" / "{name}_{class}.png", *options)


def test_maps_a_class_that_lie_elsewhere_than_one_another_are_refused(tmp_path):
    probs, labels = make_probs((8, 7, 6), 3)
    save_nifti(tmp_path / "labels" / "c0.nii.gz", labels)
    turned = AFFINE.copy()
    turned[0] = -turned[0]
    for k, affine in ((1, AFFINE), (2, turned)):
        save_nifti(tmp_path / "probs" / f"c0_{NAMES[k]}.nii.gz", probs[k], affine)
    with pytest.raises(DataError, match=r"c0_lesion\.nii\.gz: lies .* voxels off .*c0_vessel"):
        read_all(opened(tmp_path / "probs", tmp_path / "labels", *THREE))


def test_an_empty_first_case_does_not_switch_off_the_check_of_how_maps_lie(tmp_path):
    for seed, share in enumerate((0, 1, 1)):
        probs, labels = make_probs((20, 20), 2, seed, sharp=40.0)
        (tmp_path / "probs").mkdir(exist_ok=True)
        np.save(tmp_path / "probs" / f"c{seed}.npy", share * probs[0])  # the background's in place of the cell's
        save_png(tmp_path / "labels" / f"c{seed}.png", share * labels)
    with pytest.raises(DataError, match=r"c2\.npy: hardly meets its label, and does with"):
        opened(tmp_path / "probs", tmp_path / "labels", *TWO)
