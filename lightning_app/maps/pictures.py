"""Pictures of the worst, median and best case of an evaluation; these three are read once more for it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger

import metrics
from datamodules import readers
from lightning_app.maps.folder import Folder
from lightning_app.maps.pairing import ending_of
from lightning_app.maps.problems import channels_of, head_of
from lightning_app.maps.storage import VOLUMES
from lightning_app.training.figures import draw_case
from lightning_app.training.thumbnails import thumbnail


def draw_cases(
    folder: Folder,
    cases: Sequence[tuple[str, metrics.CaseSums]],
    figures: Path,
    loggers: Iterable[Logger],
    cuts: Sequence[float] | None = None,
) -> None:
    """Draw three cases by their Dice.

    Args:
        folder: Maps and labels.
        cases: Name and sums of each case.
        figures: Where the pictures go.
        loggers: What shows them.
        cuts: By which the masks are made, as the scorer has them.
    """
    dice = metrics.catalogue.NUMBERS["dice"]
    scores = {name: float(dice.value(sums)[0]) for name, sums in cases}
    order = sorted((name for name in scores if np.isfinite(scores[name])), key=lambda name: scores[name])
    if not order:
        return
    pairs, head = {pair.name: pair for pair in folder.pairs.pairs}, head_of(folder.form)
    for rank, name in (("worst", order[0]), ("median", order[len(order) // 2]), ("best", order[-1])):
        case = folder.read(pairs[name])
        probs, target = channels_of(case, folder.form)
        image = _image(pairs[name].image, tuple(target.shape))
        image = head.foreground(probs)[None] if image is None else image
        probs = probs[None].float()
        if target.ndim == 3:  # slices lie along the last axis of a file, and along the first of a picture
            image, target, probs = (part.transpose(-1, -3) for part in (image, target, probs))
        batch = {"image": image[None], "mask": target[None], "case": [name]}
        draw_case(thumbnail(batch, probs, head, cuts), scores[name], rank, "test", figures, loggers, 0)


def _image(path: Path | None, shape: tuple[int, ...]) -> torch.Tensor | None:
    """The case's image as (C, *S) float32, or None where there is none on its grid."""
    if path is None:
        return None
    if ending_of(path) in VOLUMES:
        array: Any = readers.read_volume(path).array
        array = array if array.ndim == 3 else array[..., 0]
        array = array[None]
    else:
        array = np.moveaxis(readers.read_image(path, 3), -1, 0)
    return torch.from_numpy(array.astype(np.float32)) if array.shape[1:] == shape else None
