"""`apply`: what it finds in its output folder, whose classes it takes for what, and the masks beside the maps."""

import numpy as np
import pytest
from PIL import Image

from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.maps.fitted import FittedCalibrator
from tests.maps.fakes import make_probs, save_nifti, save_png

CELLS = "background,cell"


def arrays(root, seeds, classes=2, shape=(13, 11), part="fit", change=lambda probs: probs, masks=False):
    """Maps in .npy, labels in PNG, and masks beside the maps where they are wanted."""
    for seed in seeds:
        probs, labels = make_probs(shape, classes, seed)
        probs = change(probs)
        (root / part).mkdir(parents=True, exist_ok=True)
        np.save(root / part / f"c{seed}.npy", probs)
        if len(shape) == 2:
            save_png(root / "labels" / f"c{seed}.png", labels)
        if masks:
            save_png(root / part / f"c{seed}.png", probs.argmax(0).astype(np.uint8))


def calibrate(root, *options, part="fit", classes=CELLS, labels="labels"):
    main(
        ["calibrate", "--probs", str(root / part), "--labels", str(root / labels), "--classes", classes,
         "--out", str(root / "c.ckpt"), *map(str, options)]
    )  # fmt: skip


def apply(root, *options, probs="test", out="out"):
    main(["apply", str(root / "c.ckpt"), "--probs", str(root / probs), "--out", str(root / out), *map(str, options)])
    return root / out


def refused(capsys, run):
    """The one line of a refusal."""
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_folder_made_under_another_threshold_is_refused(tmp_path, capsys):
    arrays(tmp_path, range(11))
    arrays(tmp_path, (20, 21), part="test", masks=True)
    calibrate(tmp_path, "--method", "risk", "--level", "0.3")
    out = apply(tmp_path, "--threshold", "argmax")
    assert "was made with another threshold" in refused(capsys, lambda: apply(tmp_path, "--threshold", "risk"))
    assert "was made with another threshold" in refused(capsys, lambda: apply(tmp_path))
    assert not (out / "sets").exists()


def test_a_map_that_was_replaced_is_calibrated_anew_and_one_removed_is_refused(tmp_path, capsys):
    arrays(tmp_path, range(4))
    arrays(tmp_path, (20, 21), part="test", masks=True)
    calibrate(tmp_path)
    out = apply(tmp_path)
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    probs = make_probs((13, 11), 2, 99)[0]
    np.save(tmp_path / "test" / "c20.npy", probs)
    save_png(tmp_path / "test" / "c20.png", probs.argmax(0).astype(np.uint8))
    apply(tmp_path)
    with Image.open(out / "c20.png") as mask:
        assert np.array_equal(np.asarray(mask), np.load(out / "c20.npy").argmax(0))
    assert np.array_equal(np.load(out / "c20.npy").argmax(0), probs.argmax(0))  # a temperature moves no mask
    assert (out / "c21.npy").read_bytes() == old["c21.npy"]
    assert [row["case"] for row in read_csv(out / "cases.csv")] == ["c20", "c21"]
    (tmp_path / "test" / "c20.npy").unlink()
    (tmp_path / "test" / "c20.png").unlink()
    assert "1 cases that --probs has no longer, first c20" in refused(capsys, lambda: apply(tmp_path))


def test_two_classes_of_numbered_files_are_one_case_as_in_the_fit(tmp_path):
    for seed in range(6):
        probs, labels = make_probs((13, 11), 2, seed)
        save_png(tmp_path / "labels" / f"c{seed}.png", labels)
        for k, stored in enumerate(np.rint(probs * 255).astype(np.uint8)):
            save_png(tmp_path / ("fit" if seed < 4 else "test") / f"c{seed}_{k}.png", stored)
    calibrate(tmp_path, "--method", "vector")
    out = apply(tmp_path)
    assert [row["case"] for row in read_csv(out / "cases.csv")] == ["c4", "c5"]
    written = [np.asarray(Image.open(out / f"c4_{k}.png")).astype(int) for k in (0, 1)]
    assert np.abs(sum(written) - 255).max() <= 1
    for path in (tmp_path / "test").iterdir():
        path.rename(path.with_name(path.name.replace("_", "-")))
    with pytest.raises(SystemExit):
        apply(tmp_path, out="other")


def test_numbered_cases_of_whole_maps_are_cases_of_their_own(tmp_path, capsys):
    arrays(tmp_path, range(6), classes=3)
    arrays(tmp_path, (20, 21), classes=3, part="test")
    calibrate(tmp_path, classes="background,one,two")
    for seed in (20, 21):
        (tmp_path / "test" / f"c{seed}.npy").rename(tmp_path / "test" / f"case_{seed - 19}.npy")
    out = apply(tmp_path)
    assert [row["case"] for row in read_csv(out / "cases.csv")] == ["case_1", "case_2"]
    assert "each file is a case of its own, as in the fit" in capsys.readouterr().out


def test_volumes_promised_in_mm_are_not_applied_to_voxels(tmp_path, capsys):
    shape = (9, 8, 7)
    arrays(tmp_path, range(12), shape=shape)
    arrays(tmp_path, (20,), shape=shape, part="test")
    for seed in (*range(12), 20):
        save_nifti(tmp_path / "mm" / f"c{seed}.nii.gz", make_probs(shape, 2, seed)[1])
    calibrate(tmp_path, "--method", "cases", "--dice", "0.3", "--level", "0.4", labels="mm")
    assert "volumes are in voxels, but promised in mm3" in refused(capsys, lambda: apply(tmp_path))
    probs = make_probs(shape, 2, 20)[0]
    save_nifti(tmp_path / "known" / "c20.nii.gz", np.moveaxis(probs, 0, -1))
    row = read_csv(apply(tmp_path, "--format", "nifti", probs="known", out="out2") / "cases.csv")[0]
    assert row["volume_unit"] == "mm3"
    assert float(row["expected_volume/cell"]) == pytest.approx(probs[1].sum(dtype=float) * 0.8 * 0.8 * 2.5, rel=1e-5)


def test_volumes_promised_inside_a_field_of_view_are_expected_there(tmp_path, capsys):
    arrays(tmp_path, range(12))
    arrays(tmp_path, (20,), part="test")
    inside = np.zeros((13, 11), bool)
    inside[3:9, 2:8] = True
    for seed in (*range(12), 20):
        save_png(tmp_path / "valid" / f"c{seed}.png", inside.astype(np.uint8) * 255)
    valid = ("--valid", tmp_path / "valid")
    calibrate(tmp_path, "--method", "cases", "--dice", "0.3", "--level", "0.4", *valid)
    assert "counts all voxels" in refused(capsys, lambda: apply(tmp_path))
    row = read_csv(apply(tmp_path, *valid) / "cases.csv")[0]
    probs = make_probs((13, 11), 2, 20)[0]
    held = probs[1][inside]
    assert float(row["expected_volume/cell"]) == pytest.approx(held.sum(dtype=float), rel=1e-5)
    possible = held > 0.1
    assert float(row["uncertain_share/cell"]) == pytest.approx((possible & (held < 0.9)).sum() / possible.sum())


def uneven(probs):
    """Sums of 0.9 in the first row, and nothing at all in the second."""
    probs = probs.copy()
    probs[:, 0] *= 0.9
    probs[:, 1] = 0
    return probs


@pytest.mark.parametrize("method", [("temperature",), ("risk", "--level", "0.4"), ("cases", "--level", "0.4")])
def test_what_is_doubtful_in_maps_is_said_by_calibrate_and_apply_too(tmp_path, capsys, method):
    arrays(tmp_path, range(12), change=uneven)
    arrays(tmp_path, (20, 21), part="test", change=uneven)
    calibrate(tmp_path, "--method", *method)
    told = capsys.readouterr().out
    assert f"sums over the classes are off 1 in {12 * 11} voxels" in told
    assert f"{12 * 11} voxels have no probability in any class" in told
    apply(tmp_path)
    told = capsys.readouterr().out
    assert f"sums over the classes are off 1 in {2 * 11} voxels" in told
    assert f"{2 * 11} voxels have no probability in any class" in told


def test_apply_holds_maps_against_the_masks_beside_them(tmp_path, capsys):
    arrays(tmp_path, range(4))
    arrays(tmp_path, (20,), part="test")
    calibrate(tmp_path)
    mask = make_probs((13, 11), 2, 20)[0].argmax(0).astype(np.uint8)
    save_png(tmp_path / "test" / "c20.png", mask[::-1].copy())
    assert "agrees with axis 0 mirrored" in refused(capsys, lambda: apply(tmp_path))


def test_maps_of_two_of_three_classes_are_no_maps_of_two(tmp_path, capsys):
    arrays(tmp_path, range(4))
    calibrate(tmp_path)
    (tmp_path / "test").mkdir()
    np.save(tmp_path / "test" / "x.npy", make_probs((13, 11), 3, 20, sharp=6.0)[0][1:] * 0.7)
    assert "does a class lack its map" in refused(capsys, lambda: apply(tmp_path))


def mask_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_new_masks_hold_the_values_of_the_folder_where_a_mask_was_empty(tmp_path):
    def faint(probs):
        foreground = np.minimum(probs[1], np.float32(0.49))
        return np.stack((1 - foreground, foreground))

    arrays(tmp_path, range(4), change=faint)
    arrays(tmp_path, (20,), part="test", change=faint)
    arrays(tmp_path, (21,), part="test")
    for seed in (20, 21):
        probs = np.load(tmp_path / "test" / f"c{seed}.npy")
        save_png(tmp_path / "test" / f"c{seed}.png", probs.argmax(0).astype(np.uint8) * 255)
    calibrate(tmp_path, "--method", "vector")
    out = apply(tmp_path)
    for seed in (20, 21):
        assert np.array_equal(mask_of(out / f"c{seed}.png"), np.load(out / f"c{seed}.npy").argmax(0) * 255)
    assert 255 in mask_of(out / "c20.png")


def test_masks_of_several_grey_values_keep_them(tmp_path, capsys):
    arrays(tmp_path, range(4), classes=3)
    arrays(tmp_path, (20,), classes=3, part="test")
    calibrate(tmp_path, classes="background,one,two")
    grey, probs = np.array([0, 127, 255], np.uint8), np.load(tmp_path / "test" / "c20.npy")
    save_png(tmp_path / "test" / "c20.png", grey[probs.argmax(0)])
    out = apply(tmp_path)
    assert np.array_equal(mask_of(out / "c20.png"), grey[np.load(out / "c20.npy").argmax(0)])
    told = capsys.readouterr().out
    assert "hold 0, 127, 255: taken for background, one, two in this order" in told
    assert "is not its largest" not in told
    save_png(tmp_path / "test" / "c20.png", np.array([0, 100, 40], np.uint8)[probs.argmax(0)])
    apply(tmp_path)
    assert "is not its largest" in capsys.readouterr().out
    save_png(tmp_path / "test" / "c20.png", np.array([0, 7, 0], np.uint8)[probs.argmax(0)])
    assert set(np.unique(mask_of(apply(tmp_path) / "c20.png"))) <= {0, 1, 2}
    assert "hold 0, 7, which name no 3 classes: new masks hold 0 to 2" in capsys.readouterr().out


def test_regions_write_the_label_that_no_later_one_has(tmp_path):
    """BraTS: 4 enhancing, 1 necrosis, 2 oedema."""
    united = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
    rng = np.random.default_rng(0)
    for number in range(6):
        part, labels = ("fit" if number < 4 else "test"), rng.choice([0, 1, 2, 4], (8, 7)).astype(np.uint8)
        truth = np.stack([np.isin(labels, numbers) for numbers in united.values()])
        probs = np.where(truth, rng.uniform(0.7, 0.9, truth.shape), rng.uniform(0.1, 0.3, truth.shape))
        (tmp_path / part).mkdir(exist_ok=True)
        np.save(tmp_path / part / f"{number}.npy", probs.astype(np.float32))
        save_png(tmp_path / "labels" / f"{number}.png", labels)
        save_png(tmp_path / part / f"{number}.png", labels)
    main(
        ["calibrate", "--probs", str(tmp_path / "fit"), "--labels", str(tmp_path / "labels"), "--label_coding", "index",
         "--format", "npy", "--regions", "whole=1,2,4;core=1,4;enhancing=4", "--out", str(tmp_path / "c.ckpt")]
    )  # fmt: skip
    out = apply(tmp_path)
    for number in (4, 5):
        assert np.array_equal(mask_of(out / f"{number}.png"), mask_of(tmp_path / "labels" / f"{number}.png"))
    stored, row = np.load(out / "5.npy"), read_csv(out / "cases.csv")[1]
    for channel, name in zip(stored, united, strict=True):
        inside = channel > 0.5
        dice = 2 * channel[inside].sum(dtype=float) / (inside.sum() + channel.sum(dtype=float))
        assert float(row[f"expected_dice/{name}"]) == pytest.approx(dice, abs=0.01)  # of the mask that is written


def test_maps_of_the_fit_are_refused_with_and_without_the_mask_beside(tmp_path, capsys):
    arrays(tmp_path, range(4), masks=True)
    calibrate(tmp_path, "--format", "npy")
    (tmp_path / "test").mkdir()
    for name in ("renamed.npy", "other.npy"):
        (tmp_path / "test" / name).write_bytes((tmp_path / "fit" / "c1.npy").read_bytes())
    save_png(tmp_path / "test" / "other.png", np.load(tmp_path / "test" / "other.npy").argmax(0).astype(np.uint8))
    assert "2 of 2 cases were in the fit" in refused(capsys, lambda: apply(tmp_path))


def test_an_empty_map_in_fit_and_test_is_not_taken_for_the_same_case(tmp_path, capsys):
    for seed, name in enumerate(("a", "b", "c", "blank", "empty", "x", "nothing")):
        probs, labels = make_probs((13, 11), 2, seed)
        stored = np.rint(probs[1] * 255).astype(np.uint8) * (name not in ("blank", "empty", "nothing"))
        save_png(tmp_path / ("fit" if seed < 5 else "test") / f"{name}.png", stored.astype(np.uint8))
        save_png(tmp_path / "labels" / f"{name}.png", labels * np.uint8(255) * (stored.max() > 0))
    calibrate(tmp_path)
    assert [row["case"] for row in read_csv(apply(tmp_path) / "cases.csv")] == ["nothing", "x"]
    assert "fitted on 5 cases; 2 cases" in capsys.readouterr().out


def test_values_that_a_type_rounds_to_either_end_are_counted(tmp_path, capsys):
    for seed in range(6):
        probs, labels = make_probs((21, 17), 2, seed, sharp=8.0)
        blurred = probs**0.5 / (probs**0.5).sum(0)  # so that the fit makes them sharper
        stored = np.rint(blurred[1] * 255).astype(np.uint8)
        stored[:2] = stored[:2] if seed < 5 else 254
        save_png(tmp_path / ("fit" if seed < 5 else "test") / f"{seed}.png", stored)
        save_png(tmp_path / "labels" / f"{seed}.png", labels * np.uint8(255))
    calibrate(tmp_path)
    given = np.asarray(Image.open(tmp_path / "test" / "5.png")) / 255
    given = np.clip(np.stack((1 - given, given)), 0.5 / 255, None)
    sharper = 1 / FittedCalibrator.load(tmp_path / "c.ckpt").calibrators[0].temperature
    assert sharper > 1.3
    foreground = given[1] ** sharper / (given**sharper).sum(0)
    zeros, ones = (foreground * 255 < 0.5).sum(), (foreground * 255 > 254.5).sum()
    assert ones
    capsys.readouterr()
    apply(tmp_path)
    told = f"{zeros:,} foreground probabilities above 0 were rounded to 0 and {ones:,} below 1 to 1"
    assert told in capsys.readouterr().out
