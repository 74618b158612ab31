"""Several raters of one case: whose labels training takes, what most say, and what is scored against.

The label maps of a case are `(R, *S)` uint8, a map a rater, 255 where that one does not count; of one rater R = 1.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .case import Case
from .errors import DataError
from .masks import IGNORE

Raters = Literal["mean", "draw", "first"]


def check_raters(raters: Raters, patterns: Sequence[str]) -> Raters:
    """What is asked for of several raters, if there are several.

    Args:
        raters: What training takes of them.
        patterns: Patterns of masks, one a rater.

    Raises:
        DataError: If it is none of the choices, or there is one rater only.
    """
    if raters not in get_args(Raters):
        raise DataError(f"raters={raters!r}: use {', '.join(get_args(Raters))}.")
    if raters != "mean" and len(patterns) < 2:
        raise DataError(
            f"raters={raters!r} with one rater, masks={patterns[0]!r}: give masks as a list of patterns, one a rater, "
            "or leave raters out."
        )
    return raters


def by_rater(case: Case) -> Iterator[tuple[Path, ...]]:
    """The mask files of each rater; those of the only one where there are not several."""
    start = 0
    for count in case.raters or (len(case.masks),):
        yield case.masks[start : start + count]
        start += count


def soft_labels(maps: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean `(K, *S)` float32 of the label maps `(R, *S)` of several raters, over those who do not ignore the voxel.

    Where all ignore it, all classes are 0.
    """
    counting = np.maximum((maps != IGNORE).sum(0), 1)
    shares = np.empty((num_classes, *maps.shape[1:]), np.float32)
    for value, share in enumerate(shares):
        share[...] = (maps == value).sum(0) / counting
    return shares


def majority(maps: np.ndarray) -> np.ndarray:
    """Label `(*S)` that most raters `(R, *S)` give, the smallest of equals; 255 where all ignore it."""
    if len(maps) == 1:
        return np.asarray(maps[0])
    found = np.full(maps.shape[1:], IGNORE, np.uint8)
    most = np.zeros(found.shape, np.uint16)
    for value in np.setdiff1d(np.unique(maps), [IGNORE]):
        votes = (maps == value).sum(0, dtype=np.uint16)
        found[votes > most] = value
        np.maximum(most, votes, out=most)
    return found


def twins(maps: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of raters whose label maps `(R, *S)` are the same."""
    return [pair for pair in combinations(range(len(maps)), 2) if np.array_equal(*maps[list(pair)])]


def chosen(maps: np.ndarray, raters: Raters, rng: np.random.Generator) -> np.ndarray:
    """The label maps that this draw of a case learns from: of all raters, of one drawn, of the first."""
    if raters == "draw":
        return maps[[rng.integers(len(maps))]]
    return maps[:1] if raters == "first" else maps


def augmented(
    augmentation: Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    image: np.ndarray,
    maps: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The image and the maps of all raters, augmented alike: an augmentation is a function of its seed."""
    pairs = [augmentation(image, one, seed) for one in maps]
    return pairs[0][0], np.stack([one for _, one in pairs])


def taught(maps: np.ndarray, num_classes: int) -> Tensor:
    """The only rater's labels `(*S)` uint8, or the mean `(K, *S)` float32 of several."""
    return torch.from_numpy(maps[0] if len(maps) == 1 else soft_labels(maps, num_classes))


def whole(maps: np.ndarray, original: np.ndarray, num_classes: int) -> dict[str, Any]:
    """What a whole case holds of its label maps, on the network's grid `(R, *S)` and as stored `(R, *S0)`.

    The `mask` that is `taught`, and the `original_mask` that most say; of several raters what each says too.
    """
    found: dict[str, Any] = {"mask": taught(maps, num_classes), "original_mask": torch.from_numpy(majority(original))}
    if len(maps) == 1:
        return found
    return found | {"raters": torch.from_numpy(maps), "original_raters": torch.from_numpy(original)}
