"""PROMISE12: MetaImage headers with raw files; test volumes lack a segmentation."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_metaimage


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    for number in range(count + 1):
        shape = (24, 24, 9 + number % 3)
        mask = blob(shape, rng).astype(np.uint8)
        image = (100 * mask + rng.integers(0, 60, shape)).astype(np.int16)
        save_metaimage(root / f"TrainingData/Case{number:02d}.mhd", image, (0.6, 0.6, 3.6))
        if number < count:
            save_metaimage(root / f"TrainingData/Case{number:02d}_segmentation.mhd", mask, (0.6, 0.6, 3.6))
    return root
