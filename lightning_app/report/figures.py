"""Drawings that compare methods, from a `Comparison`; every one is an SVG picture with words."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_app.report import tables
from lightning_app.report.compare import MAX_DRAWN, Comparison, label_of
from lightning_app.report.page import Picture, owner_of
from lightning_app.report.read import Run
from lightning_app.report.tables import main_metrics, title_of
from metrics import plot, statistics
from metrics.catalogue import higher_is_better
from metrics.plot import style

CURVE_POINTS = 100  # that a training curve is drawn with

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def picture(
    figure: "Figure", title: str, caption: str, alt: str, owners: Iterable[str], data: str | None = None
) -> Picture:
    """A matplotlib figure as a picture of the page; the same figure gives the same bytes.

    Args:
        figure: The figure; `gid` of its artists says whose they are (`metrics.plot.style.owned`).
        title: Names it.
        caption: What it shows and how to read it.
        alt: What a reader who cannot see it should know.
        owners: The methods that it shows, each once or often.
        data: The data set that it is of, if it is of one.
    """
    import matplotlib

    buffer = io.BytesIO()
    names = list(dict.fromkeys(owners))
    for number, artist in enumerate(figure.findobj(lambda one: one.get_gid() in names)):
        artist.set_gid(f"owner-{names.index(artist.get_gid() or '')}-{number}")
    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "path"}):
        plot.literal(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    width = round(figure.get_size_inches()[0] * 88)
    whose = names if data is None else [owner_of(name, data) for name in names]
    return Picture(title, caption, alt, buffer.getvalue(), width=width, owners=whose)


def overview(comparison: Comparison) -> list[Picture]:
    """Means with their intervals: a panel a metric, a row a method, a colour a data set."""
    metrics = main_metrics(comparison)[:8]
    columns = min(4, len(metrics))
    lines = -(-len(metrics) // columns)
    height = lines * (0.9 + 0.26 * len(comparison.methods) * max(1, len(comparison.data) ** 0.5))
    figure, axes = style.new_figure(lines, columns, size=(3.0 * columns + 0.8, height), squeeze=False, sharey=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        _intervals(ax, comparison, metric)
    for label in (label for ax in axes[:, 0] for label in ax.get_yticklabels()):
        label.set_gid(label.get_text())
    for ax in axes.flat[len(metrics) :]:
        ax.remove()
    if len(comparison.data) > 1:
        _legend_below(figure, axes.flat[0])
    caption = "Mean over cases and its 95 % interval. Arrows in the titles point to the better side."
    alt = "Dots with intervals; the numbers are in the table above."
    cells = [owner_of(m, d) for m in comparison.methods for d in comparison.data if comparison.of(d, m)]
    return [picture(figure, "Overview", caption, alt, [*comparison.methods, *cells])]


def _legend_below(figure: "Figure", ax: Any) -> None:
    """One legend for all panels, in as many columns as the labels leave room for."""
    handles, labels = ax.get_legend_handles_labels()
    letters = 18 * figure.get_size_inches()[0]  # what a line of this size holds, about
    columns = min(max(int(letters / (max(map(len, labels), default=0) + 7)), 1), 6)
    style.own_entries(figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=7), handles)


def _intervals(ax: Any, comparison: Comparison, metric: str) -> None:
    rows = np.arange(len(comparison.methods))[::-1]
    for index, data in enumerate(comparison.data):
        shift = (index - (len(comparison.data) - 1) / 2) * -0.7 / max(1, len(comparison.data))
        look: dict[str, Any] = {k: v for k, v in style.series_style(index).items() if k in ("color", "marker")}
        look |= {"linestyle": "none", "markersize": 4, "linewidth": 1}
        ax.errorbar([], [], xerr=[], label=data, **look)
        for row, method in zip(rows, comparison.methods, strict=True):
            if cell := comparison.cell(data, method, metric):
                ends = np.abs(np.nan_to_num([[cell.low - cell.mean], [cell.high - cell.mean]]))
                with style.owned(owner_of(method, data), ax):
                    ax.errorbar([cell.mean], [row + shift], xerr=ends, capsize=2, **look)
    ax.set_yticks(rows, comparison.methods)
    style.finish(ax, title_of(metric))
    ax.margins(y=0.08)


def parameter_curves(comparison: Comparison) -> list[Picture]:
    """Metrics against each numeric parameter with three values or more (gamma, margin, ...), a line a data set."""
    return [drawn for name in comparison.numeric_factors() if (drawn := _curve(comparison, name))]


def _curve(comparison: Comparison, name: str) -> Picture | None:
    series = dict(_series(comparison, name))
    if not series:
        return None
    metrics = main_metrics(comparison)[:8]
    columns = min(4, len(metrics))
    lines = -(-len(metrics) // columns)
    figure, axes = style.new_figure(lines, columns, size=(2.9 * columns + 0.3, 2.6 * lines), squeeze=False)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        values = {
            f"{data}: {rest}": _points(comparison, data, points, metric) for (data, rest), points in series.items()
        }
        plot.parameter_curves(values, xlabel=name, title=title_of(metric), ax=ax)
        if name == "lr":
            ax.set_xscale("log")
    for ax in axes.flat[len(metrics) :]:
        ax.remove()
    _legend_below(figure, axes.flat[0])
    alt = "; ".join(f"{data} {rest}: {len(points)} values of {name}" for (data, rest), points in series.items())
    caption = f"Mean over cases against {name}, with 95 % intervals over cases."
    owners = [owner_of(method, data) for (data, _), points in series.items() for _, method in points]
    return picture(figure, f"Results against {name}", caption, alt, owners)


def _points(
    comparison: Comparison, data: str, points: Sequence[tuple[float, str]], metric: str
) -> dict[float, tuple[float, float, float]]:
    cells = [(value, comparison.cell(data, method, metric)) for value, method in points]
    return {value: (cell.mean, cell.low, cell.high) for value, cell in cells if cell}


def _series(comparison: Comparison, name: str) -> Iterator[tuple[tuple[str, str], list[tuple[float, str]]]]:
    """(data set, the other factors) -> [(value, method)] for every line with three points or more."""
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for run in comparison.runs:
        factors = comparison.factors[id(run)]
        if name in factors:
            lines.setdefault((run.data, label_of(factors, name)), {})[float(factors[name])] = comparison.method(run)
    for key, points in lines.items():
        if len(points) > 2:
            yield key, sorted(points.items())


def isolines(comparison: Comparison, metric: str = "dice") -> list[Picture]:
    """A metric over two numeric parameters, say learning rate and patch size; nothing where it is one constant."""
    names = _grid_factors(comparison)
    if names is None:
        return []
    drawn = []
    for data in comparison.data:
        found = dict(_grids(comparison, data, names, metric))
        grids = {label: grid for label, grid in found.items() if np.isfinite(grid[2]).all()}
        if len({value for grid in grids.values() for value in grid[2].flat}) > 1:
            title, shown = f"Isolines of {title_of(metric).strip(' ↑↓')}, {data}", f"{title_of(metric)} on {data}"
            whole = [run for run in comparison.runs if comparison.factors[id(run)].keys() >= {*names}]
            owners = [comparison.method(run) for run in whole if run.data == data]
            drawn.append(isoline_picture(grids, names, title, shown, owners, data))
    return drawn


def isoline_picture(
    grids: dict[str, Any], names: tuple[str, str], title: str, shown: str, owners: Iterable[str], data: str
) -> Picture:
    """Contour maps side by side, one colour scale for all; dots with numbers where a grid is too coarse for lines.

    Args:
        grids: Panel title -> (x, y, values); x is the log10 of a learning rate where its name is `lr`.
        names: Names of x and y.
        title: Title of the picture.
        shown: What the values are, for the caption.
        owners: The methods behind them.
        data: The data set.
    """
    from matplotlib.ticker import MaxNLocator

    columns = min(4, len(grids))
    lines = -(-len(grids) // columns)
    figure, axes = style.new_figure(lines, columns, size=(2.7 * columns + 0.6, 2.6 * lines), squeeze=False)
    flat = np.concatenate([grid[2].ravel() for grid in grids.values()])
    levels = np.asarray(MaxNLocator(10).tick_values(flat.min(), flat.max() + 1e-6))
    for ax, (label, (x, y, z)) in zip(axes.flat, grids.items(), strict=False):
        filled = (_contours if carries_isolines(z) else _dots)(ax, x, y, z, levels)
        ax.set_xticks(x, [f"{10**v:g}" if names[0] == "lr" else f"{v:g}" for v in x])
        ax.set_yticks(y)
        style.finish(ax, label, names[0], names[1])
    for ax in axes.flat[len(grids) :]:
        ax.remove()
    figure.colorbar(filled, ax=list(axes.flat[: len(grids)]), shrink=0.7).ax.tick_params(labelsize=7)
    caption = f"{shown}, over {names[0]} and {names[1]}; one colour scale, dots are the runs."
    return picture(figure, title, caption, "A map a method; the numbers are in the table.", owners, data)


def carries_isolines(values: np.ndarray) -> bool:
    """Whether a grid is fine enough that lines between its points say more than the points do: three by three."""
    return min(values.shape) >= 3


def _contours(ax: Any, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: np.ndarray) -> Any:
    filled = ax.contourf(x, y, z, levels=levels, cmap="cividis")
    crossed = levels[(levels > z.min()) & (levels < z.max())]
    if len(crossed):
        ax.clabel(ax.contour(x, y, z, levels=crossed, colors="white", linewidths=0.7), fontsize=6)
    ax.plot(*np.meshgrid(x, y), "k.", markersize=4, clip_on=False)
    return filled


def _dots(ax: Any, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: np.ndarray) -> Any:
    """A table of the values: a coloured dot and its number a run."""
    across, up = (part.ravel() for part in np.meshgrid(x, y))
    dots = ax.scatter(across, up, c=z.ravel(), s=260, cmap="cividis", vmin=levels[0], vmax=levels[-1], zorder=3)
    for place in zip(across, up, z.ravel(), strict=True):
        ax.annotate(f"{place[2]:.3g}", place[:2], (0, -16), textcoords="offset points", ha="center", fontsize=7)
    ax.margins(0.25)
    return dots


def _grid_factors(comparison: Comparison) -> tuple[str, str] | None:
    """The two numeric factors with most values, learning rate first."""
    values: dict[str, set[float]] = {}
    for factors in comparison.factors.values():
        for name, value in factors.items():
            if (size := _size(value)) is not None:
                values.setdefault(name, set()).add(size)
    several = sorted((n for n, seen in values.items() if len(seen) > 1), key=lambda n: (n != "lr", -len(values[n])))
    return (several[0], several[1]) if len(several) > 1 and "lr" in several else None


def _size(value: Any) -> float | None:
    """A number, or the side of a patch given as a list."""
    if isinstance(value, int | float):
        return float(value)
    first = str(value).partition("×")[0]
    return float(first) if first.replace(".", "", 1).isdigit() else None


def _grids(comparison: Comparison, data: str, names: tuple[str, str], metric: str) -> Iterator[tuple[str, Any]]:
    points: dict[str, dict[tuple[float, float], float]] = {}
    for run in comparison.runs:
        factors = comparison.factors[id(run)]
        x, y = (_size(factors.get(name)) for name in names)
        cell = comparison.cell(data, comparison.method(run), metric) if run.data == data else None
        if x is not None and y is not None and cell:
            points.setdefault(label_of(factors, *names), {})[np.log10(x) if names[0] == "lr" else x, y] = cell.mean
    for label, found in points.items():
        xs, ys = (np.array(sorted({key[axis] for key in found})) for axis in (0, 1))
        if len(xs) > 1 and len(ys) > 1:
            yield label, (xs, ys, np.array([[found.get((x, y), np.nan) for x in xs] for y in ys]))


def critical_difference(comparison: Comparison, metric: str) -> Picture | None:
    """Mean ranks of the methods over data sets (over cases, where there are few), with the Nemenyi distance."""
    blocks, what = _blocks(comparison, metric)
    if not 3 <= len(comparison.methods) <= MAX_DRAWN or len(blocks) < 3:
        return None
    result = statistics.friedman_nemenyi(-blocks if higher_is_better(metric) else blocks)
    ranks = result.mean_ranks
    title = title_of(metric).strip(" ↑↓")
    figure, _ = plot.critical_difference(ranks, comparison.methods, result.critical_difference, title)
    caption = (
        f"Mean ranks over {len(blocks)} {what}. Methods under one bar are not told apart by the Nemenyi test at 5 % "
        f"(Friedman p = {result.p_value:.2g})."
    )
    alt = ", ".join(f"{method} {rank:.2f}" for method, rank in zip(comparison.methods, ranks, strict=True))
    return picture(figure, f"Ranks by {title}", caption, alt, comparison.methods)


def _blocks(comparison: Comparison, metric: str) -> tuple[np.ndarray, str]:
    """Values (blocks, methods): a block is a data set, or a case where there are fewer than three data sets."""
    cells = [[comparison.cell(data, method, metric) for method in comparison.methods] for data in comparison.data]
    if len(cells) >= 3:
        full = [[cell.mean for cell in row if cell] for row in cells if all(row)]
        return np.array(full), "data sets"
    rows = []
    for data in comparison.data:
        values = [comparison.values(data, method, metric) for method in comparison.methods]
        common = sorted(set.intersection(*(set(v) for v in values))) if values else []
        rows += [[v[case] for v in values] for case in common]
    return np.array(rows), "cases"


def training_curves(comparison: Comparison) -> list[Picture]:
    """Training loss and validation Dice against the step, a thin line a run, a colour a method."""
    names = [
        name
        for name in ("train/loss", "train/dice", "val/dice", "val/ece")
        if any(name in run.curves for run in comparison.runs)
    ]
    drawn = []
    for data in comparison.data if names else []:
        figure, axes = style.new_figure(1, len(names), size=(3.0 * len(names) + 0.4, 2.9), squeeze=False)
        for ax, name in zip(axes.flat, names, strict=True):
            for index, method in enumerate(comparison.leading):
                with style.owned(method, ax):
                    _curves_of_runs(ax, comparison.of(data, method), name, index, method)
            style.finish(ax, name, xlabel="step")
        _legend_below(figure, axes.flat[0])
        caption = f"A line a run; of more than {CURVE_POINTS} points the means of as many parts."
        known = [m for m in comparison.leading if any(set(names) & run.curves.keys() for run in comparison.of(data, m))]
        drawn.append(picture(figure, f"Training, {data}", caption, f"Curves of {', '.join(names)}.", known, data))
    return drawn


def _curves_of_runs(ax: Any, runs: Sequence[Run], name: str, index: int, label: str) -> None:
    look = {
        "color": style.series_style(index)["color"],
        "linestyle": style.LINES[index // len(style.COLOURS) % len(style.LINES)],
        "linewidth": 0.9,
    }
    for number, run in enumerate(runs):
        if name in run.curves:
            ax.plot(*_thinned(*run.curves[name]), label=label if number == 0 else None, **look)


def _thinned(*columns: np.ndarray) -> list[np.ndarray]:
    """Columns as they are, or of long ones the means of a hundred parts."""
    parts = (np.array_split(column, min(CURVE_POINTS, len(column))) for column in columns)
    return [np.array([part.mean() for part in column]) for column in parts]


def best_value(comparison: Comparison, metric: str) -> str:
    """A sentence on the best method of each data set, for the introduction: where it is told apart, and where not."""
    if metric not in comparison.metrics():
        return ""
    marks = tables.summary_marks(comparison)
    found = {data: own for data in comparison.data if (own := marks.of(data, metric))}
    best: dict[str, list[str]] = {}
    for data, own in found.items():
        if len(own) == 1:
            best.setdefault(next(iter(own)), []).append(data)
    told = [f"{method} is best on {', '.join(places)}" for method, places in best.items()]
    open_ = [f"{data} ({len(own)} methods)" for data, own in found.items() if len(own) > 1]
    told += [f"nothing is told apart at the top on {', '.join(open_)}"] if open_ else []
    return f"{title_of(metric).strip(' ↑↓')}: {'; '.join(told)}." if told else ""
