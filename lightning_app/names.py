"""The names by which papers call the losses, for tables, tags and run names."""

SHORT_NAMES = {
    "CrossEntropyLoss": "CE",
    "FocalLoss": "Focal",
    "DiceLoss": "DSC",
    "DicePlusPlusLoss": "DSC++",
    "ErrorScaledDiceLoss": "DSC, error-scaled",
    "TverskyLoss": "Tversky",
    "TverskyPlusPlusLoss": "Tversky++",
    "FocalTverskyLoss": "Focal Tversky",
    "FocalTverskyPlusPlusLoss": "Focal Tversky++",
    "ComboLoss": "Combo",
    "ComboPlusPlusLoss": "Combo++",
    "UnifiedFocalLoss": "Unified Focal",
    "UnifiedFocalPlusPlusLoss": "Unified Focal++",
    "GeneralizedDiceLoss": "GDL",
    "TwoClassDiceLoss": "DL2",
    "DiceCrossEntropyLoss": "CE+DSC",
    "MarginDiceLoss": "MbLS+DSC",
    "WeightedCrossEntropyLoss": "WCE",
    "SensitivitySpecificityLoss": "SS",
    "LabelSmoothingLoss": "LS",
    "SpatiallyVaryingLabelSmoothingLoss": "SVLS",
    "EntropyPenaltyLoss": "ECP",
    "MarginLabelSmoothingLoss": "MbLS",
    "NeighborAwareCalibrationLoss": "NACL",
    "AverageCalibrationLoss": "mL1-ACE",
    "WeightedSumLoss": "Sum",
}


def short_name(class_path: str) -> str:
    """The name by which papers call a loss, or the class's own name."""
    name = class_path.rpartition(".")[2]
    return SHORT_NAMES.get(name, name)
