"""`python -m lightning_app sweep`: run a W&B sweep file on this machine, without a server.

The cells wait in a queue that several processes and machines may share (`lightning_app/sweep/queue.py`). A second call
goes on where the first was stopped.
"""

import argparse
import shlex
from pathlib import Path

from lightning_app.errors import UserError
from lightning_app.shipped import find_sweep
from lightning_app.sweep.check import check_commands
from lightning_app.sweep.file import SweepFile, cell_name, command_line, load, server_only
from lightning_app.sweep.queue import Queue, dry_cells
from lightning_app.sweep.runner import Runner, say

STOPPED = 130


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
    add("--rerun_stale", action="store_true", help="run the finished cells again that come from another commit")
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
        UserError: The sweep file has a fault, or asks for what only a W&B server can do.
    """
    options = _parser().parse_args(args)
    sweep = load(find_sweep(options.file))
    if server_only(sweep.config):
        raise UserError(f"{sweep.path}: {', '.join(server_only(sweep.config))} needs a W&B server: use wandb sweep")
    folder = Path(options.runs_dir) / sweep.name
    if options.dry_run:
        return _dry_run(sweep, folder)
    queue = _open(sweep, folder, options)
    if not queue.rows():
        check_commands(sweep, dry_cells(sweep))
    try:
        Runner(sweep, queue, _devices(options), options.max_cells).run()
    except KeyboardInterrupt:
        say("stopped; the cells that ran are given back. The same command goes on from here.")
        return STOPPED
    return _close(queue, folder, sweep.metric)


def _open(sweep: SweepFile, folder: Path, options: argparse.Namespace) -> Queue:
    """The queue, and what is to be said of what it holds already."""
    queue = Queue(
        sweep,
        options.storage or str(folder / "queue.journal"),
        folder,
        stale_after=options.stale_after,
        retry_failed=options.retry_failed,
        rerun_stale=options.rerun_stale,
        all_here=not options.storage,  # a storage elsewhere may serve machines whose folders are not here
    )
    if queue.removed:
        say(f"{len(queue.removed)} finished before, but their run folders are gone: they run again")
    if queue.stale:
        commits = ", ".join(sorted({commit[:10] for commit in queue.stale.values()}))
        cure = "they run again" if options.rerun_stale else "--rerun_stale runs them again"
        say(f"{len(queue.stale)} finished with another commit ({commits}; now {str(queue.commit)[:10]}): {cure}")
    return queue


def _devices(options: argparse.Namespace) -> list[str | None]:
    named: list[str | None] = [device.strip() for device in options.devices.split(",") if device.strip()]
    jobs = len(named) or 1 if options.jobs is None else options.jobs
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {jobs}")
    return [(named or [None])[job % (len(named) or 1)] for job in range(jobs)]


def _dry_run(sweep: SweepFile, folder: Path) -> int:
    cells = dry_cells(sweep)
    check_commands(sweep, cells)
    for cell in cells:
        name = cell_name(cell, sweep.parameters)
        say(shlex.join([*command_line(sweep.config, cell), f"--runs_dir={folder}", f"--run_name={name}"]))
    more = "" if sweep.method == "grid" else f" (examples of {sweep.config.get('run_cap', 'no run_cap')} draws)"
    say(f"{len(cells)} runs{more}; nothing was started")
    return 0


def _close(queue: Queue, folder: Path, metric: str) -> int:
    rows = queue.rows()
    width = max((len(row["name"]) for row in rows), default=4)
    say(f"\n{'cell':<{width}}  state     {metric or 'metric':>10}  seconds")
    for row in sorted(rows, key=lambda row: row["name"]):
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        line = f"{row['name']:<{width}}  {row['state']:<8}  {value:>10}  {row['seconds'] or '':>7}  {row['failure']}"
        say(line.rstrip())
    states = [row["state"] for row in rows]
    say("\n" + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    others = queue.elsewhere()
    if others:
        say(f"still running elsewhere: {', '.join(others)}; call again to take over what is lost")
    say(f"report: python -m lightning_app report {folder}")
    return int("failed" in states)
