"""The numbers of a case that has no label: what `predict` and `apply` write of each into `cases.csv`."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

import metrics
from lightning_app.calibration.cases import CasePromise, CasePromises
from lightning_app.training.head import Head

KEYS = ("expected_dice", "expected_volume", "uncertain_share")  # of the catalogue
PROMISED = ("volume_low", "volume_high", "likely_dice", "dice_low", "look")  # of `calibrate --method cases`
UNIT = "volume_unit"


def columns(names: Sequence[str]) -> list[str]:
    """The unit of volumes, and `<key>/<class>` of every number and foreground class; empty where nothing is promised.

    Args:
        names: Of the classes or regions, background first.
    """
    return [UNIT, *(f"{key}/{name}" for key in (*KEYS, *PROMISED) for name in names[1:])]


def unit_of(spacing: Sequence[float] | None, dims: int) -> str:
    """The unit of volumes: of mm where the size of a voxel is known."""
    return ("voxels" if dims == 3 else "pixels") if spacing is None else f"mm{dims}"


def case_numbers(
    head: Head,
    probs: Tensor,
    mask: Tensor,
    spacing: Sequence[float] | None,
    promises: CasePromises,
    largest: bool = True,
) -> dict[str, float | str]:
    """Every column's number of one case.

    Args:
        head: What the probabilities are of.
        probs: (C, *S), as predicted.
        mask: (*S) labels, as written.
        spacing: Voxel size in mm; None where nothing says it.
        promises: What is promised of each class.
        largest: Whether the largest probability made the mask; what is promised of the Dice is of such masks alone.
    """
    found: dict[str, list[Tensor]] = {key: [] for key in KEYS}
    for p, labels in zip(*head.items(probs[None], mask[None]), strict=True):
        found["expected_dice"].append(metrics.expected_dice(p, labels)[1:])
        found["expected_volume"].append(metrics.expected_volume(p, spacing)[1:])
        found["uncertain_share"].append(metrics.uncertain_share(p)[1:])
    numbers: dict[str, float] = {
        f"{key}/{name}": float(value)
        for key in KEYS
        for name, value in zip(head.names[1:], torch.cat(found[key]), strict=True)
    }
    promised = {key: value for name, one in promises.items() for key, value in _promised(name, one, numbers, largest)}
    return {UNIT: unit_of(spacing, mask.dim())} | numbers | promised


def _promised(
    name: str, one: CasePromise, numbers: dict[str, float], largest: bool
) -> Iterator[tuple[str, float | str]]:
    """Ends of the volume, the least Dice, whether to look: the expected Dice is below the cut, or none is promised."""
    low, high = one.volume.around(numbers[f"expected_volume/{name}"])
    yield f"volume_low/{name}", low
    yield f"volume_high/{name}", high
    if not largest:
        return
    expected = numbers[f"expected_dice/{name}"]
    if one.dice is not None:
        yield from zip((f"dice_low/{name}", f"likely_dice/{name}"), one.dice.around(expected), strict=True)
    yield f"look/{name}", "no" if one.passing is not None and expected >= one.passing.cut else "yes"
