"""What a tracker's server holds of a training, with the real clients."""

import hashlib
import json
import os
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

from lightning_app.cli import main
from lightning_app.files import read_csv
from tests.conftest import without_paint
from tests.lightning_app.small import SMALL
from tests.processes import Forked
from tests.sweeps.loopback import Loopback

# Nothing is learnt, so that the first epoch stays the best and the second is the last.
STILL = ["fit", *SMALL, "--trainer.max_epochs=2", "--optimizer.lr=1e-12", "--model.net.width=2", "--run_name=one"]

CURVE = "val/reliability_curve_table.table.json"


def fit(*more):
    with without_paint():
        main([*STILL, *more])


def run(folder, *more, **environment):
    """A training in a process of its own, since trackers leave their marks in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
    process = Forked(fit, *more, cwd=folder, environment=kept | environment)
    assert process.wait(240) == 0, process.text()


@pytest.fixture(scope="module")
def wandb(tmp_path_factory) -> tuple[Loopback, Path]:
    """The server after a training, and the run's folder."""
    folder = tmp_path_factory.mktemp("tracked")
    with Loopback() as server:
        run(folder, "--trainer.logger.log_model=true", **server.environment())
    return server, folder / "runs" / "one"


def test_wandb_gets_best_and_last_as_versions_of_one_artifact(wandb):
    server, folder = wandb
    sent = [artifact for artifact in server.artifacts if artifact["artifactTypeName"] == "model"]
    assert {artifact["artifactCollectionName"] for artifact in sent} == {"model-one"}
    names = [{alias["alias"] for alias in artifact["aliases"]} - {"latest"} for artifact in sent]  # W&B's, of each
    assert sorted(map(sorted, names)) == [["best"], ["last"]]
    by_alias = {alias: artifact for (alias,), artifact in zip(names, sent, strict=True)}
    for alias in ("best", "last"):
        content = (folder / f"checkpoints/{alias}.ckpt").read_bytes()
        assert by_alias[alias]["files"] == {"model.ckpt": content}
        entry = f"model.ckpt:{b64encode(hashlib.md5(content).digest()).decode()}"
        assert by_alias[alias]["digest"] == hashlib.md5(f"wandb-artifact-manifest-v1\n{entry}\n".encode()).hexdigest()
    facts = json.loads(by_alias["best"]["metadata"])
    dice = next(row["val/dice"] for row in read_csv(folder / "metrics.csv") if row["val/dice"])
    assert (facts["monitor"], facts["mode"], facts["score"]) == ("val/dice", "max", pytest.approx(float(dice)))


def test_wandb_draws_validations_and_tests_against_the_epoch(wandb):
    told = wandb[0].runs["one"]["config"]["_wandb"]["value"]["m"]  # fields of its protocol: 1 name, 2 pattern, 5 axis
    axes = {metric["2"]: told[metric["5"] - 1]["1"] for metric in told if "2" in metric}
    assert (axes["val/*"], axes["test/*"]) == ("epoch", "epoch")


def test_wandb_gets_rate_throughput_and_memory_once_an_epoch(wandb):
    rows = [row for row in wandb[0].history("one") if "train/lr" in row]
    assert [(row["epoch"], row["train/lr"]) for row in rows] == [(0, 1e-12), (1, 1e-12)]
    assert all(row["train/images_per_second"] > 0 and 0.1 < row["train/memory_gb"] < 64 for row in rows)


def test_wandbs_summary_has_the_best_values_under_their_sides(wandb):
    server, folder = wandb
    summary, curves = server.runs["one"]["summary"], read_csv(folder / "metrics.csv")
    for side, key in ((max, "val/dice"), (min, "val/ece"), (min, "val/nll"), (max, "val/dice/region")):
        best = side(float(row[key]) for row in curves if row[key])
        assert summary[f"{side.__name__}/{key}"] == pytest.approx(best, abs=1e-8)
    assert not {"min/val/dice", "max/val/ece", "max/val/loss", "min/train/loss"} & set(summary)


def test_wandbs_reliability_chart_is_that_of_the_bins(wandb):
    server, folder = wandb
    chart = server.runs["one"]["config"]["_wandb"]["value"]["visualize"]["val/reliability_curve"]["panel_config"]
    assert (chart["fieldSettings"]["x"], chart["fieldSettings"]["y"]) == ("confidence", "accuracy")
    assert "val/reliability_curve_table" in json.dumps(chart["userQuery"])
    (table,) = [a["files"][CURVE] for a in server.artifacts if CURVE in a["files"]]
    bins = np.load(folder / "val" / "bins.npz")
    place = np.floor(15 * (bins["axis_edges"][:-1] + 1e-9)).astype(int)
    count, confidence, correct = (
        np.bincount(place, bins[f"all.top_label.{name}"][0], 15) for name in ("count", "confidence", "correct")
    )
    expected = np.stack([confidence, correct], 1)[count > 0] / count[count > 0, None]
    np.testing.assert_allclose(json.loads(table)["data"], expected, atol=1e-7)


def test_wandb_gets_the_pictures_of_the_validation_that_improved(wandb):
    shown = [row for row in wandb[0].history("one") if "val/reliability" in row]
    assert [row["epoch"] for row in shown] == [0]
    assert sum("val_cases/val_0000_masks" in row for row in wandb[0].history("one")) == 1


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of the packages that it imports
def test_mlflow_gets_both(tmp_path):
    import mlflow

    run(tmp_path, "--trainer.logger=lightning.pytorch.loggers.MLFlowLogger", "--trainer.logger.log_model=true")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (found,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    for name in ("best", "last"):
        there = client.download_artifacts(found.info.run_id, f"{name}/{name}.ckpt", str(tmp_path))
        with open(there, "rb") as file:
            assert file.read() == (tmp_path / f"runs/one/checkpoints/{name}.ckpt").read_bytes()


@pytest.mark.parametrize("logger", ["TensorBoardLogger", "CSVLogger"])
def test_trackers_that_take_no_files_refuse_in_one_line(logger, tmp_path, capsys):
    with pytest.raises(SystemExit):
        fit(f"--trainer.logger=lightning.pytorch.loggers.{logger}", "--trainer.logger.log_model=true")
    (line,) = capsys.readouterr().err.splitlines()
    assert f"loggers.{logger} takes no log_model; it takes save_dir" in line
