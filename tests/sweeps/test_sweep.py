"""The local runner with real processes; only the training is a stand-in (`fake_training.py`)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from lightning_app.sweep.command import main
from lightning_app.sweep.file import load
from lightning_app.sweep.queue import Queue

FAKE = Path(__file__).with_name("fake_training.py")


@pytest.fixture
def sweep(tmp_path):
    """Writes a sweep file over the fake training; returns the arguments of a call and the folder of the runs."""

    def write(parameters, **config):
        path = tmp_path / "question.yaml"
        command = ["${env}", "${interpreter}", str(FAKE), "fit", "${args}"]
        metric = {"name": "val/ece", "goal": "minimize"}
        content = {"method": "grid", "metric": metric, "command": command, "parameters": parameters, **config}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return [str(path), f"--runs_dir={tmp_path / 'runs'}"], tmp_path / "runs" / "question"

    return write


def starts(folder):
    """Run name -> how often a training was started, and all words of the log."""
    lines = [line.split() for line in (folder / "starts.log").read_text().splitlines()]
    return Counter(name for name, *_ in lines), [word for _, *words in lines for word in words]


def in_the_background(args):
    call = [
        sys.executable,
        "-c",
        "import sys; from lightning_app.sweep.command import main; sys.exit(main(sys.argv[1:]))",
    ]
    return subprocess.Popen([*call, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=Path.cwd(), text=True)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def test_a_grid_is_run_once_and_tabled(sweep, capsys):
    args, folder = sweep({"model.gamma": {"values": [1.0, 2.0, 3.0]}})
    assert main([*args, "--jobs=2"]) == 0
    text = capsys.readouterr().out
    assert "3 finished" in text
    assert "[  3/3]" in text
    assert len(starts(folder)[0]) == 3
    assert main(args) == 0  # all there: nothing is started
    assert sum(starts(folder)[0].values()) == 3


def test_finished_folders_count_even_when_the_queue_is_lost(sweep, capsys):
    args, folder = sweep({"model.gamma": {"values": [1.0, 2.0]}})
    main(args)
    (folder / "queue.journal").unlink()
    assert main(args) == 0
    assert "was there" in capsys.readouterr().out
    assert sum(starts(folder)[0].values()) == 2


@pytest.mark.parametrize("method", ["grid", "random"])
def test_a_finished_run_whose_folder_was_removed_runs_again_and_no_other(sweep, capsys, method):
    gamma = {"values": [1.0, 2.0]} if method == "grid" else {"min": 1.0, "max": 2.0}
    args, folder = sweep({"model.gamma": gamma}, method=method, run_cap=2)
    main(args)
    before = starts(folder)[0]
    removed = sorted(before)[0]
    shutil.rmtree(folder / removed)
    capsys.readouterr()
    assert main(args) == 0
    assert "1 finished before, but their run folders are gone" in capsys.readouterr().out
    assert starts(folder)[0] - before == Counter([removed])
    assert main(args) == 0
    assert "gone" not in capsys.readouterr().out


def test_folders_on_other_machines_are_not_missed(sweep, tmp_path):
    args, folder = sweep({"model.gamma": {"values": [1.0, 2.0]}})
    storage = f"--storage=sqlite:///{tmp_path / 'queue.db'}"
    main([*args, storage])
    before = starts(folder)[0]
    shutil.rmtree(folder / sorted(before)[0])
    assert main([*args, storage]) == 0
    assert starts(folder)[0] == before


def test_a_value_that_is_added_later_is_run_and_nothing_else(sweep):
    args, folder = sweep({"model.gamma": {"values": [1.0, 2.0]}})
    main(args)
    sweep({"model.gamma": {"values": [4.0, 1.0, 2.0]}})
    assert main(args) == 0
    assert sorted(starts(folder)[0].values()) == [1, 1, 1]


def test_a_failure_is_recorded_and_the_rest_carried_on(sweep, capsys):
    args, folder = sweep({"data.fail": {"values": [True, False]}, "seed_everything": {"values": [0, 1]}})
    assert main(args) == 1
    text = capsys.readouterr().out
    assert "2 failed, 2 finished" in text
    assert "the data are not there" in text
    assert main(args) == 1  # not tried again by itself
    assert sum(starts(folder)[0].values()) == 4
    assert main([*args, "--retry_failed"]) == 1
    assert sum(starts(folder)[0].values()) == 6


def test_two_runners_share_a_queue_and_run_no_cell_twice(sweep):
    args, folder = sweep({"seed_everything": {"values": list(range(12))}, "data.wait": {"value": 0.2}})
    runners = [in_the_background([*args, "--jobs=2"]) for _ in range(2)]
    outputs = [runner.communicate(timeout=60)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], outputs
    counts, _ = starts(folder)
    assert len(counts) == 12
    assert set(counts.values()) == {1}


def test_a_runner_that_is_asked_to_end_gives_its_cells_back_and_the_next_resumes_them(sweep):
    args, folder = sweep({"seed_everything": {"values": [0, 1]}, "data.wait": {"value": 60}})
    runner = in_the_background([*args, "--jobs=2"])
    wait_for(lambda: len(list(folder.glob("*/checkpoints/last.ckpt"))) == 2)
    runner.send_signal(signal.SIGTERM)
    assert "goes on from here" in runner.communicate(timeout=20)[0]
    assert runner.returncode == 130
    assert main(args) == 0
    counts, words = starts(folder)
    assert set(counts.values()) == {2}
    assert words.count("resumed") == 2


def test_a_signal_never_falls_into_a_transaction_of_the_queue(sweep, monkeypatch):
    """An exception there could be dropped, or leave the database locked by the runner that gives its cells back."""
    args, _ = sweep({"seed_everything": {"values": [0, 1, 2]}})
    whole = []

    def take(queue):
        os.kill(os.getpid(), signal.SIGTERM)
        claim = taken(queue)
        whole.append(claim)
        return claim

    taken = Queue.take
    monkeypatch.setattr(Queue, "take", take)
    assert main(args) == 130
    assert len(whole) == 1
    assert whole[0] is not None
    monkeypatch.setattr(Queue, "take", taken)
    assert main(args) == 0


def test_a_killed_runner_is_taken_over_even_without_a_checkpoint(sweep):
    args, folder = sweep({"seed_everything": {"values": [0]}, "data.wait": {"value": 60}})
    runner = in_the_background(args)
    wait_for(lambda: list(folder.glob("*/checkpoints/last.ckpt")))
    os.kill(runner.pid, signal.SIGKILL)
    os.kill(int(next(folder.glob("*/pid")).read_text()), signal.SIGKILL)
    runner.communicate(timeout=20)
    next(folder.glob("*/checkpoints/last.ckpt")).unlink()
    sweep({"seed_everything": {"values": [0]}, "data.wait": {"value": 60}})
    second = in_the_background(args)
    wait_for(lambda: starts(folder)[1].count("new") == 2)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=20)


def test_another_machines_cell_is_left_alone_until_it_is_silent_for_long(sweep):
    args, folder = sweep({"seed_everything": {"values": [0]}})
    queue = Queue(load(args[0]), str(folder / "queue.journal"), folder)
    claim = queue.take()
    claim.lock.release()  # a lock on another machine is not seen here
    beat = {"runner": "x", "host": "another", "lock": "/there/cell", "beat": time.time() - 200}
    claim.trial.set_user_attr("owner", beat)
    assert queue.take() is None
    assert queue.elsewhere() == [claim.name]
    claim.trial.set_user_attr("owner", {**beat, "beat": time.time() - 400})
    assert queue.take().cell == claim.cell


def test_a_cell_that_was_queued_twice_is_run_once(sweep):
    args, folder = sweep({"seed_everything": {"values": [0]}})
    queue = Queue(load(args[0]), str(folder / "queue.journal"), folder)
    key = next(iter(queue.cells))
    queue.study.enqueue_trial({}, user_attrs={"cell": key})
    first = queue.take()
    assert first is not None
    assert queue.take() is None


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_searches_draw_as_often_as_the_file_says(sweep, method):
    args, folder = sweep({"model.gamma": {"min": 1.0, "max": 4.0}}, method=method, run_cap=4)
    assert main(args) == 0
    gammas = [json.loads(p.read_text())["model.gamma"] for p in folder.glob("*/options.json")]
    assert len(set(gammas)) == 4
    assert all(1 <= float(gamma) <= 4 for gamma in gammas)
    assert main(args) == 0
    assert sum(starts(folder)[0].values()) == 4


def test_bayes_learns_from_the_metric(sweep):
    args, folder = sweep({"model.gamma": {"min": 1.0, "max": 4.0}}, method="bayes", run_cap=3)
    main(args)
    study = Queue(load(args[0]), str(folder / "queue.journal"), folder).study
    assert study.best_value == pytest.approx((study.best_params["model.gamma"] - 2) ** 2)


def test_an_endless_search_and_server_keys_are_refused(sweep):
    args, _ = sweep({"model.gamma": {"min": 1.0, "max": 4.0}}, method="random")
    with pytest.raises(ValueError, match="add `run_cap"):
        main(args)
    args, _ = sweep({"a": {"values": [1]}}, early_terminate={"type": "hyperband"})
    with pytest.raises(ValueError, match="early_terminate needs a W&B server"):
        main(args)


def test_jobs_are_spread_over_the_devices(sweep):
    args, folder = sweep({"seed_everything": {"values": [0, 1, 2, 3]}, "data.wait": {"value": 0.3}})
    assert main([*args, "--devices=2,5"]) == 0
    assert {"2", "5"} <= set(starts(folder)[1])


def test_a_database_serves_as_the_queue(sweep, tmp_path):
    args, folder = sweep({"seed_everything": {"values": [0, 1]}})
    assert main([*args, f"--storage=sqlite:///{tmp_path}/queue.db"]) == 0
    assert len(starts(folder)[0]) == 2


def test_a_dry_run_prints_the_commands_and_touches_nothing(sweep, tmp_path, capsys):
    args, folder = sweep({"seed_everything": {"values": [0, 1]}})
    assert main([*args, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("/usr/bin/env python")
    assert "--seed_everything=0 --runs_dir=" in lines[0]
    assert lines[-1] == "2 runs; nothing was started"
    assert not folder.exists()


def test_a_cluster_array_of_one_cell_tasks_covers_the_grid(sweep):
    args, folder = sweep({"seed_everything": {"values": [0, 1, 2]}})
    for _ in range(4):  # one task more than cells: it finds nothing to do
        assert main([*args, "--max_cells=1"]) == 0
    assert set(starts(folder)[0].values()) == {1}
    assert len(starts(folder)[0]) == 3
