"""Do whole numbers fill the range of their type? Percent in 8 bits, or 8 bits in 16, would pass for small chances."""

from collections.abc import Iterable

from datamodules import DataError
from lightning_app.maps.pairing import Files
from lightning_app.maps.reading import Form, files_of
from lightning_app.maps.storage import levels_of, read_array

FULL = 0.4  # of the largest number: a folder with more in any map is of its type's own scale
OTHERS = (100, 255, 1000, 1023, 4095, 10000)  # what stands for one in other scales


def check_scale(cases: Iterable[Files], form: Form) -> list[str]:
    """A line where the largest value of all maps is small; no more maps are read than are needed to tell.

    Raises:
        DataError: If it is the one of another scale, as of percent.
    """
    most = levels = reached = 0
    for files in cases:
        for path in files_of(files, form.kind)[0].values():
            array = read_array(path, shown=True).array
            levels = levels_of(array.dtype)
            own = int(array.max(initial=0)) if levels else 0
            most, reached = (own, 1) if own > most else (most, reached + (own == most))
            if form.logits or not levels or most > FULL * levels:
                return []
    told = f"the largest value of all maps is {most} of {levels}"
    if most in OTHERS and reached > 1:
        raise DataError(f"{path}: {told}, as of a scale of 0 to {most}. Save p times {levels}, or p itself as floats.")
    return [f"WARNING   {told}, a probability of {most / max(levels, 1):.2f}: is {levels} what stands for one?"]
