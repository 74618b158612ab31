"""Overlap of predicted and true labels, from confusion counts."""

from collections.abc import Sequence
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor

from .base import Average, StateOptions, VoxelMetric
from .binning import add_by_index, iter_blocks, top_label
from .checks import check_choice
from .regions import Region, RegionName

Absent = Literal["skip", "one", "zero"]
AbsentWeight = Literal["max", "zero"]
Measure = Literal["dice", "iou", "precision", "recall"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def confusion_matrix(probs: Tensor, target: Tensor, keep: Tensor | None = None) -> Tensor:
    """Counts (K, K) int64 of one item: true label in rows, argmax in columns.

    Args:
        probs: (K, *S).
        target: (*S).
        keep: (*S) bool, the voxels that count; all if None.
    """
    classes = len(probs)
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=probs.device)
    kept = None if keep is None else keep.reshape(-1)
    for p, y, k in iter_blocks(probs.reshape(classes, -1), target.reshape(-1), kept):
        index = top_label(p)[1].to(torch.int32).add_(y.to(torch.int32), alpha=classes)
        if k is not None:
            index = torch.where(k, index, classes * classes)
        add_by_index(counts, index)
    return counts[:-1].reshape(classes, classes)


def threshold_labels(probs: Tensor, cuts: Sequence[float]) -> Tensor:
    """Labels (*S) of probabilities (K, *S) by a cut a foreground class: background where no class reaches its own.

    Where several do, the one furthest above, as a multiple of its cut, wins.

    Args:
        probs: (K, *S).
        cuts: K numbers; that of the background is not used.

    Raises:
        ValueError: For another number of cuts.

    Example:
        >>> threshold_labels(torch.tensor([[0.7, 0.9], [0.3, 0.1]]), [0.5, 0.25]).tolist()
        [1, 0]
    """
    if len(cuts) != len(probs):
        raise ValueError(f"cuts={list(cuts)} must be {len(probs)}, one a class")
    least = torch.tensor(cuts[1:], dtype=probs.dtype, device=probs.device).clamp_min(1e-6)
    ratio, label = (probs[1:] / least.view(-1, *[1] * (probs.dim() - 1))).max(0)
    return torch.where(ratio >= 1, label + 1, 0)


def label_confusion(prediction: Tensor, target: Tensor, num_classes: int, keep: Tensor | None = None) -> Tensor:
    """Counts (K, K) int64 of label maps (*S): true label in rows, predicted in columns; `keep` as for probabilities.

    Example:
        >>> label_confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    counts = torch.zeros(num_classes**2, dtype=torch.int64, device=target.device)
    kept = None if keep is None else keep.reshape(-1)
    for y, p, k in iter_blocks(target.reshape(-1), prediction.reshape(-1), kept):
        index = y.long() * num_classes + p
        add_by_index(counts, index if k is None else index[k])
    return counts.reshape(num_classes, num_classes)


def overlap_from_confusion(confusion: Tensor, measure: Measure, absent: Absent = "skip") -> Tensor:
    """Overlap of each class, (..., K) float64, from counts (..., K, K).

    With TP, FP and FN of a class: dice 2TP/(2TP+FP+FN), iou TP/(TP+FP+FN), precision TP/(TP+FP), recall TP/(TP+FN). A
    class that is neither true nor predicted anywhere is absent: NaN ("skip"), 1 ("one") or 0 ("zero"). A 0/0 of a
    class that does occur (precision where nothing was predicted, recall where nothing was true) is 0.
    """
    counts = confusion.double()
    hit, predicted, true = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-2), counts.sum(-1)
    denominator = {
        "dice": (predicted + true) / 2,
        "iou": predicted + true - hit,
        "precision": predicted,
        "recall": true,
    }[measure]
    value = hit / denominator.clamp(min=0.5)
    policy = {"skip": torch.nan, "one": 1.0, "zero": 0.0}[absent]
    return value.masked_fill(predicted + true == 0, policy)


def generalized_dice(confusion: Tensor, absent: AbsentWeight = "max", include_background: bool = True) -> Tensor:
    """Generalised Dice score, scalar float64: sum_k w_k 2 TP_k / sum_k w_k (P_k + T_k), w_k = 1 / T_k^2 (Sudre 2017).

    Args:
        confusion: (K, K) counts.
        absent: Weight of a class that is not in the truth: "max" the largest of the others (1 where no class is in it,
            so that what is predicted there counts as wrong), "zero" none.
        include_background: Whether class 0 takes part.

    Returns:
        NaN where no class that has a weight is true or predicted.
    """
    counts = confusion.double()
    first = 0 if include_background else 1
    hit, size = counts.diagonal()[first:], (counts.sum(0) + counts.sum(1))[first:]
    true = counts.sum(1)[first:]
    weight = (true > 0) / true.clamp(min=1).square()
    if absent == "max":
        largest = torch.where(weight.max() > 0, weight.max(), 1.0)
        weight = torch.where(true > 0, weight, largest)
    return 2 * (weight * hit).sum() / (weight * size).sum()


class OverlapMetric(VoxelMetric):
    """State shared by the overlap metrics: confusion counts, and sums of case values by class.

    Args:
        num_classes: Number of classes K.
        class_names: If given, `compute` gives a dict of "dice" (or "iou" ...) and "dice/<class>"; else the mean alone.
        include_background: Whether class 0 is reported and in the mean.
        absent: A class that is neither true nor predicted (in the case, or in all) is left out of the mean ("skip"), or
            counts as 1 ("one") or 0 ("zero").
        average: "pooled" counts voxels over all cases, "per_case" averages each class over the cases.
        region: As for `VoxelMetric`.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    measure: Measure = "dice"

    def __init__(
        self,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        include_background: bool = False,
        absent: Absent = "skip",
        average: Average = "per_case",
        region: RegionName | Region = "all",
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, region, average, ignore_index, validate, **state)
        check_choice("absent", absent, Absent)
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(f"class_names={list(class_names)} must name {num_classes} classes, background among them")
        self.class_names = None if class_names is None else list(class_names)
        self.include_background, self.absent = include_background, absent
        shape = (len(MEASURES), num_classes)
        self.confusion: Tensor
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("case_sum", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            counts = confusion_matrix(item, labels, keep)
            self.confusion += counts
            values = torch.stack([overlap_from_confusion(counts, name, self.absent) for name in MEASURES])
            values = values.masked_fill(counts.sum() == 0, torch.nan)
            self.case_sum += values.nan_to_num(0.0)
            self.cases += ~values.isnan()

    def per_class(self) -> Tensor:
        """Value of each class (K,), background first; NaN where the class was absent throughout."""
        if self.average == "pooled":
            return overlap_from_confusion(self.confusion, self.measure, self.absent)
        index = MEASURES.index(self.measure)
        return self.case_sum[index] / self.cases[index]

    def compute(self) -> Any:
        """The mean over the classes, scalar float64, or a dict of it and of every class."""
        self.raise_noted()
        first = 0 if self.include_background else 1
        values = self.per_class()[first:]
        if self.class_names is None:
            return values.nanmean()
        named = {f"{self.measure}/{n}": v for n, v in zip(self.class_names[first:], values, strict=True)}
        return {self.measure: values.nanmean(), **named}


class DiceScore(OverlapMetric):
    """Dice = 2 TP / (2 TP + FP + FN); arguments as for `OverlapMetric`.

    Example:
        >>> hard = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]])  # classes 1, 1, 0
        >>> metric = DiceScore(num_classes=2)
        >>> metric.update(hard, torch.tensor([[1, 0, 0]]))
        >>> round(float(metric.compute()), 4)
        0.6667
    """


class JaccardIndex(OverlapMetric):
    """Intersection over union = TP / (TP + FP + FN); arguments as for `OverlapMetric`.

    Example:
        >>> hard = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]])  # classes 1, 1, 0
        >>> metric = JaccardIndex(num_classes=2)
        >>> metric.update(hard, torch.tensor([[1, 0, 0]]))
        >>> round(float(metric.compute()), 4)
        0.5
    """

    measure = "iou"


class Precision(OverlapMetric):
    """Precision = TP / (TP + FP); arguments as for `OverlapMetric`.

    Example:
        >>> hard = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]])  # classes 1, 1, 0
        >>> metric = Precision(num_classes=2)
        >>> metric.update(hard, torch.tensor([[1, 0, 0]]))
        >>> round(float(metric.compute()), 4)
        0.5
    """

    measure = "precision"


class Recall(OverlapMetric):
    """Recall = TP / (TP + FN); arguments as for `OverlapMetric`.

    Example:
        >>> hard = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]])  # classes 1, 1, 0
        >>> metric = Recall(num_classes=2)
        >>> metric.update(hard, torch.tensor([[1, 0, 0]]))
        >>> round(float(metric.compute()), 4)
        1.0
    """

    measure = "recall"


class GeneralizedDiceScore(VoxelMetric):
    """Generalised Dice score (Sudre et al. 2017), of hard labels.

    Args:
        num_classes: Number of classes K.
        absent: Weight of a class that is not in the truth: "max" or "zero".
        include_background: Whether class 0 takes part.
        average: "pooled" or "per_case".
        region: As for `VoxelMetric`.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> hard = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]])  # classes 1, 1, 0
        >>> metric = GeneralizedDiceScore(num_classes=2)
        >>> metric.update(hard, torch.tensor([[1, 0, 0]]))
        >>> round(float(metric.compute()), 4)
        0.6667
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        absent: AbsentWeight = "max",
        include_background: bool = True,
        average: Average = "per_case",
        region: RegionName | Region = "all",
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, region, average, ignore_index, validate, **state)
        check_choice("absent", absent, AbsentWeight)
        self.absent, self.include_background = absent, include_background
        self.confusion: Tensor
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("case_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            counts = confusion_matrix(item, labels, keep)
            self.confusion += counts
            value = generalized_dice(counts, self.absent, self.include_background)
            self.case_sum += value.nan_to_num(0.0)
            self.cases += ~value.isnan()

    def compute(self) -> Tensor:
        """The score, scalar float64."""
        self.raise_noted()
        if self.average == "per_case":
            return self.case_sum / self.cases
        return generalized_dice(self.confusion, self.absent, self.include_background)
