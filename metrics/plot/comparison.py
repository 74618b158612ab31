"""Methods beside each other: ranks, critical differences, radar, box plots, volumes, bars by class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.plot.style import COLOURS, FONT, GREY, LINES, figure_of, finish, new_figure, series_style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rank_heat_map(
    ranks: Any, methods: Sequence[str], rows: Sequence[str], title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Table of ranks (or sums of ranks) with methods in columns, coloured: light is best.

    Args:
        ranks: (rows, methods).
        methods: Names of the columns.
        rows: Names of the rows: metrics, or data sets.
        title: Title.
        ax: Axes to draw on; new ones if None.
    """
    table = to_numpy(ranks).astype(float)
    figure, ax = figure_of(ax, (1.6 + 0.75 * len(methods), 1.2 + 0.4 * len(rows)))
    picture = ax.imshow(table, cmap="cividis_r", aspect="auto")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (i, j), value in np.ndenumerate(table):
        colour = "black" if value <= middle else "white"
        ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=FONT, color=colour)
    finish(ax, title)
    ax.grid(False)
    ax.set_xticks(range(len(methods)), methods, rotation=30, ha="right")
    ax.set_yticks(range(len(rows)), rows)
    bar = figure.colorbar(picture, ax=ax)
    bar.set_label("rank (1 is best)", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 2)
    return figure, ax


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
    """
    ranks = to_numpy(mean_ranks).astype(float)
    order = np.argsort(ranks, kind="stable")
    figure, ax = figure_of(ax, (6.0, 1.2 + 0.28 * len(ranks)))
    for row, index in enumerate(order):
        ax.plot([ranks[index]] * 2, [0, -row - 1], color=GREY, linewidth=0.8)
        ax.plot([ranks[index]], [-row - 1], marker="o", color=COLOURS[0], markersize=5)
        ax.annotate(f"{methods[index]}  {ranks[index]:.2f}", (ranks[index], -row - 1), xytext=(7, 0),
                    textcoords="offset points", va="center", fontsize=FONT)  # fmt: skip
    for level, (low, high) in enumerate(_cliques(ranks[order], difference)):
        ax.plot([low - 0.04, high + 0.04], [0.45 + 0.45 * level] * 2, color="black", linewidth=3, solid_capstyle="butt")
    finish(ax, title, f"mean rank (1 is best); bars span differences below CD = {difference:.2f}")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0.8, max(len(ranks), ranks.max()) + 1.2)
    return figure, ax


def _cliques(ordered: Any, difference: float) -> list[tuple[float, float]]:
    """Longest runs of at least two sorted ranks that lie within the difference."""
    runs: list[tuple[float, float]] = []
    for start, low in enumerate(ordered):
        high = ordered[start:][ordered[start:] - low <= difference][-1]
        if high > low and (not runs or high > runs[-1][1]):
            runs.append((float(low), float(high)))
    return runs


def radar(
    values: Mapping[str, Sequence[float]],
    names: Sequence[str],
    higher_is_better: Sequence[bool] | None = None,
    limits: Sequence[tuple[float, float]] | None = None,
    title: str = "",
) -> "tuple[Figure, Axes]":
    """Several metrics of several methods on spokes: the rim is best, the centre worst.

    Args:
        values: Method to one value a spoke.
        names: Names of the spokes.
        higher_is_better: Of each spoke; all, if None.
        limits: Smallest and largest value of each spoke; those of the methods, widened by a fifth, if None.
        title: Title.
    """
    table = np.array([values[method] for method in values], dtype=float)
    if limits is None:
        low, high = np.nanmin(table, 0), np.nanmax(table, 0)
        room = np.where(high > low, (high - low) / 5, 1e-9)
        limits = list(zip(low - room, high + room, strict=True))
    better = [True] * len(names) if higher_is_better is None else list(higher_is_better)
    low, high = np.array(limits, dtype=float).T
    share = np.clip((table - low) / (high - low), 0, 1)
    share = np.where(better, share, 1 - share)
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure, ax = new_figure(size=(4.8, 4.4), subplot_kw={"projection": "polar"})
    for index, (method, line) in enumerate(zip(values, share, strict=True)):
        ax.plot(np.append(angles, angles[0]), np.append(line, line[0]), label=method, **series_style(index))
    best = [b if up else a for (a, b), up in zip(limits, better, strict=True)]
    ax.set_xticks(angles, [f"{n}\n(rim {v:.3g})" for n, v in zip(names, best, strict=True)], fontsize=FONT - 1)
    ax.set_yticks([0.25, 0.5, 0.75, 1.0], [])
    ax.set_ylim(0, 1)
    ax.set_title(title, fontsize=FONT + 1)
    figure.legend(fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=3)
    return figure, ax


def box_plots(
    groups: Mapping[str, Mapping[str, Any]], ylabel: str, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Values by case, a box a method, in groups (say, networks).

    Args:
        groups: Group to method to (n,) values by case; NaN are left out. The box spans the quartiles, the whiskers the
            last values within 1.5 of its height; the cross is the mean.
        ylabel: Name of the metric.
        title: Title.
        ax: Axes to draw on; new ones if None.
    """
    methods = list(dict.fromkeys(method for group in groups.values() for method in group))
    figure, ax = figure_of(ax, (1.6 + 0.45 * len(methods) * len(groups), 3.4))
    step = 0.8 / len(methods)
    for column, method in enumerate(methods):
        at = [
            i + (column - (len(methods) - 1) / 2) * step for i, group in enumerate(groups.values()) if method in group
        ]
        values = [to_numpy(group[method]).astype(float) for group in groups.values() if method in group]
        drawn = ax.boxplot(
            [v[~np.isnan(v)] for v in values],
            positions=at,
            widths=step * 0.8,
            patch_artist=True,
            showmeans=True,
            meanprops={"marker": "x", "markeredgecolor": "black", "markersize": 4},
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3},
        )
        for box in drawn["boxes"]:
            box.set(facecolor=COLOURS[column % len(COLOURS)], alpha=0.55, linestyle=LINES[column % len(LINES)])
        drawn["boxes"][0].set_label(method)
    finish(ax, title, "", ylabel)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.legend(fontsize=FONT - 1, frameon=False)
    return figure, ax


def volume_scatter(soft: Any, true: Any, title: str = "", ax: "Axes | None" = None) -> "tuple[Figure, Axes]":
    """Soft volume (the sum of p) against true volume, a point a case, and the mean relative bias.

    Args:
        soft: (n,) in any unit.
        true: (n,) in the same.
        title: Title.
        ax: Axes to draw on; new ones if None.
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


def class_bars(
    values: Mapping[str, float], ylabel: str, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """One bar a class (or method), with its value written on it.

    Args:
        values: Name to value; NaN is drawn as a gap.
        ylabel: Name of the metric.
        title: Title.
        ax: Axes to draw on; new ones if None.
    """
    figure, ax = figure_of(ax, (1.8 + 0.6 * len(values), 3.0))
    heights = [float(v) for v in values.values()]
    bars = ax.bar(range(len(values)), np.nan_to_num(heights), color="#9CCBE8", edgecolor=COLOURS[0])
    ax.bar_label(bars, ["absent" if np.isnan(v) else f"{v:.3f}" for v in heights], fontsize=FONT - 1)
    finish(ax, title, "", ylabel)
    ax.set_xticks(range(len(values)), list(values), rotation=20 if len(values) > 4 else 0)
    return figure, ax
