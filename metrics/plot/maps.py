"""Pictures of one image, or of the middle slice of a volume: labels, confidence, errors."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .style import BLUE, COLOURS, FONT, VERMILION, new_figure, to_numpy

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


def _outline(ax: "Axes", labels: NDArray[Any]) -> None:
    """Contour of every foreground class."""
    for k in np.unique(labels):
        if k not in (0, IGNORED):
            ax.contour(labels == k, levels=[0.5], colors=[COLOURS[int(k - 1) % len(COLOURS)]], linewidths=1.1)


def error_map(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """RGBA picture (H, W, 4).

    Vermilion where foreground was claimed or given the wrong class, blue where it was missed, grey where ignored.
    """
    from matplotlib.colors import to_rgba

    colours = np.zeros((*truth.shape, 4))
    wrong = (prediction != truth) & (truth != IGNORED)
    colours[wrong & (prediction != 0)] = to_rgba(VERMILION, 0.8)
    colours[wrong & (prediction == 0)] = to_rgba(BLUE, 0.8)
    colours[truth == IGNORED] = to_rgba("#888888", 0.5)
    return colours


def overlay(image: Any, prediction: Any, truth: Any, probs: Any, title: str = "") -> "tuple[Figure, NDArray[Any]]":
    """Truth, prediction, confidence and error side by side.

    Args:
        image: (C, *S) or (*S).
        prediction: (*S) labels.
        truth: (*S) labels, 255 where ignored.
        probs: (K, *S).
        title: Title of the figure.

    Returns:
        Figure and its four axes. Of a volume the slice with most foreground is shown.

    Example:
        >>> import numpy, metrics
        >>> truth = numpy.eye(8, dtype=int)
        >>> probs = numpy.stack([1 - 0.75 * truth, 0.75 * truth])
        >>> figure, axes = metrics.plot.overlay(truth * 100.0, probs.argmax(0), truth, probs)
        >>> [ax.get_title() for ax in axes[:3]]
        ['truth', 'prediction', 'confidence (max p)']
    """
    arrays = _flat(*(to_numpy(a) for a in (image, truth, prediction, probs)))
    shown, labels, predicted, p = arrays
    grey = _grey(shown)
    figure, axes = new_figure(1, 4, size=(11.0, 3.1))
    figure.suptitle(title, fontsize=FONT + 1)
    for ax, name, outlined in ((axes[0], "truth", labels), (axes[1], "prediction", predicted)):
        _show(ax, grey, name, cmap="gray", vmin=0, vmax=1)
        _outline(ax, outlined)
    picture = _show(axes[2], p.max(0), "confidence (max p)", cmap="cividis", vmin=1 / len(p), vmax=1)
    figure.colorbar(picture, ax=axes[2], shrink=0.8).ax.tick_params(labelsize=FONT - 2)
    _show(axes[3], grey, "errors: claimed (red), missed (blue)", cmap="gray", vmin=0, vmax=1)
    axes[3].imshow(error_map(predicted, labels), interpolation="nearest")
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
