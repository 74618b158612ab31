"""DSB2018: RGBA, a mask a nucleus, eight sizes."""

import numpy as np
import pytest

from datamodules import DSB2018, DataError
from tests.data.dsb2018.make import make


@pytest.fixture
def root(tmp_path):
    return make(tmp_path)


def test_union_of_nuclei_at_every_size(root):
    data = DSB2018(root=str(root), size=[32, 32], batch_size=2, split_sizes=[3, 1, 2])
    data.setup()
    assert next(iter(data.train_dataloader()))["image"].shape == (2, 3, 32, 32)
    sizes = {tuple(sample["original_mask"].shape) for subset in ("val", "test") for sample in data.dataset(subset)}
    assert len(sizes) > 1
    assert all(sample["original_mask"].float().mean() > 0.02 for sample in data.dataset("test"))


def test_native_sizes_cannot_be_batched_without_crops(root):
    data = DSB2018(root=str(root), size="native", batch_size=4, split_sizes=[4, 1, 1])
    data.setup()
    with pytest.raises(DataError, match="differ in shape"):
        next(iter(data.train_dataloader()))
    crops = DSB2018(root=str(root), size="native", patch_size=[16, 16], batch_size=4, split_sizes=[4, 1, 1])
    crops.setup()
    assert next(iter(crops.train_dataloader()))["image"].shape == (4, 3, 16, 16)


@pytest.mark.parametrize("broken", ["image", "masks", "size"])
def test_broken_cases_are_named(root, broken):
    from tests.data.common import save_image

    folder = sorted((root / "stage1_train").iterdir())[0]
    masks = sorted((folder / "masks").iterdir())
    if broken == "image":
        next((folder / "images").iterdir()).unlink()
    elif broken == "masks":
        for path in masks:
            path.unlink()
    else:
        save_image(masks[0], np.zeros((5, 5), np.uint8))
    data = DSB2018(root=str(root), split_sizes=[6, 0, 0])
    with pytest.raises(DataError, match=f"{folder.name}.*(does not exist|no mask|mask of 5x5)"):
        list(data.dataset("train"))


def test_augmentation_repeats_and_differs_between_epochs_and_workers(root):
    def batches(workers, epoch):
        data = DSB2018(root=str(root), size=[32, 32], batch_size=3, num_workers=workers, split_sizes=[6, 0, 0])
        data.setup()
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return np.concatenate([batch["image"].numpy() for batch in loader])

    assert np.array_equal(batches(0, 0), batches(2, 0))
    assert not np.array_equal(np.sort(batches(0, 0), axis=0), np.sort(batches(0, 1), axis=0))


def test_errors_in_a_worker_stay_one_line(root):
    data = DSB2018(root=str(root), num_workers=1, split_sizes=[6, 0, 0])
    data.setup()
    for path in (root / "stage1_train").glob("*/images/*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read") as caught:
        next(iter(data.train_dataloader()))
    assert "\n" not in str(caught.value)


def test_empty_subset_and_one_case_only(tmp_path):
    data = DSB2018(root=str(make(tmp_path, count=1)))
    data.setup()
    with pytest.raises(DataError, match=r"the (val|test) set is empty .*1 cases in all"):
        data.val_dataloader()


def test_links_out_of_the_folder_are_refused(tmp_path):
    root = make(tmp_path / "data", count=3)
    image = next((root / "stage1_train").glob("*/images/*.png"))
    outside = image.rename(tmp_path / "outside.png")
    image.symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        DSB2018(root=str(root)).setup()
    DSB2018(root=str(root), follow_links=True).setup()


def test_real_images(shared_data):
    data = DSB2018(root=str(shared_data / "dsb2018"))
    cases = data.find_cases()
    assert len(cases) == 423
    counts = [len(case.masks) for case in cases]
    assert (sum(counts), min(counts), max(counts)) == (14761, 1, 313)
    pipeline = data.make_pipeline()
    shapes, shares = set(), []
    for case in cases:
        shape = pipeline.read_image(case).shape
        shapes.add(shape[:2])
        if len(case.masks) < 120:
            shares.append(pipeline.read_mask(case, shape[:2]).mean())
    assert len(shapes) == 8
    assert 0.05 < np.median(shares) < 0.1  # most are the dark fluorescence images
