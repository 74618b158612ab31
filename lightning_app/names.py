"""The names by which papers call the losses, for tables, tags and run names."""

from collections.abc import Mapping
from typing import Any

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
}


def short_name(class_path: str) -> str:
    """The name by which papers call a loss, or the class's own name."""
    name = class_path.rpartition(".")[2]
    return SHORT_NAMES.get(name, name)


def loss_name(loss: Mapping[str, Any]) -> str:
    """The name of a loss in a configuration: of a sum its parts, `CE + 0.5 DSC`; of a wrapper what it wraps."""
    arguments = loss.get("init_args") or {}
    kind = loss["class_path"].rpartition(".")[2]
    if kind == "WeightedSumLoss":
        weights = arguments.get("weights") or {}
        parts = {loss_name(part): float(weights.get(name, 1)) for name, part in arguments["losses"].items()}
        return " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in parts.items())
    if kind in ("DeepSupervisionLoss", "MultiLabelLoss") and isinstance(arguments.get("loss"), Mapping):
        return loss_name(arguments["loss"])
    return short_name(kind)
