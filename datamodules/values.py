"""What the values of a mask file tell about its coding."""

from itertools import product

import numpy as np

_SHOWN = 8
_STRAYS = 3  # pixels of values between that fill no region
_LOOKED_AT = 100_000  # pixels whose neighbours are looked at
_FEW, _NUMBERS = 8, 10  # values of a mask of classes, and the largest close to the ground that is a class's number


def counted(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values that occur, ascending, and how often each does; counted without sorting where they are small integers."""
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind in "ui" and array.size:
        low, high = int(array.min()), int(array.max())
        if high - low < 1 << 16:
            counts = np.bincount(shifted(array.ravel(), low))
            held = np.flatnonzero(counts)
            return held + low, counts[held]
    return np.unique(array, return_counts=True)


def shifted(array: np.ndarray, low: int) -> np.ndarray:
    """Integers less the smallest of them, which their own type may not hold where that is negative."""
    if low == 0:
        return array
    return (array.astype(np.int64) if low < 0 else array) - low


def listed(values: np.ndarray) -> str:
    """Values in words, shortened where they are many: `0, 1, 2`, or `0, 1, 2, ... 254, 255 (97 values)`."""
    words = [f"{value:.6g}" for value in values.tolist()]
    if len(words) <= _SHOWN:
        return ", ".join(words)
    return f"{', '.join(words[:3])}, ... {', '.join(words[-2:])} ({len(words)} values)"


def one_sided(values: np.ndarray, threshold: float) -> str:
    """Why a threshold does not part the values of a file; empty where it does, or where one value fills the file.

    One value alone is refused where it is neither 0 nor above the threshold: 1 in a mask of 0 and 1.

    Args:
        values: Values of one file, ascending.
        threshold: Foreground is above.
    """
    if not len(values) or (len(values) == 1 and (values[0] == 0 or values[0] > threshold)):
        return ""
    if values[-1] <= threshold:
        return f"values {listed(values)}: none is above the threshold {threshold:g}, nothing would be foreground"
    if values[0] > threshold:
        return f"values {listed(values)}: all are above the threshold {threshold:g}, all would be foreground"
    return ""


def smeared(values: np.ndarray, threshold: float) -> str:
    """Why a threshold can not part what a format with loss has kept; empty where an object stands out from its ground.

    Args:
        values: Values of one file, ascending.
        threshold: Foreground is above.
    """
    span = float(values[-1]) - float(values[0]) if len(values) > 1 else 0.0
    if 0 < span <= 127:
        return f"values {listed(values)} in a JPEG, which does not keep them: what was 1 may be read as 0 or 2"
    if span and not 0.1 <= (threshold - float(values[0])) / span <= 0.9:
        return (
            f"the threshold {threshold:g} lies in the noise that a JPEG makes around {values[0]:g} and {values[-1]:g}"
        )
    return ""


def filled(array: np.ndarray, values: np.ndarray) -> bool:
    """Whether values between the darkest and the brightest fill regions, as classes do, instead of lying along edges.

    That is told of few values, since what resampling makes of edges are many. A pixel of an edge has a darker and a
    brighter neighbour; where most of those between have not, they are no edges. Up to three pixels are strays.

    Args:
        array: Grey values of one mask.
        values: Those that occur, ascending.
    """
    if not 2 < len(values) <= _FEW:
        return False
    height = values - float(values[0])
    place = height / height[-1]
    between = values[((place > 0.1) | (height > _NUMBERS)) & (place < 0.9)]
    places = np.argwhere(np.isin(array, between))
    places = places[:: max(1, len(places) // _LOOKED_AT)]
    own, last = array[tuple(places.T)], np.array(array.shape) - 1
    darker, brighter = np.zeros(len(places), bool), np.zeros(len(places), bool)
    for step in product((-1, 0, 1), repeat=array.ndim):
        beside = array[tuple(np.clip(places + step, 0, last).T)]
        darker |= beside < own
        brighter |= beside > own
    return len(places) > _STRAYS and bool((darker & brighter).sum() < len(places) / 2)


def crowded(
    values: np.ndarray, counts: np.ndarray, threshold: float, lossy: bool = False, regions: bool = False
) -> str:
    """Why a grey mask is more than an object and its ground; empty where it may be no more.

    Values between the darkest and the brightest may be soft edges; where they are too frequent for that, they are
    numbers of objects or of classes, of which the threshold would join some.

    Args:
        values: Values of one file, ascending.
        counts: How often each occurs.
        threshold: Foreground is above.
        lossy: The file's format keeps no exact values.
        regions: Values between fill regions, as `filled` tells.
    """
    if not regions and _soft_edges(values, counts, lossy):
        return ""
    return f"values {listed(values)}: more than an object and its ground, the threshold {threshold:g} would join some"


def aside(values: np.ndarray, threshold: float) -> str:
    """Why a threshold cuts soft edges where they begin or end; empty where it lies between ground and object."""
    low, span = float(values[0]), float(values[-1]) - float(values[0])
    if len(values) <= 2 or 0.2 <= (threshold - low) / span <= 0.8:
        return ""
    return f"values {listed(values)}: the threshold {threshold:g} is not in the middle of ground and object"


def _soft_edges(values: np.ndarray, counts: np.ndarray, lossy: bool = False) -> bool:
    """Whether what lies between the extremes looks like interpolated edges: many values, each rare, few in all.

    Values close to the ground, as 1 and 2 in 0, 1, 2, 255, are classes or objects unless lossy storage made them, which
    leaves values close to the brightest too, or interpolation, which leaves values between, each rare and not so few.
    """
    if len(values) <= 2:
        return True
    low, span = float(values[0]), float(values[-1]) - float(values[0])
    place = (values - low) / span
    between, faint = (place > 0.1) & (place < 0.9), (place > 0) & (place <= 0.1)
    others = max(int(counts[place > 0.1].sum()), 1)
    many = max(50, 0.15 * others)
    lossy = lossy or (values[-1] <= 255 and bool(((place >= 0.9) & (place < 1)).any()))
    numbers = faint & (values - low <= _NUMBERS)
    if not lossy and (counts[faint].max(initial=0) >= many or (len(values) <= _FEW and numbers.any())):
        return False
    often = bool((counts[between] >= many).any())
    bright = int(counts[place >= 0.75].sum()) / others
    return not often and (bright >= 1 / 3 or others < 200)


def proposal(values: np.ndarray, counts: np.ndarray, regions: bool = False) -> str:
    """Options of `ImageFolder` that suit a mask with these values, as a sentence.

    Args:
        values: Values of one file, or of several together, ascending.
        counts: How often each occurs.
        regions: Values between fill regions, as `filled` tells.
    """
    middle = f"{(float(values[0]) + float(values[-1])) / 2:.6g}"
    if len(values) <= 2:
        return f"Set --data.threshold {middle}."
    soft = not regions and _soft_edges(values, counts)
    if soft or not np.array_equal(values, np.rint(values)):
        return f"If it is one object with soft edges, set --data.threshold {middle}."
    if len(values) > 32:
        return f"If these are numbers of objects, set --data.threshold {values[0]:g} to join them."
    numbers = ",".join(f"{value:g}" for value in values)
    names = ",".join(["background", *(f"class{number}" for number in range(1, len(values)))])
    return (
        f"For classes set --data.coding index --data.values [{numbers}] --data.classes [{names}]; if they are numbers "
        f"of objects, --data.threshold {values[0]:g} joins them; if it is one object with soft edges, set "
        f"--data.threshold {middle}."
    )


def suits(values: np.ndarray, counts: np.ndarray, regions: bool = False) -> list[tuple[str, str]]:
    """Options of `ImageFolder`, as (name, value), that read masks with these values; none where the defaults do.

    Args:
        values: Values of all masks, ascending.
        counts: How often each occurs.
        regions: Values between fill regions in some, as `filled` tells.
    """
    if len(values) < 2 or (not regions and _soft_edges(values, counts)):
        fine = len(values) < 2 or (values[0] <= 127 < values[-1] and not aside(values, 127))
        return [] if fine else [("threshold", f"{(float(values[0]) + float(values[-1])) / 2:.6g}")]
    if len(values) > 32:
        return [("threshold", f"{values[0]:g}")]
    names = ",".join(["background", *(f"class{number}" for number in range(1, len(values)))])
    numbers = ",".join(f"{value:g}" for value in values)
    return [("coding", "index"), ("values", f"[{numbers}]"), ("classes", f"[{names}]")]
