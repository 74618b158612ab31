"""`calibrate --probs --method risk`, `apply` and `evaluate --promise`: cuts with a promise for maps made elsewhere."""

import csv

import nibabel
import numpy as np
import pytest
import torch

from lightning_app.cli import main
from metrics import axis_edges, axis_index
from tests.maps.fakes import make_probs, nnunet, save_nifti

pytestmark = pytest.mark.usefixtures("without_figures")


def folder(root, part, seeds, shape, classes):
    """Maps (NIfTI of all classes in 3D, .npy in 2D) and labels of cases."""
    for seed in seeds:
        probs, labels = make_probs(shape, classes, seed)
        if len(shape) == 3:
            save_nifti(root / part / f"{seed}.nii.gz", np.moveaxis(probs, 0, -1))
            save_nifti(root / f"{part}_labels" / f"{seed}.nii.gz", labels)
        else:
            for place, array in ((part, probs), (f"{part}_labels", labels)):
                (root / place).mkdir(parents=True, exist_ok=True)
                np.save(root / place / f"{seed}.npy", array)


def calibrate(root, names, *options):
    main(
        ["calibrate", "--probs", str(root / "fit"), "--labels", str(root / "fit_labels"), "--classes", names,
         "--method", "risk", "--out", str(root / "r.ckpt"), *options]
    )  # fmt: skip
    return torch.load(root / "r.ckpt", weights_only=True)["calibrated_maps"]["promises"]


@pytest.mark.parametrize(("shape", "names"), [((13, 11), "background,cell"), ((7, 6, 5), "background,one,two")])
def test_sets_of_a_promise_are_written_in_the_layout_of_the_maps(tmp_path, shape, names, capsys):
    classes = len(names.split(","))
    folder(tmp_path, "fit", range(6), shape, classes)
    folder(tmp_path, "test", range(50, 52), shape, classes)
    (promises,) = calibrate(tmp_path, names, "--level", "0.3")
    assert list(promises) == names.split(",")[1:]
    assert "fnr by case, in expectation: at most 0.3" in capsys.readouterr().out
    main(["apply", str(tmp_path / "r.ckpt"), "--probs", str(tmp_path / "test"), "--out", str(tmp_path / "out")])
    assert "under shift" in capsys.readouterr().err
    for seed in (50, 51):
        probs = torch.from_numpy(make_probs(shape, classes, seed)[0])
        if len(shape) == 3:
            sets = np.moveaxis(nibabel.load(tmp_path / "out" / "sets" / f"{seed}.nii.gz").get_fdata(), -1, 0)
        else:
            sets = np.load(tmp_path / "out" / "sets" / f"{seed}.npy")
        for k, promise in enumerate(promises.values(), 1):
            assert np.array_equal(sets[k] == 1, (axis_index(probs[k]) >= promise["cut"]).numpy())
        assert np.array_equal(sets[0], 1 - sets[1:].max(0))


def test_label_masks_of_several_classes_follow_the_rule_and_what_they_leave_out_is_told(tmp_path, capsys):
    """The class furthest above its cut where several claim, background where none does: docs/trust.md."""
    nnunet(tmp_path / "fit", [f"f{number}" for number in range(6)])
    made = nnunet(tmp_path / "new", ["n1", "n2"], shape=(8, 9, 7))
    maps, labels = str(tmp_path / "fit" / "pred"), str(tmp_path / "fit" / "labels")
    out, promise = tmp_path / "out", str(tmp_path / "r.ckpt")
    asked = ["--method", "risk", "--level", "0.3", "--out", promise]
    main(["calibrate", "--probs", maps, "--labels", labels, *asked])
    main(["apply", promise, "--probs", str(tmp_path / "new" / "pred"), "--out", str(out)])
    ((one, two),) = (one.values() for one in torch.load(promise, weights_only=True)["calibrated_maps"]["promises"])
    cuts = axis_edges()[[one["cut"], two["cut"]]].numpy().reshape(2, 1, 1, 1)
    shared = unclaimed = voxels = 0
    for name, (probs, _) in made.items():
        ratio = probs[1:].astype(np.float64) / cuts
        claimed = ratio >= 1
        mask = np.asanyarray(nibabel.load(out / f"{name}.nii.gz").dataobj)
        assert np.array_equal(mask, np.where(claimed.any(0), np.where(claimed, ratio, -1).argmax(0) + 1, 0))
        shared, unclaimed = shared + (claimed.sum(0) > 1).sum(), unclaimed + (~claimed.any(0)).sum()
        voxels += mask.size
    assert shared
    said = capsys.readouterr().err
    assert said.count(f"several classes claim {shared} of {voxels:,} voxels ({shared / voxels:.2%})") == 1
    assert f"none claims {unclaimed} of {voxels:,} voxels" in said


def test_evaluate_shows_what_happened_beside_the_promise(tmp_path, capsys):
    folder(tmp_path, "fit", range(10), (13, 11), 2)
    folder(tmp_path, "test", range(50, 54), (13, 11), 2)
    (promises,) = calibrate(tmp_path, "background,cell", "--level", "0.2")
    common = ["--classes", "background,cell", "--runs_dir", str(tmp_path / "runs"), "--wandb", "false"]
    args = ["--probs", str(tmp_path / "test"), "--labels", str(tmp_path / "test_labels"), *common]
    main(["evaluate", *args, "--promise", str(tmp_path / "r.ckpt")])
    assert "cell: fnr by case, in expectation" in capsys.readouterr().out
    with (tmp_path / "runs" / "test" / "test" / "risk.csv").open() as file:
        (row,) = csv.DictReader(file)
    missed = []
    for seed in range(50, 54):
        probs, labels = make_probs((13, 11), 2, seed)
        missed.append(
            1 - (axis_index(torch.from_numpy(probs[1]))[labels == 1] >= promises["cell"]["cut"]).float().mean()
        )
    assert float(row["happened"]) == pytest.approx(float(np.mean(missed)), abs=1e-6)
    args = ["--probs", str(tmp_path / "fit"), "--labels", str(tmp_path / "fit_labels"), *common]
    with pytest.raises(SystemExit):
        main(["evaluate", *args, "--promise", str(tmp_path / "r.ckpt")])
    assert "10 of 10 cases were in the fit" in capsys.readouterr().err


def test_too_few_maps_are_refused_with_the_number_that_would_do_and_leave_no_file(tmp_path, capsys):
    folder(tmp_path, "fit", range(3), (9, 8), 2)
    with pytest.raises(SystemExit) as stop:
        calibrate(tmp_path, "background,cell", "--level", "0.1", "--confidence", "0.9")
    assert stop.value.code == 2
    assert "3 cases cannot promise a level of 0.1 with confidence 0.9: 22 would do" in capsys.readouterr().err
    assert not (tmp_path / "r.ckpt").exists()
