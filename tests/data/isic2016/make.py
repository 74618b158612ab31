"""ISIC 2016: official training and test folders, masks with interpolated edges."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, training: int = 6, test: int = 3) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    for part, count, first in (("Training", training, 0), ("Test", test, 3)):
        for number in range(count):
            name = f"ISIC_{10 * number + first:07d}"
            mask = blob((32, 40), rng)
            grey = 255 * mask.astype(np.uint8)
            grey[:1] = 100
            save_image(root / f"ISBI2016_ISIC_Part1_{part}_Data/{name}.jpg", picture(mask, rng))
            save_image(root / f"ISBI2016_ISIC_Part1_{part}_GroundTruth/{name}_Segmentation.png", grey)
    return root
