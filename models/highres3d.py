"""HighRes3DNet, the dilated residual network of the Generalised Dice paper."""

from torch import Tensor, nn
from torch.nn import functional as F

from .network import CONVOLUTIONS, LegalSizes, Network, crop_border, normalisation


class DilatedResidual(nn.Module):
    """Two times [batch norm, ReLU, 3-wide dilated convolution] beside the identity, whose new channels are zero.

    Args:
        dims: 2 for images, 3 for volumes.
        before: channels that come in.
        after: channels that go out, at least as many.
        dilation: spacing of the kernel's voxels.
    """

    def __init__(self, dims: int, before: int, after: int, dilation: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (before, after):
            convolution = CONVOLUTIONS[dims](channels, after, 3, padding=dilation, dilation=dilation, bias=False)
            layers += [normalisation("batch", dims, channels), nn.ReLU(inplace=True), convolution]
        self.layers = nn.Sequential(*layers)
        self.grown = after - before

    def forward(self, features: Tensor) -> Tensor:
        """Features plus what the layers find in them."""
        spatial = features.dim() - 2
        identity = F.pad(features, [0, 0] * spatial + [self.grown // 2, self.grown - self.grown // 2])
        return identity + self.layers(features)


class HighRes3DNet(Network):
    """Full-resolution network with dilations 1, 2 and 4 (Li et al. 2017), receptive field 87.

    3-wide convolution to 16; three residual blocks each at 16 (dilation 1), 32 (2) and 64 channels (4); a 1-wide
    layer of 80; 1-wide convolution and batch norm, **without a ReLU**, give the logits (MONAI's ``HighResNet`` has
    one). 808,948 parameters for 1 channel and 2 classes, 809,812 for 3 channels.

    The Generalised Dice paper states effective sizes of 36 voxels less than the patch (51 -> 15, 63 -> 27,
    85 -> 49), though the network keeps the size: ``border=18`` cuts the logits to that, an assumption about what
    its authors did. ``border=43`` gives what valid convolutions would, free of padding.

    Shape:
        - input ``(B, in_channels, *S)``, axes above ``2 * border``
        - output ``(B, num_classes, *(S - 2 * border))`` logits of the centre.

    Args:
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        border: voxels cut off each side of the logits.
        spatial_dims: 2 for images, 3 for volumes.

    Raises:
        ValueError: if ``border`` is negative.

    Example:
        >>> import torch
        >>> from models import HighRes3DNet
        >>> HighRes3DNet(border=18, spatial_dims=2)(torch.zeros(1, 1, 51, 51)).shape
        torch.Size([1, 2, 15, 15])
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 2, border: int = 0, spatial_dims: int = 3) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(minimum=2 * border + 1))
        if border < 0:
            raise ValueError(f"border must not be negative, got {border}")
        dims, self.border = spatial_dims, border
        convolution = CONVOLUTIONS[dims]
        layers: list[nn.Module] = [
            convolution(in_channels, 16, 3, padding=1, bias=False),
            normalisation("batch", dims, 16),
            nn.ReLU(inplace=True),
        ]
        before = 16
        for after, dilation in ((16, 1), (32, 2), (64, 4)):
            for _ in range(3):
                layers.append(DilatedResidual(dims, before, after, dilation))
                before = after
        layers += [convolution(64, 80, 1, bias=False), normalisation("batch", dims, 80), nn.ReLU(inplace=True)]
        layers += [convolution(80, num_classes, 1, bias=False), normalisation("batch", dims, num_classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image without its border."""
        self.check(image)
        return crop_border(self.layers(image), self.border)
