"""The methods of `calibrate` by name, and the class of `models` that stands behind each calibrator."""

from typing import Literal

Method = Literal[
    "risk", "cases", "temperature", "ensemble_temperature", "image_temperature", "local_temperature", "vector",
    "dirichlet", "isotonic", "histogram", "selective", "dicepp_inverse",
]  # fmt: skip
CLASSES: dict[str, str] = {
    "temperature": "TemperatureScaling",
    "ensemble_temperature": "EnsembleTemperatureScaling",
    "image_temperature": "ImageTemperatureScaling",
    "local_temperature": "LocalTemperatureScaling",
    "vector": "VectorScaling",
    "dirichlet": "DirichletCalibration",
    "isotonic": "IsotonicCalibration",
    "histogram": "HistogramCalibration",
    "selective": "SelectiveScaling",
    "dicepp_inverse": "DicePlusPlusInverse",
}
