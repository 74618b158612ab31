"""The tables and figures of result pages, made again from run folders.

    python -m benchmarks.results docs/results/dscpp.md --runs_dir runs

A page says in comments what stands where, and everything between such a comment and the next `<!-- end -->` is written
by this program:

    <!-- facts drive drive_after -->                  runs, cases, seeds, commits, versions, hours of training
    <!-- summary drive drive_after: dice nll -->      means with intervals and marks, of these numbers
    <!-- means six: dice nll; DSC, DSC++ -->          means alone, a column a data set, of all methods or of some
    <!-- against DSC++ drive drive_after: dice -->    paired differences of that method less each other; with
                                                      spaces in its name as `DSC++ γ=2.0; drive drive_after: dice`
    <!-- pairs six: dice nll -->                      data sets on which X++ is better than X; tests that say so
    <!-- rates rates/rates.csv drive -->              learning rates tried on validation cases, and which were chosen
    <!-- posthoc posthoc.csv DRIVE -->                calibrators on one set, from `benchmarks.posthoc`
    <!-- posthoc posthoc.csv -->                      calibrators against none, over all sets
    <!-- shifted shifted.csv -->                      calibrators on another set, from `benchmarks.posthoc --shift`
    <!-- shifted shifted.csv each -->                 the same, a row a data set
    <!-- drift drift.csv -->                          warnings without labels, a row a network, from `benchmarks.drift`
    <!-- drift drift.csv promises -->                 the same beside promises that failed, by kind of shift
    <!-- gpu a.json b.json -->                        what runs of `benchmarks.gpu` measured
    <!-- paper mbls_layout bench_mbls -->             a table of the report in a paper's own layout, by its name
    <!-- figure NAME figures/drive.svg drive -->      a picture of the report, as `report --figures` names it

Names are folders or files in `--runs_dir`; a block none of whose names are there is left as it stands, and that is
said. Holm's correction is over all that a table claims.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.drift_tables import by_network, of_promises
from benchmarks.gpu import table as gpu_table
from benchmarks.posthoc_tables import (
    calibrators_kept,
    calibrators_on,
    calibrators_over,
    calibrators_shifted,
    markdown,
)
from lightning_app.errors import UserError
from lightning_app.files import read_csv, write_text
from lightning_app.report.build import sections
from lightning_app.report.compare import Comparison
from lightning_app.report.mixtures import code_of
from lightning_app.report.page import file_name
from lightning_app.report.pairs import pair_table
from lightning_app.report.papers import paper_tables
from lightning_app.report.read import find_runs
from lightning_app.report.tables import cell_text, number, title_of
from lightning_app.report.verdicts import Claim, Judged, Marks, judge

BLOCK = re.compile(
    r"(<!-- (facts|summary|means|against|pairs|rates|posthoc|shifted|drift|gpu|paper|figure) ([^>]*?) -->\n).*?"
    r"(<!-- end -->)",
    re.S,
)


def sources(kind: str, text: str) -> list[str]:
    """The folders or files that a block names."""
    if kind in ("facts", "gpu"):
        return text.split()
    if kind in ("paper", "figure"):
        return text.split()[1 if kind == "paper" else 2 :]
    if kind in ("rates", "posthoc", "shifted", "drift"):
        return text.split()[:1]
    if kind == "against":
        text = text.partition("; " if ";" in text else " ")[2]
    return text.partition(":")[0].split()


@cache
def compared(folders: tuple[Path, ...]) -> Comparison:
    """The runs of some folders, on their test cases."""
    return Comparison(find_runs(folders), "test")


class Page:
    """What stands in the blocks of a page.

    Args:
        path: The page.
        runs_dir: Where the folders of runs lie.
    """

    def __init__(self, path: Path, runs_dir: Path) -> None:
        self.path, self.runs_dir = path, runs_dir
        self.kept: list[str] = []  # blocks left as they stand

    def written(self) -> str:
        """The page with every block made anew.

        Raises:
            UserError: If it has no block, or none whose runs are there.
        """
        text, count = BLOCK.subn(self._block, self.path.read_text(encoding="utf-8"))
        if not count:
            raise UserError(f"{self.path}: no block such as <!-- summary FOLDER: dice nll --> ... <!-- end -->")
        if len(self.kept) == count:
            raise UserError(f"{self.path}: nothing of what its blocks name is in {self.runs_dir} (--runs_dir)")
        return text

    def _block(self, found: re.Match[str]) -> str:
        """A block made anew; as it stands where nothing that it names is there.

        Raises:
            UserError: If a part of it is there.
        """
        names = sources(found[2], found[3])
        missing = [name for name in names if not (self.runs_dir / name).exists()]
        if not missing:
            return f"{found[1]}\n{getattr(self, found[2])(found[3]).strip()}\n\n{found[4]}"
        if len(missing) < len(names):
            raise UserError(f"{self.path}: {found[2]} {found[3]}: there is no {', '.join(missing)} in {self.runs_dir}")
        self.kept.append(f"{found[2]} {found[3]}")
        return found[0]

    def comparison(self, names: Sequence[str]) -> Comparison:
        """The runs of some folders of `runs_dir`."""
        return compared(tuple(self.runs_dir / name for name in names))

    def facts(self, text: str) -> str:
        """A sentence on what was run."""
        comparison = self.comparison(text.split())
        runs = comparison.runs
        cases = ", ".join(f"{data} {max(_counts(comparison, data))}" for data in comparison.data)
        codes = "; ".join(dict.fromkeys(code_of(run, comparison.stage) for run in runs))
        versions = dict.fromkeys(f"{n} {v}" for run in runs for n, v in (run.state.get("versions") or {}).items())
        trained = {run.name.partition("+")[0]: float(run.state.get("wall_seconds") or 0) for run in runs}
        seconds = list(trained.values())
        return (
            f"{len(trained)} trained networks, {len(runs)} evaluations; {comparison.stage} cases: {cases}; seeds "
            f"{', '.join(map(str, sorted({run.seed for run in runs})))}; commit {codes}; {', '.join(versions)}. "
            f"{sum(seconds) / 3600:.1f} hours of training in all, median {np.median(seconds):.0f} s a network."
        )

    def summary(self, text: str) -> str:
        """Means with intervals and marks, a row a method."""
        comparison, metrics = self._asked(text)
        marks = Marks(comparison, metrics)
        heads = ["method", "data", "cases", "seeds", *map(title_of, metrics)]
        rows = []
        for data in comparison.data:
            found = {metric: marks.of(data, metric) for metric in metrics}
            for method in comparison.methods:
                cells = {metric: comparison.cell(data, method, metric) for metric in metrics}
                known = next((cell for cell in cells.values() if cell), None)
                if known is not None:
                    texts = (cell_text(cell, found[metric].get(method, "")) for metric, cell in cells.items())
                    rows.append([method, data, str(known.cases), str(known.seeds), *texts])
        return markdown(heads, rows)

    def means(self, text: str) -> str:
        """Means alone, a row a method and a column a data set."""
        asked, _, chosen = text.partition(";")
        comparison, metrics = self._asked(asked)
        methods = [name.strip() for name in chosen.split(",")] if chosen else comparison.methods
        if unknown := [name for name in methods if name not in comparison.methods]:
            raise UserError(f"means {', '.join(unknown)}: there are {', '.join(comparison.methods)}")
        rows = []
        for method in methods:
            cells = ([comparison.cell(data, method, metric) for metric in metrics] for data in comparison.data)
            rows.append([method, *(", ".join(number(c.mean, 3) if c else "-" for c in own) for own in cells)])
        return markdown([", ".join(map(title_of, metrics)), *comparison.data], rows)

    def against(self, text: str) -> str:
        """Paired differences of a method less each other one."""
        method, _, rest = text.partition("; " if ";" in text else " ")
        comparison, metrics = self._asked(rest)
        if method not in comparison.methods:
            raise UserError(f"against {method}: there are {', '.join(comparison.methods)}")
        others = [other for other in comparison.methods if other != method]
        pairs = [(data, other) for data in comparison.data for other in others]
        claims = {pair: [Claim(pair[0], metric, "all", method, pair[1]) for metric in metrics] for pair in pairs}
        judged = judge(comparison, [claim for own in claims.values() for claim in own])
        rows = [
            [f"{method} less {other}", data, *(_difference(judged.get(claim)) for claim in own)]
            for (data, other), own in claims.items()
            if any(claim in judged for claim in own)
        ]
        return markdown(["difference", "data", *map(title_of, metrics)], rows)

    def pairs(self, text: str) -> str:
        """Counts of data sets on which a loss with the exponent of DSC++ is better than without."""
        comparison, metrics = self._asked(text)
        table = pair_table(comparison, tuple(metrics))
        if table is None:
            raise UserError(f"pairs {text}: no loss was run with ++ and without")
        return markdown(table.columns, table.rows)

    def rates(self, text: str) -> str:
        """Every learning rate that was tried: Dice and NLL of the validation cases; the chosen one in bold."""
        path, *data = text.split()
        rows = [row for row in read_csv(self.runs_dir / path) if not data or row["data"] in data]
        rates = sorted({float(row["lr"]) for row in rows})
        lines = []
        for name, loss in dict.fromkeys((row["data"], row["loss"]) for row in rows):
            own = {float(row["lr"]): row for row in rows if (row["data"], row["loss"]) == (name, loss)}
            lines.append([name, loss, *(_rate(own.get(rate)) for rate in rates)])
        return markdown(["data", "loss", *(f"{rate:g}: Dice, NLL" for rate in rates)], lines)

    def posthoc(self, text: str) -> str:
        """What calibrators do to networks: the values of one set, or over all sets what they change."""
        path, *data = text.split()
        rows = read_csv(self.runs_dir / path)
        return calibrators_on([row for row in rows if row["data"] in data]) if data else calibrators_over(rows)

    def shifted(self, text: str) -> str:
        """What calibrators do on the runs' own test cases and on other sets: over all sets, and `each` of them."""
        path, _, each = text.partition(" ")
        return (calibrators_shifted if each else calibrators_kept)(read_csv(self.runs_dir / path))

    def drift(self, text: str) -> str:
        """Warnings of cases that look unlike those of the promise: by network, or beside `promises` that failed."""
        path, _, promises = text.partition(" ")
        return (of_promises if promises else by_network)(read_csv(self.runs_dir / path))

    def gpu(self, text: str) -> str:
        """What runs of `benchmarks.gpu` measured, beside each other."""
        runs = [json.loads((self.runs_dir / name).read_text(encoding="utf-8")) for name in text.split()]
        devices = ", ".join(dict.fromkeys(f"{run['device']}, torch {run['torch']}" for run in runs))
        return f"{len(runs)} runs on {devices}.\n\n{markdown(*gpu_table(runs))}"

    def paper(self, text: str) -> str:
        """A table in the layout of a paper, with what was published beside it."""
        name, *folders = text.split()
        tables = {table.name: table for table in paper_tables(self.comparison(folders))}
        if name not in tables:
            raise UserError(f"paper {name}: there are {', '.join(tables)}")
        return markdown(tables[name].columns, tables[name].rows)

    def figure(self, text: str) -> str:
        """A picture of the report, written beside the page."""
        name, target, *folders = text.split()
        pictures = {file_name(p.title): p for part in sections(self.comparison(folders)) for p in part.pictures}
        if name not in pictures:
            raise UserError(f"figure {name}: there are {', '.join(pictures)}")
        write_text(self.path.parent / target, pictures[name].data.decode("utf-8"))
        return f"![{pictures[name].title}]({target})"

    def _asked(self, text: str) -> tuple[Comparison, list[str]]:
        names, _, metrics = text.partition(":")
        return self.comparison(names.split()), metrics.split()


def _counts(comparison: Comparison, data: str) -> list[int]:
    return [len(comparison.values(data, method, "dice")) for method in comparison.methods]


def _difference(judged: Judged | None) -> str:
    """Difference, interval, verdict; only the corrected p-value where there is a test."""
    if judged is None:
        return ""
    found, (low, high) = judged.evidence, judged.evidence.interval
    p = "< 0.0001" if judged.p_value < 1e-4 else f"{judged.p_value:.4f}"
    return f"{found.difference:+.4f} [{low:+.4f}, {high:+.4f}], p {p}: {judged.verdict}"


def _rate(row: dict[str, str] | None) -> str:
    if row is None:
        return ""
    shown = f"{number(float(row['val_dice']))}, {number(float(row['val_nll']))}"
    return f"**{shown}**" if row["chosen"] == "yes" else shown


def main(args: Sequence[str] | None = None) -> int:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, help="Markdown files")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where the folders of runs lie")
    options = parser.parse_args(args)
    for path in options.pages:
        page = Page(path, options.runs_dir)
        print(write_text(path, page.written()))
        for block in page.kept:
            print(f"  left as it stands, its runs are not here: {block}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (FileNotFoundError, ValueError) as error:  # no runs, one not tested, a block that cannot be made
        sys.exit(str(error))
