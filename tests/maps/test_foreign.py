"""What other programs write beside maps and labels, read as it is meant or refused in one line."""

import json

import numpy as np
import pytest
import tifffile

from datamodules import DataError, readers
from datamodules.masks import IGNORE
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.maps.storage import read_array
from tests.maps.fakes import images, make_probs, opened, read_all, save_nifti, save_png

CELLS = ("--classes", "background,cell")
ORGANS = ("--classes", "background,one,two")


def calibrated(root, *options):
    """A temperature of the maps under `root`/fit."""
    fit = [f"--probs={root}/fit/probs", f"--labels={root}/fit/labels", *options, "--method=temperature"]
    main(["calibrate", *fit, f"--out={root}/c.ckpt"])
    return str(root / "c.ckpt")


def test_grey_labels_leave_out_a_value_below_the_threshold_and_ask_about_others(tmp_path):
    made = images(tmp_path)
    for name, (_, labels) in made.items():
        stored = labels * np.uint8(255)
        stored[0] = 64
        save_png(tmp_path / "labels" / f"{name}.png", stored)
    where = (tmp_path / "probs", tmp_path / "labels", *CELLS, "--label_coding", "binary", "--ignore")
    for name, case in read_all(opened(*where, 64)).items():
        assert (case.label.array[0] == IGNORE).all()
        assert np.array_equal(case.label.array[1:], made[name][1][1:])
    with pytest.raises(UserError, match="--label_coding binary --ignore 128: is 128 foreground"):
        opened(*where, 128)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 2), (0, 1, 2), (0, 100)])
def test_a_field_of_view_is_where_it_is_not_zero(tmp_path, values):
    made = images(tmp_path)
    view = np.random.default_rng(0).choice(values, next(iter(made.values()))[1].shape).astype(np.uint8)
    for name in made:
        save_png(tmp_path / "valid" / f"{name}.png", view)
    folder = opened(tmp_path / "probs", tmp_path / "labels", *CELLS, "--valid", tmp_path / "valid")
    for case in read_all(folder).values():
        assert np.array_equal(case.label.array == IGNORE, view == 0)


@pytest.mark.parametrize("value", [128, 65535])
def test_masks_of_any_one_value_are_hard(tmp_path, value):
    for name, (probs, _) in images(tmp_path).items():
        kind = np.uint16 if value > 255 else np.uint8
        save_png(tmp_path / "hard" / f"{name}.png", (probs.argmax(0) * value).astype(kind))
    assert opened(tmp_path / "hard", tmp_path / "labels", *CELLS).hard


@pytest.mark.parametrize("shape", [(16, 16, 16), (30, 30)])
def test_a_transposed_map_is_refused_though_it_meets_a_part_of_its_label(tmp_path, shape):
    (tmp_path / "probs").mkdir()
    for seed in range(3):
        labels = np.zeros(shape, np.uint8)
        labels[2:14, 4 + seed : 10 + seed] = 1
        probs = np.stack((0.9 - 0.8 * labels, 0.1 + 0.8 * labels)).astype(np.float32)
        np.save(tmp_path / "probs" / f"{seed}.npy", probs.transpose(0, *range(len(shape), 0, -1)))
        if len(shape) == 3:
            save_nifti(tmp_path / "labels" / f"{seed}.nii.gz", labels)
        else:
            save_png(tmp_path / "labels" / f"{seed}.png", labels)
    with pytest.raises(DataError, match="hardly meets its label, and does with its axes in the order"):
        opened(tmp_path / "probs", tmp_path / "labels", *CELLS)


def test_a_poor_map_of_a_label_that_fills_its_image_is_scored(tmp_path):
    probs, _ = make_probs((20, 20), 2)
    (tmp_path / "probs").mkdir()
    np.save(tmp_path / "probs" / "a.npy", np.where(probs > 0.9, probs, [[[0.9]], [[0.1]]]))
    save_png(tmp_path / "labels" / "a.png", np.ones((20, 20), np.uint8))
    assert list(read_all(opened(tmp_path / "probs", tmp_path / "labels", *CELLS))) == ["a"]


def test_stacks_of_tiff_are_labels_of_volumes(tmp_path):
    probs, labels = make_probs((9, 8, 6), 3)
    (tmp_path / "probs").mkdir()
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "probs" / "a.npy", probs)
    tifffile.imwrite(tmp_path / "labels" / "a.tif", labels.transpose(2, 1, 0), metadata={"axes": "ZYX"}, imagej=True)
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *ORGANS))["a"]
    assert np.array_equal(case.label.array, labels)
    assert np.array_equal(case.probs, probs)


def test_a_float_tiff_of_three_classes_last_is_no_colour(tmp_path):
    probs, labels = make_probs((9, 8), 3)
    (tmp_path / "probs").mkdir()
    tifffile.imwrite(tmp_path / "probs" / "a.tif", np.moveaxis(probs, 0, -1), photometric="minisblack")
    save_png(tmp_path / "labels" / "a.png", labels)
    assert np.allclose(read_all(opened(tmp_path / "probs", tmp_path / "labels", *ORGANS))["a"].probs, probs)


def test_class_files_of_a_folder_may_be_in_capitals_and_of_unlike_scales(tmp_path):
    probs, labels = make_probs((9, 8), 3)
    for k, (name, top) in enumerate((("One", 1), ("Two", 255)), start=1):
        save_png(tmp_path / "probs" / f"a_{name}.png", np.rint(255 * probs[k]).astype(np.uint8))
        save_png(tmp_path / "labels" / f"a_{name}.png", (labels == k) * np.uint8(top))
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *ORGANS))["a"]
    assert np.array_equal(case.label.array, labels)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_apply_writes_the_formats_of_volumes_that_are_read(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")

    def write(path, array):
        image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3) if array.ndim == 4 else array.T)
        image.SetSpacing((0.8, 0.8, 2.5))
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))

    for part, seeds in (("fit", range(4)), ("test", range(4, 6))):
        for seed in seeds:
            probs, labels = make_probs((9, 8, 6), 3, seed)
            write(tmp_path / part / "probs" / f"{seed}{ending}", probs)
            write(tmp_path / part / "labels" / f"{seed}{ending}", labels)
    main(["apply", calibrated(tmp_path, *ORGANS), f"--probs={tmp_path}/test/probs", f"--out={tmp_path}/out"])
    for seed in (4, 5):
        old, new = (readers.read_volume(tmp_path / folder / f"{seed}{ending}") for folder in ("test/probs", "out"))
        assert np.allclose(new.array.sum(-1), 1, atol=1e-5)
        assert not np.allclose(new.array, old.array)
        assert np.array_equal(new.array.argmax(-1), old.array.argmax(-1))
        assert np.allclose(new.affine, old.affine)


def test_apply_refuses_a_format_that_it_cannot_write_before_a_folder_is_made(tmp_path, capsys):
    images(tmp_path / "fit", names=tuple("abcd"))
    images(tmp_path / "test", names=("x",))
    place = tmp_path / "test" / "probs" / "x.png"
    calibrator = calibrated(tmp_path, *CELLS)
    place.rename(place.with_suffix(".pgm"))
    with pytest.raises(SystemExit):
        main(["apply", calibrator, f"--probs={tmp_path}/test/probs", f"--out={tmp_path}/out"])
    assert ".pgm does not keep the numbers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_classes_first_are_first_in_apply_where_a_volume_has_as_many_slices(tmp_path):
    for part, seeds, depth in (("fit", range(4), 6), ("test", (4,), 1), ("test", (5,), 2), ("test", (6,), 6)):
        for seed in seeds:
            probs, labels = make_probs((9, 8, depth), 2, seed)
            save_nifti(tmp_path / part / "probs" / f"{seed}.nii.gz", probs)
            save_nifti(tmp_path / part / "labels" / f"{seed}.nii.gz", labels)
    calibrator = calibrated(tmp_path, *CELLS)
    assert list(read_all(opened(tmp_path / "test" / "probs", tmp_path / "test" / "labels", *CELLS))) == ["4", "5", "6"]
    main(["apply", calibrator, f"--probs={tmp_path}/test/probs", f"--out={tmp_path}/out"])
    for seed in (4, 5, 6):
        new = read_array(tmp_path / "out" / f"{seed}.nii.gz").array
        assert np.allclose(new.sum(0), 1, atol=1e-5)


def test_pictures_beside_maps_are_no_masks(tmp_path):
    (tmp_path / "2d").mkdir()
    probs, labels = make_probs((14, 11), 2)
    np.savez_compressed(tmp_path / "2d" / "a.npz", probabilities=probs[:, None])
    (tmp_path / "2d" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cell": 1}}))
    save_png(tmp_path / "2d" / "a.png", np.random.default_rng(0).integers(0, 255, (14, 11, 3), np.uint8))
    save_png(tmp_path / "gt" / "a.png", labels)
    case = read_all(opened(tmp_path / "2d", tmp_path / "gt", *CELLS))["a"]
    assert not case.map.found["masks_unlike"]
    assert np.allclose(case.probs, probs)
