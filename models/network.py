"""What all networks of this room share: input checks, legal sizes, cropping and initialisation."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS: dict[int, Callable[..., nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
DROPOUTS: dict[int, Callable[..., nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
MAX_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class LegalSizes(NamedTuple):
    """The input sizes a network takes: every axis a multiple of ``divisor`` and at least ``minimum``.

    Attributes:
        divisor: one number for all axes, or one number an axis.
        minimum: smallest size of an axis.
        coarse_voxels: smallest number of voxels on the coarsest grid (an instance norm needs two).

    Example:
        >>> from models import LegalSizes
        >>> LegalSizes(divisor=16).up((250, 300)), LegalSizes(divisor=16).allows((250, 300))
        ((256, 304), False)
    """

    divisor: int | tuple[int, ...] = 1
    minimum: int = 1
    coarse_voxels: int = 1

    def divisors(self, dims: int) -> tuple[int, ...]:
        """The divisor of each of ``dims`` axes."""
        return (self.divisor,) * dims if isinstance(self.divisor, int) else tuple(self.divisor)

    def up(self, size: Sequence[int]) -> tuple[int, ...]:
        """The smallest legal size that holds ``size`` (what an image is to be padded to)."""
        divisors = self.divisors(len(size))
        up = [math.ceil(max(n, self.minimum) / d) * d for n, d in zip(size, divisors, strict=True)]
        while math.prod(n // d for n, d in zip(up, divisors, strict=True)) < self.coarse_voxels:
            up[-1] += divisors[-1]
        return tuple(up)

    def allows(self, size: Sequence[int]) -> bool:
        """Whether an input of this spatial size is legal."""
        return self.up(size) == tuple(size)

    def describe(self, dims: int) -> str:
        """The rule in words, for error messages."""
        divisors = self.divisors(dims)
        if max(divisors) == 1:
            rule = "any size"
        elif len(set(divisors)) == 1:
            rule = f"sizes divisible by {divisors[0]}"
        else:
            rule = f"sizes divisible by {divisors} (axis by axis)"
        rule += f", at least {self.minimum}" if self.minimum > 1 else ""
        return rule + (f", with {self.coarse_voxels} voxels on the coarsest grid" if self.coarse_voxels > 1 else "")


class Network(nn.Module):
    """Base of the networks: ``(B, C, *S)`` images to ``(B, K, *S)`` logits, with inputs checked by name.

    Args:
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        legal_sizes: the sizes that the network takes.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> from models import LegalSizes, Network
        >>> class Pointwise(Network):
        ...     def __init__(self, spatial_dims=2, in_channels=1, num_classes=2):
        ...         super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(minimum=1))
        ...         self.head = torch.nn.Conv2d(in_channels, num_classes, 1)
        ...     def forward(self, image):
        ...         self.check(image)
        ...         return self.head(image)
        >>> Pointwise()(torch.zeros(1, 3, 8, 8))
        Traceback (most recent call last):
            ...
        ValueError: Pointwise takes (batch, 1 channels, height, width), got shape (1, 3, 8, 8)
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, num_classes: int, legal_sizes: LegalSizes | None = None
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        self.spatial_dims = spatial_dims
        self.in_channels = positive("in_channels", in_channels)
        self.num_classes = positive("num_classes", num_classes)
        self.legal_sizes = legal_sizes or LegalSizes()

    def check(self, image: Tensor) -> None:
        """Refuse an image of the wrong rank, channels or size, naming what is right.

        Raises:
            ValueError: if ``image`` is not a legal input.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # shapes may be symbols here, and eager calls have been checked
        name, dims, shape = type(self).__name__, self.spatial_dims, tuple(image.shape)
        if len(shape) != dims + 2 or shape[1] != self.in_channels:
            axes = "height, width" if dims == 2 else "depth, height, width"
            raise ValueError(f"{name} takes (batch, {self.in_channels} channels, {axes}), got shape {shape}")
        if not self.legal_sizes.allows(shape[2:]):
            raise ValueError(
                f"{name} takes {self.legal_sizes.describe(dims)}, got {shape[2:]}; "
                f"pad to {self.legal_sizes.up(shape[2:])} or use a sliding window of a legal size"
            )


def positive(name: str, value: int) -> int:
    """Return ``value``, or raise a ``ValueError`` that names the argument if it is below one."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return ``value``, or raise a ``ValueError`` that lists what is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def center_crop(features: Tensor, size: Sequence[int]) -> Tensor:
    """The central ``size`` of the last axes; an odd rest is cut at the far side.

    Raises:
        ValueError: if ``size`` is larger than the features.
    """
    current = tuple(features.shape[features.dim() - len(size) :])
    if any(small > large for small, large in zip(size, current, strict=True)):
        raise ValueError(f"cannot crop {current} to the larger size {tuple(size)}")
    return region(features, [(large - small) // 2 for small, large in zip(size, current, strict=True)], size)


def crop_border(features: Tensor, border: int) -> Tensor:
    """Cut ``border`` voxels off both ends of every spatial axis."""
    return center_crop(features, [n - 2 * border for n in features.shape[2:]]) if border else features


def region(features: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """A view on ``size`` voxels from ``start`` on, along the last axes."""
    for axis, (first, count) in enumerate(zip(start, size, strict=True), start=features.dim() - len(size)):
        features = features.narrow(axis, first, count)
    return features


def normalisation(kind: str, dims: int, channels: int, eps: float = 1e-5) -> nn.Module:
    """An affine norm layer: ``instance``, ``batch``, ``group`` (8 channels a group) or ``none``.

    Raises:
        ValueError: if ``kind`` is unknown.
    """
    if kind == "instance":
        return INSTANCE_NORMS[dims](channels, eps=eps, affine=True)
    if kind == "batch":
        return BATCH_NORMS[dims](channels, eps=eps)
    if kind == "group":
        return nn.GroupNorm(max(channels // 8, 1), channels, eps=eps)
    choice("norm", kind, ("instance", "batch", "group", "none"))
    return nn.Identity()


def adaptive_norm(net: nn.Module) -> str | None:
    """Name of the first layer that normalises by the input's own voxels when evaluating too, or None.

    Instance norm without running statistics, and group norm: what such a network says of a voxel depends on the size of
    the input and on its padding.

    Example:
        >>> from models import UNet, adaptive_norm
        >>> adaptive_norm(UNet(norm="instance")), adaptive_norm(UNet(norm="batch"))
        ('InstanceNorm2d', None)
    """
    for layer in net.modules():
        instance = isinstance(layer, nn.modules.instancenorm._InstanceNorm) and not layer.track_running_stats
        if instance or isinstance(layer, nn.GroupNorm):
            return type(layer).__name__
    return None


def keras_initialisation(net: nn.Module) -> None:
    """Keras' defaults in place: Glorot uniform kernels, zero biases."""
    for layer in net.modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def nearest(features: Tensor, factor: int) -> Tensor:
    """Repeat every voxel ``factor`` times along each spatial axis."""
    return F.interpolate(features, scale_factor=float(factor), mode="nearest")
