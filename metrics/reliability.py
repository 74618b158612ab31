"""Reliability bins: one state of fine bins from which every calibration error follows."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor

from . import errors
from .base import Average, StateOptions, VoxelMetric
from .binning import (
    FINE_BINS,
    Bins,
    View,
    bin_item,
    empty_bins,
    view_channels,
)
from .checks import check_choice
from .regions import Region, RegionName

BIN_ERRORS: dict[str, Callable[[Bins, int], Tensor]] = {
    "ece": errors.expected_calibration_error,
    "ace": errors.average_calibration_error,
    "mce": errors.maximum_calibration_error,
    "overconfidence": errors.overconfidence,
    "underconfidence": errors.underconfidence,
    "rmsce": errors.root_mean_square_error,
    "debiased": errors.debiased_l2_error,
    "thresholded": errors.thresholded_calibration_error,
    "adaptive": errors.adaptive_calibration_error,
    "volume_bias": lambda bins, _: errors.volume_bias(bins),
}


class ReliabilityBins(VoxelMetric):
    """Reliability bins of a stream of predictions: exact, of constant size, summed over processes.

    A voxel of confidence p lies in fine bin min(floor(3000 p), 2999). Counts are int64, sums float64. `compute` gives
    the pooled fine `Bins` (C, 3000), C = K for the class-wise view, else 1; `metrics.rebin` makes them coarser.
    Metrics of the same arguments can share this state in a compute group.

    As input: ``probs`` (B, K, *S) float, ``target`` (B, *S) integer, ``mask`` (B, *S) bool, optional: the voxels that
    count.

    Args:
        num_classes: Number of classes K.
        num_bins: Bins of the errors that are derived, a divisor of 3,000.
        view: "top_label" bins max p against "argmax is right", "classwise" each p_k against "label is k", "foreground"
            1 - p_0 against "label is not 0".
        region: As for `VoxelMetric`.
        average: As for `VoxelMetric`; it decides the derived errors, the bins are pooled in either case.
        include_background: Class-wise view: whether class 0 is in the mean over classes.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown view, region or average, or a number of bins that does not divide 3,000.

    Example:
        >>> bins = ReliabilityBins(num_classes=2)
        >>> bins.update(torch.tensor([[[0.2, 0.9], [0.8, 0.1]]]), torch.tensor([[1, 1]]))
        >>> [int(field.sum()) for field in bins.compute()[:1]]
        [2]
    """

    measure = "ece"
    higher_is_better = False
    plot_lower_bound = 0.0

    def __init__(
        self,
        num_classes: int,
        num_bins: int = 15,
        view: View = "top_label",
        region: RegionName | Region = "all",
        average: Average = "pooled",
        include_background: bool = True,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, region, average, ignore_index, validate, **state)
        check_choice("view", view, View)
        if num_bins < 1 or FINE_BINS % num_bins:
            raise ValueError(f"num_bins={num_bins} must divide {FINE_BINS}")
        self.num_bins, self.view, self.include_background = num_bins, view, include_background
        for name, field in zip(Bins._fields, empty_bins(view_channels(num_classes, view), FINE_BINS), strict=True):
            self.add_state(name, field, dist_reduce_fx="sum")
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("case_sum", torch.zeros(len(BIN_ERRORS), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(len(BIN_ERRORS), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def bins(self) -> Bins:
        """The fine bins so far, of this process."""
        return Bins(*(getattr(self, name) for name in Bins._fields))

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            self.add_case(bin_item(item, labels, self.view, FINE_BINS, keep))

    def add_case(self, bins: Bins) -> None:
        """Add the fine bins of one case."""
        for name, field in zip(Bins._fields, bins, strict=True):
            getattr(self, name).add_(field)
        if self.average == "per_case":
            values = torch.stack([self.reduce(bins, name) for name in BIN_ERRORS])
            defined = ~values.isnan()
            self.case_sum += torch.where(defined, values, 0.0)
            self.cases += defined

    def reduce(self, bins: Bins, measure: str) -> Tensor:
        """One error of some bins: the mean over the classes for the class-wise view."""
        values = BIN_ERRORS[measure](bins, self.num_bins)
        return (values if self.include_background or len(values) == 1 else values[1:]).nanmean()

    def value(self) -> Tensor:
        """The error this class stands for, scalar float64; NaN where no voxel was in the region."""
        if self.average == "pooled":
            return self.reduce(self.bins, self.measure)
        index = list(BIN_ERRORS).index(self.measure)
        return self.case_sum[index] / self.cases[index]

    @property
    def skipped_cases(self) -> Tensor:
        """Number of cases that had no voxel in the region, scalar int64."""
        return self.seen - self.cases[list(BIN_ERRORS).index(self.measure)]

    def compute(self) -> Any:
        """The pooled fine bins."""
        self.raise_noted()
        return self.bins

    def plot(self, val: Bins | None = None, ax: Any = None) -> Any:
        """Draw the reliability diagram of the pooled bins (or of ``val``); returns (figure, axes)."""
        from .plot import reliability_diagram

        bins = val if isinstance(val, Bins) else self.bins
        return reliability_diagram(bins, num_bins=self.num_bins, ax=ax)
