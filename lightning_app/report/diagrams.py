"""Pictures from reliability sums and from scores by case, drawn by `metrics.plot`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

import metrics
from lightning_app.report.compare import Comparison, higher_is_better
from lightning_app.report.figures import picture
from lightning_app.report.page import Picture
from lightning_app.report.tables import number, title_of
from metrics import plot
from metrics.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from metrics import Bins

INTRODUCTION = (
    "Observed frequency against confidence, voxels of all cases and seeds together. On the diagonal a network is right "
    "as often as it says; below it is over-confident."
)
SHOWN = {
    "all.top_label": "top label, all voxels",
    "boundary.top_label": "top label, boundary",
    "all.foreground": "foreground probability, all voxels",
}
FULL = "all.top_label"
NUM_BINS = 15
COLUMNS = 6


def pooled(comparison: Comparison, data: str, method: str, name: str) -> "Bins | None":
    """Bins of a method on a data set over all its seeds, or None where a run has none."""
    sums = [run.reliability(comparison.stage) for run in comparison.of(data, method)]
    found = [part.pooled(name) for part in sums if name in part.names()]
    return metrics.merge_bins(*found) if found else None


def reliability(comparison: Comparison) -> list[Picture]:
    """For each data set the methods' curves in one diagram a view, then a full diagram a method, side by side."""
    drawn = []
    for data in comparison.data:
        for name, words in SHOWN.items():
            found = {m: bins for m in comparison.methods if (bins := pooled(comparison, data, m, name)) is not None}
            if found:
                drawn.append(_together(found, f"{data}, {words}"))
        found = {m: b for m in comparison.methods if (b := pooled(comparison, data, m, FULL)) is not None}
        if found:
            drawn.append(_side_by_side(found, f"{data}, {SHOWN[FULL]}"))
    return drawn


def _together(found: "dict[str, Bins]", title: str) -> Picture:
    stacked = metrics.Bins(*(torch.cat(fields) for fields in zip(*found.values(), strict=True)))
    figure, _ = plot.reliability_diagram(stacked, num_bins=NUM_BINS, title=title, labels=list(found))
    return picture(figure, f"Reliability on {title}", f"A curve a method, {NUM_BINS} bins.", _errors(found))


def _errors(found: "dict[str, Bins]") -> str:
    errors = {m: float(metrics.errors.expected_calibration_error(b, NUM_BINS).nanmean()) for m, b in found.items()}
    return "Pooled ECE: " + ", ".join(f"{method} {number(error)}" for method, error in errors.items())


def _side_by_side(found: "dict[str, Bins]", title: str) -> Picture:
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    figure, axes = style.new_figure(lines, columns, size=(2.5 * columns, 2.9 * lines), squeeze=False)
    for ax, (method, bins) in zip(axes.flat, found.items(), strict=False):
        plot.reliability_diagram(bins, num_bins=NUM_BINS, title=method, ax=ax)
    for ax in axes.flat[len(found) :]:
        ax.remove()
    caption = f"{NUM_BINS} bins; the strip below shows where the voxels are. {_errors(found)}."
    return picture(figure, f"Reliability on {title}, a diagram a method", caption, _errors(found))


def thresholds(comparison: Comparison) -> list[Picture]:
    """Recall, precision and Dice of the foreground against the threshold on its probability, a line a method."""
    drawn = []
    for data in comparison.data:
        found = {m: b for m in comparison.methods if (b := pooled(comparison, data, m, "all.foreground")) is not None}
        if not found:
            continue
        figure, axes = style.new_figure(1, 3, size=(9.6, 3.0), sharex=True)
        for index, (method, bins) in enumerate(found.items()):
            curves = threshold_curves(bins)
            look = {**style.series_style(index), "marker": ""}
            for ax, name in zip(axes, ("recall", "precision", "dice"), strict=True):
                ax.plot(curves["threshold"], curves[name], label=method, **look)
        for ax, name in zip(axes, ("Recall", "Precision", "Dice"), strict=True):
            style.finish(ax, name, xlabel="threshold")
            ax.set(xlim=(0, 1), ylim=(0, 1.02))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
        caption = (
            "Foreground where its probability is at least the threshold, voxels of all cases. Calibrated probabilities "
            "let the threshold trade recall for precision; where all are near 0 or 1, the lines are flat."
        )
        alt = "; ".join(f"{m}: best Dice {float(threshold_curves(b)['dice'].max()):.3f}" for m, b in found.items())
        drawn.append(picture(figure, f"Thresholds on {data}", caption, alt))
    return drawn


def threshold_curves(bins: "Bins", points: int = 300) -> dict[str, np.ndarray]:
    """Recall, precision and Dice at every threshold i / points, from bins of the foreground probability.

    Args:
        bins: Fields (1, B), B a multiple of `points`.
        points: Number of thresholds.

    Returns:
        `threshold`, `recall`, `precision`, `dice`, each (points,); precision is NaN where nothing is claimed.
    """
    count, _, correct, _ = (field[0].double().numpy() for field in metrics.rebin(bins, points))
    claimed, hit = count[::-1].cumsum()[::-1], correct[::-1].cumsum()[::-1]
    with np.errstate(invalid="ignore"):
        precision = hit / claimed
    true = max(hit[0], 1.0)
    dice = 2 * hit / np.maximum(claimed + hit[0], 1.0)
    return {"threshold": np.arange(points) / points, "recall": hit / true, "precision": precision, "dice": dice}


def boxes(comparison: Comparison) -> list[Picture]:
    """Box plots over cases of Dice, NLL and ECE: a box a method, a dot a case."""
    names = [name for name in ("dice", "nll", "ece") if name in comparison.metrics()]
    drawn = []
    for data in comparison.data:
        height = 0.8 + 0.3 * len(comparison.methods)
        figure, axes = style.new_figure(
            1, len(names), size=(3.4 * len(names) + 0.8, height), squeeze=False, sharey=True
        )
        for ax, name in zip(axes.flat, names, strict=True):
            _box(ax, [list(comparison.values(data, m, name).values()) for m in reversed(comparison.methods)])
            ax.set_yticks(range(1, len(comparison.methods) + 1), list(reversed(comparison.methods)))
            style.finish(ax, title_of(name))
        caption = "Box: quartiles and median; whiskers: 1.5 times the box; a dot is a case, averaged over the seeds."
        drawn.append(picture(figure, f"Cases of {data}", caption, "Box plots; means are in the table of results."))
    return drawn


def _box(ax: "Axes", values: list[list[float]]) -> None:
    known = [[v for v in cases if np.isfinite(v)] for cases in values]
    line = {"color": style.BLUE, "linewidth": 1}
    ax.boxplot(
        known,
        orientation="horizontal",
        showfliers=False,
        widths=0.6,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={"color": style.VERMILION, "linewidth": 1.6},
    )
    for row, cases in enumerate(known, start=1):
        offset = np.random.default_rng(row).uniform(-0.18, 0.18, len(cases))
        ax.plot(cases, row + offset, ".", color=style.GREY, markersize=3, alpha=0.5)


def rank_map(comparison: Comparison, names: Sequence[str]) -> list[Picture]:
    """Ranks of the methods: rows methods, columns metric and data set, then the mean."""
    columns = [(metric, data) for metric in names if metric in comparison.metrics() for data in comparison.data]
    ranks = np.array([_column_ranks(comparison, *column) for column in columns]).T
    if len(comparison.methods) < 3 or not np.isfinite(ranks).all():
        return []
    table = np.column_stack([ranks, ranks.mean(axis=1)])
    labels = [
        f"{title_of(metric)}\n{data}" if len(comparison.data) > 1 else title_of(metric) for metric, data in columns
    ]
    figure, ax = style.new_figure(size=(2.2 + 0.75 * table.shape[1], 1.2 + 0.32 * len(table)))
    ax.imshow(table, cmap="cividis_r", aspect="auto", vmin=1, vmax=len(table))
    for (row, column), rank in np.ndenumerate(table):
        ink = "white" if rank > 0.6 * len(table) else "black"
        ax.text(
            column,
            row,
            f"{rank:.1f}" if column == len(columns) else f"{rank:g}",
            ha="center",
            va="center",
            fontsize=7,
            color=ink,
        )
    style.finish(ax, "Rank by mean over cases")
    ax.grid(False)
    ax.set_xticks(range(table.shape[1]), [*labels, "mean"], rotation=45, ha="right", fontsize=7)
    ax.set_yticks(range(len(table)), comparison.methods)
    alt = ", ".join(f"{m} {rank:.2f}" for m, rank in zip(comparison.methods, table[:, -1], strict=True))
    return [picture(figure, "Ranks", "Light is better; the last column is the mean rank.", f"Mean ranks: {alt}")]


def _column_ranks(comparison: Comparison, metric: str, data: str) -> np.ndarray:
    from scipy.stats import rankdata

    cells = [comparison.cell(data, method, metric) for method in comparison.methods]
    means = np.array([cell.mean if cell else np.nan for cell in cells])
    return rankdata(-means if higher_is_better(metric) else means, nan_policy="propagate")
