"""Reliability diagrams, from bins."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import errors
from ..binning import Bins, rebin
from ..smooth import smooth_calibration_error, smooth_reliability_curve
from .style import BLUE, COLOURS, FONT, GREEN, GREY, VERMILION, figure_of, finish, legend, owned, series_style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_COUNT = {"voxels": 100, "objects": 10}  # below which a bin is drawn hollow and left out of the MCE
WORDS = {
    "top_label": ("confidence of the predicted label", "share of right labels", "over-confident", "under-confident"),
    "classwise": ("probability of the class", "share of voxels of the class", "too high", "too low"),
    "raters": ("confidence of the predicted label", "share of raters who say so", "over-confident", "under-confident"),
    "object": ("mean probability of the claimed object", "share of claimed that are objects", "too high", "too low"),
    "foreground": ("probability of foreground", "share of foreground voxels", "too high", "too low"),
}


def reliability_diagram(
    bins: Bins,
    num_bins: int = 15,
    band: tuple[Any, Any] | None = None,
    title: str = "",
    labels: Sequence[str] | None = None,
    ax: "Axes | None" = None,
    view: str = "top_label",
    interval: tuple[float, float] | None = None,
) -> "tuple[Figure, Axes]":
    """Observed frequency against confidence.

    One channel: bars that fade with their share of voxels, the gap to the diagonal, the smoothed curve
    (`metrics.smooth`), mean confidence and mean frequency, and beneath the share of voxels. Several: a curve each, with
    its ECE.
    Bins of less than 100 voxels, or 10 objects, are hollow, and left out of the MCE.

    Args:
        bins: Fields (C, B).
        num_bins: Bins drawn.
        band: Low and high frequency in each bin, each (num_bins,) or (C, num_bins), as from `metrics.frequency_band`.
        title: Title.
        labels: Names of the C channels.
        ax: Axes to draw on; new ones if None.
        view: What the axes are called: "top_label", "classwise", "foreground", "raters" for bins against the share
            of raters, or "object" for bins of objects.
        interval: Low and high end of the ECE, written beside it.

    Returns:
        Figure and axes.

    Example:
        >>> import torch, metrics
        >>> bins = metrics.bin_item(torch.tensor([[0.75, 0.75], [0.25, 0.25]]), torch.tensor([0, 1]), "top_label")
        >>> figure, ax = metrics.plot.reliability_diagram(bins, title="one voxel of two is right")
        >>> ax.get_title().splitlines()[0]
        'one voxel of two is right'
    """
    coarse = rebin(bins, num_bins)
    figure, ax = figure_of(ax, (4.4, 5.4) if len(bins.count) == 1 else (4.4, 4.4))
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2, zorder=3)
    count, confidence, correct = (to_numpy(field).astype(float) for field in coarse[:3])
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency, confidence = correct / count, confidence / count
    across, up, above, below = WORDS[view]
    unit = "objects" if view == "object" else "voxels"
    least = MIN_COUNT[unit]
    if len(count) == 1:
        _draw_bars(ax, count[0], confidence[0], frequency[0], (above, below), least)
        _draw_smooth(ax, bins, num_bins, least)
        _draw_strip(ax, count[0], to_numpy(coarse.confidence[0]), to_numpy(coarse.correct[0]), unit)
        finish(ax, "\n".join(filter(None, [title, _error_line(coarse, interval, least)])), "", up)
    else:
        _draw_curves(ax, coarse, confidence, frequency, labels, least)
        finish(ax, title, across, up)
    if band is not None:
        _draw_band(ax, confidence, band)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if len(count) == 1:
        ax.child_axes[0].set_xlabel(across, fontsize=FONT)
        ax.tick_params(labelbottom=False)
    return figure, ax


def _draw_bars(ax: "Axes", count: Any, confidence: Any, frequency: Any, words: tuple[str, str], least: int) -> None:
    """Bars of frequency and hatched gaps to the mean confidence, fainter the fewer voxels they stand for."""
    width = 1 / len(count)
    left = np.arange(len(count)) * width
    enough, hollow = count >= least, (count > 0) & (count < least)
    shade = _fading(count)
    box: dict[str, Any] = {"width": width, "align": "edge"}
    for bin_ in np.flatnonzero(enough):
        ax.bar(left[bin_], frequency[bin_], color="#9CCBE8", edgecolor="white", linewidth=0.6, alpha=shade[bin_], **box)
    ax.bar(left[hollow], frequency[hollow], color="none", edgecolor="#bbbbbb", linewidth=0.6, linestyle=":", **box)
    gap = confidence - frequency
    for part, colour, hatch, name in (
        (enough & (gap > 0), VERMILION, "////", words[0]),
        (enough & (gap <= 0), GREEN, "\\\\\\\\", words[1]),
    ):
        for bin_ in np.flatnonzero(part):
            ax.bar(
                left[bin_], gap[bin_], bottom=frequency[bin_], color="none", edgecolor=colour, hatch=hatch,
                linewidth=0.6, alpha=shade[bin_], **box,
            )  # fmt: skip
        if part.any():
            ax.bar(0, 0, color="none", edgecolor=colour, hatch=hatch, linewidth=0.6, label=name)
    ax.scatter(confidence[enough], frequency[enough], s=12, color="black", zorder=4)
    ax.scatter(confidence[hollow], frequency[hollow], s=10, facecolor="white", edgecolor=GREY, zorder=4)


def _fading(count: Any) -> NDArray[Any]:
    """Opacity of each bin: full for the fullest, a quarter for a ten-thousandth of it and less."""
    most = max(count.max(initial=0), 1)
    return np.clip(1 + np.log10(np.maximum(count, 1) / most) * 0.75 / 4, 0.25, 1)


def _draw_smooth(ax: "Axes", bins: Bins, num_bins: int, least: int) -> None:
    """The frequency smoothed by the kernel of the smooth error, where there are voxels and enough of them carry it."""
    curve = smooth_reliability_curve(bins)
    bare = ~_among_voxels(bins, curve.place, max(1 / num_bins, 2 / bins.num_bins))
    line = curve.frequency[0].masked_fill(bare | (curve.mass[0] < least), np.nan)
    if line.isfinite().any():
        name = f"smooth, ECE {smooth_calibration_error(bins)[0]:.4f}"
        ax.plot(to_numpy(curve.place), to_numpy(line), color=BLUE, linewidth=1.1, zorder=4, label=name)


def _among_voxels(bins: Bins, place: Tensor, most: float) -> Tensor:
    """Whether each place has voxels of the one channel on both its sides, at most that far from each other."""
    held = bins.count[0] > 0
    stands = bins.confidence[0][held] / bins.count[0][held]
    near = torch.nn.functional.pad(stands.diff() <= most, (1, 1)) if len(stands) else held[:1]
    return near[torch.searchsorted(stands, place)]


def _draw_strip(ax: "Axes", count: Any, confidence: Any, correct: Any, unit: str) -> None:
    """Beneath: the share of voxels in each bin, mean confidence and mean frequency, and the legend under it."""
    width, total = 1 / len(count), max(count.sum(), 1)
    strip = ax.inset_axes((0.0, -0.26, 1.0, 0.2), sharex=ax)
    strip.bar(
        np.arange(len(count)) * width, count / total, width=width, align="edge", color="#9a9a9a", edgecolor="white"
    )
    finish(strip, "", "", f"share of\n{unit}")
    if count.any():
        strip.set_yscale("log")
        strip.set_ylim(max(min(1e-3, count[count > 0].min() / total) / 2, 1e-7), 3)
        _write_share(strip, count / total)
        for value, marker, fill, name in (
            (confidence.sum() / total, "v", "none", "says"),
            (correct.sum() / total, "^", "full", "is"),
        ):
            mark: dict[str, Any] = {"marker": marker, "fillstyle": fill, "color": "black", "markersize": 6}
            ax.plot(value, 0, linestyle="", clip_on=False, zorder=6, label=f"{name} {value:.3f} on the whole", **mark)
    strip.set_xlim(0, 1)
    handles, names = ax.get_legend_handles_labels()
    strip.legend(
        handles, names, fontsize=FONT - 2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.75), ncols=2
    )


def _write_share(strip: "Axes", share: Any) -> None:
    """Percent of the voxels in the fuller of the outermost bins, written at the other end."""
    last = share[-1] >= share[0]
    text = f"{share[-1 if last else 0]:.1%} in the {'last' if last else 'first'} bin"
    place: dict[str, Any] = {"x": 0.015, "ha": "left"} if last else {"x": 0.985, "ha": "right"}
    strip.text(y=0.9, s=text, transform=strip.transAxes, va="top", fontsize=FONT - 2, **place)


def _error_line(bins: Bins, interval: tuple[float, float] | None, least: int) -> str:
    """ECE, with its interval on a line of its own; MCE over bins that count, and the number of voxels."""
    ece = errors.expected_calibration_error(bins)[0].item()
    mce = errors.maximum_calibration_error(bins, min_count=least)[0].item()
    ends = " [{:.4f}, {:.4f}]\n".format(*interval) if interval and np.isfinite(interval).all() else ", "
    return f"ECE {ece:.4f}{ends}MCE {mce:.3f}, n = {int(bins.count.sum()):,}"


def _draw_curves(
    ax: "Axes", coarse: Bins, confidence: Any, frequency: Any, labels: Sequence[str] | None, least: int
) -> None:
    """A curve a channel over the bins that hold enough, with its ECE and number of voxels in the legend."""
    ece = errors.expected_calibration_error(coarse).tolist()
    for index, (x, y, n) in enumerate(zip(confidence, frequency, to_numpy(coarse.count), strict=True)):
        enough, few = n >= least, (n > 0) & (n < least)
        name = labels[index] if labels else f"class {index}"
        style = series_style(index) | {"markersize": 3}
        with owned(name, ax):
            ax.plot(x[enough], y[enough], label=f"{name}: ECE {ece[index]:.4f}, n = {_short(n.sum())}", **style)
            ax.scatter(x[few], y[few], s=8, facecolor="none", edgecolor=style["color"], linewidth=0.6)
    legend(ax, "upper left")


def _short(number: float) -> str:
    """A count in at most four characters and a letter."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:  # 999,600 is 1M, as three digits would say 1e+03k
            return f"{number / size:.3g}{letter}"
    return f"{int(number)}"


def _draw_band(ax: "Axes", confidence: Any, band: tuple[Any, Any]) -> None:
    """Interval of the frequency of every bin."""
    low, high = (np.atleast_2d(to_numpy(edge)) for edge in band)
    for index, x in enumerate(confidence):
        full = ~np.isnan(x) & ~np.isnan(low[index])
        colour = "black" if len(confidence) == 1 else COLOURS[index % len(COLOURS)]
        ax.fill_between(x[full], low[index][full], high[index][full], color=colour, alpha=0.2, linewidth=0, zorder=3)
