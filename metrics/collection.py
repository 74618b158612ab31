"""The metrics of a training program, by name."""

from collections.abc import Sequence
from typing import Any

from torchmetrics import Metric, MetricCollection

from .calibration import AverageCalibrationError, ExpectedCalibrationError, MaximumCalibrationError
from .overlap import DiceScore, JaccardIndex, Precision, Recall
from .scores import BrierScore, NegativeLogLikelihood


def build(
    num_classes: int,
    class_names: Sequence[str] | None = None,
    num_bins: int = 15,
    ignore_index: int | None = 255,
    validate: bool = True,
) -> MetricCollection:
    """A collection whose `compute` gives a flat dict of scalars; update with (probs (B, K, *S), target (B, *S)).

    Names: dice, dice/<class>, iou, precision, recall (means over foreground classes of means over cases: a batch item
    is a case), nll, brier, ece, ace, mce (top label, pooled), ece_classwise, ece_foreground (view), ece_per_case.

    Metrics of one state share it through compute groups that are given here: torchmetrics would group whatever has
    equal values after the first batch, and keep it so.

    Args:
        num_classes: Number of classes K, background among them.
        class_names: K names, background first; without them there is no dice/<class>.
        num_bins: Bins of the calibration errors.
        ignore_index: Label of voxels that never count, or None.
        validate: Check the values of the first metric's input; all get the same.
    """
    common: dict[str, Any] = {"num_classes": num_classes, "ignore_index": ignore_index}
    unchecked = common | {"validate": False}
    bins = unchecked | {"num_bins": num_bins}
    metrics: dict[str, Metric | MetricCollection] = {
        "dice": DiceScore(class_names=class_names, validate=validate, **common),
        "iou": JaccardIndex(**unchecked),
        "precision": Precision(**unchecked),
        "recall": Recall(**unchecked),
        "nll": NegativeLogLikelihood(**unchecked),
        "brier": BrierScore(**unchecked),
        "ece": ExpectedCalibrationError(**bins),
        "ace": AverageCalibrationError(**bins),
        "mce": MaximumCalibrationError(**bins),
        "ece_per_case": ExpectedCalibrationError(**bins, average="per_case"),
        "ece_classwise": ExpectedCalibrationError(**bins, view="classwise"),
        "ece_foreground": ExpectedCalibrationError(**bins, view="foreground"),
    }
    groups = [
        ["dice", "iou", "precision", "recall"],
        ["nll", "brier"],
        ["ece_per_case", "ece", "ace", "mce"],
        ["ece_classwise"],
        ["ece_foreground"],
    ]
    return MetricCollection(metrics, compute_groups=groups)
