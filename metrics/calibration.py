"""Calibration metrics: one state of fine bins, many errors."""

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
    bin_soft,
    empty_bins,
    iter_blocks,
    merge_bins,
    top_label,
    view_channels,
)
from .checks import check_choice, check_shapes, value_problems
from .regions import Region, RegionName

MEASURES: dict[str, Callable[[Bins, int], Tensor]] = {
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
        self.add_state("case_sum", torch.zeros(len(MEASURES), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(len(MEASURES), dtype=torch.int64), dist_reduce_fx="sum")

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
            values = torch.stack([self.reduce(bins, name) for name in MEASURES])
            defined = ~values.isnan()
            self.case_sum += torch.where(defined, values, 0.0)
            self.cases += defined

    def reduce(self, bins: Bins, measure: str) -> Tensor:
        """One error of some bins: the mean over the classes for the class-wise view."""
        values = MEASURES[measure](bins, self.num_bins)
        return (values if self.include_background or len(values) == 1 else values[1:]).nanmean()

    def value(self) -> Tensor:
        """The error this class stands for, scalar float64; NaN where no voxel was in the region."""
        if self.average == "pooled":
            return self.reduce(self.bins, self.measure)
        index = list(MEASURES).index(self.measure)
        return self.case_sum[index] / self.cases[index]

    @property
    def skipped_cases(self) -> Tensor:
        """Number of cases that had no voxel in the region, scalar int64."""
        return self.seen - self.cases[list(MEASURES).index(self.measure)]

    def compute(self) -> Any:
        """The pooled fine bins."""
        self.raise_noted()
        return self.bins

    def plot(self, val: Bins | None = None, ax: Any = None) -> Any:
        """Draw the reliability diagram of the pooled bins (or of ``val``); returns (figure, axes)."""
        from .plot import reliability_diagram

        bins = val if isinstance(val, Bins) else self.bins
        return reliability_diagram(bins, num_bins=self.num_bins, ax=ax)


class ExpectedCalibrationError(ReliabilityBins):
    """ECE = sum_m (n_m / N) |conf_m - acc_m|.

    Arguments and input as for `ReliabilityBins`, `compute` gives a scalar.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = ExpectedCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    def compute(self) -> Tensor:
        """The error, scalar float64."""
        self.raise_noted()
        return self.value()


class AverageCalibrationError(ExpectedCalibrationError):
    """ACE: the unweighted mean of |conf_m - acc_m| over non-empty bins; arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = AverageCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "ace"


class MaximumCalibrationError(ExpectedCalibrationError):
    """MCE: the largest |conf_m - acc_m|; arguments as for `ReliabilityBins`.

    Args:
        num_classes: Number of classes K.
        num_bins: As for `ReliabilityBins`.
        view: As for `ReliabilityBins`.
        region: As for `VoxelMetric`.
        average: As for `ReliabilityBins`.
        include_background: Class-wise view: whether class 0 is in the mean over classes.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        min_count: Bins of fewer voxels do not count.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = MaximumCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "mce"

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
        *,
        min_count: int = 1,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(
            num_classes, num_bins, view, region, average, include_background, ignore_index, validate, **state
        )
        self.min_count = min_count

    def reduce(self, bins: Bins, measure: str) -> Tensor:
        """As in the base class, with the minimum count."""
        if measure != "mce":
            return super().reduce(bins, measure)
        values = errors.maximum_calibration_error(bins, self.num_bins, self.min_count)
        return (values if self.include_background or len(values) == 1 else values[1:]).nanmean()


class RootMeanSquareCalibrationError(ExpectedCalibrationError):
    """RMSCE = sqrt(sum_m (n_m / N)(conf_m - acc_m)^2); arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = RootMeanSquareCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "rmsce"


class DebiasedCalibrationError(ExpectedCalibrationError):
    """RMSCE without its sampling variance (Kumar et al. 2019); arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = DebiasedCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.0
    """

    measure = "debiased"


class ThresholdedCalibrationError(ExpectedCalibrationError):
    """TACE: ECE of the voxels of confidence at least 1e-3 (Nixon et al. 2019); arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = ThresholdedCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "thresholded"


class AdaptiveCalibrationError(ExpectedCalibrationError):
    """ECE over bins of equal mass, to the precision of the fine bins; arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = AdaptiveCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "adaptive"


class Overconfidence(ExpectedCalibrationError):
    """The over-confident part of the ECE; arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = Overconfidence(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.25
    """

    measure = "overconfidence"


class Underconfidence(ExpectedCalibrationError):
    """The under-confident part of the ECE; arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = Underconfidence(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.0
    """

    measure = "underconfidence"


class SoftVolumeBias(ExpectedCalibrationError):
    """Relative error of the soft volume, sum of p_k over the number of voxels of class k, minus 1; best is 0.

    The mean over the foreground classes; cases and classes without a true voxel are left out.

    Args:
        num_classes: Number of classes K.
        average: As for `ReliabilityBins`.
        region: As for `VoxelMetric`.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = SoftVolumeBias(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        -0.5
    """

    measure = "volume_bias"
    higher_is_better = None  # type: ignore[assignment]  # torchmetrics: neither
    plot_lower_bound = -1.0

    def __init__(
        self,
        num_classes: int,
        average: Average = "per_case",
        region: RegionName | Region = "all",
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(
            num_classes,
            view="classwise",
            region=region,
            average=average,
            include_background=False,
            ignore_index=ignore_index,
            validate=validate,
            **state,
        )


class TrueCalibrationError(ExpectedCalibrationError):
    """The calibration error against known probabilities: ECE with the true probability in place of "was it right".

    The sampling noise of labels is gone, so what remains is the error itself (and, where the network is not
    calibrated inside a bin, what the bin averages away). Input: ``probs`` and ``true_probs`` (B, K, *S); ``target``
    (B, *S) only to say which voxels are ignored or in the region. Arguments as for `ReliabilityBins`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = TrueCalibrationError(num_classes=2)
        >>> metric.update(sure, torch.full((1, 2, 2), 0.5))  # the truth is a coin
        >>> float(metric.compute())
        0.25
    """

    def update(  # type: ignore[override]
        self, probs: Tensor, true_probs: Tensor, target: Tensor | None = None, mask: Tensor | None = None
    ) -> None:
        """Add a batch."""
        if true_probs.shape != probs.shape:
            raise ValueError(
                f"true_probs must have the shape of probs, {tuple(probs.shape)}, got {tuple(true_probs.shape)}"
            )
        if target is None:
            target = true_probs.argmax(1)
        check_shapes(true_probs, target, self.num_classes)
        for index, (item, _, keep) in enumerate(self.items(probs, target, mask)):
            if self.validate:
                self._note(value_problems(true_probs[index]))
            self.add_case(soft_bins(item, true_probs[index], self.view, keep=keep))


def soft_bins(
    probs: Tensor, true_probs: Tensor, view: View = "top_label", num_bins: int = FINE_BINS, keep: Tensor | None = None
) -> Bins:
    """Bins of one item whose correctness is the true probability.

    Args:
        probs: (K, *S).
        true_probs: (K, *S).
        view: As for `ReliabilityBins`.
        num_bins: Number of bins.
        keep: (*S) bool, the voxels that count; all if None.

    Returns:
        Fields (C, num_bins).

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> bins = soft_bins(sure, torch.full((2, 2), 0.5))
        >>> [float(field.sum()) for field in (bins.count, bins.confidence, bins.correct)]
        [2.0, 1.5, 1.0]
    """
    classes = len(probs)
    total = empty_bins(view_channels(classes, view), num_bins, probs.device)
    kept = None if keep is None else keep.reshape(-1)
    for p, q, k in iter_blocks(probs.reshape(classes, -1), true_probs.reshape(classes, -1), kept):
        if view == "top_label":
            confidence, prediction = top_label(p)
            pairs = [(confidence, q.gather(0, prediction.long().unsqueeze(0))[0])]
        elif view == "foreground":
            pairs = [(1.0 - p[0].double(), 1.0 - q[0].double())]
        else:
            pairs = list(zip(p, q, strict=True))
        parts = [bin_soft(confidence, truth, num_bins, k) for confidence, truth in pairs]
        total = merge_bins(total, Bins(*(torch.cat(fields) for fields in zip(*parts, strict=True))))
    return total
