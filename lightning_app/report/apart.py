"""Keeps runs apart whose cases share names but not images: nothing is paired that does not belong together."""

from collections.abc import Mapping, Sequence

from lightning_app.report.read import Case, Run


def set_apart(runs: Sequence[Run], cases: Mapping[int, Sequence[Case]]) -> list[str]:
    """Number the data sets of runs that see other images, or other classes, under the same names.

    Two runs belong together if every case that both have holds as many voxels of each class in both.

    Args:
        runs: Runs; `part` is set where a data set falls into parts.
        cases: Scores of the cases by `id(run)`.

    Returns:
        A sentence for each data set that falls into parts.
    """
    for run in runs:  # read anew, whatever another comparison found
        run.part = ""
    sentences = []
    for data in dict.fromkeys(run.data for run in runs):
        groups: list[tuple[dict[tuple[str, str], float], list[Run]]] = []
        for run in (run for run in runs if run.data == data):
            truth = _truth(cases[id(run)])
            known, members = next((group for group in groups if _agree(group[0], truth)), ({}, []))
            if not members:
                groups.append((known, members))
            known.update(truth)
            members.append(run)
        if len(groups) > 1:
            sentences.append(_number(data, [members for _, members in groups]))
    return sentences


def _truth(cases: Sequence[Case]) -> dict[tuple[str, str], float]:
    """(case, class) -> true voxels."""
    return {(case.name, of): n for case in cases for (metric, of), n in case.scores.items() if metric == "voxels"}


def _agree(one: Mapping[tuple[str, str], float], other: Mapping[tuple[str, str], float]) -> bool:
    same_classes = {of for _, of in one} == {of for _, of in other}
    return same_classes and all(one.get(key, n) == n for key, n in other.items())


def _number(data: str, groups: Sequence[Sequence[Run]]) -> str:
    told = []
    for number, members in enumerate(groups, start=1):
        for run in members:
            run.part = str(number)
        told.append(f"{number}: {', '.join(run.name for run in members[:3])}{' ...' if len(members) > 3 else ''}")
    return f"Runs on {data} see other images or classes under the same names, and are kept apart ({'; '.join(told)})."
