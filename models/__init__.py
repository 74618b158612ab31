"""Networks, post-hoc calibrators and tiled inference."""

from .activation import Exclusive, Separate
from .attention_unet import AttentionUNet
from .binning import HistogramCalibration, IsotonicCalibration
from .builders import MONAI, SMP, NNUNet
from .calibrator import Calibrator, Case, FitReport
from .deepmedic import DeepMedic
from .dicepp_inverse import DicePlusPlusInverse
from .export import export_calibrator, export_onnx
from .highres3d import HighRes3DNet
from .local_temperature import ImageTemperatureScaling, LocalTemperatureScaling
from .multilabel import MultiLabelCalibrator, RegionCases
from .network import LegalSizes, Network, adaptive_norm
from .plain_unet import PlainUNet
from .selective import SelectiveScaling
from .sliding_window import Inference, SlidingWindow, WholeImage
from .temperature import DirichletCalibration, EnsembleTemperatureScaling, TemperatureScaling, VectorScaling
from .two_path import TwoPathCNN
from .uncertainty import (
    Averaged,
    CheckpointEnsemble,
    Ensemble,
    MonteCarloDropout,
    Prediction,
    TestTimeAugmentation,
    combine,
    entropy,
)
from .unet import UNet
from .valid_unet import ValidUNet

__all__ = [
    "MONAI",
    "SMP",
    "AttentionUNet",
    "Averaged",
    "Calibrator",
    "Case",
    "CheckpointEnsemble",
    "DeepMedic",
    "DicePlusPlusInverse",
    "DirichletCalibration",
    "Ensemble",
    "EnsembleTemperatureScaling",
    "Exclusive",
    "FitReport",
    "HighRes3DNet",
    "HistogramCalibration",
    "ImageTemperatureScaling",
    "Inference",
    "IsotonicCalibration",
    "LegalSizes",
    "LocalTemperatureScaling",
    "MonteCarloDropout",
    "MultiLabelCalibrator",
    "NNUNet",
    "Network",
    "PlainUNet",
    "Prediction",
    "RegionCases",
    "SelectiveScaling",
    "Separate",
    "SlidingWindow",
    "TemperatureScaling",
    "TestTimeAugmentation",
    "TwoPathCNN",
    "UNet",
    "ValidUNet",
    "VectorScaling",
    "WholeImage",
    "adaptive_norm",
    "combine",
    "entropy",
    "export_calibrator",
    "export_onnx",
]
