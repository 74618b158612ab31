"""`python -m lightning_app report`: one HTML page that compares runs, and their tables."""

import argparse
import html
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_app.report import cases, diagrams, figures, papers, tables
from lightning_app.report.compare import Comparison
from lightning_app.report.page import Section, folded, render
from lightning_app.report.read import STAGES, Run, find_runs
from lightning_app.report.tables import Table, write_tables
from lightning_app.run_folder import write_text

RANK_METRICS = ("dice", "nll", "brier", "ece", "ece_all_classwise")


def main(args: list[str]) -> int:
    """Write a report.

    Args:
        args: Arguments of the command line.

    Returns:
        0.

    Raises:
        FileNotFoundError: A folder holds no evaluated run.
        ValueError: The runs have no evaluated stage in common.
    """
    options = _parser().parse_args(args)
    runs = find_runs(options.runs)
    comparison = Comparison(runs, options.stage)
    out = Path(options.out or Path(options.runs[0]) / "report.html")
    title = options.title or f"{Path(options.runs[0]).resolve().name}: {len(comparison.methods)} methods compared"
    write_text(out, build(comparison, title))
    written = write_tables(all_tables(comparison), Path(options.tables)) if options.tables else []
    sys.stdout.write(tables.summary_table(comparison).to_markdown())
    sys.stdout.write(f"\nreport  {out}  ({out.stat().st_size / 1e6:.1f} MB, opens anywhere)\n")
    sys.stdout.writelines(f"table   {path}\n" for path in written)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app report",
        description="Compare runs: one self-contained HTML page from their run folders, and tables as CSV, "
        "Markdown and LaTeX. What differs between the runs is found from their configurations; runs that differ in the "
        "seed alone are averaged.",
    )
    add = parser.add_argument
    add("runs", nargs="+", help="run folders, or folders of run folders such as runs/bench_a_phantom")
    add("--out", default=None, help="the page (default: report.html in the first folder)")
    add("--stage", choices=STAGES, default=None, help="which part to report (default: test where every run has it)")
    add("--title", default=None, help="title of the page")
    add("--tables", default=None, metavar="FOLDER", help="also write the tables there, as .csv, .md and .tex")
    return parser


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table of the report."""
    found = [tables.summary_table(comparison), tables.class_table(comparison), *papers.paper_tables(comparison)]
    return [*(table for table in found if table), tables.run_table(comparison)]


def build(comparison: Comparison, title: str) -> str:
    """The page.

    Args:
        comparison: The runs, grouped.
        title: Title of the page.

    Returns:
        HTML.
    """
    summary, *others, runs = all_tables(comparison)
    curves, maps = figures.parameter_curves(comparison), figures.isolines(comparison)
    sections = [
        Section("results", "Results", _verdict(comparison), [summary], figures.overview(comparison)),
        Section("parameters", "Gamma, margin, learning rate", "", (), [*curves, *maps]),
        Section("ranks", "Ranks", "Rank 1 is best.", (), _ranks(comparison)),
        Section("reliability", "Reliability", diagrams.INTRODUCTION, (), diagrams.reliability(comparison)),
        Section(
            "confidence", "Confidence", "", (), [*diagrams.histograms(comparison), *diagrams.selection(comparison)]
        ),
        Section("thresholds", "Thresholds", "", (), diagrams.thresholds(comparison)),
        Section("spread", "Spread over cases", "", (), diagrams.boxes(comparison)),
        Section("papers", "Classes and the papers' layouts", "", others),
        Section(
            "cases",
            "Cases",
            "Worst, median and best case by Dice, of each method's first seed.",
            (),
            (),
            cases.case_details(comparison),
        ),
        Section("training", "Training", "", (), figures.training_curves(comparison)),
        Section("runs-section", "Runs", "", [runs], (), [run_details(run) for run in comparison.runs]),
    ]
    return render(title, _lead(comparison), sections, f"Made {time.strftime('%Y-%m-%d %H:%M')} from run folders alone.")


def _lead(comparison: Comparison) -> str:
    count = {len(comparison.values(d, m, "dice")) for d in comparison.data for m in comparison.methods} - {0}
    cases_text = " to ".join(str(n) for n in sorted({min(count), max(count)})) if count else "no"
    seeds = sorted({run.seed for run in comparison.runs})
    part = {"val": "validation", "test": "test"}[comparison.stage]
    return (
        f"{len(comparison.runs)} runs: {len(comparison.methods)} methods on {', '.join(comparison.data)}; {cases_text} "
        f"{part} cases a data set; seeds {', '.join(map(str, seeds))}."
    )


def _verdict(comparison: Comparison) -> str:
    sentences = (figures.best_value(comparison, d, m) for d in comparison.data for m in ("dice", "ece"))
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
    return build(Comparison(find_runs(folders), stage), "Runs compared")
