"""The three-level U-Net with valid convolutions of the Generalised Dice paper."""

import torch
from torch import Tensor, nn

from .network import (
    CONVOLUTIONS,
    MAX_POOLS,
    TRANSPOSED,
    LegalSizes,
    Network,
    center_crop,
    normalisation,
    positive,
)


class ValidUNet(Network):
    """U-Net of three levels without padding (Ronneberger et al. 2015; Sudre et al. 2017).

    Two times [3-wide valid convolution, ReLU] at ``width``, ``2 width`` and ``4 width`` channels, max-pooling by 2;
    up by a transposed convolution of stride 2 that halves the channels, the skipped features cropped to it. The
    logits lose 20 voxels a side: 56 -> 16, 64 -> 24, 88 -> 48. 1,862,914 parameters by default for 3 channels and
    2 classes; the paper doesn't name its width, which is taken from Ronneberger. Receptive field 44.

    Shape:
        - input ``(B, in_channels, *S)``, axes divisible by 4 and at least 44
        - output ``(B, num_classes, *(S - 40))`` logits of the centre.

    Args:
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        width: channels of the finest level.
        batch_norm: batch norm between convolution and ReLU, as later versions of NiftyNet have.
        spatial_dims: 2 for images, 3 for volumes.

    Example:
        >>> import torch
        >>> from models import ValidUNet
        >>> ValidUNet(in_channels=1, width=4)(torch.zeros(1, 1, 56, 56)).shape  # the centre
        torch.Size([1, 2, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        width: int = 64,
        batch_norm: bool = False,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(4, minimum=44))
        f, dims = positive("width", width), spatial_dims

        def block(before: int, after: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for channels in (before, after):
                layers.append(CONVOLUTIONS[dims](channels, after, 3))
                layers += [normalisation("batch", dims, after)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
            return nn.Sequential(*layers)

        self.encoder = nn.ModuleList([block(in_channels, f), block(f, 2 * f), block(2 * f, 4 * f)])
        self.pool = MAX_POOLS[dims](2)
        self.up = nn.ModuleList(TRANSPOSED[dims](2 * n, n, 2, stride=2) for n in (2 * f, f))
        self.decoder = nn.ModuleList(block(2 * n, n) for n in (2 * f, f))
        self.head = CONVOLUTIONS[dims](f, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image's centre."""
        self.check(image)
        fine = self.encoder[0](image)
        middle = self.encoder[1](self.pool(fine))
        features = self.encoder[2](self.pool(middle))
        for up, block, skip in zip(self.up, self.decoder, (middle, fine), strict=True):
            raised = up(features)
            features = block(torch.cat((center_crop(skip, raised.shape[2:]), raised), dim=1))
        return self.head(features)
