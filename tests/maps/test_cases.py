"""`calibrate --probs --method cases`, `apply`, `evaluate --promise`: numbers of single cases for foreign maps."""

import nibabel
import numpy as np
import pytest
import torch

import metrics
from lightning_app.cli import main
from lightning_app.files import read_csv
from tests.maps.fakes import AFFINE, make_probs, save_nifti

SHAPES = pytest.mark.parametrize(
    ("shape", "names"), [((13, 11), "background,cell"), ((7, 6, 5), "background,one,two")], ids=["2d", "3d"]
)
VOXEL = float(abs(np.linalg.det(AFFINE[:3, :3])))
pytestmark = pytest.mark.usefixtures("without_figures")


def save(path, array, channels_last=False):
    """A volume of mm, or an array that knows no size."""
    if path.suffix == ".gz":
        save_nifti(path, np.moveaxis(array, 0, -1) if channels_last else array)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)


def folder(root, part, seeds, shape, names):
    """Maps and labels of cases; gives the probabilities."""
    ending, found = ".nii.gz" if len(shape) == 3 else ".npy", {}
    for seed in seeds:
        found[str(seed)], labels = make_probs(shape, len(names.split(",")), seed)
        save(root / part / f"{seed}{ending}", found[str(seed)], True)
        save(root / f"{part}_labels" / f"{seed}{ending}", labels)
    return found


def ask(verb, root, part, *options):
    maps = ["--probs", str(root / part)]
    main([verb, *maps, *(["--labels", str(root / f"{part}_labels")] if verb != "apply" else []), *options])


def promise(root, names, *options):
    ask("calibrate", root, "fit", "--classes", names, "--method", "cases", "--out", str(root / "c.ckpt"), *options)


@SHAPES
def test_apply_writes_the_numbers_of_every_case(tmp_path, shape, names, capsys):
    folder(tmp_path, "fit", range(30), shape, names)
    given = folder(tmp_path, "test", range(50, 53), shape, names)
    promise(tmp_path, names, "--dice", "0.3", "--level", "0.4")
    assert "apply writes it into cases.csv, evaluate --promise checks it" in capsys.readouterr().out
    main(["apply", str(tmp_path / "c.ckpt"), "--probs", str(tmp_path / "test"), "--out", str(tmp_path / "out")])
    rows = {row["case"]: row for row in read_csv(tmp_path / "out" / "cases.csv")}
    assert list(rows) == ["50", "51", "52"]
    size = VOXEL if len(shape) == 3 else 1.0
    for name, probs in given.items():
        assert rows[name]["volume_unit"] == ("mm3" if len(shape) == 3 else "pixels")
        expected = metrics.expected_dice(torch.from_numpy(probs), torch.from_numpy(probs.argmax(0)))
        for k, label in enumerate(names.split(",")[1:], 1):
            volume = probs[k].sum(dtype=float) * size
            assert float(rows[name][f"expected_volume/{label}"]) == pytest.approx(volume, rel=1e-5)
            assert float(rows[name][f"expected_dice/{label}"]) == pytest.approx(float(expected[k]), rel=1e-5)
            low, high = (float(rows[name][f"volume_{end}/{label}"]) for end in ("low", "high"))
            assert low < volume < high
            assert rows[name][f"look/{label}"] in ("yes", "no")


def test_apply_goes_on_with_the_cases_that_have_no_row(tmp_path):
    names = "background,cell"
    folder(tmp_path, "fit", range(12), (9, 8), names)
    folder(tmp_path, "test", range(50, 53), (9, 8), names)
    promise(tmp_path, names)
    command = ["apply", str(tmp_path / "c.ckpt"), "--probs", str(tmp_path / "test"), "--out", str(tmp_path / "out")]
    main(command)
    sheet = tmp_path / "out" / "cases.csv"
    whole = sheet.read_text()
    sheet.write_text("\n".join(whole.splitlines()[:2]) + "\n51,pix")  # as a kill leaves it
    main(command)
    assert sheet.read_text() == whole


@SHAPES
def test_evaluate_holds_the_promise_against_labels(tmp_path, shape, names, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, "fit", range(30), shape, names)
    folder(tmp_path, "test", range(50, 60), shape, names)
    promise(tmp_path, names, "--dice", "0.3", "--level", "0.4")
    rest = ("--classes", names, "--promise", str(tmp_path / "c.ckpt"), "--wandb", "false", "--name", "m")
    ask("evaluate", tmp_path, "test", *rest)
    assert "volumes held" in capsys.readouterr().out
    held = read_csv(tmp_path / "runs" / "m" / "test" / "cases.csv")
    table = read_csv(tmp_path / "runs" / "m" / "test" / "per_case.csv")
    for row in held:
        own = [case for case in table if case["class"] == row["class"]]
        off = np.array([float(case["expected_dice"]) - float(case["dice"]) for case in own])
        assert float(row["dice_error"]) == pytest.approx(np.abs(off).mean())
        assert float(row["dice_bias"]) == pytest.approx(off.mean())
        assert row["cases"] == "10"
        assert 0 <= float(row["covered"]) <= 1
    with pytest.raises(SystemExit):
        ask("evaluate", tmp_path, "fit", *rest[:-1], "n")
    assert "30 of 30 cases were in the fit" in capsys.readouterr().err


def test_regions_have_numbers_of_their_own(tmp_path):
    shape, regions = (6, 5, 4), {"whole": [1, 2], "core": [2]}
    rng = np.random.default_rng(0)
    for part, count in (("fit", 12), ("test", 2)):
        for case in range(count):
            labels = rng.integers(0, 3, shape).astype(np.uint8)
            truth = np.stack([labels > 0, labels == 2])
            probs = np.where(truth, rng.uniform(0.4, 1, truth.shape), rng.uniform(0, 0.6, truth.shape))
            save(tmp_path / part / f"{part}{case}.nii.gz", probs.astype(np.float32), True)
            save(tmp_path / f"{part}_labels" / f"{part}{case}.nii.gz", labels)
    form = ("--regions", "whole=1,2;core=2")
    ask("calibrate", tmp_path, "fit", *form, "--method", "cases", "--out", str(tmp_path / "c.ckpt"))
    ask("apply", tmp_path, "test", "--output", str(tmp_path / "out"), str(tmp_path / "c.ckpt"))
    row = read_csv(tmp_path / "out" / "cases.csv")[0]
    stored = nibabel.load(tmp_path / "test" / "test0.nii.gz").get_fdata()
    for channel, region in enumerate(regions):
        assert float(row[f"expected_volume/{region}"]) == pytest.approx(stored[..., channel].sum() * VOXEL, rel=1e-5)
        assert row[f"volume_low/{region}"]
