"""BUSI: masks 1-bit or RGB, several for one image, empty ones for normal images."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, count: int = 4) -> Path:
    """Write the fake under `root/Dataset_BUSI_with_GT` and return `root`."""
    rng = generator()
    for kind in ("benign", "malignant", "normal"):
        for number in range(1, count + 1):
            shape = (30 + number, 44)
            lesions = [blob(shape, rng, 0.15)] if kind != "normal" else [np.zeros(shape, bool)]
            if kind == "benign" and number == 2:
                lesions.append(np.roll(lesions[0], 12, axis=1))
            folder, name = root / "Dataset_BUSI_with_GT" / kind, f"{kind} ({number})"
            save_image(folder / f"{name}.png", picture(np.any(lesions, axis=0), rng))
            for index, lesion in enumerate(lesions):
                path = folder / (f"{name}_mask_{index}.png" if index else f"{name}_mask.png")
                grey = 255 * lesion.astype(np.uint8)
                if kind == "normal":
                    save_image(path, np.repeat(grey[..., None], 3, -1))
                else:
                    save_image(path, grey, mode="1")
    return root
