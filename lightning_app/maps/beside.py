"""Which values the hard masks beside maps hold, over a whole folder, so that new masks hold the same."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lightning_app.maps.reading import Form
from lightning_app.maps.storage import read_array


def values_beside(masks: Iterable[Path], form: Form) -> np.ndarray:
    """The stored value of each label, which is said where it is not plain.

    Two classes have the one value above 0 that any mask of the folder holds; several have their numbers, or, where as
    many other values occur as there are classes, these in their order.

    Args:
        masks: The hard masks.
        form: Of the maps.
    """
    held: set[float] = set()
    for path in masks:
        held.update(np.unique(read_array(path).array).tolist())
    told = ", ".join(f"{value:g}" for value in sorted(held))
    if form.regions:
        if held - {0, *form.numbers}:
            _say(f"{told}, but regions write {', '.join(map(str, form.numbers))}: new masks hold these")
        return np.arange(max(form.numbers) + 1)
    numbers = np.arange(len(form.classes))
    if len(numbers) == 2:
        top = max(held, default=0)
        if len(held - {0}) > 1:
            _say(f"{told} for two classes: new masks hold 0 and {top:g}")
        return np.array([0, top if top > 0 else 1])
    if held <= set(numbers.tolist()):
        return numbers
    if len(held) == len(numbers) and min(held) == 0:
        _say(f"{told}: taken for {', '.join(form.classes)} in this order")
        return np.array(sorted(held))
    _say(f"{told}, which name no {len(numbers)} classes: new masks hold 0 to {len(numbers) - 1}")
    return numbers


def _say(what: str) -> None:
    sys.stdout.write(f"WARNING   the masks beside the maps hold {what}\n")
