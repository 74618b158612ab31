"""STARE: RGB images, grey labels and fields of view, all named .ppm."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root/STARE/test` and return `root`."""
    rng, folder = generator(), root / "STARE" / "test"
    for number in range(1, 1 + count):
        mask, name = blob((41, 53), rng), f"im{number:04d}"
        save_image(folder / f"images/{name}.ppm", picture(mask, rng))
        save_image(folder / f"1st_manual/{name}.ah.ppm", 255 * mask.astype(np.uint8), mode="L")
        field = np.full(mask.shape, 255, np.uint8)
        field[0] = 0
        save_image(folder / f"mask/{name}.ppm", field, mode="L")
    return root
