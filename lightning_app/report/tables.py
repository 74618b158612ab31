"""Tables as data, and as CSV, Markdown, LaTeX and HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightning_app.files import csv_text, write_text
from lightning_app.report.compare import Cell, Comparison
from lightning_app.report.read import Case
from metrics import catalogue

BY_CLASS, OF_RUNS = ("dice", "nll", "brier", "ece"), ("dice", "nll", "ece")
_INTERVAL = re.compile(r"(\[-?[\d.]+, -?[\d.]+\])")
LATEX = {
    "\\": r"\textbackslash ",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "γ": r"$\gamma$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "δ": r"$\delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "★": "bold",
    "≈": "underlined",
}
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
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[Sequence[float | str]] = field(default_factory=list)

    def to_csv(self) -> str:
        """Comma-separated, without marks."""
        return csv_text([[text.strip(" ★≈") for text in row] for row in [self.columns, *self.rows]])

    def to_markdown(self) -> str:
        """A GitHub table under its caption."""
        lines = [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in [self.columns, *self.rows]
        ]
        return "\n".join([self.caption, "", lines[0], "|" + " --- |" * len(self.columns), *lines[1:], ""])

    def to_latex(self) -> str:
        """A booktabs table; the best value is bold, those not told apart from it underlined."""
        body = [" & ".join(_latex(text) for text in row) + r" \\" for row in self.rows]
        head = " & ".join(rf"\textbf{{{_latex(title)}}}" for title in self.columns) + r" \\"
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )

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


def _latex(text: str) -> str:
    for mark, wrap in (("★", r"\textbf{%s}"), ("≈", r"\underline{%s}")):
        if text.endswith(mark):
            return wrap % _latex(text.rstrip(f" {mark}"))
    for plain, coded in LATEX.items():
        text = text.replace(plain, coded)
    return text


def title_of(metric: str) -> str:
    """Name of a metric as a column title, with the direction that is better."""
    return catalogue.title_of(metric, arrow=True)


def number(value: float, digits: int = 4) -> str:
    """A number without its leading zero's noise: fixed digits, empty where there is none."""
    if np.isnan(value):
        return ""
    return f"{value:.{2 if abs(value) >= 10 else digits}f}"


def cell_text(cell: Cell | None) -> str:
    """Mean, interval and mark of a cell."""
    if cell is None:
        return ""
    interval = "" if np.isnan(cell.low) else f" [{number(cell.low)}, {number(cell.high)}]"
    return f"{number(cell.mean)}{interval} {MARKS[cell.mark]}".strip()


def main_metrics(comparison: Comparison) -> list[str]:
    """The main metrics that the runs have."""
    return [metric for metric in catalogue.main_keys() if metric in comparison.metrics()]


def summary_table(comparison: Comparison) -> Table:
    """Data set and method against the main metrics: the table that a report begins with."""
    metrics = main_metrics(comparison)
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for data in comparison.data:
        for method in comparison.methods:
            cells = [comparison.cell(data, method, metric) for metric in metrics]
            known = next((cell for cell in cells if cell), None)
            if known is None:
                continue
            rows.append([method, data, str(known.cases), str(known.seeds), *map(cell_text, cells)])
            keys.append(
                [method, data, float(known.cases), float(known.seeds), *(c.mean if c else np.nan for c in cells)]
            )
    caption = (
        f"Means over the cases of the {_stage(comparison)} with 95 % bootstrap intervals over cases (each case is "
        "averaged over the seeds). ★: better than every other method on that data set (paired Wilcoxon test over "
        "cases, Holm-corrected, p < 0.05); ≈: the test does not tell it from the best mean"
    )
    return Table("summary", caption, ["Method", "Data", "Cases", "Seeds", *map(title_of, metrics)], rows, keys)


def class_table(comparison: Comparison) -> Table | None:
    """The same for each class, where there are several."""
    classes = {
        d: comparison.of(d, m)[0].classes(comparison.stage)
        for d in comparison.data
        for m in comparison.methods
        if comparison.of(d, m)
    }
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for data, names in classes.items():
        for label in names if len(names) > 1 else []:
            for method in comparison.methods:
                cells = [comparison.cell(data, method, metric, label) for metric in BY_CLASS]
                if any(cells):
                    rows.append([method, data, label, *map(cell_text, cells)])
                    keys.append([method, data, label, *(c.mean if c else np.nan for c in cells)])
    titles = ["Method", "Data", "Class", *map(title_of, BY_CLASS)]
    return Table("classes", "Each class against the rest, means over cases", titles, rows, keys) if rows else None


def run_table(comparison: Comparison) -> Table:
    """Every run with its seed, time and main results."""
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for run in comparison.runs:
        seconds = float(run.state.get("wall_seconds") or np.nan)
        means = [_mean(comparison.cases(run), metric) for metric in OF_RUNS]
        method = comparison.method(run)
        rows.append([run.name, run.data, method, str(run.seed), run.status, number(seconds, 0), *map(number, means)])
        keys.append([run.name, run.data, method, float(run.seed), run.status, seconds, *means])
    titles = ["Run", "Data", "Method", "Seed", "State", "Seconds", *map(title_of, OF_RUNS)]
    return Table("runs", f"Every run, means over the cases of the {_stage(comparison)}", titles, rows, keys)


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
