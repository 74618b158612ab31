"""One look for all plots: colours that colour-blind readers and grey prints keep apart, and how figures are made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Text

# Okabe and Ito (2008)
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#555555", YELLOW)
CLASS_COLOURS = (GREEN, YELLOW, PURPLE, ORANGE, BLUE)  # outlines of classes; none means an error
CLAIMED, MISSED, CONFUSED = VERMILION, SKY, "#FFFFFF"  # foreground that is not there, none where there is, another's
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
GREY = "#666666"
FONT = 9
MOST_INSIDE, LONGEST_INSIDE = 8, 24  # entries of a legend, letters of one, that leave room for curves


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.2, 4.2), **kwargs: Any
) -> "tuple[Figure, Any]":
    """Figure and axes, as `pyplot.subplots` gives them, without its state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    return figure, figure.subplots(rows, columns, **kwargs)


def figure_of(ax: "Axes | None", size: tuple[float, float] = (4.2, 4.2)) -> "tuple[Figure, Axes]":
    """The axes that were given and their figure, or new ones."""
    if ax is None:
        return new_figure(size=size)
    return _figure(ax), ax


def _figure(ax: "Axes") -> "Figure":
    figure = ax.get_figure(root=True)
    assert figure is not None  # no axes of ours outlive theirs
    return figure


def literal(figure: "Figure") -> "Figure":
    """The figure with every text as it stands: a class named `$x_{$` is no formula. Call it once all is drawn.

    Example:
        >>> import metrics
        >>> figure, ax = metrics.plot.box_plot({"$x_{$": [0.80, 0.90]})
        >>> [label.get_parse_math() for label in metrics.plot.literal(figure).axes[0].get_xticklabels()]
        [False]
    """
    for text in _texts(figure):
        if "$" in text.get_text() and "\\mathdefault" not in text.get_text():  # as the ticks of log axes are written
            text.set_parse_math(False)
    return figure


def _texts(artist: "Artist") -> "Iterator[Text]":
    """The texts in an artist; of axes that are off not the ticks, which would be made for it."""
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    is_off = isinstance(artist, Axes) and not artist.axison
    for child in artist.get_children():
        if not (is_off and isinstance(child, Axis)):
            yield from _texts(child)


def finish(ax: "Axes", title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Labels, a light grid, no box."""
    ax.set_title(title, fontsize=FONT + 1)
    ax.set_xlabel(xlabel, fontsize=FONT)
    ax.set_ylabel(ylabel, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


def legend(ax: "Axes", loc: str = "best", beside: "Axes | None" = None) -> None:
    """A legend; to the right of the axes (or of those `beside`) where it would cover the curves: many or long names."""
    handles, labels = ax.get_legend_handles_labels()
    longest = max(map(len, labels), default=0)
    if len(labels) > MOST_INSIDE or longest > LONGEST_INSIDE:
        ax, place = beside or ax, dict[str, Any]({"loc": "upper left", "bbox_to_anchor": (1.02, 1)})
        figure = _figure(ax)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + 0.6 + 0.075 * longest, height)
    else:
        place = {"loc": loc}
    own_entries(ax.legend(handles, labels, fontsize=FONT - 1, frameon=False, **place), handles)


@contextmanager
def owned(owner: str, *axes: "Axes") -> Iterator[None]:
    """What is drawn on these axes meanwhile is of one series: its `gid`, in an SVG the group's id, is the owner's name.

    Example:
        >>> figure, ax = new_figure()
        >>> with owned("DSC++", ax):
        ...     (line,) = ax.plot([0, 1])
        >>> line.get_gid()
        'DSC++'
    """
    before = {artist for ax in axes for artist in ax.get_children()}
    yield
    for artist in (artist for ax in axes for artist in ax.get_children() if artist not in before):
        artist.set_gid(owner)


def own_entries(drawn: "Legend", handles: Sequence[Any]) -> None:
    """The entries of a legend are of the series whose handles they were made from."""
    for handle, mark, text in zip(handles, drawn.legend_handles, drawn.get_texts(), strict=True):
        for artist in (mark, text) if mark and hasattr(handle, "get_gid") else ():
            artist.set_gid(handle.get_gid())


def series_style(index: int) -> dict[str, Any]:
    """Colour, marker and line of the index-th series: told apart without colour, too, and beyond the colours."""
    turn = index // len(COLOURS)  # a colour that comes again comes with another marker and line
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[(index + 3 * turn) % len(MARKERS)],
        "linestyle": LINES[(index + turn) % len(LINES)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def to_numpy(values: Any) -> NDArray[Any]:
    """Array of a tensor or of anything numpy takes."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
