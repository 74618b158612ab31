"""Kvasir-SEG: JPEG images and JPEG masks, whose greys are not two."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root/Kvasir-SEG` and return `root`."""
    rng, folder = generator(), root / "Kvasir-SEG"
    for number in range(count):
        mask = blob((37, 51), rng)
        save_image(folder / f"images/cju{number}.jpg", picture(mask, rng))
        save_image(folder / f"masks/cju{number}.jpg", 255 * mask.astype(np.uint8), mode="L")
    return root
