"""The queue of a sweep's cells: an Optuna study that any number of processes and machines share.

A trial is one attempt at a cell. Optuna's storage hands a waiting trial to exactly one process; who runs it writes a
sign of life every few seconds. An attempt whose process is gone is closed, and its cell is queued again. Filling the
queue may be done by everybody at any time: of two attempts at one cell only the earlier is run.
"""

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_app.sweep.file import Cell, SweepFile, cell_key, cell_name, draw, grid_cells

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HOST = socket.gethostname()


@dataclass
class Claim:
    """A cell that this process has taken.

    Args:
        trial: The attempt, ours alone.
        cell: The cell's values.
        name: Name of its run folder.
    """

    trial: "optuna.Trial"
    cell: Cell
    name: str


class Queue:
    """The cells of one sweep, shared through an Optuna storage.

    Args:
        sweep: The sweep file.
        storage: Path of a journal file on a folder that all machines see, or a database address such as `sqlite:///x.db`.
        stale_after: Seconds without a sign of life after which another machine's cell counts as lost.
        retry_failed: Queue the cells again whose runs have failed.
        folder: Where all run folders lie, if this machine sees them all: finished cells whose folders were removed are
            queued again.
    """

    def __init__(
        self,
        sweep: SweepFile,
        storage: str,
        stale_after: float = 300.0,
        retry_failed: bool = False,
        folder: Path | None = None,
    ) -> None:
        import optuna

        if sweep.method != "grid" and not sweep.config.get("run_cap"):
            raise ValueError(
                f"{sweep.path}: method {sweep.method} has no end of its own; add `run_cap: <number of runs>`"
            )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep = sweep
        self.stale_after = stale_after
        random = optuna.samplers.RandomSampler()
        self.study = optuna.create_study(
            study_name=sweep.name,
            storage=_open_storage(storage),
            direction=optuna.study.StudyDirection[sweep.direction.upper()],
            sampler=optuna.samplers.TPESampler() if sweep.method == "bayes" else random,
            load_if_exists=True,
        )
        self.cells = self._cells()
        self.removed = {
            t.number
            for t in self._trials()
            if folder and _finished(t) and not find_folder(folder, t.user_attrs["name"])
        }
        retried = {t.number for t in self._trials() if retry_failed and _failure(t)}
        self._again = self.removed | retried

    def _cells(self) -> dict[str, Cell | None]:
        """Cell key -> values, or None where the sampler will choose them."""
        if self.sweep.method == "grid":
            return {cell_key(cell): cell for cell in grid_cells(self.sweep.parameters)}
        return {f"draw{number}": None for number in range(self.sweep.config["run_cap"])}

    def _trials(self) -> "list[FrozenTrial]":
        return [trial for trial in self.study.get_trials(deepcopy=False) if "cell" in trial.user_attrs]

    def fill(self) -> None:
        """Queue every cell that no attempt stands for: new ones, and those whose runner was lost."""
        self._close_lost()
        trials = self._trials()
        taken = {trial.user_attrs["cell"] for trial in trials if self._stands(trial)}
        last = {trial.user_attrs["cell"]: trial.params for trial in trials}
        for key in self.cells:
            if key not in taken:  # a redrawn cell keeps its first values, so that its run folder is found again
                self.study.enqueue_trial(last.get(key, {}), user_attrs={"cell": key})

    def _stands(self, trial: "FrozenTrial") -> bool:
        """An attempt that settles its cell: waiting, running, finished, or failed for good."""
        return trial.number not in self._again and (trial.state.name != "FAIL" or bool(_failure(trial)))

    def _close_lost(self) -> None:
        from optuna.trial import TrialState

        for trial in self._trials():
            if trial.state == TrialState.RUNNING and not self._alive(trial):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _alive(self, trial: "FrozenTrial") -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None:  # killed before its first sign of life, or about to give it
            started = trial.datetime_start
            return started is not None and time.time() - started.timestamp() < 10
        if owner["host"] == HOST:  # a training that outlives its runner still owns its folder
            return any(_process_runs(pid) for pid in (owner["pid"], owner["child"]) if pid)
        return time.time() - owner["beat"] < self.stale_after

    def take(self) -> Claim | None:
        """Take the next waiting cell, or None where none waits."""
        from optuna.trial import TrialState

        while any(trial.state == TrialState.WAITING for trial in self._trials()):
            trial = self.study.ask()
            key = trial.user_attrs.get("cell")
            if key in self.cells and not self._earlier(trial.number, key):
                return self._claim(trial, key)
            # taken by another process in between, queued twice, or no longer in the file
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _earlier(self, number: int, key: str) -> bool:
        return any(t.number < number and t.user_attrs["cell"] == key and self._stands(t) for t in self._trials())

    def _claim(self, trial: "optuna.Trial", key: str) -> Claim:
        try:
            cell = self.cells[key] or draw(trial, self.sweep.parameters)
        except ValueError as error:
            message = (
                f"{self.sweep.path}: its values changed since study {self.sweep.name} began ({error}); rename the file"
            )
            raise ValueError(message) from error
        claim = Claim(trial, cell, cell_name(cell, self.sweep.parameters))
        trial.set_user_attr("name", claim.name)
        self.beat(claim)
        return claim

    def beat(self, claim: Claim, child: int | None = None) -> None:
        """Give a sign of life for a cell, with the process id of its training."""
        claim.trial.set_user_attr("owner", {"host": HOST, "pid": os.getpid(), "child": child, "beat": time.time()})

    def finish(self, claim: Claim, value: float | None, seconds: float) -> None:
        """Record a finished run and its metric (None where the run did not log it)."""
        from optuna.trial import TrialState

        claim.trial.set_user_attr("seconds", round(seconds, 1))
        if value is None:
            self.study.tell(claim.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(claim.trial, value)

    def fail(self, claim: Claim, reason: str) -> None:
        """Record a failed run; it is not tried again unless asked for."""
        from optuna.trial import TrialState

        claim.trial.set_user_attr("failure", reason)
        self.study.tell(claim.trial, state=TrialState.FAIL)

    def release(self, claim: Claim) -> None:
        """Give a cell back that was broken off: the next `fill` queues it again."""
        from optuna.trial import TrialState

        self.study.tell(claim.trial, state=TrialState.FAIL)

    def elsewhere(self) -> list[tuple[str, bool]]:
        """Cells that others run now: (name, whether on this machine)."""
        running = [t for t in self._trials() if t.state.name == "RUNNING" and self._alive(t)]
        owners = [(t.user_attrs.get("name", "?"), t.user_attrs.get("owner", {})) for t in running]
        return [(name, owner.get("host") == HOST) for name, owner in owners if owner.get("pid") != os.getpid()]

    def rows(self) -> list[dict[str, Any]]:
        """One row a cell for the closing table: name, state, value, seconds, failure."""
        latest: dict[str, FrozenTrial] = {}
        for trial in self._trials():
            key = trial.user_attrs["cell"]
            if key not in latest or self._stands(trial):
                latest[key] = trial
        return [_row(latest[key]) for key in self.cells if key in latest]


def _row(trial: "FrozenTrial") -> dict[str, Any]:
    state = {"COMPLETE": "finished", "PRUNED": "finished", "FAIL": "lost"}.get(
        trial.state.name, trial.state.name.lower()
    )
    failure = _failure(trial)
    return {
        "name": trial.user_attrs.get("name", trial.user_attrs["cell"]),
        "state": "failed" if failure else state,
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "seconds": trial.user_attrs.get("seconds"),
        "failure": failure,
    }


def _failure(trial: "FrozenTrial") -> str:
    return trial.user_attrs.get("failure", "") if trial.state.name == "FAIL" else ""


def _finished(trial: "FrozenTrial") -> bool:
    return trial.state.name in ("COMPLETE", "PRUNED")


def find_folder(folder: Path, name: str) -> Path | None:
    """A cell's run folder, under whatever name ends in the cell's key as `name` does; None where there is none."""
    return next((path for path in sorted(folder.glob(f"*{name.rpartition('-')[2]}")) if path.is_dir()), None)


def _process_runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # an ended child that nobody has waited for still answers the signal
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def _open_storage(address: str) -> Any:
    if "://" in address:
        return address
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    Path(address).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(address))


def dry_cells(sweep: SweepFile, seeds: Iterable[int] = range(3)) -> list[Cell]:
    """The cells a sweep would run: all of a grid; for random and Bayesian search some examples."""
    if sweep.method == "grid":
        return grid_cells(sweep.parameters)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = (optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)) for seed in seeds)
    return [draw(study.ask(), sweep.parameters) for study in studies]
