"""The main job, end to end, once for all tests of this file; each looks at what a user would look at."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import metrics
from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.report.read import Run
from lightning_app.sweep.runner import read_metric
from lightning_app.training.run_folder import RunFolder
from tests.lightning_app.small import SMALL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    args = ["fit", *SMALL, "--trainer.max_epochs=2", "--test_after=true", f"--runs_dir={runs}", "--run_name=one"]
    return main(args).run_folder.path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_folder_is_complete(run):
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and "wandb" not in path.parts}
    for stage in ("val", "test"):
        assert {f"{stage}/{name}" for name in ("per_case.csv", "summary.csv", "bins.npz")} <= names
        assert f"{stage}/figures/reliability_all_top_label.png" in names
        assert f"{stage}/figures/case_worst.png" in names
    assert {"config.yaml", "command.txt", "split.csv", "metrics.csv", "state.json"} <= names
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert not [name for name in names if ".tmp" in name]
    assert json.loads((run / "state.json").read_text())["status"] == "finished"


def test_every_case_has_a_row_a_class_and_one_for_all(run):
    rows = read(run / "test" / "per_case.csv")
    assert [(row["case"], row["class"]) for row in rows] == [
        (case, label) for case in ("test_0000", "test_0001") for label in ("region", "all")
    ]
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("dice", "iou", "ece", "brier"))


def test_no_score_beats_the_lowest_reachable_by_more_than_chance(run):
    for row in read(run / "test" / "per_case.csv"):
        if row["class"] == "all":
            assert float(row["nll"]) > float(row["nll_lowest"]) - 0.05
            assert float(row["brier"]) > float(row["brier_lowest"]) - 0.05


def test_bins_hold_every_voxel_once(run):
    bins = np.load(run / "test" / "bins.npz")
    assert bins["all.top_label.count"].shape == (1, metrics.AXIS_BINS)
    assert bins["all.classwise.count"].shape == (2, metrics.AXIS_BINS)
    assert bins["all.top_label.count"].sum() == 2 * 32 * 32
    by_case = bins["all.top_label.case_count"]
    assert by_case.shape == (2, 1, 300)
    low = bins["axis_edges"][:-1]  # the fine axis by numpy: each of its bins lies in one of 300 equal ones
    equal = np.floor(300 * (low + 1e-9)).astype(int)
    pooled = np.bincount(equal, bins["all.top_label.count"][0], 300)
    np.testing.assert_array_equal(by_case.sum(0)[0], pooled)
    odds = bins["all.classwise.case_odds"]
    assert odds.shape == (2, 2, 2, metrics.AXIS_BINS)
    np.testing.assert_array_equal(odds[:, 0].sum(0), bins["all.classwise.count"])
    np.testing.assert_array_equal(odds[:, 1].sum(0), bins["all.classwise.correct"])


def test_the_pooled_error_is_that_of_the_bins(run):
    bins = np.load(run / "test" / "bins.npz")
    index = np.floor(15 * (bins["axis_edges"][:-1] + 1e-9)).astype(int)
    count, confidence, correct = (
        np.bincount(index, bins[f"all.top_label.{name}"][0], 15) for name in ("count", "confidence", "correct")
    )
    expected = np.abs(confidence - correct).sum() / count.sum()
    rows = {(row["metric"], row["class"]): row for row in read(run / "test" / "summary.csv")}
    assert float(rows["ece_pooled", "all"]["mean"]) == pytest.approx(expected, rel=1e-12)
    assert float(rows["ece_pooled", "all"]["low"]) <= expected + 1e-9


def test_the_split_is_written_and_disjoint(run):
    rows = read(run / "split.csv")
    assert len(rows) == len({row["case"] for row in rows}) == 9
    assert sorted({row["subset"] for row in rows}) == ["test", "train", "val"]


def test_curves_hold_every_step_and_validation(run):
    rows = read_csv(run / "metrics.csv")
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2", "3"]
    assert len([row for row in rows if row["val/ece"]]) == 2
    assert all(row["val/ece_true"] for row in rows if row["val/ece"])


def test_checkpoints_hold_tensors_and_plain_data_only(run):
    for name in ("best", "last"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert all(key.startswith(("net.", "loss.")) for key in checkpoint["state_dict"])


def test_the_config_repeats_the_run_and_holds_no_place_of_it(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["init_args"]["num_cases"] == [4, 3, 2]
    assert config["checkpoint"]["dirpath"] is None
    assert config["trainer"]["logger"][0]["init_args"]["id"] is None


def test_test_scores_the_same_again_in_processes_of_its_own(run):
    before = (run / "test" / "per_case.csv").read_text()
    main(["test", f"--ckpt_path={run}", "--trainer.enable_progress_bar=false", "--score_workers=1"])
    assert (run / "test" / "per_case.csv").read_text() == before


def test_predict_writes_masks_and_goes_on_after_a_kill(run, capsys):
    args = ["predict", f"--ckpt_path={run}", "--trainer.enable_progress_bar=false"]
    main(args)
    masks = sorted((run / "predictions" / "test" / "masks").iterdir())
    probabilities = sorted((run / "predictions" / "test" / "probabilities").iterdir())
    assert len(masks) == len(probabilities) == 2
    masks[0].unlink()
    kept = masks[1].stat().st_mtime_ns
    main(args)
    assert masks[0].is_file()
    assert masks[1].stat().st_mtime_ns == kept
    assert "2 masks in" in capsys.readouterr().out


@pytest.fixture(scope="module")
def inspected(run):
    """What W&B's own client reads out of the record of fit."""
    record = min((run / "wandb").glob("offline-run-*"))
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(record)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_name_is_one_number_in_every_file_and_in_the_sweep(run, inspected, stage):
    """W&B's summary, summary.csv, per_case.csv and what a local sweep reads: the same to 1e-9, key and class."""
    rows = {(row["metric"], row["class"]): row["mean"] for row in read(run / stage / "summary.csv")}
    logged = {name: value for name, value in inspected["summary"].items() if name.startswith(f"{stage}/")}
    keys = {name: value for name, value in logged.items() if name.split("/")[1] in metrics.catalogue.NUMBERS}
    assert {f"{stage}/{key}" for key in ("dice", "dice/region", "dice_pooled", "ece", "ece_pooled", "ece_true")} <= set(
        keys
    )
    for name, value in keys.items():
        _, key, label = [*name.split("/"), "all"][:3]
        assert float(rows[key, label]) == pytest.approx(value, abs=1e-9), name
        assert read_metric(RunFolder(run), name) == pytest.approx(value, abs=1e-9), name
    cases = [row for row in read(run / stage / "per_case.csv") if row["class"] == "all"]
    for row in metrics.catalogue.of_average("case"):
        if row.key in cases[0]:
            assert np.mean([float(case[row.key]) for case in cases]) == pytest.approx(
                keys[f"{stage}/{row.key}"], abs=1e-9
            )


def test_the_curve_of_the_kept_epoch_is_what_the_table_prints(run):
    """Phantom is scored on its own grid in training too: the best epoch's Dice is that of val/summary.csv."""
    curve = [float(row["val/dice"]) for row in read_csv(run / "metrics.csv") if row["val/dice"]]
    assert read_metric(RunFolder(run), "val/dice") == pytest.approx(max(curve), abs=1e-6)


def test_results_of_an_older_version_are_refused_with_the_cure(run, tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    (tmp_path / "val" / "summary.csv").write_text("metric,class,mean,low,high,n\nece,all,0.1,,,3\nece,pooled,0.2,,,3\n")
    (tmp_path / "val" / "per_case.csv").write_text("case,class,ece,ece_foreground_region\na,all,0.1,0.2\n")
    for read_old in (lambda: read_metric(RunFolder(tmp_path), "val/ece"), lambda: Run(tmp_path).cases("val")):
        with pytest.raises(ValueError, match=r"older version.*python -m lightning_app validate --ckpt_path"):
            read_old()


def test_the_offline_record_holds_config_curves_figures_and_bins(run, inspected):
    record = min((run / "wandb").glob("offline-run-*"))  # the first is the one of fit
    config = inspected["config"]
    assert config["cfg"]["data"]["class_path"] == "datamodules.Phantom"
    assert config["loss/name"] == "DicePlusPlusLoss"
    assert config["loss/gamma"] == 2
    media = record / "files" / "media"
    assert list(media.glob("images/val/reliability_*.png"))
    assert list(media.glob("table/val/reliability_bins_*.table.json"))
    table = json.loads(next(media.glob("table/val/reliability_bins_*.table.json")).read_text())
    assert len(table["data"]) == 15
    assert list(media.glob("images/val_cases/*"))


def test_the_summary_names_what_a_user_looks_at_next(run, capsys):
    main(["validate", f"--ckpt_path={run}", "--trainer.enable_progress_bar=false"])
    out = capsys.readouterr().out
    for text in ("Dice", "ECE", "true ECE", "NLL, lowest reachable", "Brier", str(run), "wandb sync"):
        assert text in out


def test_an_existing_run_is_not_written_over(run, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *SMALL, f"--runs_dir={run.parent}", "--run_name=one"])
    assert stop.value.code == 2
    assert "choose another --run_name" in capsys.readouterr().err


def test_sigmoid_has_one_channel_and_the_same_files(tmp_path, unpainted_here):
    cli = main(["fit", *SMALL, "--model.binary=sigmoid", "--trainer.max_epochs=1", f"--runs_dir={tmp_path}"])
    assert cli.model.net.num_classes == 1
    assert len(read(cli.run_folder.path / "val" / "per_case.csv")) == 6
