"""DRIVE: palette GIFs, field of view, observers, the published split."""

import numpy as np
import pytest
import torch

from datamodules import DRIVE, DataError
from tests.data.drive.make import make


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make(tmp_path_factory.mktemp("drive"))


def test_batches_and_the_papers_split(root):
    data = DRIVE(root=str(root), size=[32, 32], batch_size=4)
    data.setup()
    assert {subset: len(cases) for subset, cases in data.subsets.items()} == {"train": 16, "val": 4, "test": 20}
    assert [case.name for case in data.subsets["val"]] == ["37", "38", "39", "40"]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 32, 32)
    assert set(batch["mask"].unique().tolist()) == {0, 1, 255}


def test_several_different_crops_of_each_image_in_an_epoch(root):
    data = DRIVE(root=str(root), size="native", patch_size=[16, 16], patches_per_case=3, batch_size=48, augment=False)
    data.setup()
    (batch,) = data.train_dataloader()
    assert {case: batch["case"].count(case) for case in batch["case"]} == dict.fromkeys(batch["case"], 3)
    assert len({crop.numpy().tobytes() for crop in batch["image"]}) > 40
    with pytest.raises(DataError, match="patches_per_case=0"):
        DRIVE(root=str(root), patches_per_case=0)


def test_masks_of_both_observers_are_binary_inside_the_field_of_view(root):
    for observer in (1, 2):
        data = DRIVE(root=str(root), observer=observer)
        data.setup()
        mask = data.dataset("test")[0]["original_mask"]
        assert mask.shape == (44, 43)
        assert set(mask.unique().tolist()) == {0, 1, 255}
        assert mask[0, 0] == 255
    everything = DRIVE(root=str(root), field_of_view=False)
    everything.setup()
    assert 255 not in everything.dataset("test")[0]["original_mask"]


def test_root_may_be_the_inner_folder(root):
    assert len(DRIVE(root=str(root / "DRIVE")).find_cases()) == 40


def test_missing_folder_and_missing_mask_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"does not exist.*SEGMENTATION_DATA.*registration"):
        DRIVE(root=str(tmp_path / "nowhere")).setup()
    monkeypatch.delenv("SEGMENTATION_DATA", raising=False)
    with pytest.raises(DataError, match="SEGMENTATION_DATA"):
        DRIVE().setup()
    make(tmp_path, training=2, test=2)
    (tmp_path / "DRIVE/test/1st_manual/02_manual1.gif").unlink()
    with pytest.raises(DataError, match=r"02_test\.tif.*02_manual1\.gif is missing"):
        DRIVE(root=str(tmp_path)).setup()


def test_the_papers_split_needs_all_cases(tmp_path):
    with pytest.raises(DataError, match="needs all 40"):
        DRIVE(root=str(make(tmp_path, training=3, test=3))).setup()


def test_real_images(shared_data):
    data = DRIVE(root=str(shared_data / "drive"))
    data.setup()
    assert len(data.split_table()) == 40
    shares, dice = [], []
    second = DRIVE(root=str(shared_data / "drive"), observer=2)
    second.setup()
    for one, two in zip(data.dataset("test"), second.dataset("test"), strict=True):
        a, b = one["original_mask"], two["original_mask"]
        assert a.shape == (584, 565)
        inside = a != 255
        shares.append((a == 1).float().mean().item())
        dice.append(
            (2 * ((a == 1) & (b == 1) & inside).sum() / ((a == 1)[inside].sum() + (b == 1)[inside].sum())).item()
        )
    assert 0.07 < np.median(shares) < 0.10
    assert min(dice) == pytest.approx(0.74, abs=0.01)
    assert max(dice) == pytest.approx(0.83, abs=0.01)


def test_real_training_masks_match_the_readme(shared_data):
    data = DRIVE(root=str(shared_data / "drive"), field_of_view=False, split="random", split_sizes=[38, 1, 1])
    data.setup()
    pipeline = data.make_pipeline()
    shares = [(pipeline.read_mask(case, (584, 565)) == 1).mean() for case in data.find_cases()]
    assert np.median(shares) == pytest.approx(0.086, abs=0.002)
    assert torch.is_tensor(data.dataset("train")[0]["mask"])
