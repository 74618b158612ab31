"""Calibrated segmentation losses: logits in, one number out; the formulas of three papers and their kin."""

from .adaptive import ClassAdaptiveHingeLoss, ClassAdaptiveMarginLoss, ConstrainedRegionLoss
from .base import LossOfParts as LossOfParts  # bases to build on; __all__ names what can be trained with
from .base import SegmentationLoss as SegmentationLoss
from .calibration import AverageCalibrationLoss, ClasswiseConfidenceAccuracyLoss, ConfidenceAccuracyLoss
from .compound import ComboLoss, ComboPlusPlusLoss, DiceCrossEntropyLoss, MarginDiceLoss
from .cross_entropy import (
    BrierLoss,
    CrossEntropyLoss,
    DualFocalLoss,
    EntropyPenaltyLoss,
    FocalLoss,
    LabelSmoothingLoss,
    SampleDependentFocalLoss,
)
from .error_scaled import ErrorScaledDiceLoss
from .generalized_dice import (
    GeneralizedDiceLoss,
    SensitivitySpecificityLoss,
    TwoClassDiceLoss,
    WeightedCrossEntropyLoss,
)
from .margin import MarginLabelSmoothingLoss
from .neighbours import NeighborAwareCalibrationLoss, SpatiallyVaryingLabelSmoothingLoss
from .overlap import (
    DiceLoss,
    DicePlusPlusLoss,
    FocalTverskyLoss,
    FocalTverskyPlusPlusLoss,
    OverlapLoss,
    TverskyLoss,
    TverskyPlusPlusLoss,
)
from .unified_focal import (
    AsymmetricFocalLoss,
    AsymmetricFocalTverskyLoss,
    UnifiedFocalLoss,
    UnifiedFocalPlusPlusLoss,
)
from .wrappers import DeepSupervisionLoss, MultiLabelLoss, WeightedSumLoss

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
    "ErrorScaledDiceLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "FocalTverskyPlusPlusLoss",
    "GeneralizedDiceLoss",
    "LabelSmoothingLoss",
    "MarginDiceLoss",
    "MarginLabelSmoothingLoss",
    "MultiLabelLoss",
    "NeighborAwareCalibrationLoss",
    "OverlapLoss",
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
