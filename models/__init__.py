"""Networks, post-hoc calibrators and tiled inference."""

from models.attention_unet import AttentionUNet
from models.binning import HistogramCalibration, IsotonicCalibration
from models.builders import MONAI, SMP, NNUNet
from models.calibrator import Calibrator, Case, FitReport
from models.deepmedic import DeepMedic
from models.dicepp_inverse import DicePlusPlusInverse
from models.export import export_onnx
from models.highres3d import HighRes3DNet
from models.local_temperature import ImageTemperatureScaling, LocalTemperatureScaling
from models.network import LegalSizes, Network, adaptive_norm
from models.plain_unet import PlainUNet
from models.selective import SelectiveScaling
from models.sliding_window import Inference, SlidingWindow, WholeImage
from models.temperature import DirichletCalibration, EnsembleTemperatureScaling, TemperatureScaling, VectorScaling
from models.two_path import TwoPathCNN
from models.uncertainty import (
    Averaged,
    CheckpointEnsemble,
    Ensemble,
    MonteCarloDropout,
    Prediction,
    TestTimeAugmentation,
    combine,
    entropy,
)
from models.unet import UNet
from models.valid_unet import ValidUNet

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
    "FitReport",
    "HighRes3DNet",
    "HistogramCalibration",
    "ImageTemperatureScaling",
    "Inference",
    "IsotonicCalibration",
    "LegalSizes",
    "LocalTemperatureScaling",
    "MonteCarloDropout",
    "NNUNet",
    "Network",
    "PlainUNet",
    "Prediction",
    "SelectiveScaling",
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
    "export_onnx",
]
