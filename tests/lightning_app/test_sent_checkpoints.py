"""Checkpoints that are sent to a tracker, as its server holds them."""

import hashlib
import json
import os
from base64 import b64encode

import pytest

from lightning_app.cli import main
from lightning_app.files import read_csv
from tests.conftest import without_paint
from tests.lightning_app.small import SMALL
from tests.processes import Forked
from tests.sweeps.loopback import Loopback

# Nothing is learnt, so that the first epoch stays the best and the second is the last.
STILL = ["fit", *SMALL, "--trainer.max_epochs=2", "--optimizer.lr=0", "--model.net.width=2", "--run_name=one"]


def fit(*more):
    with without_paint():
        main([*STILL, *more])


def run(folder, *more, **environment):
    """A training in a process of its own, since trackers leave their marks in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
    process = Forked(fit, *more, cwd=folder, environment=kept | environment)
    assert process.wait(240) == 0, process.text()


def test_wandb_gets_best_and_last_as_versions_of_one_artifact(tmp_path):
    with Loopback() as server:
        run(tmp_path, "--trainer.logger.log_model=true", **server.environment())
        sent = [artifact for artifact in server.artifacts if artifact["artifactTypeName"] == "model"]
    assert {artifact["artifactCollectionName"] for artifact in sent} == {"model-one"}
    names = [{alias["alias"] for alias in artifact["aliases"]} - {"latest"} for artifact in sent]  # W&B's, of each
    assert sorted(map(sorted, names)) == [["best"], ["last"]]
    by_alias = {alias: artifact for (alias,), artifact in zip(names, sent, strict=True)}
    for alias in ("best", "last"):
        content = (tmp_path / f"runs/one/checkpoints/{alias}.ckpt").read_bytes()
        assert by_alias[alias]["files"] == {"model.ckpt": content}
        entry = f"model.ckpt:{b64encode(hashlib.md5(content).digest()).decode()}"
        assert by_alias[alias]["digest"] == hashlib.md5(f"wandb-artifact-manifest-v1\n{entry}\n".encode()).hexdigest()
    facts = json.loads(by_alias["best"]["metadata"])
    dice = next(row["val/dice"] for row in read_csv(tmp_path / "runs/one/metrics.csv") if row["val/dice"])
    assert (facts["monitor"], facts["mode"], facts["score"]) == ("val/dice", "max", pytest.approx(float(dice)))


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
