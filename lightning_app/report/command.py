"""`python -m lightning_app report`: its options; what draws and computes is imported once they are understood."""

import argparse
import sys
from pathlib import Path

from lightning_app.files import write_text
from lightning_app.training.run_folder import STAGES


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
    from lightning_app.report import build, compare, page, read, tables

    runs = read.find_runs(options.runs)
    comparison = compare.Comparison(runs, options.stage)
    out = Path(options.out or Path(options.runs[0]) / "report.html")
    title = options.title or f"{Path(options.runs[0]).resolve().name}: {len(comparison.methods)} methods compared"
    parts = build.sections(comparison)
    write_text(out, build.build(comparison, title, parts))
    written = tables.write_tables(build.all_tables(comparison), Path(options.tables)) if options.tables else []
    drawn = page.write_pictures(parts, Path(options.figures)) if options.figures else []
    sys.stderr.writelines(f"warning: {note}\n" for note in comparison.notes)
    sys.stdout.write(tables.summary_table(comparison).to_markdown())
    sys.stdout.write(f"\nreport  {out}  ({out.stat().st_size / 1e6:.1f} MB, opens anywhere)\n")
    sys.stdout.writelines(f"table   {path}\n" for path in written)
    sys.stdout.writelines(f"figure  {path}\n" for path in drawn)
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
    add("--out", "--output", default=None, help="the page (default: report.html in the first folder)")
    add("--stage", choices=STAGES, default=None, help="which part to report (default: test where every run has it)")
    add("--title", default=None, help="title of the page")
    add("--tables", default=None, metavar="FOLDER", help="also write the tables there, as .csv, .md and .tex")
    add("--figures", default=None, metavar="FOLDER", help="also write the page's pictures there, as .svg")
    return parser
