"""Does a map lie on the grid of its label, and on the side that its hard mask says?"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np

from datamodules import DataError, readers
from lightning_app.maps.labels import Label
from lightning_app.maps.pairing import ending_of
from lightning_app.maps.reading import Form, Map
from lightning_app.maps.space import NEAR, distance
from lightning_app.maps.storage import VOLUMES

ALIKE = 0.01  # share of the foreground in which a map and its hard mask may differ


def on_grid(map_: Map, label: Label, path: Path, resample: bool, regions: bool = False) -> np.ndarray:
    """The map's probabilities on the grid of the label.

    Args:
        map_: The map.
        label: The label.
        path: The map's file, for messages.
        resample: Bring a map on another grid there, linearly; what it does not cover becomes background.
        regions: The map's channels are regions, none of which is the background.

    Raises:
        DataError: If the grids differ and may not be brought together.
    """
    shape, affine = map_.probs.shape[1:], map_.affine
    differ = shape != label.array.shape
    apart = 0.0
    if affine is not None and label.affine is not None and not differ:
        apart = distance(affine, label.affine, shape)
        differ = apart > NEAR
    if not differ:
        return map_.probs
    if not resample:
        what = f"lies {apart:.2g} voxels off" if apart else f"has shape {shape} and not {label.array.shape} as"
        raise DataError(f"{path}: {what} its label. Bring it to the label's grid, or give --resample true.")
    map_.found["resampled"] += 1
    return resampled(map_.probs, affine, label, not regions and len(map_.probs) > 1)


def resampled(probs: np.ndarray, affine: np.ndarray | None, label: Label, background: bool) -> np.ndarray:
    """Probabilities (K, *S) interpolated linearly at the label's voxels; sums over the classes stay.

    Grids without an affine are stretched edge to edge. With `background` the first channel is 1 where nothing is known.
    """
    from scipy.ndimage import affine_transform

    shape = label.array.shape
    if affine is not None and label.affine is not None:
        there = np.linalg.inv(affine) @ label.affine
        matrix, offset = there[:3, :3], there[:3, 3]
    else:
        scale = np.array(probs.shape[1:]) / np.array(shape)
        matrix, offset = np.diag(scale), (scale - 1) / 2
    inside = "nearest" if affine is None or label.affine is None else "constant"
    parts = [
        affine_transform(part, matrix, offset, shape, order=1, mode=inside, cval=float(background and k == 0))
        for k, part in enumerate(probs)
    ]
    return np.clip(np.stack(parts), 0, 1).astype(probs.dtype)


def hard_labels(probs: np.ndarray, form: Form) -> np.ndarray:
    """The labels that a program writes for probabilities: argmax, or regions one over the other where above a half."""
    if not form.regions:
        return probs.argmax(0).astype(np.uint8)
    labels = np.zeros(probs.shape[1:], np.uint8)
    for channel, number in zip(probs, form.numbers, strict=True):
        labels[channel > 0.5] = number
    return labels


def check_mask(map_: Map, form: Form, path: Path, mask: Path, values: Sequence[float] = ()) -> None:
    """Hold a map against the hard mask that its program wrote beside it.

    A few other voxels (post-processing) are counted; a map that is turned, mirrored or in another order of the classes
    is refused.

    Args:
        map_: The map.
        form: What the folder's maps have in common.
        path: The map's file, for messages.
        mask: The hard mask.
        values: Stored value of each class, where these are not the numbers of the classes.

    Raises:
        DataError: If another arrangement of the map agrees with the mask and this one does not.
    """
    truth = _mask(mask, map_.probs.shape[1:], form, values)
    if truth is None:
        map_.found["masks_unlike"] += 1
        return
    here = unlike(hard_labels(map_.probs, form), truth)
    if here <= ALIKE:
        map_.found["masks_agree"] += 1
        return
    for name, turn in arrangements(map_.probs, form):
        if unlike(hard_labels(turn(map_.probs), form), truth) <= min(ALIKE, here / 4):
            raise DataError(
                f"{path}: its largest probability differs from {mask.name} in {here:.1%} of the foreground, "
                f"and agrees with {name}. Write the map as its mask lies."
            )
    map_.found["masks_unlike"] += 1


def _mask(path: Path, shape: Sequence[int], form: Form, values: Sequence[float]) -> np.ndarray | None:
    """The hard mask as labels, or None if it cannot be compared."""
    if ending_of(path) in VOLUMES:
        array = readers.read_volume(path, labels=True).array
    else:
        array = readers.read_mask(path, "labels")
    if array.shape != tuple(shape):
        return None
    if len(form.classes) > 2 and not form.regions and len(values):
        return np.select([array == value for value in values], range(len(values)), 255).astype(np.uint8)
    top = float(array.max(initial=0))
    return (array > top / 2).astype(np.uint8) if len(form.classes) == 2 and top > 1 else array.astype(np.uint8)


def unlike(one: np.ndarray, other: np.ndarray) -> float:
    """Voxels that differ, as a share of those that are foreground in either."""
    return int((one != other).sum()) / max(int(((one != 0) | (other != 0)).sum()), 1)


def arrangements(probs: np.ndarray, form: Form) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Ways in which maps are commonly misread, each named, that keep the shape."""
    shape, dims = probs.shape[1:], probs.ndim - 1
    ways: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = []
    if not form.regions:
        ways.append(("its classes in reverse order", lambda p: p[::-1]))
    for order in permutations(range(dims)):
        if order != tuple(range(dims)) and tuple(shape[a] for a in order) == tuple(shape):
            axes = (0, *(a + 1 for a in order))
            ways.append((f"its axes in the order {order}", partial(np.transpose, axes=axes)))
    for axis in range(dims):
        ways.append((f"axis {axis} mirrored", partial(np.flip, axis=axis + 1)))
    return ways
