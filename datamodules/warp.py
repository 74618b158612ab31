"""albumentations transforms of our own; imported late, because albumentations is slow to import."""

from typing import Any

import albumentations
import cv2
import numpy as np


def coarse_displacement(
    shape: tuple[int, int], strength: float, sigma: float, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Displacement like uniform noise smoothed by a Gaussian and multiplied by `strength`, on a coarse grid.

    The field has no detail finer than sigma, so a grid coarser by about sigma / 3 holds it and is many times faster.

    Returns:
        Displacement (x, y) of the nodes `(h, w, 2)` float32, and the step of the grid: node j lies at pixel
        (j - 1/2) step - 1/2, so that the first and the last node lie outside the image.
    """
    step = max(1, int(sigma / 3))
    coarse = tuple(-(-size // step) + 3 for size in shape)
    blur = sigma / step
    noise = rng.standard_normal((*coarse, 2), dtype=np.float32)
    width = 2 * int(np.ceil(3 * blur)) + 1
    # deviation of uniform(-1, 1) noise after a Gaussian of this sigma in 2D: sqrt(1/3) / (2 sqrt(pi) sigma)
    gain = strength * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * sigma) * (2 * np.sqrt(np.pi) * blur)
    return cv2.GaussianBlur(noise, (width, width), blur, borderType=cv2.BORDER_REFLECT) * np.float32(gain), step


def enlarge(nodes: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Values `(H, W, 2)` at every pixel, interpolated linearly between the nodes of `coarse_displacement`."""
    size = (nodes.shape[1] * step, nodes.shape[0] * step)
    return cv2.resize(nodes, size, interpolation=cv2.INTER_LINEAR)[step:, step:][: shape[0], : shape[1]]


def _affine_at(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Images of the points (x, y) under a 2 x 3 matrix, `(len(y), len(x), 2)` float32."""
    along, across = np.outer(x, matrix[:, 0]), np.outer(y, matrix[:, 1]) + matrix[:, 2]
    return np.add(along[None], across[:, None], dtype=np.float32, casting="same_kind")


class ComposedWarp(albumentations.DualTransform):
    """Mirror, rotation, zoom and elastic displacement in a single interpolation.

    Args:
        probability: Chance of each of rotation, zoom and elastic displacement.
        mirror: Chance of mirroring, one for both axes or one for each.
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
        mirror: float | tuple[float, float],
        rotation: float,
        scale: tuple[float, float],
        strength: tuple[float, float],
        sigma: tuple[float, float],
        fill_mask: int = 255,
    ) -> None:
        super().__init__(p=1.0)
        self.probability, self.mirror, self.rotation, self.scale = probability, mirror, rotation, scale
        self.strength, self.sigma, self.fill_mask = strength, sigma, fill_mask

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the mirroring and the coordinate map (None where nothing but mirroring is done)."""
        rng = self.random_generator
        mirror = rng.random(2) < np.asarray(self.mirror)
        rotate, zoom, bend = rng.random(3) < self.probability
        angle = rng.uniform(-self.rotation, self.rotation) if rotate else 0.0
        factor = rng.uniform(*self.scale) if zoom else 1.0
        if not (rotate or zoom or bend):
            return {"mirror": mirror, "coordinates": None}
        height, width = params["shape"][:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
        inverse = cv2.invertAffineTransform(matrix)
        for axis, length in ((0, width), (1, height)):
            if mirror[1 - axis]:
                inverse[axis] = (0, 0, length - 1) - inverse[axis]
        if not bend:
            x, y = np.arange(width), np.arange(height)
            return {"mirror": mirror, "coordinates": _affine_at(inverse, x, y)}
        nodes, step = coarse_displacement((height, width), rng.uniform(*self.strength), rng.uniform(*self.sigma), rng)
        x, y = ((np.arange(number) - 0.5) * step - 0.5 for number in nodes.shape[1::-1])
        # a linear interpolation keeps what is linear: rotation and zoom may be added on the coarse grid already
        nodes = nodes * np.where(mirror[::-1], -1, 1).astype(np.float32) + _affine_at(inverse, x, y)
        return {"mirror": mirror, "coordinates": enlarge(nodes, step, (height, width))}

    def _warp(self, array: np.ndarray, mirror: np.ndarray, coordinates: Any, nearest: bool) -> np.ndarray:
        if coordinates is None:
            flips = tuple(slice(None, None, -1) if flip else slice(None) for flip in mirror)
            return np.ascontiguousarray(array[flips])
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        fill = self.fill_mask if nearest else 0
        result = cv2.remap(  # type: ignore[call-overload]  # a map of pairs has no second map
            array, coordinates, None, method, borderMode=cv2.BORDER_CONSTANT, borderValue=[fill] * 4
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
