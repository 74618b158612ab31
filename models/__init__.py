"""Networks, post-hoc calibrators and tiled inference."""

from models.builders import MONAI, SMP, NNUNet
from models.network import LegalSizes, Network
from models.sliding_window import SlidingWindow
from models.unet import UNet

__all__ = ["MONAI", "SMP", "LegalSizes", "NNUNet", "Network", "SlidingWindow", "UNet"]
