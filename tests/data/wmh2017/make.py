"""WMH 2017: three sites, label 2 for other pathology."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume

SITES = ("training/Utrecht", "training/Singapore", "training/Amsterdam/GE3T", "test/Utrecht")


def make(root: Path, count: int = 2) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    affine = np.diag([0.96, 0.96, 3.0, 1.0])
    for site in SITES:
        for number in range(count):
            shape = (22, 24, 10)
            labels = blob(shape, rng, 0.2).astype(np.uint8)
            labels[:3, :3] = 2
            folder = root / site / str(number)
            for name in ("FLAIR", "T1"):
                image = 90 * (labels > 0) + rng.integers(0, 50, shape)
                save_volume(folder / f"pre/{name}.nii.gz", image.astype(np.float32), affine)
            save_volume(folder / "wmh.nii.gz", labels, affine)
            save_volume(folder / "wm.nii.gz", blob(shape, rng, 0.4).astype(np.uint8), affine)
    return root
