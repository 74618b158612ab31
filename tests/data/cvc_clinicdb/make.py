"""CVC-ClinicDB: RGB TIFF with a greyscale tag, one-channel masks, or PNG with equal channels; grey mask edges."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from tests.data.common import blob, generator, picture, save_image


def make(root: Path, frames: Sequence[int] = (1, 2, 25, 26, 27, 51, 52, 68, 300, 612), ending: str = "tif") -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    for frame in frames:
        mask = blob((30, 40), rng)
        image = picture(mask, rng)
        grey = 255 * mask.astype(np.uint8)
        grey[:2] = 90
        paths = root / f"Original/{frame}.{ending}", root / f"Ground Truth/{frame}.{ending}"
        if ending == "png":
            save_image(paths[0], image)
            save_image(paths[1], np.repeat(grey[..., None], 3, -1))
            continue
        for path, array in zip(paths, (image, grey), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig" if array.ndim == 3 else None)
    return root
