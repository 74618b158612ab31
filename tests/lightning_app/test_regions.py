"""Regions that overlap, from `fit` to `report`, on volumes of known truth; `evaluate` of the written maps agrees."""

import nibabel
import numpy as np
import pytest
import torch

from datamodules import Phantom, write_mask
from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.maps import evaluate
from lightning_app.report.read import Run
from lightning_app.training import figures
from lightning_app.training.checkpoint_files import read_checkpoint
from tests.conftest import without_paint

UNITED = {"whole": (1, 2, 3), "core": (1, 3), "inner": (3,)}
REGIONS = "{whole: [1, 2, 3], core: [1, 3], inner: [3]}"
DATA = [
    "--data.spatial_dims=3",
    "--data.num_classes=4",
    "--data.size=16",
    "--data.num_cases=[2,3,2]",
    "--data.batch_size=1",
]
NET = ["--model.net.width=4", "--model.net.depth=2", "--model.loss=losses.DicePlusPlusLoss"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=1", "--log_media=never"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network of regions, trained, calibrated, tested; its predictions."""
    runs = tmp_path_factory.mktemp("runs")
    given = [*DATA, f"--data.regions={REGIONS}", *NET, *QUIET, f"--runs_dir={runs}", "--run_name=one"]
    with without_paint():
        main(["fit", *given, "--test_after=true"])
    return runs / "one"


@pytest.fixture(scope="module")
def predicted(run):
    main(["predict", f"--ckpt_path={run}"])
    return run / "predictions" / "test"


def scores(run, stage="test"):
    return {
        (row["case"], row["class"]): {k: float(v or "nan") for k, v in row.items() if k not in ("case", "class")}
        for row in read_csv(run / stage / "per_case.csv")
    }


def labels(case):
    data = Phantom(spatial_dims=3, num_classes=4, size=16, num_cases=(2, 3, 2))
    dataset = data.dataset("test")
    return next(item["mask"].numpy() for item in dataset if item["case"] == case)


def test_every_region_and_their_mean_have_a_row(run):
    found = scores(run)
    assert [of for case, of in found if case == "test_0000"] == [*UNITED, "all"]
    for (case, of), row in found.items():
        each = [found[case, name] for name in UNITED]
        if of == "all":
            for key in ("dice", "ece", "nll", "brier", "ece_true", "ece_boundary"):
                assert row[key] == pytest.approx(np.nanmean([own[key] for own in each]), abs=1e-12), key
        else:
            assert row["voxels"] == np.isin(labels(case), UNITED[of]).sum()
            assert row["nll"] > row["nll_lowest"] - 0.05
    keys = read_csv(run / "metrics.csv")[-1]
    assert {"val/dice/whole", "val/dice/inner", "val/ece"} <= set(keys)


def test_written_maps_are_the_sigmoids_and_masks_what_nnunet_writes_of_them(run, predicted):
    for case in ("test_0000", "test_0001"):
        maps = nibabel.load(predicted / "probabilities" / f"{case}.nii.gz").get_fdata()
        mask = np.asarray(nibabel.load(predicted / "masks" / f"{case}.nii.gz").dataobj)
        assert maps.shape == (16, 16, 16, 3)
        expected = np.zeros(mask.shape, np.uint8)
        for region, written in enumerate((2, 1, 3)):
            expected[maps[..., region] > 0.5] = written
        assert (mask == expected).all()
        truth = np.isin(labels(case), UNITED["core"])
        claimed = maps[..., 1].transpose(2, 1, 0) > 0.5 if truth.shape != maps.shape[:3] else maps[..., 1] > 0.5
        assert scores(run)[case, "core"]["dice"] == pytest.approx(
            2 * (truth & claimed).sum() / (truth.sum() + claimed.sum()), abs=1e-12
        )


def test_evaluate_of_the_written_maps_gives_the_same_numbers(run, predicted, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "draw_diagrams", lambda *given: None)  # figures take seconds
    monkeypatch.setattr(evaluate, "draw_cases", lambda *given: None)
    data = Phantom(spatial_dims=3, num_classes=4, size=16, num_cases=(2, 3, 2))
    for item in data.dataset("test"):
        write_mask(tmp_path / "labels" / item["case"], item["mask"].numpy(), item["geometry"])
    main(
        ["evaluate", "--probs", str(predicted / "probabilities"), "--labels", str(tmp_path / "labels"), "--regions",
         "whole=1,2,3;core=1,3;inner=3", "--runs_dir", str(tmp_path / "runs"), "--name", "r", "--wandb", "false"]
    )  # fmt: skip
    ours, theirs = scores(run), scores(tmp_path / "runs" / "r")
    assert list(theirs) == list(ours)
    for row, found in theirs.items():
        for key in ("dice", "ece", "nll", "brier", "ece_foreground", "ece_boundary"):
            assert found[key] == pytest.approx(ours[row][key], abs=1e-6), (row, key)


def test_calibrators_cuts_and_promises_are_those_of_each_region(run, predicted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures, "draw_diagrams", lambda *given: None)  # drawn once, by the fit
    main(["calibrate", f"--ckpt_path={run}", "--method=isotonic"])
    record = read_checkpoint(run / "checkpoints" / "best.ckpt")["calibrator"]
    assert (record["regions"], record["arguments"], len(record["thresholds"])) == (3, {"num_classes": 2}, 4)
    main(["calibrate", f"--ckpt_path={run}", "--method=risk", "--level=0.5"])
    main(["test", f"--ckpt_path={run}", "--threshold=calibrated"])
    told = capsys.readouterr().out
    assert all(f"{region}: fnr by case, in expectation" in told for region in UNITED)
    rows = {row["class"]: row for row in read_csv(run / "test" / "risk.csv")}
    assert list(rows) == list(UNITED)
    main(["predict", f"--ckpt_path={run}", "--threshold=risk", f"--output={tmp_path / 'out'}"])
    for region, name in enumerate(UNITED):
        maps = nibabel.load(tmp_path / "out" / "probabilities" / "test_0000.nii.gz").get_fdata(dtype=np.float32)
        claimed = np.asarray(nibabel.load(tmp_path / "out" / "sets" / name / "test_0000.nii.gz").dataobj)
        threshold = float(rows[name]["threshold"])
        assert maps[..., region][claimed == 1].min(initial=1) >= threshold * (1 - 1e-6)
        assert maps[..., region][claimed == 0].max(initial=0) < threshold * (1 + 1e-6)
    assert len(read_csv(run / "test" / "calibration.csv")) > 10


def test_the_report_has_a_diagram_a_region(run, tmp_path):
    main(["report", str(run), f"--out={tmp_path / 'page.html'}"])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Run(run).data == "Phantom regions"
    for region in UNITED:
        assert f"Phantom regions, {region}, top label" in page
    sums = Run(run).reliability("test")
    assert sums.pooled("all.top_label").count.shape[0] == 3
    assert sums.pooled("all.classwise").count.shape[0] == 4
    assert int(sums.pooled("all.classwise").count[0].sum()) == 0
    assert torch.from_numpy(sums.odds()[0]).diff().min() > 0


def test_what_does_not_go_with_regions_is_refused_in_one_line(run, tmp_path, capsys):
    fit = ["fit", *DATA, *QUIET, f"--runs_dir={tmp_path}"]
    wrong = {
        "regions have a sigmoid each": [*fit, f"--data.regions={REGIONS}", "--model.binary=sigmoid"],
        "take a loss without a state": [
            *fit,
            f"--data.regions={REGIONS}",
            "--model.loss=losses.ClassAdaptiveMarginLoss",
        ],
        "give different classes of 1 to 3": [*fit, "--data.regions={a: [4]}"],
        "this network has regions: use predict": ["export", f"--ckpt_path={run}"],
        "must give a cut for each of whole, core, inner": ["predict", f"--ckpt_path={run}", "--threshold=[0.5]"],
    }
    for told, args in wrong.items():
        with pytest.raises(SystemExit) as error:
            main(args)
        assert error.value.code == 2
        assert told in capsys.readouterr().err
