"""Mean ranks with critical differences, and soft against true volumes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLOURS, FONT, GREY, figure_of, finish, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def critical_difference(
    mean_ranks: Any, methods: Sequence[str], difference: float, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Mean ranks on a line; bars join methods that Nemenyi's test does not tell apart (Demsar 2006).

    Args:
        mean_ranks: (methods,).
        methods: Names.
        difference: The critical difference, as from `metrics.statistics.friedman_nemenyi`.
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.critical_difference([1.2, 1.8, 3.0], ["DSC++", "Dice", "Combo"], difference=1.0)
        >>> ax.get_xlabel()
        'mean rank (1 is best); bars span differences below CD = 1.00'
    """
    ranks = to_numpy(mean_ranks).astype(float)
    order = np.argsort(ranks, kind="stable")
    figure, ax = figure_of(ax, (6.0, 1.2 + 0.28 * len(ranks)))
    end = max(len(ranks), ranks.max())
    for row, index in enumerate(order):
        ax.plot([ranks[index]] * 2, [0, -row - 1], color=GREY, linewidth=0.8)  # the names stand where no line goes down
        ax.plot([ranks[index], end + 0.2], [-row - 1] * 2, color="#cccccc", linewidth=0.8, zorder=0)
        ax.plot([ranks[index]], [-row - 1], marker="o", color=COLOURS[0], markersize=5)
        ax.text(end + 0.25, -row - 1, f"{methods[index]}  {ranks[index]:.2f}", va="center", fontsize=FONT)
    for level, (low, high) in enumerate(_cliques(ranks[order], difference)):
        ax.plot([low - 0.04, high + 0.04], [0.45 + 0.45 * level] * 2, color="black", linewidth=3, solid_capstyle="butt")
    finish(ax, title, f"mean rank (1 is best); bars span differences below CD = {difference:.2f}")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0.8, end + 0.2)
    ax.set_xticks(range(1, len(ranks) + 1))
    return figure, ax


def _cliques(ordered: Any, difference: float) -> list[tuple[float, float]]:
    """Longest runs of at least two sorted ranks that lie within the difference."""
    runs: list[tuple[float, float]] = []
    for start, low in enumerate(ordered):
        high = ordered[start:][ordered[start:] - low <= difference][-1]
        if high > low and (not runs or high > runs[-1][1]):
            runs.append((float(low), float(high)))
    return runs


def volume_scatter(soft: Any, true: Any, title: str = "", ax: "Axes | None" = None) -> "tuple[Figure, Axes]":
    """Soft volume (the sum of p) against true volume, a point a case, and the mean relative bias.

    Args:
        soft: (n,) in any unit.
        true: (n,) in the same.
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.volume_scatter(soft=[11.0, 22.0], true=[10.0, 20.0])
        >>> ax.texts[0].get_text()
        'mean bias +10.0%'
    """
    x, y = to_numpy(true).astype(float), to_numpy(soft).astype(float)
    figure, ax = figure_of(ax)
    limit = 1.05 * float(np.nanmax([x.max(initial=0), y.max(initial=0), 1e-12]))
    ax.plot([0, limit], [0, limit], color=GREY, linestyle=":", linewidth=1.2)
    ax.scatter(x, y, s=14, color=COLOURS[0], alpha=0.7)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = np.where(x > 0, y / x - 1, np.nan)
    if not np.isnan(bias).all():
        ax.text(0.03, 0.96, f"mean bias {np.nanmean(bias):+.1%}", transform=ax.transAxes, va="top", fontsize=FONT)
    finish(ax, title, "true volume", "soft volume (sum of p)")
    ax.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
    return figure, ax
