"""The numbers of a case that has no label: what `predict` and `apply` write of each into `cases.csv`."""

from collections.abc import Sequence

import torch
from torch import Tensor

import metrics
from lightning_app.training.head import Head

KEYS = ("expected_dice", "expected_volume", "uncertain_share")  # of the catalogue


def columns(names: Sequence[str]) -> list[str]:
    """`<key>/<class>` of every number and foreground class.

    Args:
        names: Of the classes or regions, background first.
    """
    return [f"{key}/{name}" for key in KEYS for name in names[1:]]


def case_numbers(head: Head, probs: Tensor, mask: Tensor, spacing: Sequence[float] | None) -> dict[str, float]:
    """Every column's number of one case.

    Args:
        head: What the probabilities are of.
        probs: (C, *S), as predicted.
        mask: (*S) labels, as written.
        spacing: Voxel size in mm, if known.
    """
    found: dict[str, list[Tensor]] = {key: [] for key in KEYS}
    for p, labels in zip(*head.items(probs[None], mask[None]), strict=True):
        found["expected_dice"].append(metrics.expected_dice(p, labels)[1:])
        found["expected_volume"].append(metrics.expected_volume(p, spacing)[1:])
        found["uncertain_share"].append(metrics.uncertain_share(p)[1:])
    values = torch.cat([torch.cat(found[key]) for key in KEYS]).tolist()
    return dict(zip(columns(head.names), values, strict=True))
