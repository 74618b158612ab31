"""The training module outside of a training."""

import pytest
import torch
from torch.nn import functional as F

import losses
import models
from lightning_app.training.module import SegmentationModule


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
