"""What is scored and calibrated in a case: one problem of K classes, or a two-class problem a region."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.regions import Regions
from lightning_app.maps.folder import Case
from lightning_app.maps.reading import Form, Map
from lightning_app.maps.storage import levels_of
from lightning_app.training.head import Head, RegionHead


class Problem(NamedTuple):
    """Probabilities (K, *S) and labels (*S) uint8, 255 where nothing counts."""

    probs: Tensor
    target: Tensor


def head_of(form: Form) -> Head:
    """What the channels of a folder's maps mean."""
    if form.regions is None:
        return Head(form.classes)
    united = {name: tuple(numbers) for name, numbers in form.regions.items()}
    return RegionHead(form.classes, Regions(united, form.numbers))


def channels_of(case: Case, form: Form) -> tuple[Tensor, Tensor]:
    """Probabilities (C, *S) as the head takes them, and labels (*S)."""
    return stacked(case.probs, form), torch.from_numpy(case.label.array)


def stacked(probs: np.ndarray, form: Form) -> Tensor:
    """Probabilities (C, *S) as the head takes them, of a map's (K, *S) or of regions (R, *S)."""
    parts = split(probs, form)
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))


def traits_of(map_: Map, form: Form) -> dict[str, float]:
    """What a map as it is stored says of its case without a label; see `Head.traits`."""
    return head_of(form).traits(stacked(map_.probs, form))


def names_of(form: Form) -> list[tuple[str, tuple[str, ...]]]:
    """Of each problem: what to call it ("" where there is one), and its class names, background first."""
    if form.regions is None:
        return [("", form.classes)]
    return [(region, (f"not {region}", region)) for region in form.regions]


def problems_of(case: Case, form: Form) -> list[Problem]:
    """The problems of a case."""
    items = head_of(form).items(*(part[None] for part in channels_of(case, form)))
    return [Problem(*item) for item in zip(*items, strict=True)]


def split(probs: np.ndarray, form: Form) -> list[np.ndarray]:
    """The probabilities of each problem."""
    return (
        [np.ascontiguousarray(probs)] if form.regions is None else [np.stack((1 - region, region)) for region in probs]
    )


def join(parts: Sequence[np.ndarray], form: Form) -> np.ndarray:
    """The way back of `split`."""
    return parts[0] if form.regions is None else np.stack([part[1] for part in parts])


def above_zero(probs: Tensor, dtype: np.dtype) -> Tensor:
    """Probabilities as a calibrator takes them: what was rounded to zero becomes half the smallest number that is not.

    Args:
        probs: (K, *S).
        dtype: The type that they were stored in.
    """
    levels = levels_of(dtype)
    least = 0.5 / levels if levels else 3e-8 if dtype == np.float16 else 0.0
    if not least:
        return probs
    raised = probs.clamp_min(least)
    return raised / raised.sum(0)
