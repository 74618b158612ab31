"""How mask files become one label map: the rules differ from owner to owner, so they are data.

A value that no rule names is refused where it is first read: what is not known to be a class must not become one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from .errors import DataError
from .paths import is_lossy
from .readers import MaskKind
from .values import aside, counted, crowded, filled, listed, one_sided, proposal, shifted, smeared

IGNORE = 255
_NO_CLASS = 254
_SPAN = 1 << 16
_LARGEST = 1 << 53  # beyond, not every whole number has a float of its own
_STORE = "Store the masks anew as PNG or TIFF, from before they became JPEG."


@dataclass(frozen=True)
class Binary:
    """Union of all files of a case, each thresholded: foreground where the grey value is above `threshold`.

    Args:
        threshold: Grey value; 127 is right for masks with interpolated edges.
        invert: Foreground is where it is not above.
        given: The threshold is known to be right; else more than an object and its ground is refused.
        cure: What an error advises; None proposes options of `ImageFolder` by the values seen.
    """

    threshold: float = 127
    invert: bool = False
    given: bool = True
    cure: str | None = field(default="Take the owner's file.", repr=False)
    kind: ClassVar[MaskKind] = "grey"

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map (0, 1) of the grey arrays `(*S)`.

        Raises:
            DataError: If the threshold does not part the values of a file.
        """
        above = np.any([_above(self, array, path) for array, path in zip(arrays, paths, strict=True)], axis=0)
        return (~above if self.invert else above).astype(np.uint8)


@dataclass(frozen=True)
class PerClass:
    """One file a class: file i is class i + 1; a later file wins where two overlap.

    Args:
        threshold: Grey value above which a pixel belongs to the class.
        given: As in `Binary`.
        cure: As in `Binary`.
    """

    threshold: float = 127
    given: bool = True
    cure: str | None = field(default="Take the owner's file.", repr=False)
    kind: ClassVar[MaskKind] = "grey"

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map (0..n) of the n grey arrays `(*S)`.

        Raises:
            DataError: If the threshold does not part the values of a file.
        """
        labels = np.zeros(arrays[0].shape, np.uint8)
        for value, (array, path) in enumerate(zip(arrays, paths, strict=True), start=1):
            labels[_above(self, array, path)] = value
        return labels


@dataclass(frozen=True)
class Index:
    """One file whose values are labels, mapped to classes.

    Args:
        num_classes: Number of classes after mapping.
        mapping: Stored value to class (255 = ignore), complete; if empty, values are class numbers.
        cure: What an error advises.
    """

    num_classes: int
    mapping: Mapping[int, int] = field(default_factory=dict)
    cure: str = field(default="Check that the mask belongs to this data set.", repr=False)
    kind: ClassVar[MaskKind] = "labels"

    def declared(self) -> dict[int, int]:
        """Class of each stored value that may occur."""
        return dict(self.mapping) or {number: number for number in range(self.num_classes)}

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map of one array of labels `(*S)`, which may be stored as float.

        Raises:
            DataError: If a value is not whole, not finite, or not declared.
        """
        _without_loss(paths[0])
        numbers = whole_numbers(arrays[0], paths[0])
        low = int(numbers.min(initial=0))
        if int(numbers.max(initial=0)) - low >= _SPAN:
            raise self._stray(numbers, paths[0])
        table = np.full(max(int(numbers.max(initial=0)) - low + 1, 1), _NO_CLASS, np.uint8)
        for value, target in self.declared().items():
            if 0 <= value - low < len(table):
                table[value - low] = target
        labels = table[shifted(numbers, low)]
        if (labels == _NO_CLASS).any():
            raise self._stray(numbers, paths[0])
        return labels

    def _stray(self, numbers: np.ndarray, path: Path) -> DataError:
        values, counts = counted(numbers)
        known = self.declared()
        strays = [(v, n) for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v not in known]
        told = ", ".join(f"{value} ({count:,} voxels)" for value, count in strays[:3])
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        one = "is no declared label" if len(strays) == 1 else "are no declared labels"
        return DataError(
            f"{path}: value {told}{more} {one}; the file holds {listed(values)}, declared are "
            f"{listed(np.array(sorted(known)))}. {self.cure}"
        )


@dataclass(frozen=True)
class Colour:
    """One file whose colours are classes.

    Args:
        colours: For each class an RGB triple, background first.
    """

    colours: tuple[tuple[int, int, int], ...]
    kind: ClassVar[MaskKind] = "colour"

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map of one RGB array `(H, W, 3)`; a colour not listed is an error."""
        _without_loss(paths[0])
        array = arrays[0]
        if array.ndim != 3 or array.shape[-1] < 3:
            raise DataError(f"{paths[0]}: the mask is not in colour. Use an index coding for grey masks.")
        labels = np.full(array.shape[:2], _NO_CLASS, np.uint8)
        for value, colour in enumerate(self.colours):
            labels[(array[..., :3] == np.array(colour)).all(-1)] = value
        stray = array[labels == _NO_CLASS][..., :3]
        if len(stray):
            colours, counts = np.unique(stray, axis=0, return_counts=True)
            first = counts.argmax()
            raise DataError(
                f"{paths[0]}: colour {tuple(colours[first].tolist())} ({counts[first]:,} pixels) belongs to no class, "
                f"like {len(colours) - 1} others. List it in --data.colours, or store masks without loss."
            )
        return labels


MaskCoding = Binary | PerClass | Index | Colour


def _above(coding: Binary | PerClass, array: np.ndarray, path: Path) -> np.ndarray:
    """Where a grey mask is above the threshold, which must lie between what is object and what is not."""
    if doubt := not_finite(array):
        raise DataError(f"{path}: {doubt}")
    if doubt := doubtful(array, path, coding):
        raise DataError(f"{path}: {doubt}")
    return np.asarray(array > coding.threshold)


def not_finite(array: np.ndarray) -> str:
    """Why an array is no mask where it holds infinity or NaN, and the cure; empty where all values are finite."""
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return ""
    return "the mask holds values that are not finite. Repair the file or leave it out."


def doubtful(array: np.ndarray, path: Path, coding: Binary | PerClass) -> str:
    """Why a threshold makes no mask of a file's values, and the cure; empty where it does."""
    values, counts = counted(array)
    lossy = is_lossy(path)
    if lossy and (smear := smeared(values, coding.threshold)):
        return f"{smear}. {_STORE}"
    doubt, regions = one_sided(values, coding.threshold), False
    if not doubt and not coding.given:
        regions = filled(array, values)
        doubt = crowded(values, counts, coding.threshold, lossy, regions) or aside(values, coding.threshold)
    if not doubt:
        return ""
    own = _STORE if lossy else proposal(values, counts, regions)
    return f"{doubt}. {own if coding.cure is None else coding.cure}"


def _without_loss(path: Path) -> None:
    if is_lossy(path):
        raise DataError(f"{path}: a JPEG does not keep class numbers or colours, what was 2 may be read as 1. {_STORE}")


def whole_numbers(array: np.ndarray, path: Path) -> np.ndarray:
    """The labels of a mask as integers.

    Raises:
        DataError: If a value is not finite or not whole.
    """
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if doubt := not_finite(array):
        raise DataError(f"{path}: {doubt}")
    numbers = np.rint(array)
    off = (np.abs(array - numbers) > 1e-3) | (np.abs(array) > _LARGEST)
    if off.any():
        raise DataError(f"{path}: mask value {array[off].flat[0]:.6g} is no label. Store whole numbers.")
    return numbers.astype(np.int64)


def one_channel(array: np.ndarray, shape: Sequence[int], num_classes: int, path: Path) -> np.ndarray:
    """A label map `(*S)` from a mask that may hold channels last: equal ones, or one a class.

    Args:
        array: `(*S)` or `(*S, C)`.
        shape: The image's spatial shape S.
        num_classes: Number of classes.
        path: The file, for the error.

    Raises:
        DataError: If the channels are neither equal, nor one a class without overlap.
    """
    if array.ndim == len(shape):
        return array
    if array.shape[-1] == 4 and np.ptp(array[..., 3]) == 0 and num_classes not in (4, 5):
        array = array[..., :3]
    if all(np.array_equal(array[..., 0], array[..., i]) for i in range(1, array.shape[-1])):
        return array[..., 0]
    held = array > 0
    if array.shape[-1] in (num_classes, num_classes - 1) and (held.sum(-1) <= 1).all():
        first = array.shape[-1] == num_classes  # the background has a channel of its own
        if not first or held.any(-1).all():
            return np.where(held.any(-1), held.argmax(-1) + (not first), 0).astype(np.uint8)
    raise DataError(
        f"{path}: {array.shape[-1]} channels that differ, for {num_classes} classes: neither one label map nor one "
        "channel a class without overlap. Store class numbers, or colours with coding colour."
    )
