"""Masks and peers of the surface distances in `benchmarks.metrics`."""

import numpy as np
import torch

from metrics import surface


def ball(center: tuple[float, ...], radius: float, size: int = 128) -> np.ndarray:
    """Ball in a cube."""
    grid = np.meshgrid(*(np.arange(size),) * 3, indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) < radius**2


def surface_masks() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and truth by kind."""
    organ, lesion = ball((64, 64, 64), 30), ball((40, 50, 60), 8)
    specks = ball((67, 66, 64), 29) | ball((8, 9, 10), 2) | ball((118, 117, 116), 2)
    rng = np.random.default_rng(0)
    noise = [rng.random((128, 128, 128)) < 0.3 for _ in range(2)]
    return {
        "organ, radius 30": (ball((67, 66, 64), 29), organ),
        "lesion, radius 8": (ball((42, 50, 61), 7), lesion),
        "organ and far specks": (specks, organ),
        "noise": (noise[0], noise[1]),
    }


def distance_of_monai(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    """HD95 of MONAI."""
    from monai.metrics import compute_hausdorff_distance

    prediction, truth = (torch.from_numpy(np.stack([~mask, mask]))[None] for mask in (a, b))
    return compute_hausdorff_distance(prediction, truth, percentile=95, spacing=spacing).item()


def distance_of_ours(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    """HD95 of ours."""
    return surface.hausdorff95(surface.surface_distances(a, b, spacing))


def distance_of_deepmind(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    """HD95 of surface-distance, which weights by area: another value."""
    from surface_distance import compute_robust_hausdorff, compute_surface_distances

    return compute_robust_hausdorff(compute_surface_distances(b, a, spacing), 95)
