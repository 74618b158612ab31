"""The mistakes that people make with maps are refused, or counted and said."""

import pickle
import re

import nibabel
import numpy as np
import pytest

from datamodules import DataError
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.maps.folder import describe, findings
from lightning_app.maps.storage import read_array
from tests.maps.fakes import AFFINE, images, make_probs, nnunet, opened, read_all, save_nifti, save_png

CELLS = ("--classes", "background,cell")
ORGANS = ("--classes", "background,one,two")


def arrays(root, change, classes=3, shape=(8, 7, 6), sharp=3.0):
    """NIfTI labels and .npy maps that `change(probs)` gives."""
    for seed, name in enumerate(("u", "v")):
        probs, labels = make_probs(shape, classes, seed, sharp)
        (root / "probs").mkdir(parents=True, exist_ok=True)
        np.save(root / "probs" / f"{name}.npy", change(probs))
        save_nifti(root / "labels" / f"{name}.nii.gz", labels)
    return root / "probs", root / "labels"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: np.log(p), "logits"),
        (lambda p: p * 100, "percent"),
        (lambda p: np.where(p > 0.9, np.nan, p), "NaN"),
        (lambda p: (p * 1000).astype(np.int32), "int32"),
    ],
)
def test_what_is_no_probability_is_refused_in_words(tmp_path, change, said):
    with pytest.raises(DataError, match=said):
        opened(*arrays(tmp_path, change), *ORGANS)


def test_probabilities_given_as_logits_are_refused(tmp_path):
    with pytest.raises(DataError, match="probabilities already"):
        opened(*arrays(tmp_path, lambda p: p), *ORGANS, "--logits", "true")


def test_sigmoids_of_regions_given_as_logits_are_refused_though_no_sum_is_one(tmp_path):
    for name in ("u", "v"):
        whole = np.linspace(0.01, 0.99, 20, dtype=np.float32).reshape(4, 5)
        (tmp_path / "probs").mkdir(exist_ok=True)
        np.save(tmp_path / "probs" / f"{name}.npy", np.stack((whole, whole * 0.9)))
        save_png(tmp_path / "labels" / f"{name}.png", (whole > 0.5).astype(np.uint8))
    asked = ("--regions", "whole=1,2;core=2", "--label_coding", "index")
    with pytest.raises(DataError, match=r"u\.npy.*probabilities already"):
        read_all(opened(tmp_path / "probs", tmp_path / "labels", *asked, "--logits", "true"))
    assert len(read_all(opened(tmp_path / "probs", tmp_path / "labels", *asked))) == 2


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused_by_name(tmp_path, odd):
    def change(probs):
        logits = np.log(probs)
        logits[1, 2, 3, 1] = odd
        return logits

    with pytest.raises(DataError, match=r"u\.npy: holds NaN or infinity"):
        opened(*arrays(tmp_path, change), *ORGANS, "--logits", "true")
    sure = opened(
        *arrays(tmp_path / "sure", lambda p: np.where(p > 0.2, np.log(p), -np.inf)), *ORGANS, "--logits", "true"
    )
    assert all(
        np.isfinite(case.probs).all() for case in read_all(sure).values()
    )  # minus infinity is a probability of 0


def test_sums_off_one_are_made_one_and_counted_but_not_those_of_rounding(tmp_path):
    folder = opened(*arrays(tmp_path / "off", lambda p: p * 0.8), *ORGANS)
    for case in read_all(folder).values():
        assert np.allclose(case.probs.sum(0), 1, atol=1e-6)
        assert case.map.found["uneven"] == 8 * 7 * 6
    assert any("off 1 in 336 voxels" in line for line in findings(case.map.found, 2))
    for kind in (np.float16, np.float32):
        folder = opened(*arrays(tmp_path / kind.__name__, lambda p, kind=kind: p.astype(kind)), *ORGANS)
        assert all(case.map.found["uneven"] == 0 for case in read_all(folder).values())


def test_sums_that_no_softmax_has_point_to_regions(tmp_path):
    with pytest.raises(DataError, match=r"the 3 classes' probabilities sum to 1\.\d+: sigmoids .* Give --regions"):
        opened(*arrays(tmp_path, lambda p: np.sqrt(p)), *ORGANS)


@pytest.mark.parametrize("stored", [lambda p: p, lambda p: np.round(255 * p).astype(np.uint8)])
def test_maps_of_all_classes_are_not_taken_for_those_of_the_foreground(tmp_path, stored):
    folders = arrays(tmp_path, stored)
    with pytest.raises(DataError, match=r"3 maps sum to one in every voxel.*name 3 classes, not 4"):
        opened(*folders, "--classes", "background,one,two,three")
    assert len(read_all(opened(*folders, *ORGANS))) == 2


def test_foreground_maps_get_the_background_that_they_leave(tmp_path):
    case = read_all(opened(*arrays(tmp_path, lambda p: p[1:]), *ORGANS))["u"]
    assert np.allclose(case.probs, make_probs((8, 7, 6), 3, 0, 3.0)[0], atol=1e-6)


def test_voxels_without_any_mass_become_background_and_are_counted(tmp_path):
    def emptied(probs):
        probs = probs.copy()
        probs[:, 0] = 0
        return probs

    case = read_all(opened(*arrays(tmp_path, emptied), *ORGANS))["u"]
    assert case.map.found["empty"] == 7 * 6
    assert (case.probs[0, 0] == 1).all()


def test_mass_at_the_ends_is_said_with_the_bits(tmp_path):
    images(tmp_path)
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *CELLS))["a"]
    stored = read_array(tmp_path / "probs" / "a.png").array
    found = case.map.found
    assert (found["zeros"], found["ones"], found["values"]) == ((stored == 0).sum(), (stored == 255).sum(), stored.size)
    assert findings(found, 3)[0].startswith("stored in 8 bits; ")


def mirrored(probs):
    return np.flip(probs, 1)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (lambda p: p[::-1], "its classes in reverse order"),
        (lambda p: p.transpose(0, 2, 1, 3), r"axes in the order \(1, 0, 2\)"),
        (mirrored, "axis 0 mirrored"),
    ],
)
def test_a_map_that_is_turned_against_its_hard_mask_is_refused_with_the_cause(tmp_path, turn, said):
    shape = (9, 9, 6)
    probs, labels = make_probs(shape, 3, 5)
    (tmp_path / "pred").mkdir()
    np.savez(tmp_path / "pred" / "a.npz", probabilities=turn(probs).transpose(0, 3, 2, 1))
    save_nifti(tmp_path / "pred" / "a.nii.gz", probs.argmax(0).astype(np.uint8))
    save_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    with pytest.raises(DataError, match=said):
        opened(tmp_path / "pred", tmp_path / "labels", *ORGANS)


def test_a_mask_that_was_post_processed_is_said(tmp_path):
    made = nnunet(tmp_path)
    mask = made["p1"][0].argmax(0).astype(np.uint8)
    mask[:4] = 0
    save_nifti(tmp_path / "pred" / "p1.nii.gz", mask)
    case = read_all(opened(tmp_path / "pred", tmp_path / "labels"))["p1"]
    assert "post-processed" in findings(case.map.found, 1)[-1]


def test_maps_that_hardly_meet_their_labels_and_do_when_turned_are_refused(tmp_path):
    with pytest.raises(DataError, match="reverse order"):
        opened(*arrays(tmp_path, lambda p: p[::-1], classes=2, sharp=40.0), *CELLS)


def test_another_grid_is_refused_and_resampled_on_demand(tmp_path):
    probs, labels = make_probs((10, 8, 6), 2, 3)
    save_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    moved = AFFINE.copy()
    moved[0, 3] += 0.8  # one voxel against the first axis
    save_nifti(tmp_path / "probs" / "a.nii.gz", np.moveaxis(probs, 0, -1), moved)
    where = (tmp_path / "probs", tmp_path / "labels", *CELLS)
    with pytest.raises(DataError, match="lies 1 voxels off its label"):
        opened(*where)
    case = read_all(opened(*where, "--resample", "true"))["a"]
    assert np.abs(case.probs[:, :-1] - probs[:, 1:]).max() < 1e-3  # NIfTI keeps its affine in single precision
    assert np.allclose(case.probs.sum(0), 1, atol=1e-5)
    assert case.map.found["resampled"] == 1


def test_resampling_agrees_with_scipy_between_grids_of_other_spacing(tmp_path):
    """A linear ramp stays a linear ramp in mm."""
    shape = (12, 10, 8)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    ramp = np.broadcast_to(np.linspace(0, 1, 12)[:, None, None], shape).astype(np.float32)
    save_nifti(tmp_path / "probs" / "a.nii.gz", ramp, affine)
    fine = np.diag([0.5, 1.0, 1.0, 1.0])
    halves = (np.arange(22)[:, None, None] > 11) * np.ones((22, 10, 8), np.uint8)
    save_nifti(tmp_path / "labels" / "a.nii.gz", halves, fine)
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *CELLS, "--resample", "true"))["a"]
    assert np.allclose(case.probs[1, :, 0, 0], np.arange(22) * 0.5 / 11, atol=1e-6)


def test_an_image_of_another_size_is_refused(tmp_path):
    images(tmp_path)
    save_png(tmp_path / "labels" / "b.png", np.zeros((20, 17), np.uint8))
    with pytest.raises(DataError, match=r"b\.png: has shape \(21, 17\) and not \(20, 17\)"):
        read_all(opened(tmp_path / "probs", tmp_path / "labels", *CELLS))


def test_labels_outside_the_classes_are_refused(tmp_path):
    probs, labels = arrays(tmp_path, lambda p: p)
    image = nibabel.load(labels / "u.nii.gz")
    stray = np.asarray(image.dataobj).copy()
    stray[0, 0, 0] = 7
    save_nifti(labels / "u.nii.gz", stray)
    with pytest.raises(DataError, match="7"):
        opened(probs, labels, *ORGANS)
    case = read_all(opened(probs, labels, *ORGANS, "--ignore", 7))["u"]
    assert case.label.array[0, 0, 0] == 255


def test_255_is_not_both_foreground_and_ignored(tmp_path):
    made = images(tmp_path)
    where = (tmp_path / "probs", tmp_path / "labels", *CELLS, "--ignore", 255)
    with pytest.raises(DataError, match="Leave --ignore out if these are grey values"):
        opened(*where)
    with pytest.raises(UserError, match="--ignore 255: is 255 foreground, or does it not count"):
        opened(*where, "--label_coding", "binary")
    case = read_all(opened(*where[:-2]))["a"]
    assert (case.label.array == made["a"][1]).all()
    case = read_all(opened(*where, "--label_coding", "index"))["a"]
    assert (case.label.array == made["a"][1] * 255).all()


def test_labels_by_value_threshold_and_colour(tmp_path):
    made = images(tmp_path)
    labels = made["a"][1]
    colours = np.array([[0, 0, 0], [200, 10, 10]], np.uint8)[labels]
    for name, stored in {"grey": labels * np.uint8(90), "values": labels * np.uint8(7), "rgb": colours}.items():
        for case in "abc":
            save_png(tmp_path / name / f"{case}.png", stored)
    for name, *options in (
        ("grey", "--label_coding", "binary", "--label_threshold", 50),
        ("values", "--label_coding", "index", "--label_values", "0,7"),
        ("rgb", "--label_coding", "colour", "--label_colours", "[[0,0,0],[200,10,10]]"),
    ):
        folder = opened(tmp_path / "probs", tmp_path / name, *CELLS, *options)
        assert (folder.read(folder.pairs.pairs[0]).label.array == labels).all(), name


def test_a_label_file_a_class(tmp_path):
    probs, labels = make_probs((9, 8), 3)
    (tmp_path / "probs").mkdir()
    np.save(tmp_path / "probs" / "a.npy", probs)
    for k, name in ((1, "one"), (2, "two")):
        save_png(tmp_path / "labels" / f"a_{name}.png", (labels == k).astype(np.uint8) * np.uint8(255))
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *ORGANS, "--label_coding", "files"))["a"]
    assert (case.label.array == labels).all()


def test_a_pickle_that_asks_for_more_than_plain_data_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (__import__("os").system, (f"touch {tmp_path}/ran",))

    nnunet(tmp_path)
    (tmp_path / "pred" / "p1.pkl").write_bytes(pickle.dumps({"sitk_stuff": Evil()}))
    with pytest.raises(DataError, match="nothing of it was run"):
        opened(tmp_path / "pred", tmp_path / "labels")
    assert not (tmp_path / "ran").exists()


def test_an_npy_of_objects_is_refused(tmp_path):
    probs, labels = arrays(tmp_path, lambda p: p)
    np.save(probs / "u.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="plain numbers"):
        opened(probs, labels, *ORGANS)


@pytest.mark.parametrize("classes", ["", "background", "a,a", "a,,b"])
def test_classes_must_be_two_different_names(tmp_path, classes):
    images(tmp_path)
    with pytest.raises(UserError, match="--classes"):
        opened(tmp_path / "probs", tmp_path / "labels", f"--classes={classes}")


def test_pairs_orphans_and_the_order_of_classes_are_said(tmp_path):
    import argparse

    images(tmp_path, names=("a", "b"))
    save_png(tmp_path / "labels" / "z.png", np.zeros((4, 4), np.uint8))
    save_png(tmp_path / "probs" / "y.png", np.zeros((4, 4), np.uint8))
    folder = opened(tmp_path / "probs", tmp_path / "labels", *CELLS)
    told = "\n".join(describe(folder, argparse.Namespace(probs="P", labels="L", valid=None)))
    assert "2 cases, a, b" in told
    assert "0 background, 1 cell" in told
    assert "1 maps have no label: 1 cases, y" in told
    assert "1 labels have no map: 1 cases, z" in told


def rim_that_does_not_count(labels):
    return np.where(np.roll(labels, 1, 0) != labels, 255, labels)


def numbers_of_objects(labels):
    return labels * np.where(np.arange(labels.shape[1]) < 9, 100, 231).reshape(1, -1, *(1,) * (labels.ndim - 2))


@pytest.mark.parametrize("ending", ["nii.gz", "png"])
@pytest.mark.parametrize("change", [rim_that_does_not_count, numbers_of_objects])
def test_labels_of_more_than_an_object_and_its_ground_are_not_cut_in_two(tmp_path, ending, change):
    for seed, name in enumerate(("u", "v")):
        probs, labels = make_probs((24, 20) if ending == "png" else (12, 20, 4), 2, seed)
        (tmp_path / "probs").mkdir(exist_ok=True)
        np.save(tmp_path / "probs" / f"{name}.npy", probs)
        save = save_png if ending == "png" else save_nifti
        save(tmp_path / "labels" / f"{name}.{ending}", change(labels.astype(int)).astype(np.uint8))
    folders = tmp_path / "probs", tmp_path / "labels"
    with pytest.raises(DataError, match=r"u\..*more than an object and its ground.*--ignore.*--label_coding"):
        opened(*folders, *CELLS)
    assert read_all(opened(*folders, *CELLS, "--label_coding", "binary"))  # said to be grey values


FLIPPED = AFFINE @ np.diag([-1.0, 1, 1, 1])


def test_a_rater_whose_labels_lie_elsewhere_in_space_is_refused(tmp_path, capsys):
    maps, labels = arrays(tmp_path, lambda p: p)
    for name in ("u", "v"):
        label = np.asarray(nibabel.load(labels / f"{name}.nii.gz").dataobj)
        save_nifti(tmp_path / "more" / f"{name}.nii.gz", label, FLIPPED)
    folders = ["--probs", maps, "--labels", labels, "--raters", tmp_path / "more", "--runs_dir", tmp_path / "runs"]
    with pytest.raises(SystemExit):
        main(["evaluate", *map(str, folders), *ORGANS])
    assert re.search(r"more/u\.nii\.gz: lies \d+ voxels off .*labels/u\.nii\.gz", capsys.readouterr().err)


@pytest.mark.parametrize("what", ["field of view", "a file a class"])
def test_files_that_lie_elsewhere_in_space_than_the_label_are_refused(tmp_path, what):
    maps, labels = arrays(tmp_path, lambda p: p, shape=(8, 7, 6))
    classes, more, moved = ORGANS, [], tmp_path / "more"
    for name in ("u", "v"):
        label = np.asarray(nibabel.load(labels / f"{name}.nii.gz").dataobj)
        if what == "a file a class":
            (labels / f"{name}.nii.gz").unlink()
            save_nifti(labels / f"{name}_one.nii.gz", (label == 1).astype(np.uint8))
            save_nifti(labels / f"{name}_two.nii.gz", (label == 2).astype(np.uint8), FLIPPED)
        else:
            save_nifti(moved / f"{name}.nii.gz", label, FLIPPED)
    if what == "field of view":
        more = ["--valid", str(moved / "{name}.nii.gz")]
    with pytest.raises(DataError, match=r"u.*\.nii\.gz: lies \d+ voxels off .*u.*\.nii\.gz"):
        read_all(opened(maps, labels, *classes, *more))


def test_where_a_resampled_map_of_regions_does_not_reach_there_is_no_region(tmp_path):
    label = np.zeros((12, 8, 8), np.uint8)
    label[3:9, 2:6, 2:6] = 1
    label[5:8, 3:5, 3:5] = 2
    regions = np.stack([label > 0, label == 2]).astype(np.float32)
    reach = AFFINE.copy()
    reach[:3, 3] += AFFINE[:3, 0] * 2  # the map begins two voxels in
    (tmp_path / "probs").mkdir()
    save_nifti(tmp_path / "labels" / "u.nii.gz", label)
    save_nifti(tmp_path / "probs" / "u.nii.gz", np.moveaxis(regions[:, 2:], 0, -1), reach)
    folders = tmp_path / "probs", tmp_path / "labels"
    folder = opened(*folders, "--regions", "whole=1,2;core=2", "--resample", "true")
    (case,) = read_all(folder).values()
    assert np.allclose(case.probs, regions, atol=1e-5)
