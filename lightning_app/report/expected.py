"""Expected against true Dice, a point a case: whether what a network says of a case can be believed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_app.report.compare import Comparison
from lightning_app.report.figures import picture
from lightning_app.report.page import Picture
from metrics.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
Points = tuple[np.ndarray, np.ndarray]  # expected and true Dice of the cases


def expected_dice(comparison: Comparison) -> list[Picture]:
    """A picture a data set, a panel a method, the classes in colours; of runs that measured it."""
    drawn = []
    for data in comparison.data:
        panels = {method: points_of(comparison, data, method) for method in comparison.leading}
        if known := {method: points for method, points in panels.items() if points}:
            caption = (
                "A point is a case (of the first seed). On the dotted line the mask is as good as the probabilities "
                "say; below it the network promises itself too much."
            )
            alt = f"A panel for each of {', '.join(known)}."
            drawn.append(picture(scatter(known), f"Expected against true Dice on {data}", caption, alt, known, data))
    return drawn


def points_of(comparison: Comparison, data: str, method: str) -> dict[str, Points]:
    """Class -> the points of a method's first seed, all its folds; empty where expected Dice was not measured."""
    found: dict[str, Points] = {}
    for runs in comparison.wholes(data, method)[:1]:
        scores = [case.scores for run in runs for case in comparison.cases(run)]
        for label in runs[0].classes(comparison.stage):
            pairs = np.array(
                [[score.get((key, label), np.nan) for score in scores] for key in ("expected_dice", "dice")]
            )
            known = np.isfinite(pairs).all(0)
            if known.any():
                found[label] = (pairs[0, known], pairs[1, known])
    return found


def scatter(panels: Mapping[str, Mapping[str, Points]]) -> "Figure":
    """A panel a title, a colour a label."""
    labels = list(dict.fromkeys(label for points in panels.values() for label in points))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = style.new_figure(lines, columns, size=(2.6 * columns, 2.8 * lines), squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (title, points) in zip(axes.flat, panels.items(), strict=False):
        ax.set_gid(title)
        ax.plot([0, 1], [0, 1], color="#666666", linestyle=":", linewidth=1.2)
        for label, (expected, true) in points.items():
            marker = style.series_style(labels.index(label)) | {"linestyle": "", "markersize": 3, "alpha": 0.6}
            ax.plot(expected, true, label=label, **marker)
        style.finish(ax, title, "expected Dice", "Dice")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if len(labels) > 1:
        handles: dict[str, Any] = {}
        for ax in figure.axes:
            handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        options: Any = {"ncols": min(6, len(labels)), "markerscale": 2}
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", **options)
    return figure
