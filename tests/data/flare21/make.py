"""FLARE 2021: images end in _0000, masks do not."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    for number in range(count):
        shape = (24, 24, 10 + number % 3)
        labels = (blob(shape, rng, 0.4) * (1 + np.arange(24)[:, None, None] % 4)).astype(np.uint8)
        image = -1000 + 1100 * (labels > 0) + rng.integers(-40, 40, shape)
        save_volume(root / f"TrainingImg/train_{number:03d}_0000.nii.gz", image.astype(np.int16), affine)
        save_volume(root / f"TrainingMask/train_{number:03d}.nii.gz", labels, affine)
    return root
