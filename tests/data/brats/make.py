"""BraTS in its four forms; labels stored as float in the copies of 2015, whose brain mask reads back as 0.99999997."""

import json
from pathlib import Path

import numpy as np

from tests.data.common import blob, generator, save_metaimage, save_volume

SHAPE = (20, 22, 16)
FLIPPED = np.diag([-1.0, -1.0, 1.0, 1.0])


def _subject(rng: np.random.Generator, labels: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (4, ...), labels, brain."""
    brain, tumour = blob(SHAPE, rng, 0.45), blob(SHAPE, rng, 0.25)
    truth = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(labels):
        truth[tumour & (np.arange(SHAPE[2]) % len(labels) == index)] = value
    images = (100 * brain + 100 * (truth > 0) + rng.integers(1, 40, (4, *SHAPE))) * brain
    return images.astype(np.float32), truth, brain


def _of_2018(root: Path, number: int, images: np.ndarray, truth: np.ndarray) -> None:
    name = f"BraTS19_2013_{number}_1"
    folder = root / ("HGG" if number % 2 else "LGG") / name
    for channel, image in zip(("flair", "t1", "t1ce", "t2"), images, strict=True):
        save_volume(folder / f"{name}_{channel}.nii.gz", image.astype(np.int16), FLIPPED)
    save_volume(folder / f"{name}_seg.nii.gz", truth, FLIPPED)


def _decathlon(root: Path, number: int, images: np.ndarray, truth: np.ndarray) -> dict[str, str]:
    name = f"BRATS_{number + 1:03d}.nii.gz"
    save_volume(root / "Task01_BrainTumour/imagesTr" / name, np.moveaxis(images, 0, -1))
    save_volume(root / "Task01_BrainTumour/labelsTr" / name, truth)
    return {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}


def make(root: Path, form: str = "2018", count: int = 6) -> Path:
    """Write the fake under `root` and return it."""
    rng = generator()
    entries = []
    for number in range(count):
        images, truth, brain = _subject(rng, {"2018": (1, 2, 4), "decathlon": (1, 2, 3)}.get(form, (1, 2, 3, 4)))
        if form == "decathlon":
            entries.append(_decathlon(root, number, images, truth))
        elif form == "2018":
            _of_2018(root, number, images, truth)
        elif form == "deepmedic":
            folder = root / "brats2015TrainingData/train" / f"brats_2013_pat{number // 2:04d}_{number % 2 + 1}"
            for channel, image in (("Flair", images[0]), ("T1c", images[2])):
                save_volume(folder / f"{channel}_subtrMeanDivStd.nii.gz", image, FLIPPED)
            save_volume(folder / "OTMultiClass.nii.gz", truth.astype(np.float32), FLIPPED)
            save_volume(folder / "brainmask.nii.gz", (brain * 0.99999997).astype(np.float64), FLIPPED)
        else:
            folder = root / "HGG" / f"brats_2013_pat{number:04d}_1"
            for channel, image in zip(("Flair", "T1", "T1c", "T2"), images, strict=True):
                name = f"VSD.Brain.XX.O.MR_{channel}.{54500 + number}"
                save_metaimage(folder / name / f"{name}.mha", image.astype(np.int16))
            name = f"VSD.Brain_3more.XX.O.OT.{54500 + number}"
            save_metaimage(folder / name / f"{name}.mha", truth)
    if entries:
        (root / "Task01_BrainTumour/dataset.json").write_text(json.dumps({"training": entries}))
    return root
