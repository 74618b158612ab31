"""PH2: RGB and 1-bit BMP in folders with spaces."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root/PH2Dataset` and return `root`."""
    rng = generator()
    for number in range(3, 3 + count):
        name = f"IMD{number:03d}"
        mask = blob((37, 51), rng)
        folder = root / "PH2Dataset" / "PH2 Dataset images" / name
        save_image(folder / f"{name}_Dermoscopic_Image/{name}.bmp", picture(mask, rng))
        save_image(folder / f"{name}_lesion/{name}_lesion.bmp", 255 * mask.astype(np.uint8), mode="1")
    (root / "PH2Dataset" / "Readme.txt").write_text("about")
    return root
