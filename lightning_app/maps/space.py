"""Do two files lie at the same place in space?"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from datamodules import DataError

NEAR = 0.05  # how far grids may lie apart, in voxels


def distance(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """How far apart two affines put the corners of a grid at most, in sides of the smallest voxel."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))], float).T
    side = np.linalg.norm(other[:3, :3], axis=0).min()
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max() / side)


def check_place(
    path: Path, affine: np.ndarray | None, other: Path, others: np.ndarray | None, shape: Sequence[int]
) -> None:
    """Refuse a file that lies elsewhere than another of the same shape; where either has no place, nothing is known.

    Args:
        path: The file.
        affine: Its 4x4 matrix from indices to mm, if it has one.
        other: The file that it goes with.
        others: The matrix of that.
        shape: Of both.

    Raises:
        DataError: If they lie more than a twentieth of a voxel apart.
    """
    if affine is None or others is None or len(shape) != 3:
        return
    apart = distance(affine, others, shape)
    if apart > NEAR:
        raise DataError(f"{path}: lies {apart:.2g} voxels off {other}. Bring both to one grid.")
