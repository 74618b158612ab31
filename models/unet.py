"""The U-Net on which DSC++ was trained, for images and volumes."""

from typing import Literal

import torch
from torch import Tensor, nn

from .network import (
    CONVOLUTIONS,
    DROPOUTS,
    MAX_POOLS,
    TRANSPOSED,
    LegalSizes,
    Network,
    choice,
    keras_initialisation,
    normalisation,
    positive,
)


class UNet(Network):
    r"""U-Net with the norm after the ReLU, as published with DSC++ (Yeung et al. 2023).

    ``depth`` poolings by 2; level ``i`` has :math:`\text{width} \cdot 2^i` channels and two times
    [3-wide convolution, ReLU, norm]; up by a transposed convolution of stride 2 without norm or activation, then
    concatenation with the skipped features; a 1-wide convolution gives the logits. With the defaults it has
    7,766,018 parameters (2D, RGB, 2 classes) and 22,581,283 (3D, 1 channel, 3 classes).

    Shape:
        - input ``(B, in_channels, *S)``, every axis divisible by ``2 ** depth``
        - output ``(B, num_classes, *S)`` logits; while training with ``deep_supervision`` a list of them,
          finest first, each half as large as the one before.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        width: channels of the finest level.
        depth: number of poolings.
        norm: kind of affine norm after each ReLU.
        init: PyTorch's initialisation, or that of the Keras original (Glorot uniform, norm epsilon 1e-3).
        dropout: rate of channel-wise dropout behind each level's convolutions (also what Monte Carlo dropout uses).
        deep_supervision: also return logits of the coarser decoder levels while training.

    Raises:
        ValueError: if an argument, or the size of an input, is illegal; the message says what is legal.

    Example:
        >>> import torch
        >>> from models import UNet
        >>> net = UNet(spatial_dims=3, in_channels=1, num_classes=2, width=2, depth=2, deep_supervision=True)
        >>> [tuple(logits.shape) for logits in net(torch.zeros(1, 1, 8, 8, 8))]
        [(1, 2, 8, 8, 8), (1, 2, 4, 4, 4)]
        >>> tuple(net.eval()(torch.zeros(1, 1, 8, 8, 8)).shape)
        (1, 2, 8, 8, 8)
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 2,
        width: int = 32,
        depth: int = 4,
        norm: Literal["instance", "batch", "group", "none"] = "instance",
        init: Literal["torch", "keras"] = "torch",
        dropout: float = 0.0,
        deep_supervision: bool = False,
    ) -> None:
        sizes = LegalSizes(2 ** positive("depth", depth), coarse_voxels=2 if norm == "instance" else 1)
        super().__init__(spatial_dims, in_channels, num_classes, sizes)
        choice("init", init, ("torch", "keras"))
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.deep_supervision = deep_supervision
        widths = [positive("width", width) * 2**level for level in range(depth + 1)]
        eps = 1e-3 if init == "keras" else 1e-5

        def block(before: int, after: int) -> nn.Sequential:
            return double_convolution(spatial_dims, before, after, norm, eps, dropout)

        self.encoder = nn.ModuleList(block(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.pool = MAX_POOLS[spatial_dims](2)
        levels = range(depth - 1, -1, -1)
        self.up = nn.ModuleList(TRANSPOSED[spatial_dims](widths[i + 1], widths[i], 2, stride=2) for i in levels)
        self.decoder = nn.ModuleList(block(2 * widths[i], widths[i]) for i in levels)
        heads = levels if deep_supervision else [0]
        self.heads = nn.ModuleList(CONVOLUTIONS[spatial_dims](widths[i], num_classes, 1) for i in heads)
        if init == "keras":
            keras_initialisation(self)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of an image, or a list of them (see the class)."""
        self.check(image)
        skips = [self.encoder[0](image)]
        for block in self.encoder[1:]:
            skips.append(block(self.pool(skips[-1])))
        features, levels = skips.pop(), []
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(torch.cat((up(features), skips.pop()), dim=1))
            levels.append(features)
        if self.deep_supervision and self.training:
            return [head(level) for head, level in zip(self.heads, levels, strict=True)][::-1]
        return self.heads[-1](features)


def double_convolution(
    dims: int, before: int, after: int, norm: str = "instance", eps: float = 1e-5, dropout: float = 0.0
) -> nn.Sequential:
    """Two times [3-wide convolution, ReLU, norm], and dropout if its rate is above zero."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [CONVOLUTIONS[dims](channels, after, 3, padding=1), nn.ReLU(inplace=True)]
        if norm != "none":
            layers.append(normalisation(norm, dims, after, eps))
    return nn.Sequential(*layers, *([DROPOUTS[dims](dropout)] if dropout else []))
