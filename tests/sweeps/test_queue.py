"""The queue under kills, torn records and several runners; each fault as it was left behind on a disk."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_app.sweep.command import main
from lightning_app.sweep.file import load
from lightning_app.sweep.queue import Queue
from lightning_app.sweep.storage import Journal, open_storage
from lightning_app.system.lock import Lock, is_held

RECORD = {"op_code": 4, "worker_id": "w"}


@pytest.fixture
def question(tmp_path):
    """A sweep file of three cells, and its folder of runs."""
    path = tmp_path / "question.yaml"
    config = {"method": "grid", "parameters": {"seed": {"values": [0, 1, 2]}}, "command": ["true", "${args}"]}
    path.write_text(yaml.safe_dump(config))
    return load(path), tmp_path / "runs" / "question"


def open_queue(question, **options):
    sweep, folder = question
    return Queue(sweep, str(folder / "queue.journal"), folder, **options)


def finish_all(queue):
    while claim := queue.take():
        queue.finish(claim, 0.5, 1.0)


def states(queue):
    return sorted(row["state"] for row in queue.rows())


class TestLock:
    def test_it_excludes_and_ends_with_a_killed_holder(self, tmp_path):
        take = f"Lock({str(tmp_path / 'x')!r}).take()"
        code = f"from lightning_app.system.lock import Lock; {take}; print(flush=True); input()"
        holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        holder.stdout.readline()
        assert is_held(tmp_path / "x")
        assert not Lock(tmp_path / "x").take()
        holder.kill()
        holder.communicate()
        assert not is_held(tmp_path / "x")

    def test_a_child_that_inherits_it_holds_it_on(self, tmp_path):
        lock = Lock(tmp_path / "x")
        lock.take()
        child = subprocess.Popen(["sleep", "30"], pass_fds=[lock.descriptor])
        os.close(lock.descriptor)  # as if this process had died
        assert is_held(tmp_path / "x")
        child.kill()
        child.wait()
        assert not is_held(tmp_path / "x")

    def test_a_file_system_without_locks_is_named(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(ValueError, match=r"x: this file system has no locks \(Function not implemented\)"):
            Lock(tmp_path / "x").take()


class TestJournal:
    @pytest.mark.parametrize(
        ("tail", "left_out"),
        [
            (b'{"op_code":4,"wor', 1),  # a kill, a full disk
            (b"\0" * 512, 0),  # a power cut on ext4 or xfs
            (b'{"op_code":4,"worker_id":"w","n":2}', 0),  # the newline alone is lost
            (b'{"op_code":4,"wor{"op_code":4,"worker_id":"w","n":2}\n', 1),  # written behind half a record
            (b"[1]\n", 1),
        ],
    )
    def test_a_torn_record_is_left_out_and_the_rest_kept(self, tmp_path, caplog, tail, left_out):
        path = tmp_path / "queue.journal"
        Journal(path).append_logs([{**RECORD, "n": 0}, {**RECORD, "n": 1}])
        path.write_bytes(path.read_bytes() + tail)
        journal = Journal(path)
        journal.append_logs([{**RECORD, "n": 3}])
        expected = [0, 1, 2, 3] if b'"n":2' in tail else [0, 1, 3]
        assert [record["n"] for record in journal.read_logs(0)] == expected
        assert [record["n"] for record in journal.read_logs(2)] == expected[2:]
        assert [record["n"] for record in Journal(path).read_logs(1)] == expected[1:]
        assert caplog.text.count(f"{path}: line 3 was torn") == 2 * left_out

    def test_readers_that_came_before_the_fault_count_as_those_that_come_after(self, tmp_path):
        path = tmp_path / "queue.journal"
        early = Journal(path)
        early.append_logs([{**RECORD, "n": 0}])
        assert len(list(early.read_logs(0))) == 1
        with path.open("ab") as file:
            file.write(b'{"op')
        assert list(early.read_logs(1)) == []  # its writer may still be at it
        Journal(path).append_logs([{**RECORD, "n": 1}])
        assert [r["n"] for r in early.read_logs(1)] == [r["n"] for r in Journal(path).read_logs(1)] == [1]

    def test_a_full_disk_leaves_no_half_record_and_is_named(self, tmp_path, monkeypatch):
        path = tmp_path / "queue.journal"
        journal = Journal(path)
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, text: write(fd, text[:5]))
        with pytest.raises(OSError, match=r"No space left on device: .*queue\.journal"):
            journal.append_logs([RECORD])
        assert path.read_bytes() == b""

    def test_no_lock_of_a_dead_process_is_waited_for(self, question, monkeypatch, tmp_path):
        sweep, folder = question
        monkeypatch.chdir(tmp_path)
        folder.mkdir(parents=True)
        (folder / "queue.journal.lock").symlink_to("runs/question/queue.journal")  # as Optuna's own lock is left
        finish_all(Queue(sweep, "runs/question/queue.journal", Path("runs/question")))


class TestQueue:
    def test_an_attempt_whose_lock_is_free_is_lost_whatever_its_process_number(self, question):
        first = open_queue(question)
        claim = first.take()
        claim.lock.release()  # its process is gone; in a container another has its number now
        second = open_queue(question)
        names = {second.take().name for _ in range(3)}
        assert claim.name in names

    def test_a_runner_killed_between_its_claim_and_its_first_sign_of_life_loses_nothing(self, question):
        first = open_queue(question)
        first.take().lock.release()
        first.study.ask()
        second = open_queue(question)
        claims = [second.take() for _ in range(3)]
        assert len({claim.name for claim in claims}) == 3

    def test_a_training_that_outlives_its_runner_keeps_its_cell(self, question):
        first = open_queue(question)
        claim = first.take()
        child = subprocess.Popen(["sleep", "30"], pass_fds=[claim.lock.descriptor])
        os.close(claim.lock.descriptor)
        claim.lock._descriptor = None
        second = open_queue(question)
        others = [second.take().name, second.take().name]
        assert second.take() is None
        assert claim.name not in others
        assert second.elsewhere() == [claim.name]
        child.kill()
        child.wait()
        assert second.take().name == claim.name

    def test_a_suspended_runner_that_was_taken_over_is_told_so_and_records_nothing(self, question):
        first = open_queue(question)
        claim = first.take()
        claim.lock.release()  # on a machine whose locks the other does not see
        second = open_queue(question)
        taken = [second.take() for _ in range(3)]
        assert claim.name in {other.name for other in taken}
        assert not first.beat(claim)
        assert not first.finish(claim, 9.0, 1.0)
        assert not first.fail(claim, "late")
        first.release(claim)
        for other in taken:
            assert second.finish(other, 0.5, 1.0)
        assert {row["value"] for row in second.rows()} == {0.5}

    def test_an_sqlite_cell_is_claimed_once(self, question, tmp_path):
        sweep, folder = question
        queues = [Queue(sweep, f"sqlite:///{tmp_path / 'q.db'}", folder) for _ in range(2)]
        names = [claim.name for _ in range(3) for queue in queues if (claim := queue.take())]
        assert len(names) == len(set(names)) == 3

    def test_a_database_that_cannot_be_opened_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"--storage sqlite:////nowhere/q\.db: cannot be opened"):
            open_storage("sqlite:////nowhere/q.db")


@pytest.mark.slow  # three processes that open a database at the same moment, several times
def test_runners_that_start_at_once_make_the_tables_of_a_database_once(question, tmp_path):
    sweep, folder = question
    code = (
        "import sys; from pathlib import Path; from lightning_app.sweep.file import load; "
        "from lightning_app.sweep.queue import Queue; sys.stdin.readline(); "
        "Queue(load(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))"
    )
    for number in range(3):
        call = [sys.executable, "-c", code, str(sweep.path), f"sqlite:///{tmp_path}/{number}.db", str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
        runners = [subprocess.Popen(call, text=True, **pipes) for _ in range(3)]
        for runner in runners:
            runner.stdin.write("\n")
            runner.stdin.flush()
        errors = [runner.communicate(timeout=60)[1] for runner in runners]
        assert [runner.returncode for runner in runners] == [0, 0, 0], errors


class TestCommit:
    @pytest.fixture
    def finished(self, question):
        """A queue whose cells have finished, two of them with an older commit."""
        _, folder = question
        queue = open_queue(question)
        for number, claim in enumerate([queue.take() for _ in range(3)]):
            run = folder / claim.name
            run.mkdir(parents=True)
            commit = queue.commit if number == 0 else "0" * 40
            (run / "state.json").write_text(json.dumps({"status": "finished", "commit": commit}))
            queue.finish(claim, 0.5, 1.0, commit=commit, versions={"torch": "1"})
        assert queue.study.trials[0].user_attrs["versions"] == {"torch": "1"}
        return folder

    def test_finished_cells_of_another_commit_are_said(self, question, finished, capsys):
        sweep, folder = question
        assert main([str(sweep.path), f"--runs_dir={folder.parent}"]) == 0
        told = capsys.readouterr().out
        assert "2 finished with another commit (0000000000; now " in told
        assert "--rerun_stale runs them again" in told
        assert "3 finished" in told

    def test_they_run_again_when_asked_and_the_old_runs_are_kept(self, question, finished, capsys):
        sweep, folder = question
        before = {path.name: (path / "state.json").read_text() for path in folder.glob("seed*")}
        assert main([str(sweep.path), f"--runs_dir={folder.parent}", "--rerun_stale"]) == 0
        assert capsys.readouterr().out.count("set aside") == 2
        aside = {path.name.removeprefix("0000000000-") for path in (folder.parent / "question.stale").iterdir()}
        kept = {path.name for path in folder.glob("seed*") if (path / "state.json").read_text() == before[path.name]}
        assert len(aside) == 2
        assert kept == set(before) - aside
