"""The page that compares runs, section by section, and its tables."""

import html
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_app.report import (
    cases,
    diagrams,
    expected,
    figures,
    gdl,
    interactive,
    pairs,
    papers,
    raters,
    shift,
    tables,
)
from lightning_app.report.compare import Comparison
from lightning_app.report.page import Section, folded, render
from lightning_app.report.read import Run, find_runs
from lightning_app.report.tables import Table

RANK_METRICS = ("dice", "nll", "brier", "ece", "ece_classwise")


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table of the report."""
    found = [tables.summary_table(comparison), pairs.pair_table(comparison), pairs.difference_table(comparison)]
    found += [tables.class_table(comparison), shift.shift_table(comparison), raters.rater_table(comparison)]
    found += papers.paper_tables(comparison)
    return [*(table for table in found if table), tables.run_table(comparison)]


def build(comparison: Comparison, title: str, parts: Sequence[Section]) -> str:
    """The page.

    Args:
        comparison: The runs, grouped.
        title: Title of the page.
        parts: The sections of `sections`.

    Returns:
        HTML.
    """
    return render(title, _lead(comparison), parts, f"Made {time.strftime('%Y-%m-%d %H:%M')} from run folders alone.")


def sections(comparison: Comparison) -> list[Section]:
    """Every section of the page, with its tables and pictures."""
    *compared, runs = all_tables(comparison)
    first = [table for table in compared if table.name in ("summary", "pairs")]
    differences = [table for table in compared if table.name == "differences"]
    shifted = [table for table in compared if table.name == "shift"]
    rated = [table for table in compared if table.name == "raters"]
    others = [table for table in compared if table not in [*first, *differences, *shifted, *rated]]
    curves, maps = figures.parameter_curves(comparison), figures.isolines(comparison)
    confidence = [*diagrams.histograms(comparison), *diagrams.selection(comparison)]
    confidence += expected.expected_dice(comparison)
    return [
        Section("results", "Results", _verdict(comparison), first, figures.overview(comparison)),
        Section("paired", "Paired differences", "", differences),
        Section("parameters", "Gamma, margin, learning rate", "", (), [*curves, *maps]),
        Section("ranks", "Ranks", "Rank 1 is best.", (), _ranks(comparison)),
        Section(
            "reliability",
            "Reliability",
            diagrams.INTRODUCTION,
            (),
            diagrams.reliability(comparison),
            first=interactive.reliability_chart(comparison),
        ),
        Section("raters-section", "Raters", raters.INTRODUCTION if rated else "", rated, raters.dice_boxes(comparison)),
        Section("confidence", "Confidence", "", (), confidence),
        Section("thresholds", "Thresholds", "", (), diagrams.thresholds(comparison)),
        Section("shift", "Other test cases", "", shifted),
        Section("spread", "Spread over cases", "", (), diagrams.boxes(comparison)),
        Section("papers", "Classes and the papers' layouts", "", others, gdl.pictures(comparison)),
        Section("cases", "Cases", cases.introduction(comparison), (), (), cases.case_details(comparison)),
        Section("training", "Training", "", (), figures.training_curves(comparison)),
        Section("runs-section", "Runs", "", [runs], (), [run_details(run) for run in comparison.runs]),
    ]


def _lead(comparison: Comparison) -> str:
    count = {len(comparison.values(d, m, "dice")) for d in comparison.data for m in comparison.methods} - {0}
    cases_text = " to ".join(str(n) for n in sorted({min(count), max(count)})) if count else "no"
    seeds = sorted({run.seed for run in comparison.runs})
    part = {"val": "validation", "test": "test"}[comparison.stage]
    some = f" Pictures of single methods show the {len(comparison.leading)} of best Dice."
    return (
        f"{len(comparison.runs)} runs: {len(comparison.methods)} methods on {', '.join(comparison.data)}; {cases_text} "
        f"{part} cases a data set; seeds {', '.join(map(str, seeds))}."
        f"{some if len(comparison.leading) < len(comparison.methods) else ''}"
        f"{''.join(f' {note}' for note in comparison.notes)}"
    )


def _verdict(comparison: Comparison) -> str:
    sentences = (figures.best_value(comparison, metric) for metric in ("dice", "ece"))
    return " ".join(sentence for sentence in sentences if sentence)


def _ranks(comparison: Comparison) -> list:
    drawn = [figures.critical_difference(comparison, m) for m in ("dice", "nll", "ece") if m in comparison.metrics()]
    return [*diagrams.rank_map(comparison, RANK_METRICS), *(picture for picture in drawn if picture)]


def run_details(run: Run) -> str:
    """A folded part with a run's configuration, commit, versions and command."""
    versions = ", ".join(f"{name} {version}" for name, version in (run.state.get("versions") or {}).items())
    facts = {
        "command": run.command,
        "commit": str(run.state.get("commit") or "not recorded"),
        "versions": versions or "not recorded",
        "state": run.status,
        "seconds": str(run.state.get("wall_seconds", "")),
        "folder": str(run.folder),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items() if value)
    config = html.escape(run.folder.config.read_text(encoding="utf-8"))
    return folded(f"{run.name}: configuration and command", f'<dl class="facts">{listed}</dl><pre>{config}</pre>')


def report(folders: Sequence[str | Path], stage: str | None = None) -> str:
    """The page of some run folders, for notebooks.

    Args:
        folders: Run folders, or folders of run folders.
        stage: `val` or `test`; by default the test where every run has it.

    Returns:
        HTML.
    """
    comparison = Comparison(find_runs(folders), stage)
    return build(comparison, "Runs compared", sections(comparison))
