"""BUS2017 set B: grey PNG, masks of the same number."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 8) -> Path:
    """Write the fake under `root/BUS` and return `root`."""
    rng = generator()
    for number in range(1, count + 1):
        mask = blob((36, 52), rng, 0.2)
        save_image(root / f"BUS/original/{number:06d}.png", picture(mask, rng, 1))
        save_image(root / f"BUS/GT/{number:06d}.png", 255 * mask.astype(np.uint8))
    return root
