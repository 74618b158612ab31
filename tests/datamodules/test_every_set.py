"""The contract that every data set holds, on its fake in the official layout."""

import importlib
import inspect

import pytest
import torch

import datamodules
from datamodules import DataError, SegmentationData

ARGUMENTS = {
    "DRIVE": ("drive", {}, 40),
    "BUS2017": ("bus2017", {}, 8),
    "DSB2018": ("dsb2018", {}, 6),
    "ISIC2018": ("isic2018", {"size": [64, 64]}, 8),
    "CVCClinicDB": ("cvc_clinicdb", {"size": [32, 48]}, 10),
    "KiTS19": ("kits19", {"patch_size": [8, 16, 16]}, 7),
    "Decathlon": ("decathlon", {}, 10),
    "BUSI": ("busi", {"size": [32, 32]}, 12),
    "ISIC2016": ("isic2016", {"size": [32, 32]}, 9),
    "STARE": ("stare", {"size": [32, 32]}, 6),
    "KvasirSEG": ("kvasir_seg", {"size": [32, 32]}, 6),
    "PH2": ("ph2", {"size": [32, 32]}, 6),
    "ISBI2012": ("isbi2012", {"size": [32, 32]}, 30),
    "AxonSEM": ("axon_sem", {"patch_size": [32, 32]}, 4),
    "ImageFolder": ("image_folder", {"images": "images/*/*", "masks": "masks/*/{name}.*", "size": [32, 32]}, 6),
    "BraTS": ("brats", {"patch_size": [16, 16, 16]}, 6),
    "ACDC": ("acdc", {"patch_size": [8, 16, 16]}, 10),
    "FLARE21": ("flare21", {"patch_size": [8, 16, 16]}, 6),
    "MRBrainS18": ("mrbrains18", {"patch_size": [8, 16, 16]}, 7),
    "PROMISE12": ("promise12", {"patch_size": [8, 16, 16]}, 6),
    "WMH2017": ("wmh2017", {"patch_size": [8, 16, 16]}, 8),
    "VolumeFolder": ("volume_folder", {"patch_size": [8, 16, 16]}, 6),
    "NNUNetRaw": ("nnunet_raw", {"patch_size": [8, 16, 16]}, 6),
}


def all_sets():
    members = (getattr(datamodules, name) for name in datamodules.__all__)
    return [m for m in members if inspect.isclass(m) and issubclass(m, SegmentationData) and not inspect.isabstract(m)]


def build(name, tmp_path, **more):
    folder, arguments, count = ARGUMENTS[name]
    root = importlib.import_module(f"tests.data.{folder}.make").make(tmp_path)
    common = {"split": "random", "split_sizes": [count - 2, 1, 1], "batch_size": 2}
    return getattr(datamodules, name)(root=str(root), **common, **arguments, **more)


def test_no_data_set_is_left_out():
    assert {cls.__name__ for cls in all_sets()} == {*ARGUMENTS, "Phantom"}


@pytest.mark.filterwarnings("ignore:.*leaks")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_batches_whole_cases_and_table(name, tmp_path):
    data = build(name, tmp_path)
    assert data.num_classes == len(data.class_names)
    data.setup()
    rows = data.split_table()
    assert len({row["case"] for row in rows}) == len(rows) == ARGUMENTS[name][2]
    batch = next(iter(data.train_dataloader()))
    grid = batch["image"].shape[2:]
    assert batch["image"].shape[:2] == (2, data.in_channels)
    assert len(grid) == data.spatial_dims
    assert batch["image"].dtype == torch.float32
    assert batch["image"].isfinite().all()
    assert batch["mask"].shape == (2, *grid)
    assert batch["mask"].dtype == torch.uint8
    assert set(batch["mask"].unique().tolist()) <= {*range(data.num_classes), 255}
    assert len(batch["case"]) == 2
    figure, axes = data.plot(batch)
    assert [ax.figure for ax in axes] == [figure, figure]
    for loader in (data.val_dataloader(), data.test_dataloader()):
        for whole in loader:
            check_whole(data, whole)


def check_whole(data, whole):
    geometry = whole["geometry"][0]
    mask = whole["mask"][0].long()
    probs = torch.nn.functional.one_hot(mask.where(mask != 255, 0), data.num_classes).movedim(-1, 0).float()
    restored = geometry.restore(probs)
    assert tuple(whole["original_mask"].shape[1:]) == geometry.original_shape
    assert restored.shape[1:] == whole["original_mask"].shape[1:]
    known = whole["original_mask"][0] != 255
    same = restored.argmax(0)[known] == whole["original_mask"][0][known]
    assert same.float().mean() > 0.85
    if data.spatial_dims == 3:
        assert whole["affine"].shape == (1, 4, 4)
        assert whole["spacing"].shape == (1, 3)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_missing_folder_says_what_to_set_and_where_to_get_it(name, tmp_path):
    with pytest.raises(DataError, match=r"absent does not exist\. Set --data\.root or .*(Get it from|It must hold)"):
        getattr(datamodules, name)(root=str(tmp_path / "absent"), **ARGUMENTS[name][1]).setup()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_empty_folder_says_what_it_lacks(name, tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path.name}.*(holds no|does not exist)"):
        getattr(datamodules, name)(root=str(tmp_path), **ARGUMENTS[name][1]).setup()


@pytest.mark.parametrize("cls", all_sets(), ids=lambda cls: cls.__name__)
def test_facts_and_docstring_are_complete(cls):
    optional = {"paper", "classes", "dimensions", "downloadable"}
    assert all(value for name, value in vars(cls.info).items() if name not in optional)
    assert len(inspect.getdoc(cls)) > 100


@pytest.mark.parametrize("name", ["DRIVE", "ISIC2018", "Decathlon", "KiTS19"])
def test_new_images_are_predicted_without_masks(name, tmp_path):
    data = build(name, tmp_path / "data")
    data.setup()
    image = data.subsets["test"][0].images[0]
    data.predict_root = str(image.parent)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    assert "mask" not in batch
    assert batch["geometry"][0].original_shape
    data.predict_root = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="predict_root"):
        data.setup("predict")
