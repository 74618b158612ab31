"""Regions of a label map that may overlap, as the whole of a tumour and its core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .checks import Labels
from .errors import DataError


@dataclass(frozen=True)
class Regions:
    """Regions by name, and the class that each writes into a label map, the first first.

    Args:
        united: Name to the classes that the region unites.
        order: A class for each; a later region writes over an earlier one (nnU-Net's `regions_class_order`).
    """

    united: Mapping[str, tuple[int, ...]]
    order: tuple[int, ...]

    def told(self, class_names: Sequence[str]) -> str:
        """Which classes each region unites, in words."""
        return "; ".join(f"{name} = {' + '.join(class_names[k] for k in of)}" for name, of in self.united.items())

    def counts(self, labels: Labels) -> Labels:
        """Voxels outside of all regions, then those of each."""
        inside = {number for numbers in self.united.values() for number in numbers}
        outside = sum(count for number, count in enumerate(labels.counts) if number not in inside)
        sums = (sum(labels.counts[number] for number in numbers) for numbers in self.united.values())
        return Labels((outside, *sums), labels.ignored)


def find_regions(united: Mapping[str, Sequence[int]], num_classes: int, order: Sequence[int] | None = None) -> Regions:
    """Checked regions of class numbers; without an order each writes the class of it that no later region has.

    Raises:
        DataError: If a region is empty, holds the background or a number that is no class, or the order is not told.

    Example:
        >>> from datamodules.regions import find_regions
        >>> find_regions({"whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}, num_classes=4).order
        (2, 1, 3)
    """
    for name, numbers in united.items():
        if not numbers or len(set(numbers)) < len(numbers) or not all(0 < number < num_classes for number in numbers):
            raise DataError(f"regions: {name!r} is {list(numbers)}; give different classes of 1 to {num_classes - 1}.")
    if not united or any(name in ("background", "all") or "/" in name for name in united):
        raise DataError(f"regions={list(united)}: name one or more, none of them background or all, without a slash.")
    found = {name: tuple(int(number) for number in numbers) for name, numbers in united.items()}
    given = _nested(found) if order is None else tuple(int(number) for number in order)
    if len(given) != len(found) or not all(0 < number < num_classes for number in given):
        raise DataError(f"regions_class_order={list(given)}: give the label that each of {', '.join(found)} writes.")
    return Regions(found, given)


def _nested(united: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The one class of each region that no later one has."""
    order, regions = [], list(united.items())
    for place, (name, numbers) in enumerate(regions):
        later = {number for _, others in regions[place + 1 :] for number in others}
        own = [number for number in numbers if number not in later]
        if len(own) != 1:
            raise DataError(
                f"regions: of {name!r} the classes {own} belong to no region after it; which one does it write into a "
                "label map? Give regions_class_order, or order the regions so that one class is left."
            )
        order += own
    return tuple(order)
