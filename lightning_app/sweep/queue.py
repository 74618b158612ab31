"""The queue of a sweep's cells: an Optuna study that any number of processes and machines share.

A trial is one attempt at a cell. Who runs it holds a lock in a folder beside the queue, together with its training, and
writes a sign of life every few seconds. An attempt whose lock is free again (on another machine: that gave no sign of
life for long) is closed, and its cell is queued again. The queue is filled and read under a lock of its own, so that
any number of runners may do so at any time; of two attempts at one cell only the earlier is run.
"""

import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_app.errors import UserError
from lightning_app.sweep.file import Cell, SweepFile, cell_key, cell_name, draw, grid_cells
from lightning_app.system.lock import Lock, is_held
from lightning_app.system.origin import commit
from lightning_app.training.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, TrialState

HOST = socket.gethostname()


@dataclass
class Claim:
    """A cell that this process has taken.

    Args:
        trial: The attempt, ours alone.
        cell: The cell's values.
        name: Name of its run folder.
        lock: What says that the cell is being run; the training inherits it.
    """

    trial: "optuna.Trial"
    cell: Cell
    name: str
    lock: Lock


class Queue:
    """The cells of one sweep, shared through an Optuna storage.

    Args:
        sweep: The sweep file.
        storage: Path of a journal file on a folder that all machines see, or a database address such as `sqlite:///x.db`.
        folder: Where the run folders lie.
        stale_after: Seconds without a sign of life after which another machine's cell counts as lost.
        retry_failed: Queue the cells again whose runs have failed.
        rerun_stale: Queue the finished cells again that come from another commit of the code.
        all_here: This machine sees the folders of all runs: finished cells whose folders were removed are queued again.
    """

    def __init__(
        self,
        sweep: SweepFile,
        storage: str,
        folder: Path,
        stale_after: float = 300.0,
        retry_failed: bool = False,
        rerun_stale: bool = False,
        all_here: bool = True,
    ) -> None:
        if sweep.method != "grid" and not sweep.config.get("run_cap"):
            raise UserError(
                f"{sweep.path}: method {sweep.method} has no end of its own; add `run_cap: <number of runs>`"
            )
        self.sweep, self.folder, self.stale_after = sweep, folder, stale_after
        self.commit = commit()
        self._runner = secrets.token_hex(4)
        file = queue_file(storage)
        self._shares_locks = file is not None  # every runner finds the locks beside the file
        self.locks = Path(f"{file or folder / 'queue'}.locks")
        self._lock = Lock(self.locks / "queue")
        with self._lock:
            self.study = _open_study(sweep, storage)
        self.cells = self._cells()
        self.removed = {t.number for t in self._trials() if all_here and _finished(t) and not self._run_of(t)}
        self.stale = {t.number: told for t in self._trials() if (told := self._other_commit(t))}
        self.reruns = set(self.stale) if rerun_stale else set()
        retried = {t.number for t in self._trials() if retry_failed and _failure(t)}
        self._again = self.removed | self.reruns | retried

    def _cells(self) -> dict[str, Cell | None]:
        """Cell key -> values, or None where the sampler will choose them."""
        if self.sweep.method == "grid":
            return {cell_key(cell): cell for cell in grid_cells(self.sweep.parameters)}
        return {f"draw{number}": None for number in range(self.sweep.config["run_cap"])}

    def _trials(self) -> "list[FrozenTrial]":
        return [trial for trial in self.study.get_trials(deepcopy=False) if "cell" in trial.user_attrs]

    def _run_of(self, trial: "FrozenTrial") -> RunFolder | None:
        name = trial.user_attrs.get("name")
        path = find_folder(self.folder, name) if name else None
        return RunFolder(path) if path else None

    def _other_commit(self, trial: "FrozenTrial") -> str:
        """The commit of a finished cell of the file where it is known and not ours, else nothing."""
        if not _finished(trial) or trial.user_attrs["cell"] not in self.cells:
            return ""
        run = self._run_of(trial)
        told = run.read_state().get("commit") if run else trial.user_attrs.get("commit")
        return self.other_commit(told)

    def other_commit(self, told: str | None) -> str:
        """`told` where both it and this code's commit are known and they differ, else nothing."""
        return told if told and self.commit and told != self.commit else ""

    def _fill(self) -> None:
        """Queue every cell that no attempt stands for: new ones, and those whose runner was lost."""
        self._close_lost()
        trials = self._trials()
        taken = {trial.user_attrs["cell"] for trial in trials if self._stands(trial)}
        last = {trial.user_attrs["cell"]: trial.params for trial in trials}
        for key in self.cells:
            if key not in taken and not is_held(self.locks / key):
                # a redrawn cell keeps its first values, so that its run folder is found again
                self.study.enqueue_trial(last.get(key, {}), user_attrs={"cell": key})

    def _stands(self, trial: "FrozenTrial") -> bool:
        """An attempt that settles its cell: waiting, running, finished, or failed for good."""
        return trial.number not in self._again and (trial.state.name != "FAIL" or bool(_failure(trial)))

    def _close_lost(self) -> None:
        from optuna.trial import TrialState

        for trial in self._trials():
            if trial.state == TrialState.RUNNING and not self._alive(trial):
                self._tell(trial.number, TrialState.FAIL)

    def _alive(self, trial: "FrozenTrial") -> bool:
        owner = trial.user_attrs.get("owner")
        if owner is None:  # killed before its first sign of life; without a lock of ours it may be about to give it
            started = trial.datetime_start
            return not self._shares_locks and started is not None and time.time() - started.timestamp() < 10
        if is_held(owner.get("lock", "")) or is_held(self.locks / trial.user_attrs["cell"]):
            return True  # a training that outlives its runner still owns its folder, a suspended runner too
        return owner["host"] != HOST and time.time() - owner["beat"] < self.stale_after

    def take(self) -> Claim | None:
        """Take the next waiting cell, or None where none waits."""
        from optuna.trial import TrialState

        with self._lock:
            self._fill()
            while any(trial.state == TrialState.WAITING for trial in self._trials()):
                trial = self.study.ask()
                key = trial.user_attrs.get("cell", "")
                lock = Lock(self.locks / key)
                if key in self.cells and not self._earlier(trial.number, key) and lock.take():
                    return self._claim(trial, key, lock)
                # no longer in the file, queued twice, or still run by somebody
                self._tell(trial.number, TrialState.FAIL)
        return None

    def _earlier(self, number: int, key: str) -> bool:
        return any(t.number < number and t.user_attrs["cell"] == key and self._stands(t) for t in self._trials())

    def _claim(self, trial: "optuna.Trial", key: str, lock: Lock) -> Claim:
        try:
            cell = self.cells[key] or draw(trial, self.sweep.parameters)
        except ValueError as error:
            message = (
                f"{self.sweep.path}: its values changed since study {self.sweep.name} began ({error}); rename the file"
            )
            raise UserError(message) from error
        claim = Claim(trial, cell, cell_name(cell, self.sweep.parameters), lock)
        trial.set_user_attr("name", claim.name)
        self.beat(claim)
        return claim

    def beat(self, claim: Claim) -> bool:
        """Give a sign of life for a cell; False where it was taken over by another runner."""
        owner = {"runner": self._runner, "host": HOST, "lock": str(claim.lock.path.absolute()), "beat": time.time()}
        return self._note(claim, owner=owner)

    def finish(self, claim: Claim, value: float | None, seconds: float, **origin: Any) -> bool:
        """Record a finished run; False where it was taken over.

        Args:
            claim: Its cell.
            value: Its metric; None where the run did not log it.
            seconds: How long it took.
            origin: What the run says of its code: `commit` and `versions`.
        """
        from optuna.trial import TrialState

        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        return self._close(claim, state, value, seconds=round(seconds, 1), **origin)

    def fail(self, claim: Claim, reason: str) -> bool:
        """Record a failed run, which is not tried again unless asked for; False where it was taken over."""
        from optuna.trial import TrialState

        return self._close(claim, TrialState.FAIL, failure=reason)

    def release(self, claim: Claim) -> None:
        """Give a cell back that was broken off, for the next to take."""
        from optuna.trial import TrialState

        self._close(claim, TrialState.FAIL)

    def _close(self, claim: Claim, state: "TrialState", value: float | None = None, **attributes: Any) -> bool:
        ours = self._note(claim, **attributes) and self._tell(claim.trial.number, state, value)
        claim.lock.release()
        return ours

    def _note(self, claim: Claim, **attributes: Any) -> bool:
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            for name, value in attributes.items():
                claim.trial.set_user_attr(name, value)
        except UpdateFinishedTrialError:
            return False
        return True

    def _tell(self, number: int, state: "TrialState", value: float | None = None) -> bool:
        """Close an attempt; False where another has closed it."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return self.study.tell(number, value, state, skip_if_finished=True).state == state
        except UpdateFinishedTrialError:
            return False

    def elsewhere(self) -> list[str]:
        """Names of the cells that others run now."""
        with self._lock:
            running = [t for t in self._trials() if t.state.name == "RUNNING" and self._alive(t)]
        owners = [(t.user_attrs.get("name", "?"), t.user_attrs.get("owner", {})) for t in running]
        return [name for name, owner in owners if owner.get("runner") != self._runner]

    def rows(self) -> list[dict[str, Any]]:
        """One row a cell for the closing table: name, state, value, seconds, failure."""
        latest: dict[str, FrozenTrial] = {}
        for trial in self._trials():
            key = trial.user_attrs["cell"]
            if key not in latest or self._stands(trial):
                latest[key] = trial
        return [_row(latest[key]) for key in self.cells if key in latest]


def queue_file(storage: str) -> Path | None:
    """The file that a storage address stands for, a journal or an SQLite database; None for a database server."""
    scheme, separator, path = storage.partition("://")
    if not separator:
        return Path(storage)
    return Path(path[1:]) if scheme.startswith("sqlite") else None


def _open_study(sweep: SweepFile, storage: str) -> "optuna.Study":
    import optuna

    from lightning_app.sweep.storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=sweep.name,
        storage=open_storage(storage),
        direction=optuna.study.StudyDirection[sweep.direction.upper()],
        sampler=optuna.samplers.TPESampler() if sweep.method == "bayes" else optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )


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


def dry_cells(sweep: SweepFile, seeds: Iterable[int] = range(3)) -> list[Cell]:
    """The cells a sweep would run: all of a grid; for random and Bayesian search some examples."""
    if sweep.method == "grid":
        return grid_cells(sweep.parameters)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = (optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)) for seed in seeds)
    return [draw(study.ask(), sweep.parameters) for study in studies]
