"""Labels with gaps (0, 2, 5) come back from `predict` as the data set's dataset.json gives them."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from lightning_app.cli import main
from tests.data.common import save_image, save_volume

VALUES = np.array([0, 2, 5])
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
NET = ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2"]


def save(path, array):
    if path.name.endswith(".png"):
        save_image(path, array.astype(np.uint8))
    else:
        save_volume(path, array.astype(np.float32))


def read(path):
    return np.asarray(Image.open(path)) if path.suffix == ".png" else np.asarray(nibabel.load(path).dataobj)


def raw_folder(root, shape, ending):
    """Four cases whose classes differ in brightness, so that a few steps tell them apart."""
    rng = np.random.default_rng(0)
    classes = np.zeros(shape, int)
    classes[: shape[0] // 3] = 1
    classes[-shape[0] // 3 :] = 2
    for number in range(4):
        image = 90 * classes + rng.integers(0, 30, shape)
        save(root / f"imagesTr/c{number}_0000{ending}", image)
        save(root / f"labelsTr/c{number}{ending}", VALUES[classes])
    save(root / f"new/n{ending}", image)
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 2, "b": 5}, "file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(facts | {"numTraining": 4}))
    return classes


@pytest.mark.usefixtures("unpainted_here")
@pytest.mark.slow  # 10 s, 20 on a busy machine: twelve epochs, until the network tells the classes apart
@pytest.mark.parametrize(
    ("shape", "ending", "patch"), [((32, 48), ".png", [16, 16]), ((16, 16, 16), ".nii.gz", [16, 16, 16])]
)
def test_labels_with_gaps_are_written_as_given(tmp_path, shape, ending, patch):
    classes = raw_folder(tmp_path / "data", shape, ending)
    data = ["--data=datamodules.NNUNetRaw", f"--data.root={tmp_path / 'data'}", "--data.num_workers=0"]
    options = ["--trainer.max_epochs=12", "--trainer.logger=false", f"--runs_dir={tmp_path}", "--run_name=run"]
    rate = ["--seed_everything=0", "--optimizer.lr=0.02"]
    main(["fit", *QUIET, *options, *rate, *NET, *data, f"--data.patch_size={patch}"])
    main(["predict", *QUIET, f"--ckpt_path={tmp_path / 'run'}", f"--data.predict_root={tmp_path / 'data' / 'new'}"])
    mask = read(tmp_path / "run" / "predictions" / "new" / "masks" / f"n{ending}")
    assert set(np.unique(mask)) == {0, 2, 5}
    assert (mask == VALUES[classes]).mean() > 0.9
