"""ACDC: two labelled frames and an unlabelled 4D file a patient."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume


def make(root: Path, patients: int = 5) -> Path:
    """Write the fake under `root/training` and return `root`."""
    rng = generator()
    affine = np.diag([1.5, 1.5, 10.0, 1.0])
    for number in range(1, patients + 1):
        folder = root / "training" / f"patient{number:03d}"
        shape = (20 + number, 24, 6)
        for frame in (1, 10 + number):
            labels = blob(shape, rng, 0.4).astype(np.uint8)
            labels[: shape[0] // 2] *= 2
            labels[:, 10:] = np.minimum(labels[:, 10:] * 3, 3)
            name = f"patient{number:03d}_frame{frame:02d}"
            save_volume(
                folder / f"{name}.nii.gz", (80 * (labels > 0) + rng.integers(0, 50, shape)).astype(np.int16), affine
            )
            save_volume(folder / f"{name}_gt.nii.gz", labels, affine)
        film = rng.integers(0, 9, (*shape, 2)).astype(np.int16)
        save_volume(folder / f"patient{number:03d}_4d.nii.gz", film, affine)
        (folder / "Info.cfg").write_text("ED: 1\n")
    return root
