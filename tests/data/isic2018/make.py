"""ISIC 2018 task 1: JPEG images, PNG masks, the licence texts of the archives beside them."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 8) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    images, masks = root / "ISIC2018_Task1-2_Training_Input", root / "ISIC2018_Task1_Training_GroundTruth"
    for number in range(count):
        mask = blob((38, 51), rng)
        save_image(images / f"ISIC_{number:07d}.jpg", picture(mask, rng), quality=95)
        save_image(masks / f"ISIC_{number:07d}_segmentation.png", 255 * mask.astype(np.uint8))
    for folder in (images, masks):
        (folder / "LICENSE.txt").write_text("terms")
        (folder / "ATTRIBUTION.txt").write_text("names")
    return root
