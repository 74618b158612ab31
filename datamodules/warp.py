"""albumentations transforms of our own; imported late, because albumentations is slow to import."""

from typing import Any

import albumentations
import cv2
import numpy as np


def elastic_field(shape: tuple[int, int], strength: float, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Displacement `(2, H, W)` float32 like uniform noise smoothed by a Gaussian and multiplied by `strength`.

    The noise is drawn and smoothed on a grid coarser by about sigma / 3 and enlarged: the field has no detail finer
    than sigma, and this is many times faster.
    """
    step = max(1, int(sigma / 3))
    coarse = tuple(-(-size // step) + 1 for size in shape)
    blur = sigma / step
    noise = rng.standard_normal((2, *coarse)).astype(np.float32)
    width = 2 * int(np.ceil(3 * blur)) + 1
    # deviation of uniform(-1, 1) noise after a Gaussian of this sigma in 2D: sqrt(1/3) / (2 sqrt(pi) sigma)
    gain = strength * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * sigma) * (2 * np.sqrt(np.pi) * blur)
    size = (coarse[1] * step, coarse[0] * step)
    fields = []
    for plane in noise:
        smooth = cv2.GaussianBlur(plane, (width, width), blur, borderType=cv2.BORDER_REFLECT) * np.float32(gain)
        fields.append(cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]])
    return np.stack(fields)


class ComposedWarp(albumentations.DualTransform):
    """Mirror, rotation, zoom and elastic displacement in a single interpolation.

    Args:
        probability: Chance of each of rotation, zoom and elastic displacement.
        rotation: Largest angle in degrees.
        scale: Range of the zoom.
        strength: Range of the elastic strength.
        sigma: Range of the elastic smoothness in pixels.
        fill_mask: Mask value of what comes in from outside.
    """

    _targets = (albumentations.core.type_definitions.Targets.IMAGE, albumentations.core.type_definitions.Targets.MASK)

    def __init__(
        self,
        probability: float,
        rotation: float,
        scale: tuple[float, float],
        strength: tuple[float, float],
        sigma: tuple[float, float],
        fill_mask: int = 255,
    ) -> None:
        super().__init__(p=1.0)
        self.probability, self.rotation, self.scale = probability, rotation, scale
        self.strength, self.sigma, self.fill_mask = strength, sigma, fill_mask

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the mirroring and the coordinate map (None where nothing but mirroring is done)."""
        rng = self.random_generator
        mirror = rng.random(2) < 0.5
        rotate, zoom, bend = rng.random(3) < self.probability
        angle = rng.uniform(-self.rotation, self.rotation) if rotate else 0.0
        factor = rng.uniform(*self.scale) if zoom else 1.0
        if not (rotate or zoom or bend):
            return {"mirror": mirror, "coordinates": None}
        height, width = params["shape"][:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
        inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
        x = np.arange(width, dtype=np.float32)[None]
        y = np.arange(height, dtype=np.float32)[:, None]
        coordinates = [inverse[i, 0] * x + (inverse[i, 1] * y + inverse[i, 2]) for i in range(2)]
        if bend:
            field = elastic_field((height, width), rng.uniform(*self.strength), rng.uniform(*self.sigma), rng)
            coordinates = [np.add(plane, shift, out=shift) for plane, shift in zip(coordinates, field, strict=True)]
        if mirror[1]:
            coordinates[0] = np.subtract(width - 1, coordinates[0], out=coordinates[0])
        if mirror[0]:
            coordinates[1] = np.subtract(height - 1, coordinates[1], out=coordinates[1])
        return {"mirror": mirror, "coordinates": coordinates}

    def _warp(self, array: np.ndarray, mirror: np.ndarray, coordinates: Any, nearest: bool) -> np.ndarray:
        if coordinates is None:
            flips = tuple(slice(None, None, -1) if flip else slice(None) for flip in mirror)
            return np.ascontiguousarray(array[flips])
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        fill = self.fill_mask if nearest else 0
        result = cv2.remap(
            array, coordinates[0], coordinates[1], method, borderMode=cv2.BORDER_CONSTANT, borderValue=[fill] * 4
        )
        return result[..., None] if result.ndim < array.ndim else result

    def apply(self, img: np.ndarray, mirror: np.ndarray, coordinates: Any, **params: Any) -> np.ndarray:
        """Warp the image linearly."""
        return self._warp(img, mirror, coordinates, nearest=False)

    def apply_to_mask(self, mask: np.ndarray, mirror: np.ndarray, coordinates: Any, **params: Any) -> np.ndarray:
        """Warp the mask by the nearest neighbour."""
        return self._warp(mask, mirror, coordinates, nearest=True)


class ChannelGain(albumentations.ImageOnlyTransform):
    """Multiply each channel by a factor of its own.

    Args:
        limits: Range of the factor.
        p: Chance.
    """

    def __init__(self, limits: tuple[float, float], p: float) -> None:
        super().__init__(p=p)
        self.limits = limits

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the factors."""
        channels = params["shape"][2] if len(params["shape"]) == 3 else 1
        return {"gains": self.random_generator.uniform(*self.limits, channels).astype(np.float32)}

    def apply(self, img: np.ndarray, gains: np.ndarray, **params: Any) -> np.ndarray:
        """Multiply, a line at a time, because numpy is slow along an axis of three."""
        if img.ndim == 2:
            return img * gains
        lines = np.ascontiguousarray(img).reshape(img.shape[0], -1)
        return (lines * np.tile(gains, img.shape[1])).reshape(img.shape)
