"""Networks of segmentation-models-pytorch and MONAI under the argument names of this project."""

import inspect
import math
import warnings
from typing import Any

from torch import Tensor, nn

from .network import LegalSizes, Network


class SMP(Network):
    """Any architecture and encoder of segmentation-models-pytorch (2D).

    UNet++, as margin-based label smoothing used it, is ``SMP(arch="UnetPlusPlus", encoder="resnet34")``.
    A pitfall of the library (0.6): instance norm in a decoder works only in the form
    ``options={"decoder_use_norm": {"type": "instancenorm", "affine": true}}``; its string form raises.

    Args:
        arch: name of the architecture: Unet, UnetPlusPlus, FPN, DeepLabV3Plus, Segformer ...
        encoder: name of the encoder, ``tu-<name>`` for those of timm.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        encoder_weights: name of pretrained weights (``imagenet``), downloaded when the network is built.
        options: further arguments of the architecture, such as ``{"decoder_channels": [128, 64, 32, 16, 8]}``.
        spatial_dims: must be 2; given so that volumes are refused when the program starts.

    Raises:
        ValueError: if the architecture, encoder, weights, an option or ``spatial_dims`` is unknown there.

    Example:
        >>> import torch
        >>> from models import SMP
        >>> net = SMP(arch="UnetPlusPlus", encoder="resnet18", in_channels=1, num_classes=3)
        >>> net.legal_sizes.up((250, 300))
        (256, 320)
    """

    def __init__(
        self,
        arch: str = "Unet",
        encoder: str = "resnet34",
        in_channels: int = 3,
        num_classes: int = 2,
        encoder_weights: str | None = None,
        options: dict[str, Any] | None = None,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(spatial_dims, in_channels, num_classes)
        if spatial_dims != 2:
            raise ValueError(
                f"spatial_dims must be 2 for SMP (arch {arch!r}), got {spatial_dims}; "
                "volumes need another network: models.UNet or models.MONAI"
            )
        import segmentation_models_pytorch as smp

        weights = None if encoder_weights in ("", "none", "None") else encoder_weights
        try:
            self.net = smp.create_model(arch, encoder, weights, in_channels, num_classes, **(options or {}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"SMP(arch={arch!r}, encoder={encoder!r}, options={options}): {error}") from error
        if getattr(self.net, "requires_divisible_input_shape", True):
            self.legal_sizes = LegalSizes(getattr(self.net.encoder, "output_stride", 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, num_classes, H, W)``."""
        self.check(image)
        return self.net(image)


class MONAI(Network):
    """Any segmentation network of ``monai.networks.nets``, 2D or 3D.

    ``num_classes`` becomes the library's ``out_channels``. Deep supervision (DynUNet, SegResNetDS, MedNeXt,
    BasicUNetPlusPlus) comes out as a list while training, finest first, and as the finest logits otherwise.
    DynUNet, UNet and AttentionUnet get usual levels where ``options`` names none.
    A pitfall of the library (1.6): HighResNet ends with a ReLU on the logits; use ``models.HighRes3DNet``.

    Args:
        net: name of the class: DynUNet, SegResNet, SegResNetDS, SwinUNETR, MedNeXt, BasicUNet, UNETR ...
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        options: further arguments of that class, such as ``{"init_filters": 16}``.

    Raises:
        ValueError: if the class is unknown, does not take channels and classes, or refuses an option.

    Example:
        >>> import torch
        >>> from models import MONAI
        >>> net = MONAI(net="BasicUNet", spatial_dims=2, options={"features": [4, 4, 8, 8, 8, 4]})
        >>> net(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    def __init__(
        self,
        net: str = "DynUNet",
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_classes: int = 2,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(spatial_dims, in_channels, num_classes)
        from monai.networks import nets

        kind = getattr(nets, net, None)
        if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
            raise ValueError(f"net must name a class of monai.networks.nets, got {net!r}")
        sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": num_classes}
        accepted = inspect.signature(kind).parameters
        if missing := set(sizes) - set(accepted):
            raise ValueError(f"net {net!r} of MONAI takes no {', '.join(sorted(missing))}: not a segmentation network")
        if net == "HighResNet":
            warnings.warn("MONAI's HighResNet ends with a ReLU on the logits; see models.HighRes3DNet", stacklevel=2)
        arguments = _usual(net, spatial_dims) | (options or {})
        try:
            self.net = kind(**sizes, **arguments)
        except (TypeError, ValueError, AssertionError) as error:
            raise ValueError(f"MONAI(net={net!r}, options={options}): {error}") from error
        self.legal_sizes = _legal_sizes(net, self.net, arguments)
        self._finest_last = net == "BasicUNetPlusPlus"  # all of one size, so the order cannot be seen

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits ``(B, num_classes, *S)``, or while training a list of them under deep supervision."""
        self.check(image)
        outputs = _levels(self.net(image), image.dim())
        if self._finest_last:
            outputs.reverse()
        return outputs if self.training and len(outputs) > 1 else outputs[0]


class NNUNet(MONAI):
    """A network like nnU-Net's (Isensee et al. 2021): MONAI's DynUNet with nnU-Net's plan of levels.

    Strided 3-wide convolutions, instance norm, leaky ReLU; channels double from 32 up to 512 (2D) or 320 (3D). The
    defaults, with 6 levels and residual blocks, are those of the neighbour-aware calibration papers.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        levels: number of resolutions; every axis must be divisible by ``2 ** (levels - 1)``.
        residual: residual blocks in the encoder and decoder.
        deep_supervision: return a list of logits while training, all on the finest grid, finest first.

    Raises:
        ValueError: if ``levels`` is below 3, the least that DynUNet builds.

    Example:
        >>> import torch
        >>> from models import NNUNet
        >>> net = NNUNet(spatial_dims=2, in_channels=1, num_classes=3, levels=3).eval()
        >>> net(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        num_classes: int = 2,
        levels: int = 6,
        residual: bool = True,
        deep_supervision: bool = False,
    ) -> None:
        if levels < 3:
            raise ValueError(f"levels must be at least 3, got {levels}")
        options = _usual("DynUNet", spatial_dims, levels)
        options |= {"res_block": residual, "deep_supervision": deep_supervision}
        options |= {"deep_supr_num": max(levels - 3, 1)} if deep_supervision else {}
        super().__init__("DynUNet", spatial_dims, in_channels, num_classes, options)


def _usual(net: str, dims: int, levels: int = 5) -> dict[str, Any]:
    """Arguments that a MONAI class requires, at values fit for a first try."""
    if net == "DynUNet":
        filters = [min(32 * 2**level, 512 if dims == 2 else 320) for level in range(levels)]
        strides = [1] + [2] * (levels - 1)
        return {
            "kernel_size": [3] * levels,
            "strides": strides,
            "upsample_kernel_size": strides[1:],
            "filters": filters,
        }
    if net in ("UNet", "AttentionUnet"):
        return {"channels": [32, 64, 128, 256, 512], "strides": [2, 2, 2, 2]}
    return {}


def _legal_sizes(net: str, built: Any, arguments: dict[str, Any]) -> LegalSizes:
    """The sizes a MONAI network takes, where they are known; any size otherwise (then the library complains)."""
    if net in ("DynUNet", "UNet", "AttentionUnet"):
        axes = built.spatial_dims if net == "DynUNet" else built.dimensions
        strides = [(s,) * axes if isinstance(s, int) else tuple(s) for s in arguments["strides"]]
        return LegalSizes(tuple(math.prod(axis) for axis in zip(*strides, strict=True)), coarse_voxels=2)
    if net == "SegResNet":
        return LegalSizes(2 ** (len(built.blocks_down) - 1))
    if net == "SegResNetDS":
        return LegalSizes(tuple(int(n) for n in built.shape_factor()))
    if net == "SwinUNETR":
        return LegalSizes(built.patch_size**5, coarse_voxels=2)
    if net == "MedNeXt":
        return LegalSizes(2 ** len(arguments.get("blocks_down", (2, 2, 2, 2))))
    if net == "VNet":
        return LegalSizes(16)
    if net == "BasicUNet":
        return LegalSizes(minimum=16, coarse_voxels=2)
    return LegalSizes()


def _levels(output: Any, rank: int) -> list[Tensor]:
    """What a network returned as a list of logits, those of the finest grid first."""
    stacked = isinstance(output, Tensor) and output.dim() == rank + 1  # DynUNet under deep supervision
    levels = list(output.unbind(1)) if stacked else list(output) if isinstance(output, (list, tuple)) else [output]
    if not all(isinstance(level, Tensor) and level.dim() == rank for level in levels):
        found = [tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__ for level in levels]
        raise ValueError(f"the network returned {found}, not logits of an image")
    return sorted(levels, key=lambda level: -math.prod(level.shape[2:]))
