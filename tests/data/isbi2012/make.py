"""ISBI 2012: two TIFF stacks, or a PNG a slice; 255 is cell, 0 membrane."""

from pathlib import Path

import numpy as np
import tifffile

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 30, stacks: bool = True) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    labels = np.stack([255 * blob((32, 32), rng, 0.45).astype(np.uint8) for _ in range(count)])
    images = np.stack([picture(label, rng, 1)[..., 0] for label in labels])
    if stacks:
        root.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / "train-volume.tif", images, photometric="minisblack")
        tifffile.imwrite(root / "train-labels.tif", labels, photometric="minisblack")
        return root
    for number in range(count):
        save_image(root / f"membrane/train/image/{number}.png", images[number])
        save_image(root / f"membrane/train/label/{number}.png", labels[number])
    return root
