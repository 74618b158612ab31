"""Tells where runs of different code, or of different versions of what it stands on, are compared."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from lightning_app.report.read import Run

Key = TypeVar("Key")
UNKNOWN = "not recorded"
SHOWN = 3  # runs named of each kind


def code_of(run: Run, stage: str) -> str:
    """The commit that trained a run, shortened, `+` for changes on top; and that which scored it, if another."""
    trained = run.state.get("commit")
    scored = (run.state.get("evaluated") or {}).get(stage, trained)
    return _short(trained) if scored == trained else f"{_short(trained)}, scored by {_short(scored)}"


def mixtures(runs: Sequence[Run], stage: str, method: Callable[[Run], str]) -> list[str]:
    """A sentence for the commits, and one for each package, in which the runs differ.

    Args:
        runs: The runs that are compared.
        stage: The part whose scores are compared.
        method: The label of a run's method; runs of one method and data set make one cell.
    """
    told = []
    by_code = _grouped(runs, lambda run: code_of(run, stage))
    if len(by_code) > 1:
        cells = _grouped(runs, lambda run: (run.data, method(run)))
        mixed = [f"{m} on {data}" for (data, m), own in cells.items() if len({code_of(r, stage) for r in own}) > 1]
        within = f" Single cells mix them: {_some(mixed)}." if mixed else ""
        told.append(
            f"These runs come from different code ({_listed(by_code)}): run the older ones again before their numbers "
            f"are compared.{within}"
        )
    for name in dict.fromkeys(name for run in runs for name in _versions(run)):
        found = _grouped(runs, partial(_version, name))
        if len(found) > 1:
            told.append(f"These runs come from different versions of {name} ({_listed(found)}).")
    return told


def _versions(run: Run) -> Mapping[str, str]:
    return run.state.get("versions") or {}


def _version(name: str, run: Run) -> str:
    return _versions(run).get(name, UNKNOWN)


def _short(commit: str | None) -> str:
    if not commit:
        return UNKNOWN
    return commit[:7] + ("+" if commit.endswith("+") else "")


def _grouped(runs: Sequence[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _listed(groups: Mapping[str, Sequence[Run]]) -> str:
    return "; ".join(f"{name}: {_some([run.name for run in runs])}" for name, runs in groups.items())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
