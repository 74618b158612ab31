"""The table of what runs say of other test cases: of another data set, or damaged, beside their own."""

from lightning_app.files import read_csv
from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run
from lightning_app.report.tables import Table, number, title_of
from lightning_app.training.drift import likeness

NUMBERS = ("dice", "ece_pooled", "nll", "brier")


def shift_table(comparison: Comparison) -> Table | None:
    """A row a run and test stage, the run's own cases first; None where no run was tested on others."""
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for run in comparison.runs:
        for stage in _stages(run):
            means, promise = _means(run, stage), _promise(run, stage)
            start = [comparison.method(run), run.data, run.name, stage]
            values = [means.get(name, float("nan")) for name in NUMBERS]
            end = [" | ".join(promise), likeness(run.folder.path / stage)]
            rows.append([*start, *map(number, values), *end])
            keys.append([*start, *values, *end])
    titles = ["Method", "Data", "Run", "Test cases", *map(title_of, NUMBERS)]
    titles += ["Risk: promised, happened", "Beside the promise's cases"]
    caption = "Each run on its own test cases (test) and on others, means over cases; under shift no promise holds"
    return Table("shift", caption, titles, rows, keys, fixed=4) if rows else None


def _stages(run: Run) -> list[str]:
    found = sorted(path.parent.name for path in run.folder.path.glob("test_*/summary.csv"))
    own = ["test"] if (run.folder.path / "test" / "summary.csv").is_file() else []
    return [*own, *found] if found else []


def _means(run: Run, stage: str) -> dict[str, float]:
    rows = read_csv(run.folder.path / stage / "summary.csv")
    return {row["metric"]: float(row["mean"] or "nan") for row in rows if row["class"] == "all"}


def _promise(run: Run, stage: str) -> list[str]:
    path = run.folder.path / stage / "risk.csv"
    rows = read_csv(path) if path.is_file() else []
    return [f"{row['class']}: {number(float(row['level']))}, {number(float(row['happened']))}" for row in rows]
