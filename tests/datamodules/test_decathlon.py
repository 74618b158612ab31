"""Decathlon: types and shapes that differ, with and without dataset.json."""

import json

import numpy as np
import pytest
import torch

from datamodules import DataError, Decathlon
from tests.data.decathlon.make import make

TASK = "Task04_Hippocampus"


def test_batches(tmp_path):
    data = Decathlon(root=str(make(tmp_path)), patch_size=[16, 16, 16], batch_size=3, patches_per_case=2)
    data.setup()
    loader = data.train_dataloader()
    assert len(loader.sampler) == 2 * len(data.subsets["train"])
    batch = next(iter(loader))
    assert batch["image"].shape == (3, 1, 16, 16, 16)
    assert batch["image"].dtype == torch.float32
    assert set(batch["mask"].unique().tolist()) == {0, 1, 2, 255}
    assert batch["affine"].shape == (3, 4, 4)
    assert batch["spacing"].shape == (3, 3)


def test_whole_volumes_hold_the_mask_as_stored(tmp_path):
    import nibabel

    data = Decathlon(root=str(make(tmp_path)))
    data.setup()
    sample = data.dataset("test")[0]
    stored = nibabel.load(tmp_path / TASK / "labelsTr" / f"{sample['case']}.nii.gz")
    assert np.array_equal(sample["original_mask"], np.asarray(stored.dataobj))
    resampled = Decathlon(root=str(tmp_path), spacing=[2.0, 1.0, 1.0])
    resampled.setup()
    again = resampled.dataset("test")[0]
    assert np.array_equal(again["original_mask"], np.asarray(stored.dataobj))
    assert again["spacing"][0] == pytest.approx(2, rel=0.1)


def test_the_list_of_the_owner_is_used_where_there_is_one(tmp_path):
    make(tmp_path, listing=True)
    path = tmp_path / TASK / "dataset.json"
    facts = json.loads(path.read_text())
    facts["training"] = facts["training"][:4]
    path.write_text(json.dumps(facts))
    assert len(Decathlon(root=str(tmp_path)).find_cases()) == 4
    path.write_text("{broken")
    with pytest.raises(DataError, match=r"dataset\.json: is not understood"):
        Decathlon(root=str(tmp_path)).find_cases()


def test_facts_are_known_before_any_file_is_read():
    assert Decathlon().num_classes == 3
    brain = Decathlon(task="Task01_BrainTumour", channels=[0, 1, 3])
    assert (brain.in_channels, brain.num_classes) == (3, 4)
    with pytest.raises(DataError, match="Task99"):
        Decathlon(task="Task99_Nothing")


def test_mask_of_another_shape_and_label_out_of_range(tmp_path):
    from tests.data.common import save_volume

    make(tmp_path, count=3)
    label = tmp_path / TASK / "labelsTr" / "hippocampus_001.nii.gz"
    for array, match in (
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\) for an image"),
        (np.full((12, 18, 13), 9, np.uint8), "value 9"),
    ):
        save_volume(label, array)
        with pytest.raises(DataError, match=match):  # before training, not within the first epoch
            Decathlon(root=str(tmp_path), split_sizes=[3, 0, 0]).setup("fit")


def test_augmentation_differs_between_epochs_and_repeats(tmp_path):
    make(tmp_path, count=4)

    def batch(epoch):
        data = Decathlon(root=str(tmp_path), patch_size=[8, 8, 8], batch_size=4, split_sizes=[4, 0, 0])
        data.setup()
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return next(iter(loader))["image"]

    assert torch.equal(batch(0), batch(0))
    assert not torch.equal(batch(0).sum((1, 2, 3, 4)).sort().values, batch(1).sum((1, 2, 3, 4)).sort().values)


def test_real_volumes(shared_data):
    data = Decathlon(root=str(shared_data / "decathlon"), split="random", split_sizes=[80, 20, 30])
    data.setup()
    assert {subset: len(cases) for subset, cases in data.subsets.items()} == {"train": 80, "val": 20, "test": 30}
    shapes = []
    for sample in data.dataset("test"):
        shapes.append(sample["geometry"].original_shape)
        assert set(sample["original_mask"].unique().tolist()) == {0, 1, 2}
        assert sample["geometry"].spacing == (1.0, 1.0, 1.0)
    low, high = np.min(shapes, axis=0), np.max(shapes, axis=0)
    assert (low >= [29, 40, 24]).all()
    assert (high <= [43, 59, 47]).all()


def test_two_labels_of_one_case_are_refused_and_of_no_case_passed_over(tmp_path):
    import nibabel

    root = make(tmp_path)
    data = Decathlon(root=str(root))
    label = data.find_cases()[0].masks[0]
    nibabel.save(nibabel.load(label), label.with_name("older.nii"))
    nibabel.save(nibabel.load(label), label.with_name("older.nii.gz"))
    assert data.find_cases()[0].masks == (label,)
    nibabel.save(nibabel.load(label), label.with_name(label.name.removesuffix(".gz")))
    with pytest.raises(DataError, match=rf"{label.name[:-7]}\.nii and .*\.nii\.gz: are both labels of"):
        data.find_cases()
