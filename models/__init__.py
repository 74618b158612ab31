"""Networks, post-hoc calibrators and tiled inference."""

from models.attention_unet import AttentionUNet
from models.builders import MONAI, SMP, NNUNet
from models.deepmedic import DeepMedic
from models.highres3d import HighRes3DNet
from models.network import LegalSizes, Network
from models.plain_unet import PlainUNet
from models.sliding_window import SlidingWindow
from models.two_path import TwoPathCNN
from models.unet import UNet
from models.valid_unet import ValidUNet

__all__ = [
    "MONAI",
    "SMP",
    "AttentionUNet",
    "DeepMedic",
    "HighRes3DNet",
    "LegalSizes",
    "NNUNet",
    "Network",
    "PlainUNet",
    "SlidingWindow",
    "TwoPathCNN",
    "UNet",
    "ValidUNet",
]
