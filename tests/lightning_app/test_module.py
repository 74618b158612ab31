"""The training module outside of a training: what it makes of whole cases."""

import pytest
import torch
from torch.nn import functional as F

import losses
import models
from lightning_app.module import SegmentationModule


@pytest.mark.parametrize("size", [(44, 60), (64, 48)])
def test_a_network_with_valid_convolutions_scores_the_whole_image(size):
    """The oracle: the network on the image with its edge repeated by the 20 voxels that the network cuts."""
    torch.manual_seed(0)
    net = models.ValidUNet(in_channels=1, num_classes=2, width=4).eval()
    module = SegmentationModule(net=net, loss=losses.DiceLoss(), num_classes=2)
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        probs = module.probabilities(image)
        expected = net(F.pad(image, (20, 20, 20, 20), mode="replicate")).softmax(1)
    assert probs.shape == (1, 2, *size)
    torch.testing.assert_close(probs, expected)
