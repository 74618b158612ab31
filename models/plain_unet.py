"""The U-Net without norm of margin-based label smoothing (MbLS)."""

import torch
from torch import Tensor, nn

from .network import CONVOLUTIONS, MAX_POOLS, LegalSizes, Network, nearest, positive
from .unet import double_convolution


class PlainUNet(Network):
    """U-Net of five levels without norm or dropout (Murugesan et al. 2023).

    Channels 1, 2, 4, 8, 16 times ``width``, two times [3-wide convolution, ReLU] a level; the last pooling is by 4, so
    the total stride is 32; up by repeating voxels, concatenation, two convolutions; a 1-wide convolution gives the
    logits.

    Shape:
        - input ``(B, in_channels, *S)``, axes divisible by 32
        - output ``(B, num_classes, *S)`` logits.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        width: channels of the finest level.

    Example:
        >>> import torch
        >>> from models import PlainUNet
        >>> PlainUNet(num_classes=4, width=2)(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 4, 32, 32])
    """

    FACTORS = (2, 2, 2, 4)

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, num_classes: int = 2, width: int = 32) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(32))
        widths = [positive("width", width) * 2**level for level in range(5)]

        def block(before: int, after: int) -> nn.Sequential:
            return double_convolution(spatial_dims, before, after, norm="none")

        self.encoder = nn.ModuleList(block(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.pools = nn.ModuleList(MAX_POOLS[spatial_dims](factor) for factor in self.FACTORS)
        self.decoder = nn.ModuleList(block(widths[i + 1] + widths[i], widths[i]) for i in (3, 2, 1, 0))
        self.head = CONVOLUTIONS[spatial_dims](width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of an image."""
        self.check(image)
        skips = [self.encoder[0](image)]
        for block, pool in zip(self.encoder[1:], self.pools, strict=True):
            skips.append(block(pool(skips[-1])))
        features = skips.pop()
        for block, factor in zip(self.decoder, reversed(self.FACTORS), strict=True):
            features = block(torch.cat((nearest(features, factor), skips.pop()), dim=1))
        return self.head(features)
