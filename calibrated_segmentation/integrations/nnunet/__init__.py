"""Our losses inside nnU-Net v2: trainers that it finds by name, and the adapter between its targets and ours."""

from calibrated_segmentation.integrations.nnunet_path import TRAINERS

from .loss import NNUNetLoss, build_loss

__all__ = ["TRAINERS", "NNUNetLoss", "build_loss"]
