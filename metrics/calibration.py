"""Calibration errors, each a reading of the same reliability bins."""

from typing import Unpack

import torch
from torch import Tensor

from . import errors
from .base import Average, StateOptions
from .binning import (
    FINE_BINS,
    Bins,
    View,
    bin_soft,
    empty_bins,
    iter_blocks,
    merge_bins,
    top_label,
    view_channels,
)
from .checks import check_shapes, value_problems
from .regions import Region, RegionName
from .reliability import ReliabilityBins


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
