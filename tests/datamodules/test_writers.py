"""Predictions return to the original grid with the input's geometry, whole or not at all."""

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import DataError, Decathlon, Geometry, write_map, write_mask, write_probabilities
from datamodules.writers import write_atomic
from tests.data.common import blob, generator, save_volume

ROTATED = np.array([[0.7, -0.7, 0, 5], [0.7, 0.7, 0, -8], [0, 0, 1, 2], [0, 0, 0, 1.0]])
AFFINES = {
    "identity": np.eye(4),
    "flipped": np.array([[-1.0, 0, 0, 90], [0, -1, 0, 126], [0, 0, 1, -72], [0, 0, 0, 1]]),
    "z first": np.array([[0, 0, -0.8, 10], [0, -0.8, 0, 3], [-3.0, 0, 0, 0], [0, 0, 0, 1]]),
    "anisotropic": np.diag([0.7, 0.7, 5.0, 1]),
    "rotated": ROTATED,
}


@pytest.mark.parametrize("spacing", ["native", [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("name", AFFINES)
def test_prediction_of_a_new_volume_has_its_grid(tmp_path, name, spacing):
    shape = (9, 20, 17)
    labels = blob(shape, generator()).astype(np.uint8)
    save_volume(tmp_path / "in" / "new case ä.nii.gz", labels.astype(np.float32), AFFINES[name])
    data = Decathlon(predict_root=str(tmp_path / "in"), spacing=spacing)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert "mask" not in batch
    assert all(side % 16 == 0 for side in batch["image"].shape[2:])
    image = batch["image"][0]
    inside = (image > (image.min() + image.max()) / 2).float()
    probs = batch["geometry"][0].restore(torch.cat([1 - inside, inside]))
    path = write_mask(
        tmp_path / "out" / batch["case"][0], probs.argmax(0).numpy().astype(np.uint8), batch["geometry"][0]
    )
    written = nibabel.load(path)
    assert path.name == "new case ä.nii.gz"
    assert np.allclose(written.affine, AFFINES[name], atol=1e-5)
    assert written.shape == shape
    agreement = (np.asarray(written.dataobj) == labels).mean()
    assert agreement == 1 if spacing == "native" else agreement > 0.95
    soft = nibabel.load(write_probabilities(tmp_path / "out" / "soft", probs.numpy(), batch["geometry"][0]))
    assert soft.shape == (*shape, 2)
    assert np.allclose(np.asarray(soft.dataobj).sum(-1), 1, atol=1e-5)


def test_image_masks_are_palette_png_with_labels_as_indices(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    path = write_mask(tmp_path / "a.b", labels, Geometry("image", (2, 3)))
    assert path.name == "a.b.png"
    assert np.array_equal(np.asarray(Image.open(path)), labels)


def test_image_probabilities_are_16_bit_png(tmp_path):
    probs = np.random.default_rng(0).random((3, 2, 3), np.float32)
    write_probabilities(tmp_path / "a.b", probs, Geometry("image", (2, 3)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b_1.png", "a.b_2.png"]
    for k in (1, 2):
        stored = np.asarray(Image.open(tmp_path / f"a.b_{k}.png"))
        assert np.abs(stored / 65535 - probs[k]).max() <= 0.5 / 65535 + 1e-7
    assert write_probabilities(tmp_path / "two", probs[:2], Geometry("image", (2, 3))).name == "two.png"


def test_image_maps_are_shares_of_the_largest_and_volumes_keep_their_numbers(tmp_path):
    values = np.array([[0.0, 0.25, 0.5], [1.0, 2.0, 3.0]])
    path = write_map(tmp_path / "a.b", values, Geometry("image", (2, 3)), largest=2.0)
    assert path.name == "a.b.png"
    assert np.asarray(Image.open(path)).tolist() == [[0, 8192, 16384], [32768, 65535, 65535]]
    volume = write_map(tmp_path / "c", values[None], Geometry("volume", (1, 2, 3), affine=ROTATED), largest=2.0)
    assert np.array_equal(np.asarray(nibabel.load(volume).dataobj), values[None])
    assert np.allclose(nibabel.load(volume).affine, ROTATED)
    with pytest.raises(DataError, match="Restore it first"):
        write_map(tmp_path / "d", values[:1], Geometry("image", (2, 3)), largest=1.0)


def test_a_mask_on_another_grid_is_refused(tmp_path):
    with pytest.raises(DataError, match="Restore it first"):
        write_mask(tmp_path / "a", np.zeros((4, 4), np.uint8), Geometry("image", (2, 3)))


def test_nothing_half_written_stays(tmp_path):
    def broken(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "a.png", broken)
    assert list(tmp_path.iterdir()) == []
