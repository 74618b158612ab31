"""Volumes in folders of the user's own choice, masks of 0 and 1."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume

SHAPE = (22, 20, 12)


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    for number in range(count):
        truth = blob(SHAPE, rng)
        image = (100 * truth + rng.normal(0, 10, SHAPE)).astype(np.float32)
        save_volume(root / f"images/scan{number}.nii.gz", image)
        save_volume(root / f"masks/scan{number}.nii.gz", truth.astype(np.uint8))
    return root
