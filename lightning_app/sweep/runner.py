"""Runs the cells of a queue, each as a program of its own with the command that `wandb agent` would run."""

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lightning_app.files import read_csv
from lightning_app.shipped import header
from lightning_app.sweep.file import SweepFile, command_line
from lightning_app.sweep.queue import Claim, Queue, find_folder
from lightning_app.training.run_folder import RunFolder

POLL_SECONDS = 0.3
BEAT_SECONDS = 20.0
TAKEN_OVER = "taken over by another runner while this one was silent"
_FOREIGN = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME")


@dataclass
class Job:
    """A training that runs now.

    Args:
        claim: Its cell.
        folder: Its run folder.
        device: The device it was given, or None.
        process: The program.
        output: Where its text goes.
    """

    claim: Claim
    folder: RunFolder
    device: str | None
    process: "subprocess.Popen[bytes]"
    output: IO[bytes]
    started: float = field(default_factory=time.monotonic)
    beaten: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self.started

    def stop(self) -> None:
        """Ask the program to end, and end it if it does not within ten seconds."""
        _signal_group(self.process, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            _signal_group(self.process, signal.SIGKILL)
            self.process.wait()


class Runner:
    """Runs the cells of a queue, some at a time, until none waits.

    Args:
        sweep: The sweep file.
        queue: Its queue.
        devices: One entry a job that may run at once: the device it sees, or None for all.
        limit: Take at most this many cells.
    """

    def __init__(self, sweep: SweepFile, queue: Queue, devices: list[str | None], limit: int | None = None) -> None:
        self.sweep, self.queue, self.folder = sweep, queue, queue.folder
        self.free = list(devices)
        self.width = len(devices)
        self.left = limit
        self.pause = min(BEAT_SECONDS, queue.stale_after / 3)  # between two signs of life
        self.jobs: list[Job] = []
        self.asked_to_stop = False

    def run(self) -> None:
        """Work until the queue is empty; broken off, give the cells back.

        Raises:
            KeyboardInterrupt: It was asked to stop.
        """
        self.folder.joinpath("logs").mkdir(parents=True, exist_ok=True)
        with self._signals_noted():
            try:
                while self._step():
                    time.sleep(POLL_SECONDS)
                    if self.asked_to_stop:
                        raise KeyboardInterrupt
            except BaseException as error:
                self._break_off()
                if isinstance(error, OSError) and error.filename is None:  # a write that ran out of room, say
                    raise OSError(error.errno, error.strerror, str(self.folder)) from error
                raise

    def _step(self) -> bool:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self._end(job)
        for job in [job for job in self.jobs if time.monotonic() - job.beaten > self.pause]:
            job.beaten = time.monotonic()
            if not self.queue.beat(job.claim):
                self._hand_over(job)
        while self.free and self.left != 0 and not self.asked_to_stop:
            claim = self.queue.take()
            if claim is None:
                break
            self._begin(claim)
        return bool(self.jobs) or self.asked_to_stop

    def _begin(self, claim: Claim) -> None:
        folder = self._run_folder(claim)
        state = folder.read_state()
        if state.get("status") == "finished":
            if not (self.queue.reruns and self.queue.other_commit(state.get("commit"))):
                self._record(claim, folder, seconds=state.get("wall_seconds", 0.0), note="was there")
                return
            folder = self._set_aside(claim, folder, state["commit"])
        self.left = None if self.left is None else self.left - 1
        self._start(claim, folder, self._command(claim, folder), self.free.pop(0))

    def _start(self, claim: Claim, folder: RunFolder, command: list[str], device: str | None) -> None:
        output = (self.folder / "logs" / f"{claim.name}.log").open("ab")
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment(device),
            start_new_session=True,
            pass_fds=[claim.lock.descriptor],  # the cell is taken for as long as its training lives
        )
        self.jobs.append(Job(claim, folder, device, process, output))
        say(f"{self._count()} start     {claim.name}" + (f"  (device {device})" if device else ""))

    def _run_folder(self, claim: Claim) -> RunFolder:
        """The cell's folder: one that is there under the cell's key, else a new name."""
        return RunFolder(find_folder(self.folder, claim.name) or self.folder / claim.name)

    def _set_aside(self, claim: Claim, folder: RunFolder, commit: str) -> RunFolder:
        """Make room for a run that replaces one of another commit, which is kept beside the sweep's folder."""
        aside = self.folder.with_name(f"{self.folder.name}.stale") / f"{commit[:10]}-{folder.name}"
        aside.parent.mkdir(exist_ok=True)
        folder.path.rename(aside)
        say(f"{self._count()} set aside {folder.name}, from another commit, as {aside}")
        return RunFolder(self.folder / claim.name)

    def _command(self, claim: Claim, folder: RunFolder) -> list[str]:
        """W&B's command with this run's place behind it; `fit --resume` for a run that got as far as a checkpoint."""
        command = command_line(self.sweep.config, claim.cell)
        if folder.checkpoint("last").is_file() and "fit" in command:
            return [*command[: command.index("fit") + 1], "--resume", str(folder)]
        if folder.path.exists():  # stopped before its first checkpoint: nothing to go on from
            shutil.rmtree(folder.path)
        return [*command, f"--runs_dir={folder.path.parent}", f"--run_name={folder.name}"]

    def _environment(self, device: str | None) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])  # ours is `python`
        env.setdefault("WANDB_RUN_GROUP", self.sweep.name)
        env.setdefault("WANDB_NOTES", header(self.sweep.path))
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.width)))
        if device is not None:
            env["CUDA_VISIBLE_DEVICES"] = device
        return env

    def _end(self, job: Job) -> None:
        self._free(job)
        code = job.process.returncode
        status = job.folder.read_state().get("status")
        if code == 0 and status in (None, "finished"):
            self._record(job.claim, job.folder, job.seconds)
            return
        reason = _last_line(Path(job.output.name)) if code == 0 or code > 0 else f"ended by signal {-code}"
        self._fail(job.claim, f"{reason}  (log: {job.output.name})")

    def _record(self, claim: Claim, folder: RunFolder, seconds: float, note: str = "") -> None:
        value = read_metric(folder, self.sweep.metric)
        if value is None and self.sweep.method == "bayes":
            self._fail(claim, f"the run logged no {self.sweep.metric}, which the search needs")
            return
        state = folder.read_state()
        origin = {name: state[name] for name in ("commit", "versions") if state.get(name)}
        ours = self.queue.finish(claim, value, seconds, **origin)
        shown = f"  {self.sweep.metric} {value:.4f}" if value is not None else ""
        say(f"{self._count()} finished  {claim.name}{shown}  {seconds:.0f} s {note if ours else TAKEN_OVER}".rstrip())

    def _fail(self, claim: Claim, reason: str) -> None:
        ours = self.queue.fail(claim, reason)
        say(f"{self._count()} FAILED    {claim.name}: {reason}" + ("" if ours else f"  {TAKEN_OVER}"))

    def _hand_over(self, job: Job) -> None:
        """Leave a cell to the runner that took it over while this one was suspended."""
        job.stop()
        self._free(job)
        self.queue.release(job.claim)
        say(f"{self._count()} stopped   {job.claim.name}: {TAKEN_OVER}")

    def _free(self, job: Job) -> None:
        job.output.close()
        self.jobs.remove(job)
        self.free.append(job.device)

    def _count(self) -> str:
        rows = self.queue.rows()
        done = sum(row["state"] in ("finished", "failed") for row in rows)
        return f"[{done:>3}/{len(self.queue.cells)}]"

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """Ctrl-C and a cluster's SIGTERM stop between two steps; a second Ctrl-C at once.

        An exception out of a handler could fall anywhere, into a transaction of the queue's database or where Python
        drops it, and a runner so hit may wait for its own lock for ever.
        """

        def note(number: int, _: Any) -> None:
            if self.asked_to_stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.asked_to_stop = True

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _break_off(self) -> None:
        for job in self.jobs:
            _signal_group(job.process, signal.SIGTERM)  # all at once: they end side by side
        for job in list(self.jobs):
            job.stop()
            self._free(job)
            with suppress(OSError):  # a full disk: the lock, which ends with this process, says it too
                self.queue.release(job.claim)


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")[:200]


def read_metric(folder: RunFolder, name: str) -> float | None:
    """The value of a metric at the end of a run.

    Args:
        folder: The run folder.
        name: `<stage>/<metric>` or `<stage>/<metric>/<class>`; from `<stage>/summary.csv`, where the kept checkpoint
            was evaluated, else the last value in `metrics.csv`.

    Returns:
        The value, or None where the run does not have it, or has no finite one.
    """
    stage, _, rest = name.partition("/")
    metric, _, class_name = rest.partition("/")
    rows = read_csv(folder.stage(stage) / "summary.csv") if stage else []
    folder.refuse_old_names(stage, (row["class"] for row in rows))
    for row in rows:
        if row["metric"] == metric and row["class"] == (class_name or "all"):
            return _finite(row["mean"])
    values = [row[name] for row in read_csv(folder.curves, appended=True) if row.get(name)]
    return _finite(values[-1]) if values else None


def _finite(text: str) -> float | None:
    return float(text) if text and math.isfinite(float(text)) else None


def say(text: str) -> None:
    """Print a line of the runner's account."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
