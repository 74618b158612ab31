"""Base of the papers' protocols: a dict of scalars, each a mean over the cases."""

from typing import Any, Unpack

import torch
from torch import Tensor

from .base import StateOptions, VoxelMetric
from .binning import Bins, top_label
from .protocol_bins import (
    equal_mass_edges,
    even_edges,
    right_closed_bins,
    weighted_gap,
)


class Preset(VoxelMetric):
    """Base of the presets: sums and numbers of case values by name.

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> class TopError(Preset):
        ...     names = ("error",)
        ...     def case_values(self, probs, target):
        ...         return {"error": (probs.argmax(0) != target).double().mean()}
        >>> metric = TopError(num_classes=2)
        >>> metric.update(torch.tensor([[[0.75, 0.75], [0.25, 0.25]]]), torch.tensor([[0, 1]]))
        >>> metric.compute()["error"].item()
        0.5
    """

    names: tuple[str, ...] = ()

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, "all", "per_case", ignore_index, validate, **state)
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("case_sum", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(len(self.names), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            flat, truth = item.reshape(len(item), -1), labels.reshape(-1)
            if keep is not None:
                flat, truth = flat[:, keep.reshape(-1)], truth[keep.reshape(-1)]
            values = self.case_values(flat, truth) | self.shaped_values(item, labels, keep)
            case = torch.stack([torch.as_tensor(values[n], dtype=torch.float64) for n in self.names])
            case = case.to(self.case_sum.device)
            self.case_sum += case.nan_to_num(0.0)
            self.cases += ~case.isnan()

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """Values of a case by name, NaN to skip it, of voxels (K, N) and (N,) that count."""
        raise NotImplementedError

    def shaped_values(self, probs: Tensor, target: Tensor, keep: Tensor | None) -> dict[str, Any]:
        """Values that need the image's shape; none unless the protocol has some."""
        return {}

    def compute(self) -> dict[str, Tensor]:
        """Mean over the cases of each value, scalars float64; NaN where no case had one."""
        self.raise_noted()
        return dict(zip(self.names, self.case_sum / self.cases, strict=True))


def top_bins(probs: Tensor, target: Tensor, num_bins: int) -> Bins:
    """Top-label bins (lo, hi] of equal width."""
    confidence, prediction = top_label(probs)
    return right_closed_bins(confidence, prediction == target, even_edges(num_bins, probs.device))


def adaptive_error(probs: Tensor, target: Tensor, num_bins: int) -> Tensor:
    """Top-label error over bins of equal mass, scalar float64.

    Example:
        >>> adaptive_error(torch.tensor([[0.75, 0.75], [0.25, 0.25]]), torch.tensor([0, 1]), num_bins=1).item()
        0.0
    """
    confidence, prediction = top_label(probs)
    bins = right_closed_bins(confidence, prediction == target, equal_mass_edges(confidence, num_bins))
    return weighted_gap(bins, len(target))
