"""How mask files become one label map: the rules differ from owner to owner, so they are data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import DataError

IGNORE = 255


@dataclass(frozen=True)
class Binary:
    """Union of all files of a case, each thresholded: foreground where the grey value is above `threshold`.

    Args:
        threshold: Grey value; 127 is right for masks with interpolated edges.
        invert: Foreground is where it is not above.
    """

    threshold: int = 127
    invert: bool = False
    raw: bool = False

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map (0, 1) of the grey arrays `(*S)`."""
        above = np.any([array > self.threshold for array in arrays], axis=0)
        return (~above if self.invert else above).astype(np.uint8)


@dataclass(frozen=True)
class PerClass:
    """One file a class: file i is class i + 1; a later file wins where two overlap.

    Args:
        threshold: Grey value above which a pixel belongs to the class.
    """

    threshold: int = 127
    raw: bool = False

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map (0..n) of the n grey arrays `(*S)`."""
        labels = np.zeros(arrays[0].shape, np.uint8)
        for value, array in enumerate(arrays, start=1):
            labels[array > self.threshold] = value
        return labels


@dataclass(frozen=True)
class Index:
    """One file whose values are labels, mapped to classes.

    Args:
        num_classes: Number of classes after mapping.
        mapping: Raw value to class (255 = ignore); values not named keep their number.
    """

    num_classes: int
    mapping: Mapping[int, int] = field(default_factory=dict)
    raw: bool = True

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map of one array of labels, which may be stored as float."""
        array = arrays[0]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{paths[0]}: the mask holds values that are not finite. Repair the file or leave it out.")
        values = np.unique(array)
        labels = np.full(array.shape, IGNORE, np.uint8)
        for value in values.tolist():
            number = round(value)
            if abs(value - number) > 1e-3:
                raise DataError(f"{paths[0]}: mask value {value} is no label. Store whole numbers.")
            target = self.mapping.get(number, number)
            if target != IGNORE and not 0 <= target < self.num_classes:
                raise DataError(
                    f"{paths[0]}: label {number} is out of range 0..{self.num_classes - 1}. "
                    "Check that the mask belongs to this data set, or map the label."
                )
            labels[array == value] = target
        return labels


@dataclass(frozen=True)
class Colour:
    """One file whose colours are classes.

    Args:
        colours: For each class an RGB triple, background first.
    """

    colours: tuple[tuple[int, int, int], ...]
    raw: bool = True

    def decode(self, arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Label map of one RGB array `(H, W, 3)`; a colour not listed is an error."""
        array = arrays[0]
        if array.ndim != 3:
            raise DataError(f"{paths[0]}: the mask is not in colour. Use an index coding for grey masks.")
        labels = np.full(array.shape[:2], IGNORE, np.uint8)
        known = np.zeros(array.shape[:2], bool)
        for value, colour in enumerate(self.colours):
            here = (array[..., :3] == np.array(colour)).all(-1)
            labels[here], known = value, known | here
        if not known.all():
            stray = tuple(int(v) for v in array[~known][0][:3])
            raise DataError(f"{paths[0]}: colour {stray} belongs to no class. List it, or store masks without loss.")
        return labels


MaskCoding = Binary | PerClass | Index | Colour
