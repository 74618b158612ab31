"""Calibrated segmentation losses: logits in, one number out; the formulas of three papers and their kin."""

from losses.adaptive import ClassAdaptiveHingeLoss, ClassAdaptiveMarginLoss, ConstrainedRegionLoss
from losses.calibration import AverageCalibrationLoss, ClasswiseConfidenceAccuracyLoss, ConfidenceAccuracyLoss
from losses.compound import ComboLoss, ComboPlusPlusLoss, DiceCrossEntropyLoss, MarginDiceLoss
from losses.cross_entropy import (
    BrierLoss,
    CrossEntropyLoss,
    DualFocalLoss,
    EntropyPenaltyLoss,
    FocalLoss,
    LabelSmoothingLoss,
    SampleDependentFocalLoss,
)
from losses.generalized_dice import (
    GeneralizedDiceLoss,
    SensitivitySpecificityLoss,
    TwoClassDiceLoss,
    WeightedCrossEntropyLoss,
)
from losses.margin import MarginLabelSmoothingLoss
from losses.neighbours import NeighborAwareCalibrationLoss, SpatiallyVaryingLabelSmoothingLoss
from losses.overlap import (
    DiceLoss,
    DicePlusPlusLoss,
    FocalTverskyLoss,
    FocalTverskyPlusPlusLoss,
    TverskyLoss,
    TverskyPlusPlusLoss,
)
from losses.unified_focal import (
    AsymmetricFocalLoss,
    AsymmetricFocalTverskyLoss,
    UnifiedFocalLoss,
    UnifiedFocalPlusPlusLoss,
)
from losses.wrappers import DeepSupervisionLoss, WeightedSumLoss

__all__ = [
    "AsymmetricFocalLoss",
    "AsymmetricFocalTverskyLoss",
    "AverageCalibrationLoss",
    "BrierLoss",
    "ClassAdaptiveHingeLoss",
    "ClassAdaptiveMarginLoss",
    "ClasswiseConfidenceAccuracyLoss",
    "ComboLoss",
    "ComboPlusPlusLoss",
    "ConfidenceAccuracyLoss",
    "ConstrainedRegionLoss",
    "CrossEntropyLoss",
    "DeepSupervisionLoss",
    "DiceCrossEntropyLoss",
    "DiceLoss",
    "DicePlusPlusLoss",
    "DualFocalLoss",
    "EntropyPenaltyLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "FocalTverskyPlusPlusLoss",
    "GeneralizedDiceLoss",
    "LabelSmoothingLoss",
    "MarginDiceLoss",
    "MarginLabelSmoothingLoss",
    "NeighborAwareCalibrationLoss",
    "SampleDependentFocalLoss",
    "SensitivitySpecificityLoss",
    "SpatiallyVaryingLabelSmoothingLoss",
    "TverskyLoss",
    "TverskyPlusPlusLoss",
    "TwoClassDiceLoss",
    "UnifiedFocalLoss",
    "UnifiedFocalPlusPlusLoss",
    "WeightedCrossEntropyLoss",
    "WeightedSumLoss",
]
