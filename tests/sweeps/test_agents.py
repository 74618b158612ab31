"""Sweep files through the real `wandb sweep` and `wandb agent`, against a server on the loopback."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lightning_app.sweep.file import command_line
from tests.sweeps.loopback import Loopback

RUN = Path(__file__).with_name("online_run.py")


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback


def environment(server):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return {**kept, **server.environment(), "PATH": path}


def wandb_cli(server, folder, *words):
    call = [sys.executable, "-m", "wandb", *words]
    return subprocess.Popen(
        call,
        cwd=folder,
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def begin(server, folder, config):
    """Write a sweep file, `wandb sweep` it, return the words after `wandb agent` that it tells."""
    (folder / "question.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    text = wandb_cli(server, folder, "sweep", "--project", "p", "question.yaml").communicate(timeout=60)[0]
    found = re.search(r"wandb agent (\S+)", text)
    assert found, text
    return found[1]


def config(**fixed):
    parameters = {"seed_everything": {"values": [0, 1, 2]}, **{name: {"value": value} for name, value in fixed.items()}}
    command = ["${env}", "${interpreter}", str(RUN), "${args}"]
    return {
        "method": "grid",
        "metric": {"name": "val/ece", "goal": "minimize"},
        "command": command,
        "program": "x",
        "parameters": parameters,
    }


@pytest.mark.slow  # two agents and four processes of the real client
def test_two_agents_share_a_grid_and_a_failing_run_does_not_stop_it(server, tmp_path):
    sweep = begin(server, tmp_path, config(fail=1))
    agents = [wandb_cli(server, tmp_path, "agent", sweep) for _ in range(2)]
    texts = [agent.communicate(timeout=120)[0] for agent in agents]
    assert sorted(run for _, run in server.handed_out) == ["cell0", "cell1", "cell2"], texts
    assert [server.runs[f"cell{i}"]["summary"]["val/ece"] for i in range(3)] == [0.0, 0.1, 0.2]
    assert {run["sweep"] for run in server.runs.values()} == {"question"}
    started = dict(line.split(" ", 1) for line in (tmp_path / "argv.log").read_text().splitlines())
    ours = command_line(config(fail=1), {"seed_everything": 1, "fail": 1})
    assert started["cell1"].split() == ours[-2:]


@pytest.mark.slow  # the real client, twice
def test_an_agent_that_is_killed_is_replaced_by_another(server, tmp_path):
    sweep = begin(server, tmp_path, config(wait=1))
    first = wandb_cli(server, tmp_path, "agent", sweep)
    end = time.monotonic() + 60
    while not server.handed_out and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(first.pid, 9)
    first.communicate(timeout=20)
    second = wandb_cli(server, tmp_path, "agent", sweep)
    second.communicate(timeout=120)
    assert [run for _, run in server.handed_out] == ["cell0", "cell1", "cell2"]
    assert {"cell1", "cell2"} <= {name for name, run in server.runs.items() if "summary" in run}
