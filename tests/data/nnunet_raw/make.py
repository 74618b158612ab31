"""nnU-Net v2 raw folders: two channels with plain labels, regions with ignore, and RGB images."""

import json
from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image, save_volume

LABELS = {
    "plain": {"background": 0, "organ": 1, "tumour": 2},
    "regions": {"background": 0, "core": [2, 3], "oedema": 1, "ignore": 4},
    "images": {"background": 0, "cell": 1},
}


def make(root: Path, kind: str = "plain", count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    ending = ".png" if kind == "images" else ".nii.gz"
    channels = ("R", "G", "B") if kind == "images" else ("T1", "T2")
    top = {"plain": 2, "regions": 4, "images": 1}[kind]
    for number in range(count):
        shape = (28, 30) if kind == "images" else (14, 16, 18)
        labels = (blob(shape, rng, 0.4) * (1 + np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) % top)).astype(
            np.uint8
        )
        if kind == "images":
            save_image(root / f"imagesTr/case_{number:03d}_0000.png", picture(labels, rng))
            save_image(root / f"labelsTr/case_{number:03d}.png", labels)
            continue
        for channel in range(2):
            image = (100 * (labels > 0) + rng.integers(0, 60, shape)).astype(np.int16)
            save_volume(root / f"imagesTr/case_{number:03d}_{channel:04d}.nii.gz", image)
            save_volume(root / f"imagesTs/new_{number:03d}_{channel:04d}.nii.gz", image)
        save_volume(root / f"labelsTr/case_{number:03d}.nii.gz", labels)
    facts = {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": LABELS[kind],
        "numTraining": count,
        "file_ending": ending,
    }
    if kind == "regions":
        facts["regions_class_order"] = [2, 1]
    (root / "dataset.json").write_text(json.dumps(facts))
    return root
