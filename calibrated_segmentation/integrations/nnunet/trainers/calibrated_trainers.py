"""Trainers for `nnUNetv2_train ... -tr NAME`; nnU-Net finds them through the variable nnUNet_extTrainer.

`nnUNetTrainerCalibrated` takes the loss named in CALSEG_LOSS; for each loss there is also a trainer of its own, as
`nnUNetTrainerDicePlusPlus`. CALSEG_LOSS_ARGS holds further arguments of the loss as JSON, CALSEG_EPOCHS the number of
epochs. Everything else is nnU-Net's: schedule, deep supervision and its weights, ignore label, regions, processes.
"""

import os

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from calibrated_segmentation.integrations.nnunet.loss import NNUNetLoss, build_loss, trainable


class nnUNetTrainerCalibrated(nnUNetTrainer):
    """nnU-Net's trainer with one of our losses."""

    loss_name: str | None = None

    def initialize(self) -> None:
        """As nnU-Net does, with another number of epochs where one is set."""
        if "CALSEG_EPOCHS" in os.environ:
            self.num_epochs = int(os.environ["CALSEG_EPOCHS"])  # before the schedule is made from it
        super().initialize()

    def _build_loss(self) -> torch.nn.Module:
        """The loss in nnU-Net's own deep supervision, whose weights stay as they are."""
        loss = build_loss(self.loss_name)
        self.print_to_log_file(f"loss: {self.loss_name or ''} {loss}")
        adapted = NNUNetLoss(loss, self.label_manager.ignore_label, self.label_manager.has_regions)
        whole = super()._build_loss()
        if not isinstance(whole, DeepSupervisionWrapper):
            return adapted
        whole.loss = adapted
        return whole


for _name in trainable():
    _trainer = f"nnUNetTrainer{_name.removesuffix('Loss')}"
    globals()[_trainer] = type(
        _trainer, (nnUNetTrainerCalibrated,), {"loss_name": _name, "__module__": __name__, "__doc__": f"With {_name}."}
    )
