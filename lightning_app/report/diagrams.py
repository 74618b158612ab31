"""Pictures from reliability sums and from scores by case, drawn by `metrics.plot`."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

import metrics
from lightning_app.report.compare import Comparison
from lightning_app.report.figures import picture
from lightning_app.report.page import Picture
from lightning_app.report.tables import number, title_of
from metrics import plot
from metrics.catalogue import higher_is_better
from metrics.plot import style

if TYPE_CHECKING:
    from metrics import Bins

INTRODUCTION = (
    "Observed frequency against confidence, voxels of all cases and seeds together. On the diagonal a network is right "
    "as often as it says; below it is over-confident."
)
SHOWN = {
    "all.top_label": "top label, all voxels",
    "boundary.top_label": "top label, predicted boundary",
    "all.foreground": "foreground probability, all voxels",
    "all.raters": "top label, against the share of raters",
    "all.object": "claimed objects of every class",
}
FULL = "all.top_label"
NUM_BINS = 15
COLUMNS = 6


def pooled(comparison: Comparison, data: str, method: str, name: str) -> "Bins | None":
    """Bins of a method on a data set over all its seeds, or None where a run has none."""
    sums = [run.reliability(comparison.stage) for run in comparison.of(data, method)]
    found = [part.pooled(name) for part in sums if name in part.names()]
    if not found:
        return None
    bins = metrics.merge_bins(*found)
    of_classes = name.endswith(".object")  # a line a method: the classes' objects together
    return metrics.Bins(*(field.sum(0, keepdim=True) for field in bins)) if of_classes else bins


def by_case(comparison: Comparison, data: str, method: str, name: str) -> "dict[str, Bins]":
    """Case -> its bins over all seeds; the cases of folds stand each by itself, whatever the order in the files."""
    parts: dict[str, list[Bins]] = {}
    for run in comparison.of(data, method):
        sums = run.reliability(comparison.stage)
        for case, bins in sums.by_case(name).items() if name in sums.names() else ():
            parts.setdefault(case, []).append(bins)
    return {case: metrics.merge_bins(*own) for case, own in parts.items()}


def _grid(count: int, height: float, width: float = 2.5, most: int = COLUMNS) -> tuple[Any, list[Any]]:
    """A figure with that many axes, in rows."""
    columns = min(most, count)
    lines = -(-count // columns)
    figure, axes = style.new_figure(lines, columns, size=(width * columns, height * lines), squeeze=False)
    for ax in axes.flat[count:]:
        ax.remove()
    return figure, list(axes.flat[:count])


class Spread(NamedTuple):
    """What a diagram of one channel says of its cases, the seeds of a case together; NaN for a single case.

    Args:
        band: Ends of the 95 % interval of the frequency in every bin, each (num_bins,).
        interval: Those of the ECE of all voxels together.
    """

    band: tuple[np.ndarray, np.ndarray]
    interval: tuple[float, float]


def spread(comparison: Comparison, data: str, method: str, name: str, channel: int) -> Spread:
    """Band and interval of a method's diagram over its cases."""
    cases = list(by_case(comparison, data, method, name).values())
    low, high = metrics.frequency_band(cases, NUM_BINS)
    least, most = metrics.error_interval(cases, NUM_BINS)
    return Spread((low[channel], high[channel]), (float(least[channel]), float(most[channel])))


class Problem(NamedTuple):
    """What one picture compares: a data set, or a region of it that may overlap with others.

    Args:
        data: The data set.
        title: What the picture is called.
        channel: Which channel of the sums it is.
        found: Method -> its pooled bins (1, B), for the methods that are drawn.
    """

    data: str
    title: str
    channel: int
    found: "dict[str, Bins]"


def _problems(comparison: Comparison, data: str, name: str) -> Iterator[Problem]:
    """The data set, or each of its regions, where there are sums of this name."""
    every = {method: pooled(comparison, data, method, name) for method in comparison.leading}
    found = {method: bins for method, bins in every.items() if bins is not None}
    for channel, region in enumerate(_regions(comparison, data, found)):
        own = {m: metrics.Bins(*(field[channel : channel + 1] for field in bins)) for m, bins in found.items()}
        yield Problem(data, f"{data}, {region}" if region else data, channel, own)


def _regions(comparison: Comparison, data: str, found: "dict[str, Bins]") -> list[str]:
    """Name of each channel, empty where there is one."""
    for method, bins in found.items():
        names = comparison.of(data, method)[0].reliability(comparison.stage).arrays["class_names"]
        return [str(name) for name in names[1:]] if len(bins.count) > 1 else [""]
    return []


def _title(method: str) -> str:
    """A method's label in lines that fit a small panel."""
    return textwrap.fill(method, 24)


def reliability(comparison: Comparison) -> list[Picture]:
    """For each data set the methods' curves in one diagram a view, then a full diagram a method, side by side."""
    drawn = []
    for data in comparison.data:
        for name, words in SHOWN.items():
            view = name.partition(".")[2]
            drawn += [_together(problem, words, view) for problem in _problems(comparison, data, name)]
        for problem in _problems(comparison, data, FULL):
            spreads = {method: spread(comparison, data, method, FULL, problem.channel) for method in problem.found}
            drawn.append(_side_by_side(problem, spreads))
    return drawn


def _together(problem: Problem, words: str, view: str) -> Picture:
    data, title, _, found = problem
    title = f"{title}, {words}"
    stacked = metrics.Bins(*(torch.cat(fields) for fields in zip(*found.values(), strict=True)))
    figure, _ = plot.reliability_diagram(stacked, num_bins=NUM_BINS, title=title, labels=list(found), view=view)
    caption = f"A curve a method, {NUM_BINS} bins."
    return picture(figure, f"Reliability on {title}", caption, _errors(found), found, data)


def _errors(found: "dict[str, Bins]") -> str:
    errors = {m: float(metrics.errors.expected_calibration_error(b, NUM_BINS).nanmean()) for m, b in found.items()}
    return "Pooled ECE: " + ", ".join(f"{method} {number(error)}" for method, error in errors.items())


def _side_by_side(problem: Problem, spreads: dict[str, Spread]) -> Picture:
    data, title, _, found = problem
    lines = max(_title(method).count("\n") for method in found)
    most = 2 if len(found) == 4 else 3
    figure, axes = _grid(len(found), 5.9 + 0.2 * lines, width=4.2, most=most)
    figure.get_layout_engine().set(h_pad=0.25)  # a legend of three lines stands above the next row's titles
    for ax, (method, bins) in zip(axes, found.items(), strict=True):
        ax.set_gid(method)
        own: dict[str, Any] = spreads[method]._asdict()
        plot.reliability_diagram(bins, num_bins=NUM_BINS, title=_title(method), ax=ax, **own)
    caption = f"{NUM_BINS} bins, 95 % bands and intervals over cases; the strip shows where the voxels are."
    title = f"Reliability on {title}, {SHOWN[FULL]}, a diagram a method"
    return picture(figure, title, caption, _errors(found), found, data)


def thresholds(comparison: Comparison) -> list[Picture]:
    """Recall, precision and Dice of the foreground against the threshold on its probability, a line a method."""
    drawn = []
    for data in comparison.data:
        for _, title, _, found in _problems(comparison, data, "all.foreground"):
            figure, _ = plot.threshold_curves(found)
            caption = (
                "Foreground where its probability is at least the threshold, voxels of all cases. Calibrated "
                "probabilities let the threshold trade recall for precision; near 0 and 1 alone, the lines are flat."
            )
            alt = f"Three panels with a line for each of {', '.join(found)}."
            drawn.append(picture(figure, f"Thresholds on {title}", caption, alt, found, data))
    return drawn


def selection(comparison: Comparison) -> list[Picture]:
    """Error among the most confident voxels, against their share: does confidence order the errors?"""
    drawn = []
    for data in comparison.data:
        for _, title, _, found in _problems(comparison, data, FULL):
            figure, _ = plot.risk_coverage(found)
            caption = (
                "Errors among the voxels that are kept, the most confident first; the area under the curve in brackets."
            )
            alt = f"A line for each of {', '.join(found)}."
            drawn.append(picture(figure, f"Risk against coverage on {title}", caption, alt, found, data))
    return drawn


def histograms(comparison: Comparison) -> list[Picture]:
    """Histograms of the confidence, side by side: a picture a data set."""
    drawn = []
    for data in comparison.data:
        for _, title, _, found in _problems(comparison, data, FULL):
            figure, axes = _grid(len(found), height=2.5)
            for ax, (method, bins) in zip(axes, found.items(), strict=True):
                ax.set_gid(method)
                plot.confidence_histogram(bins, num_bins=NUM_BINS, title=_title(method), ax=ax)
            caption = "Share of voxels by confidence (log scale), mean confidence and mean correctness."
            alt = f"A histogram for each of {', '.join(found)}."
            drawn.append(picture(figure, f"Confidence on {title}", caption, alt, found, data))
    return drawn


def boxes(comparison: Comparison) -> list[Picture]:
    """Box plots over cases of Dice, NLL and ECE: a box a method, a dot a case."""
    names = [name for name in ("dice", "nll", "ece") if name in comparison.metrics()]
    caption = "Box: quartiles and median; whiskers: 1.5 times the box; a dot is a case, averaged over the seeds."
    drawn = []
    for data in comparison.data:
        for name in names:
            values = {m: list(v.values()) for m in comparison.leading if (v := comparison.values(data, m, name))}
            figure, _ = plot.box_plot(values, ylabel=title_of(name), title=data)
            title = f"{title_of(name).strip(' ↑↓')} of the cases of {data}"
            alt = "Box plots; the means are in the table of results."
            drawn.append(picture(figure, title, caption, alt, values, data))
    return drawn


def rank_map(comparison: Comparison, names: Sequence[str]) -> list[Picture]:
    """Ranks of the methods: rows methods, columns metric and data set, then the mean."""
    columns = [(metric, data) for metric in names if metric in comparison.metrics() for data in comparison.data]
    means = np.array([[_mean(comparison, data, m, metric) for metric, data in columns] for m in comparison.methods])
    if len(comparison.methods) < 3 or not np.isfinite(means).all():
        return []
    signs = np.array([-1 if higher_is_better(metric) else 1 for metric, _ in columns])
    ranks = metrics.statistics.rank_methods((signs * means).T).T
    labels = [
        f"{title_of(metric)}\n{data}" if len(comparison.data) > 1 else title_of(metric) for metric, data in columns
    ]
    figure, _ = plot.rank_heat_map(ranks, comparison.methods, labels)
    alt = ", ".join(f"{m} {rank:.2f}" for m, rank in zip(comparison.methods, ranks.mean(axis=1), strict=True))
    caption = "Ranks of the means over cases; light is better, the last column is the mean rank."
    return [picture(figure, "Ranks", caption, f"Mean ranks: {alt}", comparison.methods)]


def _mean(comparison: Comparison, data: str, method: str, metric: str) -> float:
    cell = comparison.cell(data, method, metric)
    return cell.mean if cell else np.nan
