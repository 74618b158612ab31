"""Decathlon task 4: small NIfTI volumes whose type and shape differ from case to case; `dataset.json` on request."""

import json
from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_volume


def make(root: Path, count: int = 10, listing: bool = False, task: str = "Task04_Hippocampus") -> Path:
    """Write the fake under `root/<task>` and return `root`."""
    rng = generator()
    names = [f"hippocampus_{3 * number + 1:03d}.nii.gz" for number in range(count)]
    for number, name in enumerate(names):
        shape = (12 + number % 3, 18 + number % 4, 13 + number % 2)
        labels = blob(shape, rng).astype(np.uint8)
        labels[:, : shape[1] // 2] *= 2
        image = 100 * (labels > 0) + rng.integers(0, 60, shape)
        kind = np.uint8 if number % 2 else np.float32
        save_volume(root / task / "imagesTr" / name, image.astype(kind))
        save_volume(root / task / "labelsTr" / name, labels)
    if listing:
        entries = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
        facts = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "training": entries}
        (root / task / "dataset.json").write_text(json.dumps(facts))
    return root
