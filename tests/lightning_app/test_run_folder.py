import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_app.errors import UserError
from lightning_app.files import DiskFull, part_name, read_csv, write_text
from lightning_app.system.lock import claim
from lightning_app.training import run_folder
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.record import RunRecord
from lightning_app.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


def test_a_run_is_never_made_twice(tmp_path):
    run = RunFolder.named(tmp_path, "one")
    run.make().close()
    run.write_state(status="running")
    write_text(run.checkpoint("last"), "weights")
    with pytest.raises(UserError, match="one exists: choose another --run_name"):
        run.make()
    assert run.checkpoint("last").read_text() == "weights"


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_anew(tmp_path):
    run = RunFolder.named(tmp_path, "one")
    run.make().close()
    run.write_state(status="running")
    for path in (run.config, run.curves, run.checkpoints / ".part-1-1-1.ckpt", run.path / "wandb" / "x"):
        write_text(path, "old")
    run.make().close()
    assert [path.name for path in run.path.iterdir()] == [".lock"]


@pytest.mark.parametrize("inside", [["thesis.tex"], ["config.yaml"], ["state.json", "val/per_case.csv"]])
def test_a_folder_of_something_else_is_left_alone(tmp_path, inside):
    for name in inside:
        write_text(tmp_path / "one" / name, "mine")
    with pytest.raises(UserError, match="exists"):
        RunFolder.named(tmp_path, "one").make()
    assert (
        sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file())
        == inside
    )


HOLD = "import sys, time; from pathlib import Path; from lightning_app.system.lock import claim; "
HOLD += "file = claim(Path(sys.argv[1]), 'x'); {}; child and print('held', flush=True); time.sleep(60)"


@pytest.mark.parametrize("then", ["child = 1", "import os; child = os.fork()"])
def test_a_claim_keeps_others_out_and_ends_with_its_process(tmp_path, then):
    command = [sys.executable, "-c", HOLD.format(then), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"a training runs there already .process {process.pid} on"):
            claim(tmp_path, "a training runs")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        claim(tmp_path, "a training runs").close()  # also while a forked worker still lives
        os.killpg(process.pid, signal.SIGKILL) if "fork" in then else None


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    run = RunFolder(tmp_path)
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    mine = part_name(".ckpt")
    gone = mine.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    for folder in (run.path, run.checkpoints, run.stage("val") / "figures"):
        for name in (mine, gone):
            write_text(folder / name, "x")
    run.remove_leftovers()
    assert {path.name for path in tmp_path.rglob(".part-*")} == {mine}


def test_a_full_disk_leaves_the_state_told(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.write_state(status="running", error=None)

    def full(path, text):
        raise DiskFull(path)

    monkeypatch.setattr(run_folder, "write_text", full)
    run.write_state(status="failed", error="no room")
    assert run.read_state() == {"status": "failed", "error": "no room"}


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
    RunRecord(run, 0, {}).on_exception(SimpleNamespace(global_rank=0), None, exception)
    assert run.read_state()["status"] == status


def test_a_failing_test_does_not_make_a_finished_training_a_failed_one(tmp_path):
    run = RunFolder(tmp_path)
    run.write_state(status="finished")
    RunRecord(run, 0, {}, verb="test").on_exception(SimpleNamespace(global_rank=0), None, ValueError("x"))
    assert run.read_state()["status"] == "finished"


def test_the_process_that_failed_first_is_the_one_that_is_told(tmp_path):
    run = RunFolder(tmp_path)
    run.write_state(status="running")
    for rank, error in ((1, ValueError("bad.png")), (0, RuntimeError("connection closed"))):
        RunRecord(run, 0, {}).on_exception(SimpleNamespace(global_rank=rank), None, error)
    assert run.read_state() == {"status": "failed", "error": "ValueError: bad.png", "process": 1}


def test_half_a_row_left_by_a_kill_leaves_no_ghost(tmp_path):
    first = CurvesLogger(tmp_path / "metrics.csv")
    for step in range(3):
        first.log_metrics({"train/loss": 0.5, "epoch": 0}, step=step)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text()[:-4])
    second = CurvesLogger(path)
    second.forget_from(2)
    second.log_metrics({"train/loss": 0.25, "epoch": 0}, step=2)
    assert [(row["step"], row["train/loss"]) for row in read_csv(path)] == [("0", "0.5"), ("1", "0.5"), ("2", "0.25")]


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
