"""Our losses inside nnU-Net v2: trainers that it finds by name, and the adapter between its targets and ours."""

from .loss import NNUNetLoss, build_loss
from .path import TRAINERS

__all__ = ["TRAINERS", "NNUNetLoss", "build_loss"]
