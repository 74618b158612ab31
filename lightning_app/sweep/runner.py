"""`python -m lightning_app sweep`: run a W&B sweep file on this machine, without a server.

The cells wait in a queue that several processes and machines may share (`lightning_app/sweep/queue.py`); each is a
program of its own, with the command that `wandb agent` would run. A second call goes on where the first was stopped.
"""

import argparse
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lightning_app.files import read_csv
from lightning_app.shipped import find_sweep
from lightning_app.sweep.file import SweepFile, cell_name, command_line, load, server_only
from lightning_app.sweep.queue import Claim, Queue, dry_cells, find_folder
from lightning_app.training.run_folder import RunFolder

log = logging.getLogger(__name__)
POLL_SECONDS = 0.3
BEAT_SECONDS = 20.0
STOPPED = 130
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


class Runner:
    """Runs the cells of a queue, some at a time, until none waits.

    Args:
        sweep: The sweep file.
        queue: Its queue.
        folder: Where run folders and logs go.
        devices: One entry a job that may run at once: the device it sees, or None for all.
        limit: Take at most this many cells.
    """

    def __init__(
        self, sweep: SweepFile, queue: Queue, folder: Path, devices: list[str | None], limit: int | None = None
    ) -> None:
        self.sweep, self.queue, self.folder = sweep, queue, folder
        self.free = list(devices)
        self.width = len(devices)
        self.left = limit
        self.jobs: list[Job] = []

    def run(self) -> None:
        """Work until the queue is empty; broken off, give the cells back."""
        self.folder.joinpath("logs").mkdir(parents=True, exist_ok=True)
        with _signals_as_interrupt():
            try:
                while self._step():
                    time.sleep(POLL_SECONDS)
            except BaseException:
                self._break_off()
                raise

    def _step(self) -> bool:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self._end(job)
        for job in self.jobs:
            if time.monotonic() - job.beaten > BEAT_SECONDS:
                self.queue.beat(job.claim, job.process.pid)
                job.beaten = time.monotonic()
        while self.free and self.left != 0:
            self.queue.fill()
            claim = self.queue.take()
            if claim is None:
                break
            self._begin(claim)
        return bool(self.jobs)

    def _begin(self, claim: Claim) -> None:
        folder = self._run_folder(claim)
        if folder.read_state().get("status") == "finished":
            self._record(claim, folder, seconds=folder.read_state().get("wall_seconds", 0.0), note="was there")
            return
        self.left = None if self.left is None else self.left - 1
        command = self._command(claim, folder)
        device = self.free.pop(0)
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
        )
        self.jobs.append(Job(claim, folder, device, process, output))
        self.queue.beat(claim, process.pid)
        _say(f"{self._count()} start     {claim.name}" + (f"  (device {device})" if device else ""))

    def _run_folder(self, claim: Claim) -> RunFolder:
        """The cell's folder: one that is there under the cell's key, else a new name."""
        return RunFolder(find_folder(self.folder, claim.name) or self.folder / claim.name)

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
        self.queue.fail(job.claim, reason)
        _say(f"{self._count()} FAILED    {job.claim.name}: {reason}  (log: {job.output.name})")

    def _record(self, claim: Claim, folder: RunFolder, seconds: float, note: str = "") -> None:
        value = read_metric(folder, self.sweep.metric)
        if value is None and self.sweep.method == "bayes":
            self.queue.fail(claim, f"the run logged no {self.sweep.metric}, which the search needs")
            return
        self.queue.finish(claim, value, seconds)
        shown = f"  {self.sweep.metric} {value:.4f}" if value is not None else ""
        _say(f"{self._count()} finished  {claim.name}{shown}  {seconds:.0f} s {note}".rstrip())

    def _free(self, job: Job) -> None:
        job.output.close()
        self.jobs.remove(job)
        self.free.append(job.device)

    def _count(self) -> str:
        rows = self.queue.rows()
        done = sum(row["state"] in ("finished", "failed") for row in rows)
        return f"[{done:>3}/{len(self.queue.cells)}]"

    def _break_off(self) -> None:
        for job in self.jobs:
            _signal_group(job.process, signal.SIGTERM)
        for job in list(self.jobs):
            try:
                job.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _signal_group(job.process, signal.SIGKILL)
                job.process.wait()
            self.queue.release(job.claim)
            self._free(job)


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """A cluster's SIGTERM breaks off like Ctrl-C, so that cells are given back."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        The value, or None where the run does not have it.
    """
    stage, _, rest = name.partition("/")
    metric, _, class_name = rest.partition("/")
    for row in read_csv(folder.stage(stage) / "summary.csv") if stage else []:
        if row["metric"] == metric and row["class"] == (class_name or "all"):
            return float(row["mean"])
    values = [row[name] for row in read_csv(folder.curves) if row.get(name)]
    return float(values[-1]) if values else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app sweep",
        description="Run a W&B sweep file on this machine, without a server. Call it again to go on after a stop; "
        "call it on several machines that share RUNS_DIR to share the work.",
    )
    add = parser.add_argument
    add("file", help="sweep file, or the name of one that comes with the program, as bench_a_phantom")
    add("--jobs", type=int, default=None, metavar="N", help="trainings at once (default: one a device)")
    add("--devices", default="", help="GPUs to spread the jobs over, e.g. 0,1,2,3; each job sees one of them")
    add("--runs_dir", default="runs", help="run folders go to RUNS_DIR/<name of the file>/ (default: runs)")
    add(
        "--storage",
        default=None,
        help="queue: journal file or database address "
        "(default: RUNS_DIR/<name>/queue.journal; for example mysql://... where the folder is not shared)",
    )
    add("--max_cells", type=int, default=None, metavar="N", help="take at most N cells, then end (for time limits)")
    add("--retry_failed", action="store_true", help="run the cells again that have failed")
    add(
        "--stale_after",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="another machine's cell counts as lost after so long without a sign of life (default: 300)",
    )
    add("--dry-run", "--dry_run", action="store_true", dest="dry_run", help="print the commands and run nothing")
    return parser


def main(args: list[str]) -> int:
    """Run a sweep.

    Args:
        args: Arguments of the command line.

    Returns:
        0 if every cell that was run has finished, 1 if some failed, 130 if it was stopped.

    Raises:
        ValueError: The sweep file has a fault, or asks for what only a W&B server can do.
    """
    options = _parser().parse_args(args)
    sweep = load(find_sweep(options.file))
    if server_only(sweep.config):
        raise ValueError(f"{sweep.path}: {', '.join(server_only(sweep.config))} needs a W&B server: use wandb sweep")
    folder = Path(options.runs_dir) / sweep.name
    if options.dry_run:
        return _dry_run(sweep, folder)
    seen = None if options.storage else folder  # a storage elsewhere may serve machines whose folders are not here
    storage = options.storage or str(folder / "queue.journal")
    queue = Queue(sweep, storage, options.stale_after, options.retry_failed, seen)
    if queue.removed:
        _say(f"{len(queue.removed)} finished before, but their run folders are gone: they run again")
    try:
        Runner(sweep, queue, folder, _devices(options), options.max_cells).run()
    except KeyboardInterrupt:
        _say("stopped; the cells that ran are given back. The same command goes on from here.")
        return STOPPED
    return _close(queue, folder, sweep.metric)


def _devices(options: argparse.Namespace) -> list[str | None]:
    named: list[str | None] = [device.strip() for device in options.devices.split(",") if device.strip()]
    jobs = len(named) or 1 if options.jobs is None else options.jobs
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    return [(named or [None])[job % (len(named) or 1)] for job in range(jobs)]


def _dry_run(sweep: SweepFile, folder: Path) -> int:
    cells = dry_cells(sweep)
    for cell in cells:
        name = cell_name(cell, sweep.parameters)
        _say(shlex.join([*command_line(sweep.config, cell), f"--runs_dir={folder}", f"--run_name={name}"]))
    more = "" if sweep.method == "grid" else f" (examples of {sweep.config.get('run_cap', 'no run_cap')} draws)"
    _say(f"{len(cells)} runs{more}; nothing was started")
    return 0


def _close(queue: Queue, folder: Path, metric: str) -> int:
    rows = queue.rows()
    width = max((len(row["name"]) for row in rows), default=4)
    _say(f"\n{'cell':<{width}}  state     {metric or 'metric':>10}  seconds")
    for row in sorted(rows, key=lambda row: row["name"]):
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        line = f"{row['name']:<{width}}  {row['state']:<8}  {value:>10}  {row['seconds'] or '':>7}  {row['failure']}"
        _say(line.rstrip())
    states = [row["state"] for row in rows]
    _say("\n" + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    others = queue.elsewhere()
    if others:
        _say(f"still running elsewhere: {', '.join(name for name, _ in others)}; call again to take over what is lost")
    _say(f"report: python -m lightning_app report {folder}")
    return int("failed" in states)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
