"""Calibrated segmentation losses: logits in, one number out; the formulas of three papers and their kin."""

from losses.compound import DeepSupervisionLoss, WeightedSumLoss
from losses.cross_entropy import CrossEntropyLoss
from losses.overlap import (
    DiceLoss,
    DicePlusPlusLoss,
    FocalTverskyLoss,
    FocalTverskyPlusPlusLoss,
    TverskyLoss,
    TverskyPlusPlusLoss,
)

__all__ = [
    "CrossEntropyLoss",
    "DeepSupervisionLoss",
    "DiceLoss",
    "DicePlusPlusLoss",
    "FocalTverskyLoss",
    "FocalTverskyPlusPlusLoss",
    "TverskyLoss",
    "TverskyPlusPlusLoss",
    "WeightedSumLoss",
]
