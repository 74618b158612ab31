"""MRBrainS18: eleven raw labels in seven subjects."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume


def make(root: Path, subjects: tuple[str, ...] = ("1", "4", "5", "7", "14", "070", "148")) -> Path:
    """Write the fake under `root/training` and return `root`."""
    rng = generator()
    affine = np.diag([0.96, 0.96, 3.0, 1.0])
    shape = (24, 24, 11)
    for subject in subjects:
        labels = (blob(shape, rng, 0.45) * np.arange(11)).astype(np.uint8)
        folder = root / "training" / subject
        for name in ("T1", "IR", "FLAIR"):
            image = 50 * (labels > 0) + rng.integers(0, 40, shape)
            save_volume(folder / f"pre/{name}.nii.gz", image.astype(np.float32), affine)
        save_volume(folder / "segm.nii.gz", labels, affine)
    return root
