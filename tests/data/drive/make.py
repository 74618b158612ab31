"""DRIVE: TIFF images, GIF masks; test masks are palette GIFs whose stored values are not grey values."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image, save_palette


def make(root: Path, training: int = 20, test: int = 20, shape: tuple[int, int] = (44, 43)) -> Path:
    """Write the fake under `root/DRIVE` and return `root`."""
    rng = generator()
    field = blob(shape, rng, 0.45)
    for part, count, first in (("training", training, 21), ("test", test, 1)):
        folder = root / "DRIVE" / part
        for number in range(first, first + count):
            mask = blob(shape, rng)
            save_image(folder / f"images/{number:02d}_{part}.tif", picture(mask, rng))
            save_image(folder / f"mask/{number:02d}_{part}_mask.gif", 255 * field.astype(np.uint8))
            path = folder / f"1st_manual/{number:02d}_manual1.gif"
            if part == "training":
                save_image(path, 255 * mask.astype(np.uint8))
                continue
            indices = 251 * mask.astype(np.uint8)
            save_palette(path, indices, [(i, i, i) if i != 251 else (255,) * 3 for i in range(256)])
            second = folder / f"2nd_manual/{number:02d}_manual2.gif"
            save_palette(second, blob(shape, rng).astype(np.uint8), [(4, 4, 4), (252, 252, 252)])
    return root
