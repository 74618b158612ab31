"""The attention-gated U-Net with which margin-based label smoothing was compared."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .network import CONVOLUTIONS, MAX_POOLS, LegalSizes, Network, nearest, normalisation, positive


class AttentionGate(nn.Module):
    r"""Weights skipped features by what the coarser level asks for (Oktay et al. 2018).

    :math:`x \cdot \sigma(N(\psi \cdot \mathrm{relu}(N(W_g g) + N(W_x x))))` with N batch norm, 1-wide convolutions.

    Args:
        dims: 2 for images, 3 for volumes.
        channels: channels of both inputs; half of them inside.
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)

        def project(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(CONVOLUTIONS[dims](before, after, 1), normalisation("batch", dims, after))

        self.gate, self.skip, self.psi = project(channels, inner), project(channels, inner), project(inner, 1)

    def forward(self, raised: Tensor, skip: Tensor) -> Tensor:
        """The skipped features, weighted voxel by voxel."""
        return skip * self.psi(torch.relu(self.gate(raised) + self.skip(skip))).sigmoid()


class AttentionUNet(Network):
    """U-Net with batch norm and attention gates on its skips (Oktay et al. 2018), five levels of 64 to 1,024 channels.

    Two times [3-wide convolution, batch norm, ReLU] a level, max-pooling by 2; up by repeating voxels and one more
    such convolution; the gated skip is concatenated. MONAI's ``AttentionUnet`` differs: it pools by strided
    convolutions and merges without an activation.

    Shape:
        - input ``(B, in_channels, *S)``, axes divisible by 16
        - output ``(B, num_classes, *S)`` logits.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        width: channels of the finest level.

    Example:
        >>> import torch
        >>> from models import AttentionUNet
        >>> AttentionUNet(num_classes=2, width=2)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 2, 32, 32])
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, num_classes: int = 2, width: int = 64) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(16))
        widths = [positive("width", width) * 2**level for level in range(5)]
        dims, levels = spatial_dims, (3, 2, 1, 0)

        def layers(*channels: int) -> nn.Sequential:
            steps: list[nn.Module] = []
            for before, after in pairwise(channels):
                steps += [CONVOLUTIONS[dims](before, after, 3, padding=1)]
                steps += [normalisation("batch", dims, after), nn.ReLU(inplace=True)]
            return nn.Sequential(*steps)

        self.encoder = nn.ModuleList(layers(a, b, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.pool = MAX_POOLS[dims](2)
        self.up = nn.ModuleList(layers(widths[i + 1], widths[i]) for i in levels)
        self.gates = nn.ModuleList(AttentionGate(dims, widths[i]) for i in levels)
        self.decoder = nn.ModuleList(layers(2 * widths[i], widths[i], widths[i]) for i in levels)
        self.head = CONVOLUTIONS[dims](width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of an image."""
        self.check(image)
        skips = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            skips.append(block(self.pool(skips[-1])))
        features = skips.pop()
        for up, gate, block in zip(self.up, self.gates, self.decoder, strict=True):
            raised = up(nearest(features, 2))
            features = block(torch.cat((gate(raised, skips.pop()), raised), dim=1))
        return self.head(features)
