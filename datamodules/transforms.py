"""Augmentation, behind one seam: `augment(image, mask, seed)`.

albumentations does images, MONAI volumes; both are seeded anew for every draw, so that a draw looks the same in any
worker or process.
"""

import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

IGNORE = 255
SIDE = re.compile(r"(?<![^\W_])(left|right|l|r)(?![^\W_])", re.IGNORECASE)  # as a word: left lung, kidney_L


class Augmentation(Protocol):
    """Anything that changes an image and its mask together, as a function of a seed."""

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augmented float32 image (channels last in 2D, first in 3D) and uint8 mask."""


class Augment2D:
    """The augmentation of the DSC++ paper for images: mirror, rotate, scale, elastic warp, brightness.

    Mirror, rotation, scale and elastic displacement are composed into one warp, so that the image is interpolated once.
    Runs on images that are already normalised: what comes in from outside is 0, the mean.

    Args:
        probability: Chance of each of rotation, scale, elastic warp and brightness.
        mirror: Chance of mirroring, one for both axes or one for each (up and down, left and right); 0 where left and
            right are classes of their own.
        rotation: Largest angle in degrees.
        scale: Range of the zoom.
        elastic_strength: Range of the elastic strength alpha.
        elastic_sigma: Range of the elastic smoothness sigma in pixels.
        brightness: Range of the factor on each channel.

    References:
        Yeung et al., Calibrating the Dice loss to handle neural network overconfidence, 2023.

    Example:
        >>> import numpy
        >>> from datamodules import Augment2D
        >>> image, mask = numpy.zeros((32, 32, 1), "float32"), numpy.eye(32, dtype="uint8")
        >>> augment = Augment2D(rotation=30.0)
        >>> pair = augment(image, mask, seed=1)
        >>> pair[0].shape, bool((augment(image, mask, seed=1)[1] == pair[1]).all())
        ((32, 32, 1), True)
    """

    def __init__(
        self,
        probability: float = 0.15,
        mirror: float | tuple[float, float] = 0.5,
        rotation: float = 15.0,
        scale: tuple[float, float] = (0.85, 1.25),
        elastic_strength: tuple[float, float] = (0.0, 900.0),
        elastic_sigma: tuple[float, float] = (9.0, 13.0),
        brightness: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        self.probability, self.mirror, self.rotation, self.scale = probability, mirror, rotation, scale
        self.elastic_strength, self.elastic_sigma, self.brightness = elastic_strength, elastic_sigma, brightness
        self._compose: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compose": None}

    def _build(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        from .warp import ChannelGain, ComposedWarp

        ranges = (self.rotation, self.scale, self.elastic_strength, self.elastic_sigma)
        warp = ComposedWarp(self.probability, self.mirror, *ranges, fill_mask=IGNORE)
        return albumentations.Compose([warp, ChannelGain(self.brightness, p=self.probability)])

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment `(H, W, C)` and `(H, W)`; pixels from outside have mask 255."""
        if self._compose is None:
            self._compose = self._build()
        self._compose.set_random_seed(seed % (1 << 31))
        result = self._compose(image=image, mask=mask)
        return result["image"], result["mask"]


class Augment3D:
    """The augmentation of the DSC++ paper for volumes: mirror, rotate and scale, elastic warp, brightness.

    Mirroring and brightness are plain array operations; the warps are MONAI's and run only where they are drawn.

    Args:
        probability: Chance of each of rotation with scale, elastic warp and brightness.
        mirror: Chance of mirroring, one for all axes or one for each as the volume is stored; 0 for the axis from
            left to right where left and right are classes of their own.
        rotation: Largest angle about each axis in degrees.
        scale: Range of the zoom.
        elastic: Largest displacement of the elastic warp in voxels; 0 leaves it out (it is slow).
        brightness: Range of the factor on each channel.

    Example:
        >>> import numpy
        >>> from datamodules import Augment3D
        >>> image, mask = numpy.zeros((1, 4, 8, 8), "float32"), numpy.eye(8, dtype="uint8")[None].repeat(4, 0)
        >>> augment = Augment3D(probability=0.0, mirror=1.0)
        >>> bool((augment(image, mask, seed=1)[1] == mask[::-1, ::-1, ::-1]).all())
        True
    """

    def __init__(
        self,
        probability: float = 0.15,
        mirror: float | tuple[float, float, float] = 0.5,
        rotation: float = 15.0,
        scale: tuple[float, float] = (0.85, 1.25),
        elastic: float = 0.0,
        brightness: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        self.probability, self.mirror, self.rotation = probability, mirror, rotation
        self.scale, self.elastic, self.brightness = scale, elastic, brightness
        self._warps: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_warps": {}}

    def _warp(self, name: str) -> Any:
        if name not in self._warps:
            from monai import transforms as mt

            options: dict[str, Any] = {"prob": 1.0, "mode": ["bilinear", "nearest"], "padding_mode": "border"}
            if name == "affine":
                angle = float(np.deg2rad(self.rotation))
                zoom = [(1 / self.scale[1] - 1, 1 / self.scale[0] - 1)] * 3
                options |= {"rotate_range": (angle,) * 3, "scale_range": zoom}
                self._warps[name] = mt.RandAffined(["image", "mask"], **options)
            else:
                self._warps[name] = mt.Rand3DElasticd(["image", "mask"], (4, 7), (0, self.elastic), **options)
        return self._warps[name]

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment `(C, D, H, W)` and `(D, H, W)`."""
        rng = np.random.default_rng(seed)
        flips = tuple(slice(None, None, -1 if flip else 1) for flip in rng.random(3) < np.asarray(self.mirror))
        image, mask = image[(slice(None), *flips)], mask[flips]
        drawn = rng.random(3) < self.probability
        for name, chosen in (("affine", drawn[0]), ("elastic", drawn[1] and self.elastic > 0)):
            if chosen:
                image, mask = self._bend(name, image, mask, int(rng.integers(1 << 31)))
        if drawn[2]:
            gains = rng.uniform(*self.brightness, len(image)).astype(np.float32)
            image = image * gains.reshape(-1, 1, 1, 1)
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)

    def _bend(self, name: str, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        warp = self._warp(name)
        warp.set_random_state(seed=seed)
        tensors = {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "mask": torch.from_numpy(mask[None].astype(np.float32)),
        }
        result = warp(tensors)
        return _plain(result["image"]), _plain(result["mask"])[0].astype(np.uint8)


def mirrored_sides(class_names: Sequence[str], augmentation: Augmentation | None) -> str:
    """What to say where classes differ in their side alone and training mirrors images; else nothing.

    Args:
        class_names: Names of the classes or regions.
        augmentation: What is done to training images; None is the default, which mirrors.

    Example:
        >>> from datamodules import Augment2D
        >>> from datamodules.transforms import mirrored_sides
        >>> mirrored_sides(["background", "left lung", "Right_lung"], None)[:54]
        "'left lung' and 'Right_lung' differ in their side, and"
        >>> mirrored_sides(["background", "left lung", "right lung"], Augment2D(mirror=(0.5, 0.0)))
        ''
    """
    chances = np.ravel(0.5 if augmentation is None else getattr(augmentation, "mirror", 0.0))
    sides: dict[tuple[str, str], str] = {}
    for name in class_names:
        if found := SIDE.search(name):
            rest = re.sub(r"[\W_]+", " ", SIDE.sub("", name)).strip().lower()
            sides[rest, found[1][0].lower()] = name
    pairs = [(name, sides[rest, "r"]) for (rest, side), name in sides.items() if side == "l" and (rest, "r") in sides]
    if not pairs or chances.min() <= 0:
        return ""
    pair = pairs[0]
    return (
        f"{pair[0]!r} and {pair[1]!r} differ in their side, and training images are mirrored; leave that out by "
        "--data.augmentation Augment2D (volumes: Augment3D) --data.augmentation.mirror 0, or one number for each axis"
    )


def _plain(tensor: Tensor) -> np.ndarray:
    array = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return np.ascontiguousarray(array.numpy())


def normalise(image: np.ndarray, method: str) -> np.ndarray:
    """Normalised float32 image.

    Args:
        image: Any shape; one mean and deviation over all pixels and channels, as in the DSC++ paper.
        method: "zscore", "channel" (z-score of each channel, channels last), "minmax" (to 0..1) or "none".
    """
    image = image.astype(np.float32)
    if method == "none":
        return image
    if method == "minmax":
        low, high = float(image.min()), float(image.max())
        return (image - low) / max(high - low, 1e-6)
    axes = tuple(range(image.ndim - 1)) if method == "channel" else None
    mean = image.mean(axis=axes, dtype=np.float64)
    deviation = image.std(axis=axes, dtype=np.float64)
    return ((image - mean.astype(np.float32)) / np.maximum(deviation, 1e-6).astype(np.float32)).astype(np.float32)
