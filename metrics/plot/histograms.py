"""Histograms: where the confidence lies, how cases differ, and how far logits are apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..binning import Bins, rebin
from ..margins import MarginCounts
from .style import BLUE, COLOURS, FONT, GREY, VERMILION, figure_of, finish, new_figure, owned, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def confidence_histogram(
    bins: Bins, num_bins: int = 15, channel: int = 0, log: bool = True, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Share of voxels by confidence, with the mean confidence and the mean correctness as lines.

    Args:
        bins: Fields (C, B).
        num_bins: Bins drawn, a divisor of B.
        channel: Which of the C channels.
        log: Logarithmic shares.
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import torch, metrics
        >>> bins = metrics.bin_item(torch.tensor([[0.75, 0.9], [0.25, 0.1]]), torch.tensor([1, 0]), "top_label")
        >>> figure, ax = metrics.plot.confidence_histogram(bins)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['mean confidence 0.825', 'observed frequency 0.500']
    """
    coarse = rebin(bins, num_bins)
    count = to_numpy(coarse.count[channel]).astype(float)
    total = max(count.sum(), 1.0)
    figure, ax = figure_of(ax, (4.2, 3.2))
    left = np.arange(num_bins) / num_bins
    ax.bar(left, count / total, width=1 / num_bins, align="edge", color="#9CCBE8", edgecolor="white", linewidth=0.6)
    means = (
        ("mean confidence", coarse.confidence, VERMILION, "--"),
        ("observed frequency", coarse.correct, "black", "-"),
    )
    for name, field, colour, line in means:
        mean = field[channel].sum().item() / total
        ax.axvline(mean, color=colour, linestyle=line, linewidth=1.4, label=f"{name} {mean:.3f}")
    log = log and bool(count.any())  # nothing has no logarithm
    if log:
        ax.set_yscale("log")
    ax.legend(fontsize=FONT - 1, frameon=False, loc="upper center")
    finish(ax, title, "confidence", "share of voxels")
    ax.set_xlim(0, 1)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (12 if log else 1.25))  # room for the legend
    return figure, ax


def dataset_reliability_histogram(
    cases: Sequence[Bins], num_bins: int = 20, channel: int = 0, title: str = ""
) -> "tuple[Figure, NDArray[Any]]":
    """How often a bin of confidence had a frequency over the cases (Barfoot et al. 2024): it keeps what pooling hides.

    A column is a bin of confidence, its rows the observed frequency in a case, its colour the share of the cases that
    have voxels in that bin. Beneath: the number of those cases.

    Args:
        cases: Bins of each case, fields (C, B).
        num_bins: Bins of confidence and of frequency, a divisor of B.
        channel: Which of the C channels.
        title: Title.

    Returns:
        Figure, and the axes of the heat map and of the histogram.

    Example:
        >>> import torch, metrics
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> cases = [metrics.bin_item(sure, torch.tensor(labels), "top_label") for labels in ([0, 1], [0, 0])]
        >>> figure, axes = metrics.plot.dataset_reliability_histogram(cases)
        >>> len(axes)
        2
    """
    shares, number = frequency_table(cases, num_bins, channel)
    figure, axes = new_figure(2, 1, size=(4.6, 5.2), sharex=True, height_ratios=(4, 1))
    from matplotlib.colors import PowerNorm

    shown = np.ma.masked_where(shares == 0, shares)
    edges = np.linspace(0, 1, num_bins + 1)
    mesh = axes[0].pcolormesh(edges, edges, shown, cmap="YlOrRd", norm=PowerNorm(0.35, 0, 1), edgecolors="none")
    axes[0].plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
    bar = figure.colorbar(mesh, ax=axes[0], shrink=0.8)
    bar.set_label("share of cases", fontsize=FONT - 1)
    bar.ax.tick_params(labelsize=FONT - 2)
    axes[1].bar(edges[:-1], number, width=1 / num_bins, align="edge", color=GREY, edgecolor="white", linewidth=0.6)
    finish(axes[0], title, "", "observed frequency in a case")
    finish(axes[1], "", "confidence", "cases")
    axes[0].set(xlim=(0, 1), ylim=(0, 1))
    return figure, axes


def frequency_table(cases: Sequence[Bins], num_bins: int, channel: int = 0) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Share of the cases, (frequency bins, confidence bins), and number of cases with voxels in each confidence bin.

    Args:
        cases: Bins of each case, fields (C, B).
        num_bins: Bins of confidence and of frequency, a divisor of B.
        channel: Which of the C channels.
    """
    coarse = [rebin(bins, num_bins) for bins in cases]
    count = torch.stack([bins.count[channel] for bins in coarse]).double()
    frequency = to_numpy(torch.stack([bins.correct[channel] for bins in coarse]) / count)
    table = np.zeros((num_bins, num_bins))
    for column in range(num_bins):
        known = frequency[~np.isnan(frequency[:, column]), column]
        rows = np.minimum((known * num_bins).astype(int), num_bins - 1)
        table[:, column] = np.bincount(rows, minlength=num_bins) / max(len(known), 1)
    return table, to_numpy((count > 0).sum(0))


def margin_histogram(
    counts: MarginCounts, margin: float, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Distances of the logits to the largest one, with the margin and the share that violates it.

    Args:
        counts: From `metrics.count_margins`; the margin must be one of its edges.
        margin: Margin of the loss.
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import torch, metrics
        >>> counts = metrics.count_margins(torch.tensor([[12.0, 3.0], [0.0, 0.0]]))
        >>> figure, ax = metrics.plot.margin_histogram(counts, margin=10)
        >>> ax.texts[0].get_text().splitlines()[-1]
        '50.0% beyond'
    """
    edges, number = to_numpy(counts.edges).astype(float), to_numpy(counts.counts).astype(float)
    share = number / max(number.sum(), 1.0)
    width = np.diff(edges)
    figure, ax = figure_of(ax, (4.2, 3.2))
    # what lies beyond the last edge gets a bar of its own there
    left, height = edges, np.append(share[1:-1], share[-1])
    wide = np.append(width, width[-1])
    violates = left >= margin - 1e-6
    ax.bar(left[~violates], height[~violates], wide[~violates], align="edge", color="#9CCBE8", edgecolor="white")
    part = ax.bar(left[violates], height[violates], wide[violates], align="edge", color="none", edgecolor=VERMILION)
    for patch in part:
        patch.set_hatch("////")
    ax.axvline(margin, color="black", linestyle="--", linewidth=1.4)
    text = f"margin {margin:g}\n{counts.violations(margin):.1%} beyond"
    ax.text(margin, 0.97, f" {text}", transform=ax.get_xaxis_transform(), va="top", fontsize=FONT - 1)
    finish(ax, title, "distance to the largest logit", "share")
    ax.set_ylim(0, max(height.max() * 1.25, 1e-9))
    return figure, ax


def box_plot(
    values: dict[str, Any], groups: Sequence[str] | None = None, ylabel: str = "", title: str = ""
) -> "tuple[Figure, Axes]":
    """A box of cases a method, or a box a method in each group (say, a network).

    Args:
        values: Method to (n,) values of cases; or, with groups, to a list of such, one a group.
        groups: Names of the groups.
        ylabel: What is drawn.
        title: Title.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.box_plot({"Dice": [0.80, 0.90], "DSC++": [0.85, 0.90]}, ylabel="Dice score")
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['Dice', 'DSC++']
    """
    names = list(values)
    several = groups is not None
    slots = list(groups) if groups is not None else [""]
    figure, ax = figure_of(None, (1.6 + 0.55 * len(names) * len(slots), 3.4))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        data = [_known(v) for v in (values[name] if several else [values[name]])]
        place = np.arange(len(slots)) + (index - (len(names) - 1) / 2) * width
        with owned(name, ax):
            _draw_boxes(ax, data, place, width * 0.8, COLOURS[index % len(COLOURS)])
    if several:
        ax.set_xticks(range(len(slots)), slots)
        handles = [ax.plot([], [], "s", color=COLOURS[i % len(COLOURS)], label=n)[0] for i, n in enumerate(names)]
        ax.legend(handles=handles, fontsize=FONT - 1, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        ax.set_xticks([(i - (len(names) - 1) / 2) * width for i in range(len(names))], names, rotation=20, ha="right")
        for name, label in zip(names, ax.get_xticklabels(), strict=True):
            label.set_gid(name)
    finish(ax, title, "", ylabel)
    return figure, ax


def _known(values: Any) -> "NDArray[Any]":
    """The values that are not NaN."""
    array = to_numpy(values).astype(float)
    return array[np.isfinite(array)]


def _draw_boxes(ax: "Axes", data: "Sequence[NDArray[Any]]", place: "NDArray[Any]", width: float, colour: str) -> None:
    """Boxes with every case as a dot."""
    line = {"color": colour, "linewidth": 1.1}
    median = {"color": "black", "linewidth": 1.6}
    common: dict[str, Any] = {"boxprops": line, "whiskerprops": line, "capprops": line, "medianprops": median}
    ax.boxplot(list(data), positions=place, widths=width, showfliers=False, manage_ticks=False, **common)
    for x, values in zip(place, data, strict=True):
        jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(values)) * width
        ax.plot(x + jitter, values, ".", color=colour, markersize=3, alpha=0.5)


def interval_plot(
    values: dict[str, tuple[float, float, float]], xlabel: str = "", title: str = ""
) -> "tuple[Figure, Axes]":
    """A dot and its interval a method.

    Args:
        values: Method to (value, low, high).
        xlabel: What is drawn.
        title: Title.

    Example:
        >>> import metrics
        >>> found = {"Dice": (0.10, 0.08, 0.12), "DSC++": (0.05, 0.04, 0.06)}
        >>> figure, ax = metrics.plot.interval_plot(found, xlabel="ECE")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['Dice', 'DSC++']
    """
    figure, ax = figure_of(None, (4.6, 0.9 + 0.32 * len(values)))
    for row, (value, low, high) in enumerate(values.values()):
        ax.plot([low, high], [row, row], color=BLUE, linewidth=2)
        ax.plot([value], [row], "o", color=BLUE, markersize=5)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.4, -0.6)  # the first on top
    finish(ax, title, xlabel, "")
    return figure, ax
