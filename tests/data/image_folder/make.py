"""A user's own folder: spaces, brackets and umlauts in names, nested by patient, masks in each coding."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image, save_palette

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def make(root: Path, coding: str = "binary", count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    for number in range(count):
        shape = (30, 36)
        labels = blob(shape, rng).astype(np.uint8)
        labels[:, 18:] *= 2
        name = f"Bild [{number}] größe"
        folder = f"patient {number // 2}"
        save_image(root / "images" / folder / f"{name}.png", picture(labels, rng))
        target = root / "masks" / folder
        if coding == "binary":
            save_image(target / f"{name}.png", 255 * (labels > 0).astype(np.uint8))
        elif coding == "index":
            save_palette(target / f"{name}.png", labels, COLOURS)
        elif coding == "colour":
            save_image(target / f"{name}.png", np.array(COLOURS, np.uint8)[labels])
        else:
            for value in (1, 2):
                save_image(target / f"{name}_{value}.png", 255 * (labels == value).astype(np.uint8))
    return root
