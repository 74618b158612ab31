"""The training module and the program's loggers outside of a training."""

import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from torch.nn import functional as F

import losses
import models
from lightning_app.training.module import SegmentationModule
from lightning_app.training.program import _drop_unset_options


@pytest.mark.parametrize(("size", "padding"), [((44, 60), "zero"), ((64, 48), "minimum")])
def test_a_network_with_valid_convolutions_scores_the_whole_image(size, padding):
    """The oracle: the network on the image padded, as its data are, by the 20 voxels that the network cuts."""
    torch.manual_seed(0)
    net = models.ValidUNet(in_channels=1, num_classes=2, width=4).eval()
    module = SegmentationModule(net=net, loss=losses.DiceLoss(), num_classes=2, padding=padding)
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        probs = module.probabilities(image)
        value = float(image.min()) if padding == "minimum" else 0.0
        expected = net(F.pad(image, (20, 20, 20, 20), value=value)).softmax(1)
        tiled = models.SlidingWindow([64, 64])
        tiled.pad_as(padding)
        torch.testing.assert_close(tiled(image, net), expected, atol=1e-4, rtol=0)
    assert probs.shape == (1, 2, *size)
    torch.testing.assert_close(probs, expected)


def test_wandb_is_not_handed_an_option_that_it_warns_of(tmp_path):
    unset, chosen = WandbLogger(save_dir=tmp_path), WandbLogger(save_dir=tmp_path, anonymous=True)
    assert "anonymous" in unset._wandb_init  # or the cure is no longer needed
    _drop_unset_options([unset, chosen])
    assert "anonymous" not in unset._wandb_init
    assert chosen._wandb_init["anonymous"] == "allow"
