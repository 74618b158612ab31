"""Folds: runs of one seed whose cases are disjoint are one evaluation, pooled over all of their cases."""

from collections.abc import Mapping, Sequence

from lightning_app.report.read import Case, Run
from metrics.catalogue import NUMBERS

Row = tuple[float, float, float]


def join(runs: Sequence[Run], cases: Mapping[int, Sequence[Case]]) -> list[tuple[Run, ...]]:
    """The runs of each seed, together as long as none of their cases is there twice.

    Args:
        runs: Runs of one method on one data set.
        cases: Scores of the cases by `id(run)`.
    """
    joined: list[tuple[set[str], list[Run]]] = []
    for run in runs:
        own = {case.name for case in cases[id(run)]}
        fitting = (group for group in joined if group[1][0].seed == run.seed and not own & group[0])
        names, members = next(fitting, (set(), []))
        if not members:
            joined.append((names, members))
        names |= own
        members.append(run)
    return [tuple(members) for _, members in joined]


def pooled(runs: Sequence[Run], stage: str, key: str) -> dict[str, Row]:
    """Class -> value, low and high of a number of all voxels of all folds together, the interval over all cases.

    Empty where a fold lacks what the number is computed from.
    """
    import metrics

    parts = [run.reliability(stage) for run in runs]
    shared = set.intersection(*(set(part.arrays) for part in parts))
    cases = [sums for part in parts for sums in part.only(shared).sums().values()]
    row = NUMBERS.get(key)
    if row is None or not cases or not row.known(cases[0]):
        return {}
    (low,), (high,) = metrics.pooled_intervals([cases], [row])
    values = row.value(metrics.merge_sums(cases)).tolist()
    labels = ["all", *runs[0].classes(stage)]
    return dict(zip(labels, zip(values, low.tolist(), high.tolist(), strict=False), strict=False))


def unkept(joined: Sequence[Sequence[Run]], stage: str) -> list[str]:
    """A sentence on folds that were scored before their sums were kept, if there are some."""
    folds = [run for runs in joined if len(runs) > 1 for run in runs]
    names = [run.name for run in folds if not run.reliability(stage).keeps_sums]
    if not names:
        return []
    verb = {"val": "validate", "test": "test"}[stage]
    return [
        f"The folds {', '.join(names)} were scored before the sums of their cases were kept, and have no pooled "
        f"numbers together: run {verb} on them again."
    ]
