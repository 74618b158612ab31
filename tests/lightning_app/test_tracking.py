"""The run in W&B, with the real client against a server on the loopback that ails in many ways."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_app.shipped import CONFIGS
from lightning_app.training.tracking import recipe_of, run_labels, slug
from tests.lightning_app.tracked_run import sit
from tests.processes import Forked
from tests.sweeps.loopback import Loopback

ROOT = Path(__file__).parents[2]


def environment(server):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PYTHONPATH": str(ROOT), "PATH": path, **server.environment()}


def sitting(server, folder, *words, mode="online"):
    """Start a sitting; it waits for a line once its rows are logged."""
    return Forked(sit, *words, cwd=folder, environment={**environment(server), "WANDB_MODE": mode})


def close(run, timeout=300):
    run.say()
    assert run.wait(timeout) == 0, run.text()
    return run.text()


def send(server, folder, command):
    """Run the printed line as it stands."""
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [row["trainer/global_step"] for row in server.history("R")]


AT_THE_START = ("slow", "500", "garbage", "down")  # the last leaves its port to nobody of these
LATER = ("500", "silent")


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Fault to a server that has it from the start, the folder of a sitting and what that said; all at once."""
    with contextlib.ExitStack() as stack:
        begun = {}
        for fault in AT_THE_START:
            server, folder = Loopback(), tmp_path_factory.mktemp(fault)
            if fault == "down":
                server.http.server_close()
            else:
                stack.enter_context(server)
                server.fault = fault
            begun[fault] = server, folder, sitting(server, folder, 0, 3, "new")
        for *_, run in begun.values():
            run.say()
        yield {fault: (server, folder, close(run)) for fault, (server, folder, run) in begun.items()}


@pytest.mark.slow  # the real client waits for a server that does not answer
@pytest.mark.parametrize("fault", AT_THE_START)
def test_a_server_that_fails_at_the_start_leaves_the_run_offline_said_once_and_sent_later(starts, fault):
    server, folder, text = starts[fault]
    assert float(re.search(r"logged, after (.*) s", text)[1]) < 60
    assert text.count("sent by: wandb sync") == 1
    command = re.search(r"sent by: (wandb sync .*)", text)[1]
    if fault != "slow":  # which may answer in time to be begun, and not in time to be ended
        assert f"W&B: {server.url} gives no run (" in text
        assert f"upload: {command}" in text
        assert command == "wandb sync 'my run/wandb'"
    with Loopback() as healthy:
        assert send(healthy, folder, command) == [0, 1, 2, 3, 4]


@pytest.mark.slow  # the real client, twice
@pytest.mark.parametrize("sent_between", [False, True])
def test_an_offline_run_that_was_resumed_is_one_run_when_sent_by_the_one_line_printed(tmp_path, sent_between):
    with Loopback() as server:
        first = close(sitting(server, tmp_path, 0, 3, "new", mode="offline"))
        command = re.search(r"upload: (.*)", first)[1]
        if sent_between:
            assert send(server, tmp_path, command) == [0, 1, 2, 3, 4]
        time.sleep(1)  # sittings are told apart by the second
        second = close(sitting(server, tmp_path, 5, 8, "allow", mode="offline"))
        assert re.search(r"upload: (.*)", second)[1] == command
        assert send(server, tmp_path, command) == list(range(10))
        assert [row["_step"] for row in server.history("R")] == list(range(10))
        assert send(server, tmp_path, command) == list(range(10))  # sent again: nothing doubles
        assert list(server.runs) == ["R"]


@pytest.fixture(scope="module")
def deaths(tmp_path_factory):
    """Fault to a server that dies of it once rows are there, folder of a sitting and what that said; both at once."""
    with contextlib.ExitStack() as stack:
        begun = {}
        for fault in LATER:
            server, folder = stack.enter_context(Loopback()), tmp_path_factory.mktemp(fault)
            begun[fault] = server, folder, sitting(server, folder, 0, 3, "new")
        for fault, (server, _, run) in begun.items():
            end = time.monotonic() + 60
            while ("logged" not in run.text() or len(server.history("R")) < 3) and time.monotonic() < end:
                time.sleep(0.2)
            server.fault = fault
            run.say()
        yield {fault: (server, folder, close(run)) for fault, (server, folder, run) in begun.items()}


@pytest.mark.slow  # waits until the client gives a dead server up
@pytest.mark.parametrize("fault", LATER)
def test_a_server_that_dies_lets_the_process_end_and_loses_nothing(deaths, fault):
    server, folder, text = deaths[fault]
    assert float(re.search(r"ended, after (.*) s", text)[1]) < 60
    command = re.search(r"and sent by: (wandb sync --include-online .*)", text)[1]
    with Loopback() as healthy:
        healthy.runs = server.runs  # the same server, well again, with what it had
        assert send(healthy, folder, command) == [0, 1, 2, 3, 4]
    assert shlex.split(command)[-1].startswith("my run/wandb/run-")


CONFIG = {
    "seed_everything": 0,
    "data": {"class_path": "datamodules.DRIVE", "init_args": {}},
    "model": {
        "net": {"class_path": "models.UNet"},
        "loss": {"class_path": "losses.DicePlusPlusLoss", "init_args": {"gamma": 2.0}},
    },
}


@pytest.fixture
def _no_wandb_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_wandb_environment")
class TestLabels:
    def test_a_run_has_a_name_that_a_person_reads(self, tmp_path):
        recipe = tmp_path / "drive.yaml"
        recipe.write_text("# How good?\n#\n# Two words.\ntrainer: {}\n# not this\n")
        labels = run_labels(CONFIG, "fit", None, recipe)
        assert labels == {
            "name": "drive-dscpp-g2-s0",
            "group": "drive",
            "job_type": "fit",
            "tags": ["DRIVE", "DSC++", "UNet"],
            "notes": "How good?\n\nTwo words.",
        }

    def test_tasks_margins_and_losses_of_ones_own_show(self):
        data = {"class_path": "datamodules.Decathlon", "init_args": {"task": "Task04_Hippocampus"}}
        loss = {"class_path": "mine.OtherLoss", "init_args": {"margin": 0.5, "gamma": None}}
        labels = run_labels({**CONFIG, "data": data, "model": {**CONFIG["model"], "loss": loss}}, "test", None, None)
        assert labels["name"] == "hippocampus-otherloss-m0.5-s0"
        assert labels["job_type"] == "test"

    def test_a_sum_is_called_by_its_parts(self):
        parts = {name: {"class_path": f"losses.{name}"} for name in ("CrossEntropyLoss", "DicePlusPlusLoss")}
        loss = {"class_path": "losses.WeightedSumLoss", "init_args": {"losses": parts, "weights": None}}
        labels = run_labels({**CONFIG, "model": {**CONFIG["model"], "loss": loss}}, "fit", None, None)
        assert labels["name"] == "drive-cedscpp-s0"
        assert labels["tags"] == ["DRIVE", "CE + DSC++", "UNet"]

    def test_the_users_name_and_the_environment_win(self, monkeypatch):
        assert run_labels(CONFIG, "fit", "baseline", None)["name"] == "baseline"
        monkeypatch.setenv("WANDB_NAME", "mine")
        monkeypatch.setenv("WANDB_RUN_GROUP", "sweep")
        assert not {"name", "group"} & set(run_labels(CONFIG, "fit", "baseline", CONFIGS / "drive.yaml"))

    def test_the_recipe_is_the_file_that_the_user_named(self):
        assert recipe_of(["configs/default.yaml", "configs/drive.yaml"]) == Path("configs/drive.yaml")
        assert recipe_of(["configs/default.yaml", "runs/a/config.yaml"]) is None

    def test_a_name_becomes_one_word(self):
        assert slug("Focal Tversky++") == "focaltverskypp"
