"""Curves: against a hyper-parameter, a threshold, the coverage, or the distance to the boundary."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import curves, errors
from ..binning import Bins
from .style import COLOURS, FONT, GREY, figure_of, finish, legend, new_figure, owned, series_style, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def parameter_curves(
    values: Mapping[str, Mapping[float, Any]],
    xlabel: str = "gamma",
    ylabel: str = "",
    title: str = "",
    ax: "Axes | None" = None,
) -> "tuple[Figure, Axes]":
    """A figure of merit against a hyper-parameter such as gamma or the margin, a line a method.

    Args:
        values: Method to {parameter: value, or (value, low, high) for an interval}; one without any has no line.
        xlabel: Name of the parameter.
        ylabel: What is drawn.
        title: Title.
        ax: Axes to draw on, their legend left to the caller; new ones if None.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.parameter_curves({"DSC++": {1.0: 0.10, 2.0: (0.06, 0.05, 0.07)}}, ylabel="ECE")
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('gamma', 'ECE')
    """
    own = ax is None
    figure, ax = figure_of(ax, (4.2, 3.2))
    for index, (name, points) in enumerate(values.items()):
        x = np.array(sorted(points))
        rows = np.array([np.broadcast_to(np.asarray(points[v], dtype=float), (3,)) for v in x]).reshape(-1, 3)
        ax.plot(x, rows[:, 0], label=name, **series_style(index))
        if (rows[:, 1] != rows[:, 2]).any():
            ax.fill_between(x, rows[:, 1], rows[:, 2], color=COLOURS[index % len(COLOURS)], alpha=0.15, linewidth=0)
    if own:
        legend(ax)
    finish(ax, title, xlabel, ylabel)
    return figure, ax


def threshold_curves(
    bins: Mapping[str, Bins], channel: int = 0, points: int = 100, title: str = ""
) -> "tuple[Figure, NDArray[Any]]":
    """Recall, precision and Dice against the threshold on the probability, a line a method.

    Args:
        bins: Method to bins of the view "foreground" or "classwise", fields (C, B).
        channel: Which of the C channels.
        points: Number of thresholds, a divisor of B.
        title: Title.

    Returns:
        Figure and its three axes.

    Example:
        >>> import torch, metrics
        >>> probs = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]])
        >>> bins = metrics.bin_item(probs, torch.tensor([0, 1, 1]), "foreground")
        >>> figure, axes = metrics.plot.threshold_curves({"DSC++": bins})
        >>> [ax.get_title() for ax in axes]
        ['recall', 'precision', 'Dice']
    """
    figure, axes = new_figure(1, 3, size=(9.6, 3.2), sharex=True, sharey=True)
    figure.suptitle(title, fontsize=FONT + 1)
    for index, (name, sums) in enumerate(bins.items()):
        found = curves.threshold_curves(sums, points)
        look = series_style(index) | {"marker": ""}
        with owned(name, *axes):
            for ax, values in zip(axes, found[1:], strict=True):
                ax.plot(to_numpy(found.threshold), to_numpy(values[channel]), label=name, **look)
    for ax, what in zip(axes, ("recall", "precision", "Dice"), strict=True):
        finish(ax, what, "threshold", "")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
    legend(axes[0], "lower left", beside=axes[-1])
    return figure, axes


def risk_coverage(
    bins: Mapping[str, Bins], generalised: bool = False, title: str = "", ax: "Axes | None" = None
) -> "tuple[Figure, Axes]":
    """Risk against coverage, a line a method, with the area under it in the legend.

    Args:
        bins: Method to top-label bins, fields (1, B).
        generalised: Errors kept over all voxels (AUGRC) in place of errors among those kept (AURC).
        title: Title.
        ax: Axes to draw on; new ones if None.

    Example:
        >>> import torch, metrics
        >>> bins = metrics.bin_item(torch.tensor([[0.75, 0.9], [0.25, 0.1]]), torch.tensor([1, 0]), "top_label")
        >>> figure, ax = metrics.plot.risk_coverage({"DSC++": bins}, generalised=True)
        >>> ax.get_legend().get_texts()[0].get_text()
        'DSC++ (AUGRC 0.1250)'
    """
    figure, ax = figure_of(ax, (4.2, 3.4))
    area = curves.area_under_generalised_risk_coverage if generalised else curves.area_under_risk_coverage
    for index, (name, sums) in enumerate(bins.items()):
        curve = curves.risk_coverage(sums)
        risk = to_numpy((curve.generalised_risk if generalised else curve.risk)[0])
        label = f"{name} ({'AUGRC' if generalised else 'AURC'} {area(sums)[0].item():.4f})"
        with owned(name, ax):
            ax.plot(to_numpy(curve.coverage[0]), risk, label=label, **(series_style(index) | {"marker": ""}))
    legend(ax, "upper left")
    finish(ax, title, "coverage", "generalised risk" if generalised else "selective risk")
    ax.set(xlim=(0, 1), ylim=(0, ax.get_ylim()[1] * (1 + 0.1 * len(bins))))  # room for the legend
    return figure, ax


def distance_calibration(
    shells: Mapping[str, Bins], edges: Sequence[float], num_bins: int = 15, title: str = ""
) -> "tuple[Figure, NDArray[Any]]":
    """Confidence less accuracy, and ECE, against the signed distance to the boundary, a line a method.

    Args:
        shells: Method to top-label bins of `metrics.distance_bins`, fields (E + 1, 1, B).
        edges: The edges given there.
        num_bins: Bins of the ECE.
        title: Title.

    Returns:
        Figure and its two axes.

    Example:
        >>> import torch, metrics
        >>> image = torch.zeros(8, 8, dtype=torch.long)
        >>> image[2:6, 2:6] = 1
        >>> probs = torch.stack([0.75 - 0.5 * image, 0.25 + 0.5 * image])
        >>> shells = metrics.distance_bins(probs, image, edges=(-1.0, 0.0, 1.0))
        >>> figure, axes = metrics.plot.distance_calibration({"DSC++": shells}, edges=(-1.0, 0.0, 1.0))
        >>> [label.get_text() for label in axes[0].get_xticklabels()]
        ['< -1', '-1 to 0', '0 to 1', '> 1']
    """
    figure, axes = new_figure(1, 2, size=(8.0, 3.4), sharex=True)
    figure.suptitle(title, fontsize=FONT + 1)
    names = [
        f"< {edges[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges)),
        f"> {edges[-1]:g}",
    ]
    place = np.arange(len(names))
    for index, (name, bins) in enumerate(shells.items()):
        signed = to_numpy(errors.signed_calibration_error(bins)[:, 0])
        error = to_numpy(errors.expected_calibration_error(bins, num_bins)[:, 0])
        for ax, values in zip(axes, (signed, error), strict=True):
            ax.plot(place, values, label=name, **series_style(index))
    for ax, what in zip(axes, ("confidence - accuracy", "ECE"), strict=True):
        ax.axhline(0, color=GREY, linestyle=":", linewidth=1.2)
        ax.axvline(np.searchsorted(edges, 0) + 0.5, color=GREY, linewidth=0.8)
        ax.set_xticks(place, names, rotation=45, ha="right")
        finish(ax, what, "distance to the boundary (mm; foreground < 0)", "")
    legend(axes[0], beside=axes[-1])
    return figure, axes
