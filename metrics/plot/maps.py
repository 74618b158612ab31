"""Pictures of one image, or of the middle slice of a volume: labels, confidence, errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .style import CLAIMED, CLASS_COLOURS, CONFUSED, FONT, MISSED, new_figure, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IGNORED = 255


def middle_slice(truth: NDArray[Any]) -> int:
    """Slice of a volume (D, H, W) with most foreground; the middle one where there is none."""
    area = ((truth != 0) & (truth != IGNORED)).reshape(len(truth), -1).sum(1)
    return int(area.argmax()) if area.any() else len(truth) // 2


def _flat(image: NDArray[Any], truth: NDArray[Any], *others: NDArray[Any]) -> list[NDArray[Any]]:
    """The slice that is shown of each array; 2D arrays as they are. Axes before the last two or three are channels."""
    if truth.ndim == 2:
        return [image, truth, *others]
    index = middle_slice(truth)
    return [array[..., index, :, :] for array in (image, truth, *others)]


def _grey(image: NDArray[Any]) -> NDArray[Any]:
    """Image (C, H, W) or (H, W) as (H, W) or, of three channels, (H, W, 3), scaled to 0..1."""
    image = np.asarray(image, dtype=float)
    if image.ndim == 3:
        image = np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    low, high = np.nanpercentile(image, [1, 99])
    return np.clip((image - low) / max(high - low, 1e-12), 0, 1)


def _show(ax: "Axes", picture: NDArray[Any], title: str, **kwargs: Any) -> Any:
    """Draw a picture without ticks."""
    ax.set_title(title, fontsize=FONT)
    ax.set_axis_off()
    return ax.imshow(picture, interpolation="nearest", **kwargs)


def class_colour(label: int) -> str:
    """Colour of a foreground class, from 1.

    Example:
        >>> from metrics.plot.maps import class_colour
        >>> class_colour(1)
        '#009E73'
    """
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]


def _outline(ax: "Axes", labels: NDArray[Any]) -> None:
    """Contour of every foreground class, on a dark rim that keeps it visible on any tissue."""
    for k in np.unique(labels):
        if k not in (0, IGNORED):
            for colour, width in (("black", 1.8), (class_colour(int(k)), 0.9)):
                ax.contour(labels == k, levels=[0.5], colors=[colour], linewidths=width)


def error_map(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """RGBA picture (H, W, 4).

    Vermilion where foreground was claimed on background, sky blue where it was missed, white where it was given
    another class, grey where ignored.

    Example:
        >>> import numpy
        >>> from metrics.plot.maps import error_map
        >>> error_map(numpy.array([[1, 0, 2]]), numpy.array([[1, 2, 1]]))[0, :, 3].tolist()
        [0.0, 1.0, 1.0]
    """
    from matplotlib.colors import to_rgba

    colours = np.zeros((*truth.shape, 4))
    wrong = (prediction != truth) & (truth != IGNORED)
    colours[wrong] = to_rgba(CONFUSED)
    colours[wrong & (truth == 0)] = to_rgba(CLAIMED)
    colours[wrong & (prediction == 0)] = to_rgba(MISSED)
    colours[truth == IGNORED] = to_rgba("#888888", 0.5)
    return colours


def _dimmed(grey: NDArray[Any]) -> NDArray[Any]:
    """A picture (H, W) or (H, W, 3) as a dark grey one, on which no tissue has the colour of an error."""
    return 0.4 * (grey.mean(-1) if grey.ndim == 3 else grey)


def _key(figure: "Figure", arrays: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
    """What the colours of outlines and errors mean, of those that the picture can hold."""
    from matplotlib.patches import Patch

    found = sorted({int(k) for labels in arrays for k in np.unique(labels)} - {0, IGNORED})
    meant = [(names[k] if k < len(names) else f"class {k}", class_colour(k)) for k in found]
    meant += [("claimed", CLAIMED), ("missed", MISSED), *([("other class", CONFUSED)] if len(found) > 1 else [])]
    meant += [("ignored", "#888888")] if any((labels == IGNORED).any() for labels in arrays) else []
    handles = [Patch(facecolor=colour, edgecolor="#444444", linewidth=0.5, label=name) for name, colour in meant]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 9), fontsize=FONT, frameon=False)


def overlay(
    image: Any, prediction: Any, truth: Any, probs: Any, title: str = "", class_names: Sequence[str] = ()
) -> "tuple[Figure, NDArray[Any]]":
    """Image, truth, prediction, confidence and error side by side.

    Args:
        image: (C, *S) or (*S); shown between its percentiles 1 and 99.
        prediction: (*S) labels.
        truth: (*S) labels, 255 where ignored.
        probs: (K, *S).
        title: Title of the figure; a volume's slice number is added.
        class_names: Names of the classes in the key, background first; their numbers if empty.

    Returns:
        Figure and its five axes. Of a volume the slice with most foreground is shown.

    Example:
        >>> import numpy, metrics
        >>> truth = numpy.eye(8, dtype=int)
        >>> probs = numpy.stack([1 - 0.75 * truth, 0.75 * truth])
        >>> figure, axes = metrics.plot.overlay(truth * 100.0, probs.argmax(0), truth, probs, class_names=["", "line"])
        >>> [ax.get_title() for ax in axes]
        ['image', 'truth', 'prediction', 'confidence', 'error']
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['line', 'claimed', 'missed']
    """
    arrays = [to_numpy(a) for a in (image, truth, prediction, probs)]
    if arrays[1].ndim == 3:
        place = f"slice {middle_slice(arrays[1]) + 1} of {len(arrays[1])}"
        title = f"{title}, {place}" if title else place
    shown, labels, predicted, p = _flat(*arrays)
    grey = _grey(shown)
    figure, axes = new_figure(1, 5, size=(13.0, 3.3))
    figure.suptitle(title, fontsize=FONT + 2)
    _show(axes[0], grey, "image", cmap="gray", vmin=0, vmax=1)
    for ax, name, outlined in ((axes[1], "truth", labels), (axes[2], "prediction", predicted)):
        _show(ax, grey, name, cmap="gray", vmin=0, vmax=1)
        _outline(ax, outlined)
    picture = _show(axes[3], p.max(0), "confidence", cmap="cividis", vmin=1 / len(p), vmax=1)
    bar = figure.colorbar(picture, ax=axes[3], shrink=0.8)
    bar.ax.tick_params(labelsize=FONT - 2)
    bar.set_label("largest p", fontsize=FONT - 1)
    _show(axes[4], _dimmed(grey), "error", cmap="gray", vmin=0, vmax=1)
    axes[4].imshow(error_map(predicted, labels), interpolation="nearest")
    _key(figure, (labels, predicted), class_names)
    return figure, axes


def probability_maps(
    image: Any, truth: Any, probs: Any, class_index: int | None = None, title: str = ""
) -> "tuple[Figure, NDArray[Any]]":
    """The image, its foreground probability, the entropy, and how far the confidence was off.

    Args:
        image: (C, *S) or (*S).
        truth: (*S) labels, 255 where ignored.
        probs: (K, *S).
        class_index: Class whose probability is shown; 1 - p_0 if None.
        title: Title of the figure.

    Returns:
        Figure and its four axes. Of a volume the slice with most foreground is shown. Entropy is a share of log K; the
        error is |confidence - (was it right)|.

    Example:
        >>> import numpy, metrics
        >>> truth = numpy.eye(8, dtype=int)
        >>> probs = numpy.stack([1 - 0.75 * truth, 0.75 * truth])
        >>> figure, axes = metrics.plot.probability_maps(truth * 100.0, truth, probs)
        >>> [ax.get_title() for ax in axes[:3]]
        ['image and truth', '1 - p of background', 'entropy / log K']
    """
    shown, labels, p = _flat(*(to_numpy(a) for a in (image, truth, probs)))
    foreground = 1 - p[0] if class_index is None else p[class_index]
    entropy = -np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0).sum(0) / np.log(len(p))
    wrong = np.abs(p.max(0) - (p.argmax(0) == labels))
    pictures = (
        ("1 - p of background" if class_index is None else f"p of class {class_index}", foreground, "magma"),
        ("entropy / log K", entropy, "cividis"),
        ("|confidence - correctness|", np.ma.masked_where(labels == IGNORED, wrong), "cividis"),
    )
    figure, axes = new_figure(1, 4, size=(12.0, 3.1))
    figure.suptitle(title, fontsize=FONT + 1)
    _show(axes[0], _grey(shown), "image and truth", cmap="gray", vmin=0, vmax=1)
    _outline(axes[0], labels)
    for ax, (name, values, colours) in zip(axes[1:], pictures, strict=True):
        picture = _show(ax, values, name, cmap=colours, vmin=0, vmax=1)
        figure.colorbar(picture, ax=ax, shrink=0.8).ax.tick_params(labelsize=FONT - 2)
    return figure, axes
