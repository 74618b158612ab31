"""Are these probabilities? What is not is refused, what is doubtful is counted and said."""

from collections import Counter
from pathlib import Path

import numpy as np

from datamodules import DataError
from lightning_app.maps.storage import levels_of

SLACK = 1e-3  # how far rounding and interpolation may leave [0, 1], and sums 1
SUM_SLACK = 0.02  # how far 8 bits a class may leave a sum
MOST = 1.5  # no rounding makes probabilities of classes sum to more
FAR = 0.25  # sums further off 1 than this in most voxels are those of other classes
OVERLAP = "sigmoids of regions that overlap? Give --regions, as 'whole=1,2,3;core=2,3'"
Findings = Counter[str]


def to_unit(array: np.ndarray, path: Path) -> np.ndarray:
    """Numbers as stored to floating point, 8 and 16 bits as shares of their largest; whole numbers else are refused.

    Raises:
        DataError: For integers that are neither 8 nor 16 bits without sign.
    """
    if array.dtype == bool:
        return array.astype(np.float32, order="C")
    if top := levels_of(array.dtype):
        return np.divide(array, top, dtype=np.float32, order="C")
    if array.dtype.kind != "f":
        raise DataError(
            f"{path}: holds {array.dtype} up to {array.max(initial=0)}. Probabilities are floats, or 8 or 16 bits "
            "without sign; --format mask scores hard masks."
        )
    return np.ascontiguousarray(array, np.float32 if array.dtype == np.float16 else None)


def from_logits(values: np.ndarray, path: Path, separate: bool) -> np.ndarray:
    """Softmax over the classes, or the sigmoid of each channel where they are separate or there is one.

    Raises:
        DataError: If the values are probabilities already, whatever their sums, or no numbers.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low >= 0 and high <= 1:
        raise DataError(f"{path}: values from {low:g} to {high:g} are probabilities already. Leave out --logits.")
    with np.errstate(over="ignore", invalid="ignore"):
        if separate or len(values) == 1:
            probs = 1 / (1 + np.exp(-values))
        else:
            shifted = np.exp(values - values.max(0))
            probs = shifted / shifted.sum(0)
    if not np.isfinite(probs).all():
        raise DataError(f"{path}: holds NaN or infinity. Repair the map or leave the case out.")
    return probs


def checked(values: np.ndarray, path: Path, found: Findings) -> np.ndarray:
    """Values in [0, 1]; a hair outside is clipped and counted.

    Raises:
        DataError: For NaN, infinity and values that are no probabilities.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not np.isfinite((low, high)).all():
        raise DataError(f"{path}: holds NaN or infinity. Repair the map or leave the case out.")
    if low < -SLACK or high > 1 + SLACK:
        meant = "percent? divide by 100" if low >= 0 and 1.5 < high <= 100 else "logits? give --logits true"
        raise DataError(f"{path}: values from {low:g} to {high:g} are no probabilities ({meant}).")
    if low < 0 or high > 1:
        found["clipped"] += int((values < 0).sum() + (values > 1).sum())
        return np.clip(values, 0, 1)
    return values


def complete(values: np.ndarray, classes: int, path: Path) -> np.ndarray:
    """Put the background before foreground maps that come without: what they leave of one.

    Raises:
        DataError: If the foreground maps together exceed one: then each is a sigmoid of its own; or if several leave
            no voxel anything: then they are all classes there are.
    """
    if len(values) == classes:
        return values
    rest = 1 - values.sum(0, keepdims=True)
    if float(rest.min(initial=0)) < -SUM_SLACK:
        raise DataError(f"{path}: {len(values)} maps sum to {1 - float(rest.min()):.2f}: {OVERLAP}.")
    if len(values) > 1 and float(rest.max(initial=0)) <= SUM_SLACK:
        raise DataError(
            f"{path}: {len(values)} maps sum to one in every voxel, which leaves no background: name {len(values)} "
            f"classes, not {classes}, or add the background's map."
        )
    return np.concatenate((np.clip(rest, 0, 1), values))


def normalised(probs: np.ndarray, rounding: float, found: Findings, path: Path) -> np.ndarray:
    """Probabilities that sum to one (to 0.001); sums that are off by more than rounding explains are counted.

    Args:
        probs: (K, *S).
        rounding: By how much rounding may put a sum off.
        found: Gets `uneven` (voxels), `empty` (voxels without any mass, which become background).
        path: The file.

    Raises:
        DataError: If sums are so large, or so far off in most voxels, that these are no probabilities of the classes.
    """
    total = probs.sum(0, dtype=np.float32)
    low, high = float(total.min(initial=1)), float(total.max(initial=1))
    if high > MOST:
        raise DataError(f"{path}: the {len(probs)} classes' probabilities sum to {high:.2f}: {OVERLAP}.")
    if max(1 - low, high - 1) <= SLACK:
        return probs
    held = total > 0
    if (np.abs(total - 1) > FAR).sum() - (~held).sum() > held.sum() / 2:
        raise DataError(
            f"{path}: the {len(probs)} classes' probabilities sum to {np.median(total[held]):.2f} in the median: does "
            "a class lack its map, as the background, or are these maps of other classes?"
        )
    if max(1 - low, high - 1) > rounding:
        empty = total == 0
        found["empty"] += int(empty.sum())
        found["uneven"] += int((np.abs(total - 1) > rounding).sum() - empty.sum())
        if empty.any():
            probs = probs.copy()
            probs[0][empty] = 1
            total = np.where(empty, 1, total)
    return probs / total


def rounding_of(dtype: np.dtype, classes: int) -> float:
    """By how much the sum of `classes` probabilities may be off 1 from the type that they were stored in."""
    if top := levels_of(dtype):
        return 1.01 * classes / top  # rounded down, as many writers do
    step = {2: 2**-10, 4: 1e-4}.get(dtype.itemsize, 1e-6)
    return step * classes


def count_extremes(values: np.ndarray, found: Findings) -> None:
    """Count the foreground probabilities that are exactly 0 and exactly 1."""
    found["values"] += values.size
    found["zeros"] += int(values.size - np.count_nonzero(values))
    found["ones"] += int(np.count_nonzero(values == 1))


def looks_hard(array: np.ndarray, classes: int, stacked: bool) -> bool:
    """Whether an array holds labels (or zero and one) and no probabilities.

    Args:
        array: As stored.
        classes: K.
        stacked: Whether it is one class's or has an axis of the classes: then labels can only be zero and one.
    """
    flat = array.reshape(-1)
    if ((flat[:4096] != 0) & (flat[:4096] != flat.max(initial=0)) & (flat[:4096] % 1 != 0)).any():
        return False  # the usual case, at once
    values = np.unique(flat)
    if len(values) > max(classes, 2):
        return False
    largest = float(values[-1]) if len(values) else 0.0
    if stacked or classes == 2:
        tops = (0, 1, 255, 65535) if array.dtype.kind in "bui" else (0, 1)
        own = len(values) == 2 and array.dtype.kind in "bui"  # whatever whole number beside zero stands for the class
        return len(values) <= 2 and float(values[0]) in (0, largest) and (own or largest in tops)
    return bool((values % 1 == 0).all()) and float(values[0]) >= 0 and largest < classes
