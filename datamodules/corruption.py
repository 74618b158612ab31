"""Graded damage to test images: what a network meets in another hospital, by five kinds and five levels."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import DataError

LEVELS: dict[str, tuple[float, ...]] = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # standard deviation, of the image's range
    "blur": (0.5, 1.0, 1.5, 2.5, 4.0),  # sigma in voxels
    "contrast": (1.25, 1.5, 2.0, 2.5, 3.0),  # gamma
    "resolution": (0.75, 0.5, 0.35, 0.25, 0.15),  # share of the voxels along an axis that are kept
    "bias_field": (0.1, 0.2, 0.3, 0.45, 0.6),  # coefficients of a cubic polynomial, in the exponent
}


@dataclass(frozen=True)
class Corruption:
    """One kind of damage at one level, made with MONAI, a function of seed and case alone.

    The image comes as the network gets it; it is brought to [0, 1] by its own range, damaged, and given back the mean
    and spread that it had, as normalising the damaged image would.

    Args:
        kind: A key of `LEVELS`.
        level: 1 to 5.
        seed: Seed of noise and bias field.

    Raises:
        DataError: If there is no such kind or level.

    Example:
        >>> damaged = Corruption("blur", 3)(torch.eye(16)[None], "case 1")
        >>> damaged.shape, damaged.max() < 1
        (torch.Size([1, 16, 16]), tensor(True))
    """

    kind: str
    level: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in LEVELS or not 1 <= self.level <= len(LEVELS["noise"]):
            raise DataError(
                f"corruption {self.kind}:{self.level}: give one of {', '.join(LEVELS)}, a colon and 1 to 5."
            )

    @classmethod
    def of(cls, text: str, seed: int = 0) -> "Corruption":
        """The corruption of a text such as `noise:3`.

        Raises:
            DataError: If it is no such text.
        """
        kind, _, level = text.partition(":")
        return cls(kind, int(level) if level.isdecimal() else 0, seed)

    def __call__(self, image: Tensor, case: str) -> Tensor:
        """The damaged image (C, *S) of a case."""
        low, high = image.aminmax()
        if low == high:
            return image
        scaled = (image - low) / (high - low)
        transform = _transform(self.kind, LEVELS[self.kind][self.level - 1], image.ndim - 1)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(zlib.crc32(f"{self.seed}/{case}".encode()))
        damaged = torch.as_tensor(transform(scaled)).as_subclass(Tensor).to(image)
        return (damaged - damaged.mean()) / damaged.std().clamp_min(1e-6) * image.std() + image.mean()


def _transform(kind: str, value: float, dims: int) -> Callable[[Tensor], Any]:
    from monai.transforms import (
        AdjustContrast,
        GaussianSmooth,
        RandBiasField,
        RandGaussianNoise,
        RandSimulateLowResolution,
    )

    if kind == "noise":
        return RandGaussianNoise(prob=1, mean=0.0, std=value, sample_std=False)
    if kind == "blur":
        return GaussianSmooth(value)
    if kind == "contrast":
        return AdjustContrast(value)
    if kind == "bias_field":
        return RandBiasField(prob=1, coeff_range=(value, value))
    smooth = "bilinear" if dims == 2 else "trilinear"
    return RandSimulateLowResolution(prob=1, zoom_range=(value, value), downsample_mode="area", upsample_mode=smooth)
