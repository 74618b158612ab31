"""Draw a sample, to look at what a network will see."""

from typing import Any

import numpy as np


def _plane(array: np.ndarray, spatial_dims: int) -> np.ndarray:
    """Middle slice along the depth of `(..., D, H, W)`; images as they are."""
    return array if spatial_dims == 2 else array[..., array.shape[-3] // 2, :, :]


def plot_sample(sample: dict[str, Any], spatial_dims: int, num_classes: int) -> tuple[Any, Any]:
    """Image beside mask; the case's name above. Returns the figure and its axes."""
    from matplotlib.figure import Figure

    name, image, mask = sample["case"], sample["image"], sample.get("mask")
    if isinstance(name, list):
        name, image, mask = name[0], image[0], None if mask is None else mask[0]
    if mask is not None and mask.ndim == image.ndim:  # the mean of several raters: what most say
        mask = np.where(np.asarray(mask).any(0), np.asarray(mask).argmax(0), 255)
    picture = _plane(np.asarray(image), spatial_dims)
    low, high = np.percentile(picture, [1, 99])
    picture = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 1 if mask is None else 2, squeeze=False)[0]
    axes[0].imshow(np.moveaxis(picture, 0, -1) if len(picture) == 3 else picture[0], cmap="gray")
    axes[0].set_title(str(name))
    if mask is not None:
        labels = np.ma.masked_equal(_plane(np.asarray(mask), spatial_dims), 255)
        axes[1].imshow(labels, cmap="viridis", vmin=0, vmax=num_classes - 1, interpolation="nearest")
        axes[1].set_title("mask (white: ignored)")
    for ax in axes:
        ax.set_axis_off()
    return figure, axes
