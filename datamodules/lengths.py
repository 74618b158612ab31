"""Lengths as files give them, with a unit in words, in millimetres."""

import re
import unicodedata
from pathlib import Path

from .errors import DataError

_PREFIXES = {"": 1e3, "deci": 1e2, "centi": 10.0, "milli": 1.0, "micro": 1e-3, "nano": 1e-6}
_TO_MM = {
    **{"m": 1e3, "dm": 1e2, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6, "pm": 1e-9},
    **{"\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3, "\u00c5": 1e-7, "angstrom": 1e-7, "angstroms": 1e-7},
    **{"in": 25.4, "inch": 25.4, "inches": 25.4, "thou": 0.0254, "pt": 25.4 / 72},
    **{f"{part}{metre}": mm for part, mm in _PREFIXES.items() for metre in ("meter", "meters", "metre", "metres")},
}
_NO_LENGTH = ("pixel", "pixels", "px", "voxel", "voxels", "reference frame")


def in_mm(path: Path, size: float, unit: str) -> float:
    """A length in mm: as it stands without a unit, and 1 where the unit is a pixel, which has no length.

    Args:
        path: The file that gives it, for the error.
        size: The number.
        unit: In any of the ways that OME and ImageJ write it, signs escaped or not.

    Raises:
        DataError: If the unit is not known.
    """
    signs = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit)
    name = unicodedata.normalize("NFKC", signs).strip()  # one code point for each of the signs micro and Angstrom
    word = name.lower() if len(name) > 2 else name  # mm and Mm are two units, Micron and micron one
    if word in _NO_LENGTH:
        return 1.0
    if word and word not in _TO_MM:
        raise DataError(f"{path}: the unit {unit!r} of its spacing is not known. Save it in mm or \u00b5m.")
    return size * _TO_MM.get(word, 1.0)
