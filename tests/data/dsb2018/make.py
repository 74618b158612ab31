"""DSB2018: RGBA images with a constant alpha, a mask file a nucleus, several sizes."""

import hashlib
from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 6) -> Path:
    """Write the fake under `root/stage1_train` and return `root`."""
    rng = generator()
    for number in range(count):
        shape = ((32, 32), (32, 40), (26, 35))[number % 3]
        name = hashlib.sha256(str(number).encode()).hexdigest()
        folder = root / "stage1_train" / name
        nuclei = [blob(shape, rng, 0.12) for _ in range(2 + number % 3)]
        rgb = picture(np.any(nuclei, axis=0), rng)
        rgba = np.concatenate([rgb, np.full((*shape, 1), 255, np.uint8)], axis=-1)
        save_image(folder / f"images/{name}.png", rgba)
        for index, nucleus in enumerate(nuclei):
            part = hashlib.sha256(f"{number}/{index}".encode()).hexdigest()
            save_image(folder / f"masks/{part}.png", 255 * nucleus.astype(np.uint8))
    return root
