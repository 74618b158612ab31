"""`calibrate --probs` and `apply`: honest before and after, refused runaways, the same layout back."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import models
from lightning_app.calibration.methods import CLASSES
from lightning_app.cli import main
from lightning_app.maps import calibrate
from lightning_app.maps.fitted import FittedCalibrator
from tests.maps.fakes import images, make_probs, nnunet, opened, save_nifti
from tests.maps.test_nnunet import first_version, regions

ORGANS = ("--classes", "background,one,two")


def sharpen(probs, power=3.0):
    sharp = probs.astype(np.float64) ** power
    return (sharp / sharp.sum(0)).astype(np.float32)


def overconfident(root, names=("a", "b", "c", "d", "e"), classes=3, shape=(16, 12, 10), part="fit"):
    """Maps whose logits are three times what they should be, with labels drawn from the true probabilities."""
    for seed, name in enumerate(names):
        probs, labels = make_probs(shape, classes, seed + (100 if part == "test" else 0))
        path = root / part / f"{name}.nii.gz"
        save_nifti(path, np.moveaxis(sharpen(probs), 0, -1))
        save_nifti(root / f"{part}_labels" / f"{name}.nii.gz", labels)


def fit(root, *options, part="fit", classes=ORGANS, out="c.ckpt"):
    main(
        ["calibrate", "--probs", str(root / part), "--labels", str(root / f"{part}_labels"), *classes, "--out",
         str(root / out), *map(str, options)]
    )  # fmt: skip
    return FittedCalibrator.load(root / out)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A temperature fitted on over-confident volumes; root and calibrator."""
    root = tmp_path_factory.mktemp("volumes")
    overconfident(root)
    overconfident(root, names=("x", "y"), part="test")
    return root, fit(root)


def test_the_temperature_that_was_put_in_is_found(fitted):
    _, calibrator = fitted
    assert calibrator.method == "temperature"
    assert calibrator.calibrators[0].temperature == pytest.approx(3, abs=0.1)


def test_before_and_after_are_of_fits_without_the_case(fitted, capsys):
    root, _ = fitted
    folder = opened(root / "fit", root / "fit_labels", *ORGANS)
    fits = calibrate.CrossFit(folder, "temperature", {"num_classes": 3})
    fits.run()
    _, after = fits.judge()
    total, voxels = 0.0, 0
    for index, pair in enumerate(folder.pairs.pairs):  # leave one out by hand: five cases, five folds
        others = [folder.read(p) for i, p in enumerate(folder.pairs.pairs) if i != index]
        alone = models.TemperatureScaling(3)
        alone.fit([models.Case(torch.from_numpy(c.probs)[None], torch.from_numpy(c.label.array)[None]) for c in others])
        case = folder.read(pair)
        probs = alone(torch.from_numpy(case.probs)[None])[0].double()
        labels = torch.from_numpy(case.label.array).long()
        total -= float(probs.gather(0, labels[None]).log().sum())
        voxels += labels.numel()
    assert after[0]["nll_pooled"] == pytest.approx(total / voxels, rel=1e-5)


def test_it_says_before_and_after_and_where_it_is_kept(fitted, capsys):
    root, _ = fitted
    fit(root, out="once again.ckpt")
    told = capsys.readouterr().out
    assert "each judged by a fit without it" in told
    line = next(line.split() for line in told.splitlines() if "nll_pooled" in line)
    assert float(line[2]) < 0.8 * float(line[1])
    assert "WARNING" not in told
    assert f"lightning_app apply '{root / 'once again.ckpt'}' --probs" in told


def test_what_needs_no_calibration_is_to_be_kept_as_it_is(tmp_path, capsys):
    for seed, name in enumerate("abcdef"):
        probs, labels = make_probs((20, 18), 2, seed)
        for part, array in (("fit", probs), ("fit_labels", labels)):
            (tmp_path / part).mkdir(exist_ok=True)
            np.save(tmp_path / part / f"{name}.npy", array)
    fit(tmp_path, "--method", "histogram", "--options.num_bins", 4, classes=("--classes", "background,cell"))
    assert "WARNING   nll gets worse" in capsys.readouterr().out


def test_each_number_that_gets_worse_is_named_and_nothing_gained_is_said():
    old = {key: 0.1 for row in calibrate.LOWER for key in (row, f"{row}_pooled")} | {"dice": 0.8}
    worse = old | {"brier": 0.11, "ece_pooled": 0.2, "dice": 0.79}
    told = calibrate.warnings_of(old, worse)
    assert [line.split()[1] for line in told[:3]] == ["brier", "ece_pooled", "Dice"]
    assert told[3].startswith("keep it as it is")
    assert calibrate.warnings_of(old, old | {"nll": 0.05}) == []


@pytest.mark.parametrize("method", sorted(set(CLASSES) - {"local_temperature", "image_temperature"}))
def test_every_method_that_needs_no_image_fits_and_is_read_back(tmp_path, method):
    overconfident(tmp_path, names=("a", "b"), shape=(9, 8, 7))
    options = ("--options.gamma", 2) if method == "dicepp_inverse" else ()
    kept = fit(tmp_path, "--method", method, *options)
    given = torch.from_numpy(make_probs((5, 4, 3), 3)[0])[None]
    assert kept.calibrators[0](given).sum(1) == pytest.approx(1, abs=1e-5)
    assert not torch.equal(kept.calibrators[0](given), given)


@pytest.mark.parametrize("method", ["local_temperature", "image_temperature"])
def test_maps_of_temperatures_read_the_map_alone(tmp_path, method):
    overconfident(tmp_path, names=("a", "b"), shape=(9, 8, 7))
    kept = fit(tmp_path, "--method", method, "--options.epochs", 1)
    assert kept.arguments["in_channels"] == 0
    assert kept.arguments["epochs"] == 1


def test_a_network_worse_than_chance_is_refused_and_nothing_is_written(tmp_path, capsys):
    for seed, name in enumerate("ab"):
        labels = make_probs((20, 18), 2, seed)[1]
        likely = np.random.default_rng(seed).uniform(0.05, 0.45, labels.shape)  # of the true class
        foreground = np.where(labels == 1, likely, 1 - likely)
        for part, array in (("fit", np.stack((1 - foreground, foreground))), ("fit_labels", labels)):
            (tmp_path / part).mkdir(exist_ok=True)
            np.save(tmp_path / part / f"{name}.npy", array.astype(np.float32 if part == "fit" else np.uint8))
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, "--format", "npy", classes=("--classes", "background,cell"))
    assert stop.value.code == 2
    assert "reverse order" in capsys.readouterr().err  # known before the fit
    assert not (tmp_path / "c.ckpt").exists()


def test_one_case_has_no_judge(tmp_path, capsys):
    overconfident(tmp_path, names=("a",))
    fit(tmp_path)
    assert "there is none to judge the fit by" in capsys.readouterr().out


def applied(root, probs, out="out", ckpt="c.ckpt"):
    main(["apply", str(root / ckpt), "--probs", str(probs), "--out", str(root / out)])
    return root / out


def test_apply_keeps_names_types_and_geometry(fitted):
    root, calibrator = fitted
    out = applied(root, root / "test")
    assert sorted(path.name for path in out.iterdir()) == ["calibration.json", "cases.csv", "x.nii.gz", "y.nii.gz"]
    old, new = nibabel.load(root / "test" / "x.nii.gz"), nibabel.load(out / "x.nii.gz")
    assert (old.affine == new.affine).all()
    assert old.get_data_dtype() == new.get_data_dtype()
    probs = torch.from_numpy(np.moveaxis(old.get_fdata(dtype=np.float32), -1, 0).copy())
    expected = calibrator.calibrators[0](probs[None])[0].numpy()
    assert np.abs(np.moveaxis(new.get_fdata(), -1, 0) - expected).max() < 1e-6
    assert (expected.argmax(0) == probs.numpy().argmax(0)).all()


def test_a_folder_of_the_fit_is_refused_as_a_test_under_any_name(fitted, tmp_path, capsys):
    root, _ = fitted
    shutil.copy(root / "fit" / "a.nii.gz", tmp_path / "renamed.nii.gz")
    with pytest.raises(SystemExit) as stop:
        applied(root, tmp_path, out="leak")
    assert stop.value.code == 2
    assert "1 of 1 cases were in the fit, first renamed" in capsys.readouterr().err
    assert not (root / "leak").exists()


def test_apply_goes_on_after_a_kill_and_refuses_a_folder_of_something_else(fitted, capsys):
    root, _ = fitted
    out = applied(root, root / "test", out="on")
    time = (out / "x.nii.gz").stat().st_mtime_ns
    (out / "y.nii.gz").unlink()
    applied(root, root / "test", out="on")
    assert (out / "y.nii.gz").is_file()
    assert (out / "x.nii.gz").stat().st_mtime_ns == time
    with pytest.raises(SystemExit):
        applied(root, root / "test", out="test_labels")
    assert "holds something else" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        applied(root, root / "test", out="test")
    assert "folder of the maps themselves" in capsys.readouterr().err


def test_nnunet_gets_back_what_it_wrote(tmp_path):
    nnunet(tmp_path / "val", dtype=np.float16)
    made = nnunet(tmp_path / "test", names=("q1", "q2"), shape=(8, 9, 5))
    main(
        ["calibrate", "--probs", str(tmp_path / "val" / "pred"), "--labels", str(tmp_path / "val" / "labels"),
         "--method", "vector", "--out", str(tmp_path / "c.ckpt")]
    )  # fmt: skip
    out = applied(tmp_path, tmp_path / "test" / "pred")
    source = tmp_path / "test" / "pred"
    written = {path.name for path in out.iterdir()}
    assert written == {path.name for path in source.iterdir()} | {"calibration.json", "cases.csv"}
    for name, (probs, _) in made.items():
        with np.load(out / f"{name}.npz") as new:
            stored = new["probabilities"]
        assert stored.shape == (3, 5, 9, 8)
        assert stored.dtype == np.float32
        assert (out / f"{name}.pkl").read_bytes() == (source / f"{name}.pkl").read_bytes()
        mask = nibabel.load(out / f"{name}.nii.gz")
        assert (np.asarray(mask.dataobj) == stored.argmax(0).transpose(2, 1, 0)).all()
        assert mask.get_data_dtype() == np.uint8
        assert np.abs(stored.transpose(0, 3, 2, 1) - probs).max() > 1e-3


def test_a_crop_of_nnunet_v1_stays_a_crop(tmp_path):
    first_version(tmp_path)
    shutil.copytree(tmp_path / "pred", tmp_path / "new")
    with np.load(tmp_path / "pred" / "a.npz") as kept:
        other = np.roll(kept["softmax"], 1, axis=2)
    np.savez_compressed(tmp_path / "new" / "a.npz", softmax=other)
    main(
        ["calibrate", "--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels"), *ORGANS, "--out",
         str(tmp_path / "c.ckpt"), "--format", "nnunet"]
    )  # fmt: skip
    out = applied(tmp_path, tmp_path / "new")
    with np.load(out / "a.npz") as new:
        assert new["softmax"].shape == other.shape
        assert new["softmax"].dtype == np.float16
        assert np.abs(new["softmax"].astype(float).sum(0) - 1).max() < 2e-3


def test_regions_have_a_calibrator_each(tmp_path):
    regions(tmp_path)
    shutil.copytree(tmp_path / "pred", tmp_path / "new")
    with np.load(tmp_path / "pred" / "a.npz") as kept:
        np.savez(tmp_path / "new" / "a.npz", probabilities=kept["probabilities"][:, ::-1])
    mask = nibabel.load(tmp_path / "pred" / "a.nii.gz")
    save_nifti(tmp_path / "new" / "a.nii.gz", np.asarray(mask.dataobj)[..., ::-1], mask.affine)  # as its map lies
    main(
        ["calibrate", "--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels"), "--regions",
         "whole=1,2;core=2", "--method", "isotonic", "--out", str(tmp_path / "c.ckpt")]
    )  # fmt: skip
    kept = FittedCalibrator.load(tmp_path / "c.ckpt")
    assert len(kept.calibrators) == 2
    out = applied(tmp_path, tmp_path / "new")
    with np.load(out / "a.npz") as new:
        assert new["probabilities"].shape == (2, 4, 5, 6)


def test_eight_bits_stay_eight_bits_and_what_that_costs_is_said(tmp_path, capsys):
    images(tmp_path / "fit", names=("a", "b", "c"))
    images(tmp_path / "test", names=("q", "r", "s", "t"))
    for name in "qrs":  # the fakes are seeded by their place
        (tmp_path / "test" / "probs" / f"{name}.png").unlink()
    main(
        ["calibrate", "--probs", str(tmp_path / "fit" / "probs"), "--labels", str(tmp_path / "fit" / "labels"),
         "--classes", "background,cell", "--method", "isotonic", "--out", str(tmp_path / "c.ckpt")]
    )  # fmt: skip
    out = applied(tmp_path, tmp_path / "test" / "probs")
    with Image.open(out / "t.png") as image:
        assert image.mode == "L"
    told = capsys.readouterr().out
    assert "isotonic, fitted on 3 cases; 1 cases" in told


def test_logits_come_back_as_logits(tmp_path):
    for part, seeds in (("fit", (0, 1, 2)), ("test", (7,))):
        for seed in seeds:
            probs, labels = make_probs((16, 12), 3, seed)
            for kind, array in ((part, np.log(sharpen(probs)) + 2), (f"{part}_labels", labels)):
                (tmp_path / kind).mkdir(exist_ok=True)
                np.save(tmp_path / kind / f"{seed}.npy", array)
    kept = fit(tmp_path, "--logits", "true")
    out = applied(tmp_path, tmp_path / "test")
    logits = torch.from_numpy(np.load(tmp_path / "test" / "7.npy"))
    stored = torch.from_numpy(np.load(out / "7.npy"))
    expected = (logits / kept.calibrators[0].temperature).softmax(0)
    assert torch.allclose(stored.softmax(0), expected, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_what_is_no_calibrator_is_told_in_a_line(tmp_path, content, capsys):
    if content is not None:
        (tmp_path / "c.ckpt").write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        applied(tmp_path, tmp_path)
    assert stop.value.code == 2
    assert "c.ckpt" in capsys.readouterr().err


def test_the_inverse_of_dscpp_asks_for_its_exponent(fitted, capsys):
    root, _ = fitted
    with pytest.raises(SystemExit):
        fit(root, "--method", "dicepp_inverse")
    assert "--options.gamma 2" in capsys.readouterr().err


def test_hard_masks_are_no_maps_to_calibrate(tmp_path, capsys):
    overconfident(tmp_path, names=("a", "b"))
    for name in "ab":
        array = nibabel.load(tmp_path / "fit" / f"{name}.nii.gz").get_fdata()
        save_nifti(tmp_path / "fit" / f"{name}.nii.gz", array.argmax(-1).astype(np.uint8))
    with pytest.raises(SystemExit):
        fit(tmp_path)
    assert "hard masks" in capsys.readouterr().err


def test_the_record_is_plain_and_small(fitted):
    root, calibrator = fitted
    content = torch.load(root / "c.ckpt", weights_only=True)
    assert json.loads(json.dumps(content["calibrated_maps"]["form"]))["kind"] == "nifti"
    assert sorted(calibrator.digests.values()) == ["a", "b", "c", "d", "e"]
    assert (root / "c.ckpt").stat().st_size < 20_000
