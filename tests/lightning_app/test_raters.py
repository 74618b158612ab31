"""Several raters from training to the tables: scores and calibrators against brute force in float64."""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from lightning_app.cli import main
from tests.datamodules.test_raters import PATTERNS, SHAPE, make

pytestmark = [
    pytest.mark.slow,  # trains, tests, predicts, calibrates
    pytest.mark.usefixtures("unpainted"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def fit(root, runs, *options):
    """The run of a network that was trained on the mean of the raters, its test written."""
    masks = ",".join(f"'{pattern}'" for pattern in PATTERNS)
    args = ["--data=datamodules.VolumeFolder", f"--data.root={root}", f"--data.masks=[{masks}]", "--data.ignore=[9]"]
    args += ["--data.classes=[background,a,b]", "--data.split_sizes=[1,1,2]", "--data.patch_size=[8,12,8]", *options]
    args += ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--data.divisor=4"]
    args += ["--trainer.max_epochs=1", "--test_after=true", f"--runs_dir={runs}", "--run_name=a"]
    main(["fit", *args, *QUIET])
    return runs / "a"


@pytest.fixture(scope="module")
def run(tmp_path_factory, unpainted):
    """Labels (R, *S) by case, and a run with its predictions of the test cases and, as a folder `new`, the others."""
    root = tmp_path_factory.mktemp("run")
    maps, folder = make(root / "data"), fit(root / "data", root)
    main(["predict", *QUIET, f"--ckpt_path={folder}"])
    (root / "new").mkdir()
    for row in rows(folder / "split.csv"):
        if row["subset"] == "val":
            shutil.copy(root / "data/images" / f"{row['case']}.nii.gz", root / "new")
    main(["predict", *QUIET, f"--ckpt_path={folder}", f"--data.predict_root={root / 'new'}"])
    return maps, folder


def test_scores_are_those_of_the_arrays(run):
    maps, folder = run
    told = rows(folder / "test/raters.csv")
    expected, soft, between = [], [], []
    for name in sorted({row["case"] for row in told}):
        probs, said = predicted(folder / "predictions/test", name), maps[name]
        keep = (said != 9).all(0)
        confidence, mask = probs.max(0)[keep], probs.argmax(0)[keep]
        own = said[:, keep]
        expected += [[ece(confidence, mask == labels), *dice(mask, labels)] for labels in own]
        soft.append(ece(confidence, (own == mask).mean(0)))
        between.append(np.mean([dice(own[i], own[j]) for i, j in ((0, 1), (0, 2), (1, 2))]))
    found = [[float(row[key]) for key in ("ece", "dice/a", "dice/b")] for row in told]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-6)
    summary = {(row["metric"], row["class"]): row["mean"] for row in rows(folder / "test/summary.csv")}
    assert float(summary["ece_raters", "all"]) == pytest.approx(np.mean(soft), abs=1e-6)
    assert float(summary["dice_inter_rater", "all"]) == pytest.approx(np.mean(between), abs=1e-9)


def test_slices_are_scored_against_the_raters_too(tmp_path):
    make(tmp_path / "data")
    folder = fit(tmp_path / "data", tmp_path, "--data.slices=true", "--data.patch_size=[12,8]")
    assert len(rows(folder / "test/raters.csv")) == 3 * 2 * SHAPE[2]


def test_a_temperature_is_fitted_to_the_share_of_the_raters(run, capsys):
    """Against -sum_k q_k log p_k^(1/T), each rater counting alike; the labels that most give ask for another."""
    maps, folder = run
    own = {row["metric"]: row["mean"] for row in rows(folder / "test/summary.csv") if row["class"] == "all"}
    (case,) = [path.name[:1] for path in (folder / "predictions/new/masks").iterdir()]
    probs, said = predicted(folder / "predictions/new", case), maps[case]
    logs = np.log(probs.astype(np.float64)).reshape(3, -1)
    votes = np.stack([(said == k).sum(0) for k in range(3)]).reshape(3, -1)
    most = np.where(votes.any(0), votes.argmax(0), 9)
    main(["calibrate", *QUIET, f"--ckpt_path={folder}", "--method=temperature"])
    out = capsys.readouterr().out
    assert "raters                    3: fitted to their share" in out
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["calibrator"]
    temperature = float(kept["state"]["log_temperature"].exp())
    assert temperature == pytest.approx(best_temperature(logs, votes), rel=1e-3)
    assert abs(temperature / best_temperature(logs, np.stack([most == k for k in range(3)])) - 1) > 0.02
    nll = -(votes * logs).sum() / votes.sum()
    assert kept["report"]["nll_before"] == pytest.approx(nll, abs=1e-5)
    assert kept["report"]["voxels"] == votes.sum()
    main(["test", *QUIET, f"--ckpt_path={folder}"])
    (row,) = [row for row in rows(folder / "test/calibration.csv") if row["metric"] == "ece_raters"]
    assert float(row["before"]) == pytest.approx(float(own["ece_raters"]), abs=1e-7)
    assert row["after"] != row["before"]
    assert capsys.readouterr().out.count(f"ece_raters{float(row['before']):>34.4f}") == 1


def best_temperature(logs, weights):
    """The T whose softmax(log p / T) has the lowest -sum w_k log p_k, over (K, n) each."""

    def nll(log_t):
        scaled = logs / np.exp(log_t)
        return -(weights * (scaled - np.log(np.exp(scaled).sum(0)))).sum()

    return float(np.exp(minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}).x))


@pytest.mark.parametrize("method", ["risk", "cases"])
def test_promises_say_that_they_are_of_what_most_say(run, tmp_path, capsys, method):
    shutil.copytree(run[1], tmp_path / "a")
    with pytest.raises(SystemExit):  # one case promises nothing
        main(["calibrate", *QUIET, f"--ckpt_path={tmp_path / 'a'}", f"--method={method}"])
    assert capsys.readouterr().out.count("raters    3: what is promised is of what most of them say") == 1


def rows(path: Path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predicted(folder, name):
    return np.moveaxis(np.asanyarray(nibabel.load(folder / f"probabilities/{name}.nii.gz").dataobj), -1, 0)


def ece(confidence, hit):
    """Sum over 15 equal bins of the gap between the sums of confidence and of hits, over all voxels."""
    number = np.minimum((confidence.astype(np.float64) * 15).astype(int), 14)
    gaps = [abs(confidence[number == b].sum(dtype=np.float64) - hit[number == b].sum()) for b in range(15)]
    return sum(gaps) / len(confidence)


def dice(one, other):
    return [2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum()) for k in (1, 2)]
