"""Reliability diagrams and histograms of confidence, from bins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import errors
from ..binning import Bins, rebin
from .style import COLOURS, FONT, GREY, VERMILION, figure_of, finish, legend, series_style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def reliability_diagram(
    bins: Bins,
    num_bins: int = 15,
    band: tuple[Any, Any] | None = None,
    title: str = "",
    labels: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """Observed frequency against confidence.

    One channel: bars, the gap to the diagonal, and the share of voxels beneath; several: a curve each.

    Args:
        bins: Fields (C, B).
        num_bins: Bins drawn, a divisor of B.
        band: Low and high frequency in each bin, each (num_bins,) or (C, num_bins), as from `metrics.frequency_band`.
        title: Title.
        labels: Names of the C channels.
        ax: Axes to draw on; new ones if None.

    Returns:
        Figure and axes.
    """
    coarse = rebin(bins, num_bins)
    figure, ax = figure_of(ax)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, zorder=3)
    count, confidence, correct = (to_numpy(field).astype(float) for field in coarse[:3])
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency, confidence = correct / count, confidence / count
    if len(count) == 1:
        _draw_bars(ax, count[0], confidence[0], frequency[0])
        _write_errors(ax, coarse)
    else:
        _draw_curves(ax, confidence, frequency, labels)
    if band is not None:
        _draw_band(ax, confidence, band)
    finish(ax, title, "confidence", "observed frequency")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure, ax


def _draw_bars(ax: "Axes", count: Any, confidence: Any, frequency: Any) -> None:
    """Bars of frequency, hatched gaps to the mean confidence, and the share of voxels in a strip of its own."""
    width = 1 / len(count)
    left = np.arange(len(count)) * width
    full = count > 0
    over = full & (confidence > frequency)
    bars: dict[str, Any] = {"width": width, "align": "edge", "linewidth": 0.6}
    ax.bar(left[full], frequency[full], color="#9CCBE8", edgecolor="white", label="observed", **bars)
    for part, colour, hatch, name in (
        (over, VERMILION, "////", "over-confident"),
        (full & ~over, "#009E73", "\\\\\\\\", "under-confident"),
    ):
        gap = (confidence - frequency)[part]
        if part.any():
            ax.bar(
                left[part], gap, bottom=frequency[part], color="none", edgecolor=colour, hatch=hatch, label=name, **bars
            )
    ax.scatter(confidence[full], frequency[full], s=10, color="black", zorder=4)
    ax.legend(fontsize=FONT - 2, loc="upper left", frameon=False)
    strip = ax.inset_axes((0.0, -0.5, 1.0, 0.17), sharex=ax)  # below the tick labels and the axis label
    strip.bar(
        left, count / max(count.sum(), 1), width=width, align="edge", color=GREY, edgecolor="white", linewidth=0.6
    )
    if full.any():
        strip.set_yscale("log")
        strip.set_ylim(min(1e-4, count[full].min() / count.sum()) / 2, 2)
    finish(strip, "", "", "share")
    strip.tick_params(labelbottom=False)


def _write_errors(ax: "Axes", bins: Bins) -> None:
    """Errors and the number of voxels, in the lower right corner."""
    ece, ace, mce = (
        f(bins)[0].item()
        for f in (errors.expected_calibration_error, errors.average_calibration_error, errors.maximum_calibration_error)
    )
    text = f"ECE {ece:.4f}\nACE {ace:.4f}\nMCE {mce:.4f}\nn = {int(bins.count.sum()):,}"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
    ax.text(0.98, 0.03, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=FONT - 1, bbox=box, zorder=5)


def _draw_curves(ax: "Axes", confidence: Any, frequency: Any, labels: Sequence[str] | None) -> None:
    """A curve a channel, over its non-empty bins."""
    for index, (x, y) in enumerate(zip(confidence, frequency, strict=True)):
        full = ~np.isnan(x)
        ax.plot(x[full], y[full], label=labels[index] if labels else f"class {index}", **series_style(index))
    legend(ax, "upper left")


def _draw_band(ax: "Axes", confidence: Any, band: tuple[Any, Any]) -> None:
    """Interval of the frequency of every bin."""
    low, high = (np.atleast_2d(to_numpy(edge)) for edge in band)
    for index, x in enumerate(confidence):
        full = ~np.isnan(x) & ~np.isnan(low[index])
        colour = "black" if len(confidence) == 1 else COLOURS[index % len(COLOURS)]
        ax.fill_between(x[full], low[index][full], high[index][full], color=colour, alpha=0.2, linewidth=0, zorder=3)
