"""KiTS19: axis 0 is z, two label types, strong anisotropy, voxel axes running backwards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume


def make(root: Path, cases: Sequence[int] = (0, 1, 7, 11, 15, 18, 61, 86), images: bool = True) -> Path:
    """Write the fake under `root/data` and return `root`."""
    rng = generator()
    for number in cases:
        shape, thick = (10 + number % 3, 40, 40), 3.0 + 2 * (number % 2)
        labels = blob(shape, rng).astype(np.uint8)
        labels[labels.shape[0] // 2 :] *= 2
        affine = np.array([[0, 0, -0.75, 0], [0, -0.75, 0, 0], [-thick, 0, 0, 0], [0, 0, 0, 1]])
        folder = root / f"data/case_{number:05d}"
        save_volume(folder / "segmentation.nii.gz", labels.astype(np.uint16 if number % 2 else np.uint8), affine)
        if images:
            image = -900 + 1000 * (labels > 0) + rng.integers(-60, 60, shape)
            save_volume(folder / "imaging.nii.gz", image.astype(np.int16), affine)
    return root
