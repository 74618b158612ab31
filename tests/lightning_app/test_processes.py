"""Several processes, a kill and a resume: each against the uninterrupted single process."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from lightning_app.cli import main
from lightning_app.files import read_csv
from tests.conftest import without_paint
from tests.data.common import save_image
from tests.processes import Forked

ROOT = Path(__file__).parents[2]
SMALL = [
    "--data.size=32",
    "--data.num_cases=[8,5,3]",
    "--data.batch_size=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
]

pytestmark = pytest.mark.slow  # each test starts the program two or three times, about ten seconds a start


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "lightning_app", *args]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program as a user starts it, which starts others."""
    done = subprocess.run(command(*args), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr, done.stderr
    return done


def take_part(rank: int, args: list[str]) -> None:
    """The program as the process of a rank."""
    torch.set_num_threads(1)
    rank_zero_only.rank = rank  # as Lightning has it from the environment when it is imported, which it is here already
    with without_paint():
        main(args)


def together(count: int, *args: str, cwd: Path) -> None:
    """The program in several processes, each in the environment that Lightning's own launcher gives it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    several = [f"--trainer.devices={count}", "--trainer.strategy=ddp"] if count > 1 else ["--trainer.devices=1"]
    places = [group | {"NODE_RANK": "0", "LOCAL_RANK": str(rank)} if count > 1 else {} for rank in range(count)]
    ranks = [
        Forked(take_part, rank, [*args, *several], cwd=cwd, environment=environment() | place)
        for rank, place in enumerate(places)
    ]
    for each in ranks:
        assert each.wait(240) == 0, each.text()[-3000:]
        assert "Warning" not in each.text(), each.text()
    assert (f"MEMBER: 1/{count}" in ranks[0].text()) is (count > 1)


def alone(*args: str, cwd: Path) -> None:
    """The program in one process."""
    together(1, *args, cwd=cwd)


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_give_the_files_of_one(tmp_path):
    two = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    done = run("fit", *SMALL, *two, "--trainer.max_epochs=1", "--test_after=true", "--run_name=one", cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if line]
    assert [line for line, count in Counter(lines).items() if count > 1] == []
    assert [line.split()[0] for line in lines[:5]] == ["Data", "Network", "Loss", "Device", "Run"]
    assert done.stderr.splitlines() == ["Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/2"]
    folder = tmp_path / "runs" / "one"
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    by_two, bins_by_two = cells(folder / "test" / "per_case.csv"), dict(np.load(folder / "test" / "bins.npz"))
    alone("test", "--ckpt_path=runs/one", "--trainer.strategy=auto", cwd=tmp_path)
    assert cells(folder / "test" / "per_case.csv") == by_two
    assert [row["case"] for row in by_two if row["class"] == "all"] == ["test_0000", "test_0001", "test_0002"]
    bins_by_one = np.load(folder / "test" / "bins.npz")
    for name, values in bins_by_two.items():
        if name.endswith("count") or values.dtype.kind == "U":
            np.testing.assert_array_equal(values, bins_by_one[name])
        else:
            np.testing.assert_allclose(values, bins_by_one[name], rtol=1e-12, atol=1e-12)


def test_raters_are_scored_alike_in_two_processes_and_in_processes_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(7):
        truth = rng.integers(0, 2, (4, 4)).repeat(8, 0).repeat(8, 1)
        save_image(
            tmp_path / f"mine/images/{number}.png", (160 * truth + rng.integers(0, 90, (32, 32))).astype("uint8")
        )
        for rater in range(3):
            said = np.where(rng.random((32, 32)) < 0.1 * rater, 1 - truth, truth)
            save_image(tmp_path / f"mine/rater{rater}/{number}.png", (255 * said).astype("uint8"))
    masks = ",".join(f"'rater{rater}/{{name}}.png'" for rater in range(3))
    data = ["--data=datamodules.ImageFolder", "--data.root=mine", f"--data.masks=[{masks}]", "--data.channels=1"]
    data += ["--data.size=[32,32]", "--data.split_sizes=[2,2,3]", *SMALL[2:], "--trainer.logger=false"]
    alone("fit", *data, "--trainer.max_epochs=1", "--test_after=true", "--run_name=one", cwd=tmp_path)
    names = ("raters.csv", "summary.csv", "per_case.csv")
    folder, texts = tmp_path / "runs" / "one" / "test", []
    for count, options in ((0, []), (2, []), (1, ["--score_workers=2"])):
        if count:
            together(count, "test", "--ckpt_path=runs/one", *options, cwd=tmp_path)
        texts.append([(folder / name).read_text() for name in names])
        for name in names:
            (folder / name).unlink()
    assert texts[0] == texts[1]
    assert texts[0] == texts[2]
    table = list(csv.DictReader(texts[0][0].splitlines()))
    assert len(table) == 9
    assert [row["rater"] for row in table] == ["1", "2", "3"] * 3
    assert len({row["ece"] for row in table}) == 9
    assert "ece_raters_pooled" in texts[0][1]


def test_two_processes_compare_before_and_after_calibration_like_one(tmp_path):
    alone("fit", *SMALL, "--trainer.max_epochs=1", "--trainer.logger=false", "--run_name=one", cwd=tmp_path)
    alone("calibrate", "--ckpt_path=runs/one", "--method=vector", cwd=tmp_path)
    tables = []
    for count in (2, 1):
        together(count, "test", "--ckpt_path=runs/one", cwd=tmp_path)
        rows = cells(tmp_path / "runs" / "one" / "test" / "calibration.csv")
        tables.append({(row["metric"], part): float(row[part]) for row in rows for part in ("before", "after")})
    assert tables[0] == pytest.approx(tables[1], rel=1e-12, nan_ok=True)
    assert tables[0]["nll", "before"] != tables[0]["nll", "after"]


def test_torchrun_on_two_nodes_of_the_loopback(tmp_path):
    base = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc_per_node=1",
        "--master_addr=127.0.0.1",
    ]
    port = 20_000 + os.getpid() % 20_000
    program = ["-m", "lightning_app", "fit", *SMALL, "--trainer.max_epochs=1", "--run_name=one"]
    program += ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    nodes = [
        subprocess.Popen(
            [*base, f"--master_port={port}", f"--node_rank={rank}", *program],
            cwd=tmp_path,
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=240)
        assert node.returncode == 0, errors[-3000:]
    rows = cells(tmp_path / "runs" / "one" / "val" / "per_case.csv")
    assert [row["case"] for row in rows if row["class"] == "all"] == [f"val_{index:04d}" for index in range(5)]


def test_a_killed_run_goes_on_as_if_nothing_happened(tmp_path):
    # Dropout needs random numbers at each step, so equal curves show that they too are the uninterrupted run's.
    options = [*SMALL, "--trainer.max_epochs=4", "--model.net=models.UNet", "--model.net.width=4"]
    options += ["--model.net.depth=2", "--model.net.dropout=0.3", "--trainer.logger=false"]
    alone("fit", *options, "--run_name=whole", cwd=tmp_path)
    curves = tmp_path / "runs" / "cut" / "metrics.csv"
    process = Forked(take_part, 0, ["fit", *options, "--run_name=cut"], cwd=tmp_path, environment=environment())
    end = time.monotonic() + 120
    while time.monotonic() < end and not (curves.is_file() and len(read_csv(curves)) > 7):
        time.sleep(0.02)
    process.process.kill()
    assert process.wait(20) == -signal.SIGKILL
    assert not (tmp_path / "runs" / "cut" / "val").exists()
    alone("fit", "--resume=runs/cut", cwd=tmp_path)
    whole, cut = (read_csv(tmp_path / "runs" / name / "metrics.csv") for name in ("whole", "cut"))
    assert cut == whole
    assert cells(curves.parent / "val" / "per_case.csv") == cells(tmp_path / "runs" / "whole" / "val" / "per_case.csv")


def test_more_processes_than_cases(tmp_path):
    few = [*SMALL, "--data.num_cases=[4,1,1]", "--data.batch_size=1", "--trainer.logger=false"]
    together(3, "fit", *few, "--trainer.max_epochs=1", "--run_name=one", cwd=tmp_path)
    by_three = cells(tmp_path / "runs" / "one" / "val" / "per_case.csv")
    assert [row["case"] for row in by_three if row["class"] == "all"] == ["val_0000"]
    alone("validate", "--ckpt_path=runs/one", "--trainer.strategy=auto", cwd=tmp_path)
    assert cells(tmp_path / "runs" / "one" / "val" / "per_case.csv") == by_three
