"""Small pictures of cases, as few bytes as a screen needs: what is thin stays there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_app.training.head import Head
from lightning_app.training.labels import IGNORED
from metrics import overlap
from metrics.plot.maps import middle_slice
from models.network import center_crop


def thumbnail(
    batch: dict[str, Any], probs: Tensor, head: Head, cuts: Sequence[float] | None = None, size: int = 320
) -> dict[str, Any]:
    """A small 2D picture of the first case of a batch: of a volume the slice with most foreground.

    Args:
        batch: A batch on the network's grid.
        probs: Its probabilities, `(1, C, *S)`.
        head: What they mean.
        cuts: By which the masks are made, as the scorer has them; none for the largest probability.
        size: Longest side kept, in pixels; larger ones shrink by whole steps.

    Returns:
        `case`, `image`, `truth`, `prediction`, `probs`; `slice`, as "slice 3 of 9", empty in 2D; `cuts`; `names` of the
        classes; `dice` of the whole case on this grid; `volume`, as `thin_volume` gives it, None in 2D.
    """
    image = center_crop(batch["image"], probs.shape[2:])[0].float().cpu()
    mask = center_crop(batch["mask"], probs.shape[2:])[0]
    truth, prediction, chances = (part.cpu() for part in head.picture(probs[0], mask, cuts))
    facts = {"case": batch["case"][0], "names": tuple(head.labels), "dice": dice(prediction, truth)}
    facts |= {"slice": "", "cuts": f"cut at {', '.join(f'{cut:.3g}' for cut in cuts[1:])}" if cuts else ""}
    volume = thin_volume(image, truth, prediction, chances) if truth.ndim == 3 else None
    if truth.ndim == 3:
        index = middle_slice(truth.numpy())
        facts["slice"] = f"slice {index + 1} of {len(truth)}"
        image, truth, prediction, chances = image[:, index], truth[index], prediction[index], chances[:, index]
    step = max(1, -(-max(truth.shape) // size))
    small = {
        "image": shrink(image, step),
        "truth": shrink_labels(truth, step),
        "prediction": shrink_labels(prediction, step),
        "probs": shrink(chances, step),
    }
    return {**facts, **small, "volume": volume}


def dice(prediction: Tensor, truth: Tensor) -> float:
    """Mean Dice of the foreground classes that are true or claimed; NaN where there are none."""
    keep = truth != IGNORED
    classes = int(torch.where(keep, truth, 0).max().maximum(prediction.max())) + 1
    counts = overlap.label_confusion(prediction, truth, classes, keep)
    return float(overlap.overlap_from_confusion(counts, "dice")[1:].nanmean())


def shrink(values: Tensor, step: int) -> Tensor:
    """Means of blocks of `step` x `step` pixels of `(..., H, W)`; a copy, as a view keeps the whole case in memory."""
    return F.avg_pool2d(values.float(), step, ceil_mode=True) if step > 1 else values.clone()


def shrink_labels(labels: Tensor, step: int) -> Tensor:
    """Labels `(..., H, W)` of such blocks: foreground wherever a pixel is, so that a vessel is not cut into dots.

    Of two classes in a block the larger number is kept; ignored is what is ignored throughout.
    """
    if step == 1:
        return labels.clone()
    known = torch.where(labels == IGNORED, -1, labels.long())
    most = F.max_pool2d(known.float()[None], step, ceil_mode=True)[0].long()
    return torch.where(most < 0, IGNORED, most)


def thin_volume(
    image: Tensor,
    truth: Tensor,
    prediction: Tensor,
    probs: Tensor,
    slices: int = 64,
    size: int = 96,
) -> dict[str, np.ndarray]:
    """8-bit arrays `(D, H, W)` of a volume, shrunk by whole steps, for leafing through its slices.

    Args:
        image: `(C, D, H, W)`; the first channel is kept.
        truth: `(D, H, W)`.
        prediction: `(D, H, W)`.
        probs: `(K, D, H, W)`.
        slices: Most slices kept.
        size: Most rows and columns kept.
    """
    depth, plane = -(-truth.shape[0] // slices), -(-max(truth.shape[1:]) // size)
    kept = (..., slice(None, None, depth), slice(None, None), slice(None, None))
    confidence = shrink(probs[kept].amax(dim=0), plane)
    return {
        "image": grey(shrink(image[0][kept], plane)).numpy(),
        "truth": shrink_labels(truth[kept], plane).numpy().astype(np.uint8),
        "prediction": shrink_labels(prediction[kept], plane).numpy().astype(np.uint8),
        "confidence": (confidence * 255).round().numpy().astype(np.uint8),
    }


def picture(image: Tensor) -> np.ndarray:
    """A thumbnail's image `(C, H, W)` as 8-bit grey or RGB array, between its percentiles 1 and 99."""
    return grey(image[:3] if image.shape[0] >= 3 else image[:1]).permute(1, 2, 0).squeeze(-1).numpy()


def grey(values: Tensor) -> Tensor:
    """Values between their percentiles 1 and 99 as 0 to 255, uint8: a few bright voxels leave no black picture."""
    low, high = np.nanpercentile(values.numpy(), [1, 99])
    return ((values - low) / max(high - low, 1e-12) * 255).clamp(0, 255).to(torch.uint8)
