from types import SimpleNamespace

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_app.files import read_csv
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.record import RunRecord
from lightning_app.training.run_folder import RunFolder


def test_a_run_is_never_made_twice(tmp_path):
    RunFolder.named(tmp_path, "one").make()
    with pytest.raises(ValueError, match="one exists: choose another --run_name"):
        RunFolder.named(tmp_path, "one").make()


def test_the_name_is_the_wandb_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    assert RunFolder.named(tmp_path).name == "abc123"


def test_names_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    assert len({RunFolder.named(tmp_path).name for _ in range(20)}) == 20


@pytest.mark.parametrize("name", ["a/b", "..", "../x"])
def test_a_name_stays_inside_runs_dir(tmp_path, name):
    with pytest.raises(ValueError, match="no folder name"):
        RunFolder.named(tmp_path, name)


def test_state_is_merged(tmp_path):
    run = RunFolder.named(tmp_path, "one")
    run.write_state(status="running", wall_seconds=1.0)
    run.write_state(status="finished")
    assert run.read_state() == {"status": "finished", "wall_seconds": 1.0}
    assert not list(run.path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("exception", "status"),
    [(KeyboardInterrupt(), "interrupted"), (SIGTERMException(), "interrupted"), (ValueError("nan"), "failed")],
)
def test_a_run_that_was_stopped_has_not_failed(tmp_path, exception, status):
    run = RunFolder(tmp_path)
    RunRecord(run, 0, {}).on_exception(SimpleNamespace(is_global_zero=True), None, exception)
    assert run.read_state()["status"] == status


def test_curves_keep_rows_when_a_metric_arrives_late(tmp_path):
    logger = CurvesLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=1)
    logger.log_metrics({"val/dice": 0.25, "epoch": 0}, step=1)
    rows = read_csv(tmp_path / "metrics.csv")
    assert [row["train/loss"] for row in rows] == ["1", "0.5", ""]
    assert rows[2]["val/dice"] == "0.25"


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    first = CurvesLogger(tmp_path / "metrics.csv")
    for step in range(4):
        first.log_metrics({"train/loss": 1.0 / (1 + step), "epoch": step // 2}, step=step)
    second = CurvesLogger(tmp_path / "metrics.csv")
    second.forget_from(2)
    second.log_metrics({"train/loss": 9.0, "epoch": 1}, step=2)
    rows = read_csv(tmp_path / "metrics.csv")
    assert [(row["step"], row["train/loss"]) for row in rows] == [("0", "1"), ("1", "0.5"), ("2", "9")]
