"""Does the promised level hold, and what does it cost? Random splits of the stored cases of finished runs.

    python -m benchmarks.risk runs/six --output docs/results

The validation and test cases of a run are one pool, which no training has seen. In each of 1,000 splits a random half
gives the cut and the other half shows the risk at it. Writes `risk.md` and `figures/risk.png` from `bins.npz` alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_app.files import write_text
from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run, find_runs
from metrics.plot.style import finish, legend, new_figure, series_style
from metrics.risk import Risk, case_losses, conformal_cut, counts_above, tested_cut

SPLITS = 1000
ABOUT = """# Cuts with a promise: do they hold, and what do they cost?

Made by `{command}` from {runs} runs of one seed on six sets (the
[small networks](dscpp.md#the-small-networks-of-other-pages)). The pool of a run are its validation and test cases; in
each of {splits} random halvings one half gives the cut and the other shows the risk, the mean over its cases. What is
promised, and what is not: [trust](../trust.md).

**risk**: mean over the splits, with its simulation error in brackets; promised is that it is at most the level. With a
confidence of 0.9 the promise is of single splits: **above** is the share of splits whose other half has a risk above
the level; the halves are small, so that a cut that holds may show more than a tenth. **size** is the price: voxels
claimed over true ones, median over the splits [5 to 95 %]. **refused**: share of splits in which the level could not be
promised; rows of nothing else are left out. Where most splits are refused (fdr on BUSI) the others are those of lucky
halves, and lie above the level: the bound in expectation counts the empty masks too.

![The price of missing at most a twentieth, by loss](figures/risk.png)

"""


class Wish(NamedTuple):
    """What is promised."""

    risk: Risk
    level: float
    confidence: float | None = None

    @property
    def title(self) -> str:
        """In words."""
        sure = "in expectation" if self.confidence is None else f"{self.confidence:.0%} sure"
        return f"{self.risk} at most {self.level:g}, {sure}"


WISHES = (Wish("fnr", 0.1), Wish("fnr", 0.05), Wish("fdr", 0.2), Wish("fnr", 0.1, 0.9))
DRAWN = WISHES[1]


class Shown(NamedTuple):
    """What the splits show of a run and class."""

    data: str
    method: str
    cases: int
    risks: np.ndarray
    sizes: np.ndarray


def pool(run: Run) -> Tensor:
    """Counts (n, 2, K, bins) of the cases that the training has not seen."""
    return torch.cat([torch.from_numpy(run.reliability(stage).odds()[1]) for stage in ("val", "test")])


def simulate(odds: Tensor, wish: Wish) -> tuple[np.ndarray, np.ndarray]:
    """Risk and size of the other half, of each split in which the level could be promised; cases (n, 2, bins).

    Example:
        >>> odds = torch.zeros(40, 2, 3403)  # 40 cases: ten voxels in a low bin, ten true ones in a high bin
        >>> odds[:, 0, [1000, 2500]] = odds[:, 1, 2500:2501] = 10
        >>> risks, sizes = simulate(odds, Wish("fnr", 0.1))
        >>> len(risks), float(risks.max()), float(sizes.max())
        (1000, 0.0, 1.0)
    """
    if wish.risk == "fnr":
        odds = odds[odds[:, 1].sum(-1) > 0]
    losses, (claimed, hits) = case_losses(odds, wish.risk, wish.level), counts_above(odds)
    rng, risks, sizes = np.random.default_rng(0), [], []
    for _ in range(SPLITS):
        own, rest = np.array_split(rng.permutation(len(losses)), 2)
        try:
            cut = cut_of(losses[own], wish)
        except ValueError:  # too few cases, or none keeps it
            continue
        if not claimed[own, cut].any():  # `promise` refuses a cut that claims nothing
            continue
        risks.append(float(losses[rest, cut].mean()))
        sizes.append(float(claimed[rest, cut].sum() / hits[rest, 0].sum()))
    return np.array(risks), np.array(sizes)


def cut_of(losses: Tensor, wish: Wish) -> int:
    """The cut that keeps what is promised."""
    if wish.confidence is None:
        return conformal_cut(losses, wish.level, wish.risk)
    return tested_cut(losses, wish.level, wish.confidence, wish.risk)


def shown(comparison: Comparison, wish: Wish) -> list[Shown]:
    """What every run and class shows, ordered by data set."""
    found = []
    for run in comparison.runs:
        odds, names = pool(run), run.classes("test")
        for k, name in enumerate(names, 1):
            title = f"{run.data}, {name}" if len(names) > 1 else run.data
            found.append(Shown(title, comparison.method(run), len(odds), *simulate(odds[:, :, k], wish)))
    order = {method: place for place, method in enumerate(comparison.methods)}
    return sorted(found, key=lambda one: (one.data, order[one.method]))


def table(rows: Sequence[Shown], wish: Wish) -> str:
    """The splits of every run, in Markdown."""
    lines = [f"## {wish.title}", "", "| data | method | cases | risk | above | size | refused |", "|---" * 7 + "|"]
    for row in rows:
        if len(row.risks):
            error = row.risks.std() / len(row.risks) ** 0.5
            low, middle, high = np.quantile(row.sizes, (0.05, 0.5, 0.95))
            cells = [f"{row.risks.mean():.4f} ({error:.4f})", f"{(row.risks > wish.level).mean():.2f}"]
            cells += [f"{middle:.2f} [{low:.2f}, {high:.2f}]", f"{1 - len(row.risks) / SPLITS:.2f}"]
            lines.append(f"| {row.data} | {row.method} | {row.cases} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Shown], path: Path) -> None:
    """The price by data set, a mark a method."""
    sets = list(dict.fromkeys(row.data for row in rows if len(row.sizes)))
    figure, ax = new_figure(size=(7.5, 3.6))
    for index, method in enumerate(dict.fromkeys(row.method for row in rows)):
        own = [row for row in rows if row.method == method and len(row.sizes)]
        style = series_style(index) | {"linestyle": ""}
        place = [sets.index(row.data) + 0.15 * (index - 1.5) for row in own]
        ax.plot(place, [np.median(row.sizes) for row in own], label=method, **style)
        ends = np.array([np.quantile(row.sizes, (0.05, 0.95)) for row in own])
        ax.vlines(place, *ends.T, color=style["color"], linewidth=1)
    ax.axhline(1, color="#666666", linestyle=":", linewidth=1.2)
    ax.set(yscale="log")
    finish(ax, DRAWN.title, "", "claimed over true voxels")
    ax.set_xticks(range(len(sets)), [name.replace(", ", "\n") for name in sets], fontsize=7)
    legend(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Split, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    comparison = Comparison(find_runs(options.runs), "test")
    found = {wish: shown(comparison, wish) for wish in WISHES}
    about = ABOUT.format(
        command="python -m benchmarks.risk runs/six --output docs/results", runs=len(comparison.runs), splits=SPLITS
    )
    draw(found[DRAWN], options.output / "figures" / "risk.png")
    write_text(options.output / "risk.md", about + "\n".join(table(rows, wish) for wish, rows in found.items()))


if __name__ == "__main__":
    main()
