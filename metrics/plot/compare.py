"""Methods side by side over data sets and figures of merit: heat map of ranks, radar."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import FONT, figure_of, finish, series_style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rank_heat_map(
    ranks: Any, methods: Sequence[str], columns: Sequence[str], title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Ranks as a table with colours, best methods first, and the mean rank as the last column.

    Args:
        ranks: (methods, columns), 1 is best, as from `metrics.statistics.rank_methods` (transposed).
        methods: Names of the rows.
        columns: Names of the columns, say a metric and a data set each.
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.rank_heat_map([[1, 2], [2, 1]], ["Dice", "DSC++"], ["Dice", "ECE"])
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['Dice', 'ECE', 'mean']
    """
    table = to_numpy(ranks).astype(float)
    table = np.column_stack([table, table.mean(1)])
    order = np.argsort(table[:, -1], kind="stable")
    table, names = table[order], [methods[i] for i in order]
    figure, ax = figure_of(ax, (1.8 + 0.7 * table.shape[1], 1.2 + 0.34 * len(table)))
    ax.imshow(table, cmap="cividis_r", vmin=1, vmax=len(table), aspect="auto")
    for (row, column), rank in np.ndenumerate(table):
        ink = "white" if rank > 0.6 * len(table) else "black"
        text = f"{rank:.2f}" if column == len(columns) else f"{rank:g}"
        ax.text(column, row, text, ha="center", va="center", fontsize=FONT - 1, color=ink)
    finish(ax, title)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks(range(table.shape[1]), [*columns, "mean"], rotation=35, ha="right")
    ax.set_yticks(range(len(table)), names)
    ax.axvline(len(columns) - 0.5, color="white", linewidth=3)
    return figure, ax


def radar(
    values: Mapping[str, Sequence[float]],
    axes_names: Sequence[str],
    title: str = "",
    low: float = 0.0,
    high: float = 1.0,
) -> "tuple[Figure, Axes]":
    """A closed line a method over spokes of one scale: scores of which larger is better (say Dice and 1 - ECE).

    Args:
        values: Method to one number a spoke.
        axes_names: Names of the spokes.
        title: Title.
        low: Value at the centre.
        high: Value at the rim.

    Example:
        >>> import metrics
        >>> scores = {"Dice": [0.9, 0.8, 0.7], "DSC++": [0.9, 0.9, 0.8]}
        >>> figure, ax = metrics.plot.radar(scores, axes_names=["Dice", "1 - ECE", "NSD"])
        >>> len(ax.lines)
        2
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 4.8), dpi=120, layout="constrained")
    ax = figure.add_subplot(projection="polar")
    angle = np.linspace(0, 2 * np.pi, len(axes_names), endpoint=False)
    for index, (name, numbers) in enumerate(values.items()):
        closed = np.append(numbers, numbers[0])
        ax.plot(np.append(angle, angle[0]), closed, label=name, **series_style(index))
    ax.set_xticks(angle, list(axes_names), fontsize=FONT)
    ax.tick_params(axis="x", pad=10)
    ax.tick_params(axis="y", labelsize=FONT - 2)
    ax.set_ylim(low, high)
    ax.set_title(title, fontsize=FONT + 1)
    ax.legend(fontsize=FONT - 1, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)
    return figure, ax
