"""Tables as data, and as CSV, Markdown, LaTeX and HTML."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from lightning_app.files import csv_text, write_text
from lightning_app.report import latex
from lightning_app.report.compare import Cell, Comparison
from lightning_app.report.mixtures import code_of
from lightning_app.report.read import Case
from lightning_app.report.verdicts import Marks
from metrics import catalogue
from metrics.intervals import ENOUGH_CASES

BY_CLASS, OF_RUNS = ("dice", "nll", "brier", "ece"), ("dice", "nll", "ece")
_INTERVAL = re.compile(r"((?:± [\d.]+ )?\[[-+]?[\d.]+, [-+]?[\d.]+\])")
MARKS = {"best": "★", "tied": "≈", "": ""}
MARK_WORDS = {"best": "best", "tied": "not told apart from the best", "": ""}


@dataclass(frozen=True)
class Table:
    """A table: texts to be shown, and what sorts them.

    Args:
        name: File name without ending, and the table's anchor in the page.
        caption: What it shows, with n.
        columns: Column titles.
        rows: Texts, one list a row; marks (★, ≈) are part of the text.
        keys: Sort keys beside the texts: numbers where a column is numeric.
        records: The same as plain names and numbers, for the CSV: value, low and high apart.
        fixed: Leading columns that name a row.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[Sequence[float | str]] = field(default_factory=list)
    records: Sequence[Mapping[str, float | str]] = field(default_factory=list)
    fixed: int = 1

    def to_csv(self) -> str:
        """Comma-separated: the records where there are some, in full, else the texts without marks."""
        if not self.records:
            return csv_text([[text.strip(" ★≈") for text in row] for row in [self.columns, *self.rows]])
        names = list(dict.fromkeys(name for record in self.records for name in record))
        return csv_text([names, *([_plain(record.get(name, "")) for name in names] for record in self.records)])

    def to_markdown(self) -> str:
        """A GitHub table under its caption."""
        lines = [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in [self.columns, *self.rows]
        ]
        return "\n".join([self.caption, "", lines[0], "|" + " --- |" * len(self.columns), *lines[1:], ""])

    def to_latex(self) -> str:
        """Booktabs tables that fit a page; the best value is bold, those not told apart from it underlined."""
        return latex.render(self.name, self.caption, self.columns, self.rows, self.fixed)

    def to_html(self) -> str:
        """A table whose columns sort by a button and whose rows a filter can hide."""
        heads = "".join(
            f'<th scope="col" aria-sort="none"><button type="button">{html.escape(title)}</button></th>'
            for title in self.columns
        )
        keys = self.keys or self.rows
        body = "".join(_html_row(row, key) for row, key in zip(self.rows, keys, strict=True))
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(self.caption)}">'
            f'<table id="{self.name}" class="sortable"><caption>{html.escape(self.caption)}</caption>'
            f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def _plain(value: float | str) -> str:
    """A value in full; empty for NaN."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else "" if np.isnan(value) else repr(float(value))


def _html_row(row: Sequence[str], keys: Sequence[float | str]) -> str:
    cells = []
    for number, (text, key) in enumerate(zip(row, keys, strict=True)):
        value = "" if isinstance(key, float) and np.isnan(key) else str(key)
        mark = "best" if text.endswith("★") else "tied" if text.endswith("≈") else ""
        shown = _INTERVAL.sub(r'<span class="interval">\1</span>', html.escape(text.rstrip(" ★≈")))
        if mark:
            shown += f' <abbr class="mark" title="{MARK_WORDS[mark]}">{MARKS[mark]}</abbr>'
        tag, scope = ("th", ' scope="row"') if number == 0 else ("td", "")
        kind = f' class="{mark}"' if mark else ""
        cells.append(f'<{tag}{scope}{kind} data-key="{html.escape(value)}">{shown}</{tag}>')
    return f"<tr>{''.join(cells)}</tr>"


def title_of(metric: str) -> str:
    """Name of a metric as a column title, with the direction that is better."""
    return catalogue.title_of(metric, arrow=True)


def number(value: float, digits: int = 4) -> str:
    """A number without its leading zero's noise: fixed digits, empty where there is none."""
    if np.isnan(value):
        return ""
    return f"{value:.{2 if abs(value) >= 10 else digits}f}"


def cell_text(cell: Cell | None, mark: str = "") -> str:
    """Mean, spread of the seeds, interval and mark of a cell."""
    if cell is None:
        return ""
    spread = "" if np.isnan(cell.spread) else f" ± {number(cell.spread)}"
    interval = "" if np.isnan(cell.low) else f" [{number(cell.low)}, {number(cell.high)}]"
    return f"{number(cell.mean)}{spread}{interval} {MARKS[mark]}".strip()


def cell_record(name: str, cell: Cell | None, mark: str = "") -> dict[str, float | str]:
    """A cell's columns of the CSV."""
    if cell is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_seed_sd", f"{name}_mark"), "")
    ends = {f"{name}_low": cell.low, f"{name}_high": cell.high, f"{name}_seed_sd": cell.spread}
    return {name: cell.mean, **ends, f"{name}_mark": mark}


def main_metrics(comparison: Comparison) -> list[str]:
    """The main metrics that the runs have."""
    return [metric for metric in catalogue.main_keys() if metric in comparison.metrics()]


class _Rows:
    """Texts, sort keys and records of a table of cells, row by row."""

    def __init__(self, comparison: Comparison, marks: Marks, metrics: Sequence[str]) -> None:
        self.comparison, self.marks, self.metrics = comparison, marks, metrics
        self.rows: list[list[str]] = []
        self.keys: list[list[float | str]] = []
        self.records: list[dict[str, float | str]] = []

    def add(self, data: str, method: str, label: str = "all") -> None:
        """Add a method on a data set, if it was run there."""
        cells = {metric: self.comparison.cell(data, method, metric, label) for metric in self.metrics}
        known = next((cell for cell in cells.values() if cell), None)
        if known is None:
            return
        counts = (known.cases, known.seeds)
        marks = {metric: self.marks.of(data, metric, label).get(method, "") for metric in self.metrics}
        start = [method, data] if label == "all" else [method, data, label]
        self.rows.append([*start, *map(str, counts), *(cell_text(cell, marks[m]) for m, cell in cells.items())])
        self.keys.append([*start, *map(float, counts), *(cell.mean if cell else np.nan for cell in cells.values())])
        record: dict[str, float | str] = dict(zip(("method", "data", "class"), start, strict=False))
        record |= {"cases": known.cases, "seeds": known.seeds}
        for metric, cell in cells.items():
            record |= cell_record(metric, cell, marks[metric])
        self.records.append(record)

    def few(self) -> str:
        """A sentence on data sets whose intervals do not hold what they say, if there are some."""
        counts = {row["data"]: row["cases"] for row in self.records if float(row["cases"]) < ENOUGH_CASES}
        told = ", ".join(f"{data} ({count})" for data, count in counts.items())
        return f". Too few cases for intervals that hold 95 %, and for verdicts: {told}" if told else ""


@lru_cache(maxsize=1)
def summary_marks(comparison: Comparison) -> Marks:
    """The marks of the first table, which the sentences above it repeat."""
    return Marks(comparison, main_metrics(comparison))


def summary_table(comparison: Comparison) -> Table:
    """Data set and method against the main metrics: the table that a report begins with."""
    metrics = main_metrics(comparison)
    found = _Rows(comparison, summary_marks(comparison), metrics)
    for data in comparison.data:
        for method in comparison.methods:
            found.add(data, method)
    several = " and seeds; ±: standard deviation over the seeds" if any(r["seeds"] != 1 for r in found.records) else ""
    caption = (
        f"Means over the cases of the {_stage(comparison)} with 95 % intervals over cases{several}. ★: better than "
        "every other method on that data set, by the mean, by the paired Wilcoxon test (Holm-corrected over this whole "
        f"table, p < 0.05) and by the interval of the difference; ≈: not told apart from the best mean{found.few()}"
    )
    titles = ["Method", "Data", "Cases", "Seeds", *map(title_of, metrics)]
    return Table("summary", caption, titles, found.rows, found.keys, found.records, fixed=4)


def class_table(comparison: Comparison) -> Table | None:
    """The same for each class, where there are several."""
    classes = {
        data: comparison.of(data, method)[0].classes(comparison.stage)
        for data in comparison.data
        for method in comparison.methods
        if comparison.of(data, method)
    }
    several = {data: names for data, names in classes.items() if len(names) > 1}
    found = _Rows(comparison, Marks(comparison, BY_CLASS, several), BY_CLASS)
    for data, names in several.items():
        for label in names:
            for method in comparison.methods:
                found.add(data, method, label)
    titles = ["Method", "Data", "Class", "Cases", "Seeds", *map(title_of, BY_CLASS)]
    caption = "Each class against the rest, means over cases; marks as in the first table, over this one"
    return Table("classes", caption, titles, found.rows, found.keys, found.records, fixed=5) if found.rows else None


def run_table(comparison: Comparison) -> Table:
    """Every run with its seed, time and main results."""
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for run in comparison.runs:
        seconds = float(run.state.get("wall_seconds") or np.nan)
        means = [_mean(comparison.cases(run), metric) for metric in OF_RUNS]
        method = comparison.method(run)
        start, code = [run.name, run.data, method], code_of(run, comparison.stage)
        rows.append([*start, str(run.seed), run.status, code, number(seconds, 0), *map(number, means)])
        keys.append([*start, float(run.seed), run.status, code, seconds, *means])
    titles = ["Run", "Data", "Method", "Seed", "State", "Commit", "Seconds", *map(title_of, OF_RUNS)]
    return Table("runs", f"Every run, means over the cases of the {_stage(comparison)}", titles, rows, keys, fixed=3)


def _mean(cases: Sequence[Case], metric: str) -> float:
    values = [case.scores.get((metric, "all"), np.nan) for case in cases]
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _stage(comparison: Comparison) -> str:
    return {"val": "validation part", "test": "test part"}[comparison.stage]


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write each table as `.csv`, `.md` and `.tex`."""
    written = []
    for table in tables:
        for ending, text in ((".csv", table.to_csv()), (".md", table.to_markdown()), (".tex", table.to_latex())):
            written.append(write_text(folder / f"{table.name}{ending}", text))
    return written
