"""Hard masks in place of maps: whether a folder holds them, and a case's as one-hot maps."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules import DataError
from datamodules.masks import Binary
from lightning_app.maps import values
from lightning_app.maps.pairing import Files
from lightning_app.maps.reading import Form, Map, class_axis, files_of, in_order, stacked
from lightning_app.maps.storage import read_array


def are_hard(cases: Iterable[Files], form: Form) -> bool:
    """Whether all files are hard masks; the first that holds probabilities makes all of them maps.

    Saturated or empty maps look like masks, so that a few cases do not tell.
    """
    if form.kind == "nnunet" or form.logits or form.regions:
        return False
    for files in cases:
        chosen = files_of(files, form.kind)[0]
        for path in chosen.values():
            array = read_array(path).array
            if not values.looks_hard(array, len(form.classes), len(chosen) > 1 or array.ndim > form.dims):
                return False
    return True


def hard_map(chosen: Mapping[str, Path], form: Form, shape: Sequence[int]) -> Map:
    """A hard mask as one-hot maps, which only overlap and surfaces are read from.

    Args:
        chosen: The files by class, or one under "" that holds all.
        form: What the folder's masks have in common.
        shape: Spatial shape of the case's label.

    Raises:
        DataError: If a file holds numbers that are no class, or a voxel belongs to several.
    """
    named, count = in_order(chosen, form), len(form.classes)
    stored = [(path, read_array(path)) for _, path in named]
    path, first = stored[0]
    if len(stored) > 1:
        one_hot = _one_hot(stacked(stored), [file for file, _ in stored], named[0][0] == 0)
    elif first.array.ndim == form.dims + 1 and (count == 2 or 1 not in first.array.shape):
        channels = np.moveaxis(first.array, class_axis(path, first.array.shape, form, shape) or 0, 0)
        one_hot = _one_hot(channels, [path] * len(channels), len(channels) == count)
    else:
        array = first.array if first.array.ndim == form.dims else first.array.squeeze()
        one_hot = _one_hot(array[None], [path], False) if count == 2 else _of_numbers(array, path, count)
    if form.turned:
        one_hot = one_hot.transpose(0, 3, 2, 1)
    return Map(one_hot, first.affine, stored, list(range(count)), 0)


def _of_numbers(array: np.ndarray, path: Path, count: int) -> np.ndarray:
    top = float(array.max(initial=0))
    if not (np.asarray(array) % 1 == 0).all() or array.min(initial=0) < 0 or top >= count:
        raise DataError(f"{path}: holds {top:g}, but there are {count} classes and hard masks are scored.")
    return np.stack([array == k for k in range(count)]).astype(np.float32)


def _one_hot(channels: np.ndarray, paths: Sequence[Path], whole: bool) -> np.ndarray:
    """One-hot maps (K, *S) of masks of zero and one value a class; what none claims is background.

    Args:
        channels: The masks, (n, *S).
        paths: File of each.
        whole: The first is that of the background.
    """
    masks = np.stack([_above(channel, path) for channel, path in zip(channels, paths, strict=True)])
    claims = masks.sum(0)
    if (claims > 1).any():
        raise DataError(
            f"{paths[0]}: {int((claims > 1).sum()):,} voxels belong to several classes by their hard masks. Score "
            "probabilities, or one mask of class numbers."
        )
    foreground = masks[1:] if whole else masks
    return np.concatenate((~foreground.any(0, keepdims=True), foreground)).astype(np.float32)


def _above(array: np.ndarray, path: Path) -> np.ndarray:
    """Where a mask of one class is set; between zero and its value there may be soft edges."""
    top = float(array.max(initial=0))
    if ((array == 0) | (array == top)).all():
        return array > 0
    cure = "Leave out --format mask if these are probabilities."
    return Binary(top / 2, given=False, cure=cure).decode([array], [path]).astype(bool)
