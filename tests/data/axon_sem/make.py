"""AxonDeepSeg SEM in BIDS: sessions for some animals, a mask a class with interpolated edges, sizes that differ."""

from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, picture, save_image

NAMES = (
    "sub-rat1/micr/sub-rat1_sample-data1_SEM",
    "sub-rat2/micr/sub-rat2_sample-data5_SEM",
    "sub-rat3/ses-01/micr/sub-rat3_ses-01_sample-data9_SEM",
    "sub-rat3/ses-02/micr/sub-rat3_ses-02_sample-data11_run-1_SEM",
)


def make(root: Path) -> Path:
    """Write the fake under `root/microscopy_png` and return `root`."""
    rng = generator()
    base = root / "microscopy_png"
    for number, name in enumerate(NAMES):
        shape = (40 + number, 44)
        outer, inner = blob(shape, rng, 0.4), blob(shape, rng, 0.2)
        save_image(base / f"{name}.png", picture(outer, rng, 1))
        for kind, mask in (("axon", inner), ("myelin", outer & ~inner)):
            grey = 255 * mask.astype(np.uint8)
            grey[:1] = 60
            save_image(base / f"derivatives/labels/{name}_seg-{kind}-manual.png", grey)
    (base / "dataset_description.json").write_text('{"Name": "data_axondeepseg_sem", "License": "MIT"}')
    return root
