"""What is peculiar to each 3D data set, on fakes and, where present, on the real volumes."""

import json

import numpy as np
import pytest
import torch

from datamodules import ACDC, PROMISE12, WMH2017, BraTS, DataError, Decathlon, KiTS19, MRBrainS18, NNUNetRaw, readers
from datamodules.nifti import open_header
from tests.data.acdc.make import make as make_acdc
from tests.data.brats.make import make as make_brats
from tests.data.common import save_metaimage
from tests.data.kits19.make import make as make_kits
from tests.data.mrbrains18.make import make as make_mrbrains
from tests.data.nnunet_raw.make import make as make_nnunet
from tests.data.promise12.make import make as make_promise
from tests.data.wmh2017.make import make as make_wmh

FORMS = {
    "2018": {},
    "2015": {},
    "decathlon": {},
    "deepmedic": {"modalities": ["flair", "t1ce"]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_brats_gives_the_same_classes(tmp_path, form):
    data = BraTS(root=str(make_brats(tmp_path, form)), patch_size=[16, 16, 16], **FORMS[form])
    data.setup()
    sample = data.dataset("test")[0]
    assert sample["image"].shape[0] == data.in_channels
    assert set(sample["original_mask"].unique().tolist()) == {0, 1, 2, 3}
    whole = BraTS(root=str(tmp_path), target="whole", **FORMS[form])
    whole.setup()
    assert set(whole.dataset("test")[0]["original_mask"].unique().tolist()) == {0, 1}


def test_brats_normalises_in_the_brain_and_keeps_patients_together(tmp_path):
    data = BraTS(root=str(make_brats(tmp_path, "deepmedic")), modalities=["flair"], normalisation="tissue")
    data.setup()
    assert {case.group for case in data.find_cases()} == {f"brats_2013_pat{n:04d}" for n in range(3)}
    volume = data.make_pipeline().prepare(data.subsets["test"][0])
    brain = volume.image[0] != volume.image[0, 0, 0, 0]
    assert abs(volume.image[0][brain].mean()) < 0.05
    assert volume.image[0][brain].std() == pytest.approx(1, abs=0.05)


def test_brats_slices_are_images_split_by_patient(tmp_path):
    data = BraTS(root=str(make_brats(tmp_path)), slices=True, patch_size=[16, 16], batch_size=3, target="whole")
    assert data.spatial_dims == 2
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (3, 4, 16, 16)
    test = data.dataset("test")
    assert len(test) == 16 * len(data.subsets["test"])
    assert test[5]["case"].endswith("_z005")
    assert test[5]["original_mask"].shape == (22, 20)
    assert test[5]["geometry"].kind == "image"
    volume = BraTS(root=str(tmp_path), target="whole")
    volume.setup()
    stored = volume.dataset("test")[0]
    stack = torch.stack([test[z]["original_mask"] for z in range(16)])
    assert torch.equal(stack.flip(1, 2), stored["original_mask"].permute(2, 1, 0))


def test_slices_may_be_resampled_in_plane_only(tmp_path):
    data = ACDC(root=str(make_acdc(tmp_path)), slices=True, patch_size=[8, 8], spacing=[10.0, 3.0, 3.0])
    data.setup()
    sample = data.dataset("test")[0]
    assert sample["geometry"].original_shape == tuple(sample["original_mask"].shape)
    assert sample["geometry"].spacing == pytest.approx((1.5, 1.5))
    wrong = ACDC(root=str(tmp_path), slices=True, spacing=[5.0, 1.5, 1.5])
    wrong.setup()
    with pytest.raises(DataError, match="cannot be resampled along z"):
        wrong.dataset("test")


def test_acdc_keeps_both_phases_of_a_patient_together(tmp_path):
    data = ACDC(root=str(make_acdc(tmp_path, patients=10)), split="paper")
    data.setup()
    assert [len(cases) for cases in data.subsets.values()] == [14, 2, 4]
    assert all(len({c.group for c in cases}) * 2 == len(cases) for cases in data.subsets.values())


def test_kits_axes_spacing_types_and_the_papers_cases(tmp_path):
    data = KiTS19(root=str(make_kits(tmp_path)), split="paper", patch_size=[8, 16, 16])
    data.setup()
    names = {subset: [case.name[-2:] for case in cases] for subset, cases in data.subsets.items()}
    assert names == {"train": ["00"], "val": ["01", "18"], "test": ["07", "11", "61", "86"]}
    sample = data.dataset("test")[0]
    assert sample["spacing"].tolist() == pytest.approx([3.22, 1.62, 1.62], rel=0.15)
    assert sample["geometry"].original_shape == (11, 40, 40)
    assert sample["geometry"].spacing == pytest.approx((5, 0.75, 0.75))
    assert abs(sample["image"].mean()) < 2
    everything = KiTS19(root=str(tmp_path), exclude_faulty=False)
    assert len(everything.find_cases()) == 8


def test_kits_without_the_ct_files_says_so(tmp_path):
    with pytest.raises(DataError, match=r"imaging\.nii\.gz: does not exist\. The CT files come apart"):
        KiTS19(root=str(make_kits(tmp_path, images=False))).setup()


def test_mrbrains_joins_and_ignores_labels(tmp_path):
    data = MRBrainS18(root=str(make_mrbrains(tmp_path)), split="paper")
    data.setup()
    assert [len(cases) for cases in data.subsets.values()] == [4, 1, 2]
    mask = data.dataset("test")[0]["original_mask"]
    columns = [mask[..., z].unique().tolist() for z in range(11)]
    assert columns == [[0], [0, 1], [0, 1], [0, 2], [0, 2], [0, 3], [0, 3], *[[0, 255]] * 4]


def test_wmh_ignores_other_pathology_and_takes_a_tissue_mask(tmp_path):
    data = WMH2017(root=str(make_wmh(tmp_path)), split="official", tissue="wm.nii.gz", normalisation="tissue")
    data.setup()
    assert len(data.subsets["test"]) == 2
    assert (data.dataset("test")[0]["original_mask"][:3, :3] == 255).all()
    with pytest.raises(DataError, match=r"nothing\.nii\.gz: does not exist"):
        WMH2017(root=str(tmp_path), tissue="nothing.nii.gz").setup()


def test_promise_metaimages(tmp_path):
    data = PROMISE12(root=str(make_promise(tmp_path)))
    data.setup()
    sample = data.dataset("test")[0]
    assert sample["geometry"].spacing == pytest.approx((0.6, 0.6, 3.6))
    assert set(sample["original_mask"].unique().tolist()) == {0, 1}
    (tmp_path / "TrainingData/Case00.raw").unlink()
    with pytest.raises(DataError, match=r"Case00\.raw: does not exist"):
        readers.read_volume(tmp_path / "TrainingData/Case00.mhd")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", ["mha", "mhd"])
def test_metaimage_values_and_axes(tmp_path, ending, compressed):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = readers.read_volume(save_metaimage(tmp_path / f"a.{ending}", array, (0.5, 2, 3), compressed))
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.affine @ [0, 0, 0, 1], [-5, 7, 11, 1])
    assert np.allclose(volume.affine @ [1, 1, 1, 1], [-5.5, 5, 14, 1])
    assert readers.volume_header(tmp_path / f"a.{ending}")[0] == (2, 3, 4)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"ObjectType", b"\xff\xfe", "cannot be read|not supported|no MetaImage"),
        (b"MET_SHORT", b"MET_OTHER", "not supported"),
        (b"DimSize = 2 3 4", b"DimSize = 2 3 9", "its header declares"),
        (b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 a 1", "cannot be read"),
    ],
)
def test_broken_metaimages_name_the_file(tmp_path, old, new, match):
    path = save_metaimage(tmp_path / "a.mha", np.zeros((2, 3, 4), np.int16))
    path.write_bytes(path.read_bytes().replace(old, new) if old != b"ObjectType" else new)
    with pytest.raises(DataError, match=f"a\\.mha.*({match})"):
        readers.read_volume(path)


def test_nnunet_channels_regions_ignore_and_images(tmp_path):
    plain = NNUNetRaw(root=str(make_nnunet(tmp_path / "plain")))
    assert (plain.num_classes, plain.in_channels, plain.spatial_dims) == (3, 2, 3)
    regions = NNUNetRaw(root=str(make_nnunet(tmp_path / "regions", "regions")))
    assert regions.class_names == ("background", "oedema", "label 2", "label 3")
    assert regions.label_values == (0, 1, 2, 3)
    assert regions.regions.united == {"core": (2, 3), "oedema": (1,)}
    regions.setup()
    assert set(regions.dataset("test")[0]["original_mask"].unique().tolist()) == {0, 1, 2, 3, 255}
    images = NNUNetRaw(root=str(make_nnunet(tmp_path / "images", "images")), patch_size=[16, 16])
    assert (images.num_classes, images.in_channels, images.spatial_dims) == (2, 3, 2)
    images.setup()
    assert next(iter(images.train_dataloader()))["image"].shape == (2, 3, 16, 16)
    plain.predict_root = str(tmp_path / "plain" / "imagesTs")
    plain.setup("predict")
    assert [case.name for case in plain.new_cases] == [f"new_{n:03d}" for n in range(6)]


def test_nnunet_with_a_broken_listing_or_a_missing_channel(tmp_path):
    make_nnunet(tmp_path)
    (tmp_path / "imagesTr/case_002_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"case_002_0001\.nii\.gz: does not exist"):
        NNUNetRaw(root=str(tmp_path)).setup()
    facts = json.loads((tmp_path / "dataset.json").read_text())
    for change in ({"labels": {"organ": 1}}, {"file_ending": ".xyz"}, {"channel_names": None}):
        (tmp_path / "dataset.json").write_text(json.dumps(facts | change))
        with pytest.raises(DataError, match=r"dataset\.json: (is not understood|file_ending '\.xyz')"):
            NNUNetRaw(root=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"patch_size": [8, 8]}, "patch_size="),
        ({"spacing": "odd"}, "spacing='odd'"),
        ({"spacing": [1.0, -1.0, 1.0]}, "spacing="),
        ({"normalisation": "magic"}, "normalisation='magic'"),
        ({"cache": "tape"}, "cache='tape'"),
        ({"split": "maybe"}, "split='maybe'"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, match):
    with pytest.raises(DataError, match=match):
        Decathlon(root=str(make_kits(tmp_path)), **arguments).make_split([])


def test_a_volume_that_would_explode_is_refused(tmp_path):
    data = KiTS19(root=str(make_kits(tmp_path)), spacing=[0.002, 0.002, 0.002])
    data.setup()
    with pytest.raises(DataError, match="would have shape"):
        data.dataset("train")


def test_real_brats(shared_data):
    data = BraTS(root=str(shared_data / "brats2015"), modalities=["flair", "t1ce"], split_sizes=[1, 1, 1])
    data.setup()
    sample = data.dataset("test")[0]
    assert sample["original_mask"].shape == (240, 240, 155)
    assert set(sample["original_mask"].unique().tolist()) == {0, 1, 2, 3}
    assert len(data.find_cases()) == 3
    assert 0.001 < (sample["original_mask"] > 0).float().mean() < 0.1


def test_real_kits_segmentations(shared_data):
    root = shared_data / "kits19"
    with pytest.raises(DataError, match="CT files come apart"):
        KiTS19(root=str(root)).setup()
    masks = sorted((root / "data").glob("case_*/segmentation.nii.gz"))
    assert len(masks) == 20
    kinds, depths = set(), []
    for path in masks:
        shape, affine = readers.volume_header(path)
        kinds.add(open_header(path).get_data_dtype().name)
        depths.append(shape[0])
        assert shape[1:] == (512, 512)
        assert 3 <= readers.volume_spacing(path, affine, shape)[0] <= 5
    assert kinds == {"uint8", "uint16"}
    assert (min(depths), max(depths)) == (29, 107)
    array = readers.read_volume(masks[0], labels=True).array
    assert set(np.unique(KiTS19.coding.decode([array], [masks[0]]))) == {0, 1, 2}


def test_real_spleen_crop_as_a_new_volume(shared_data, tmp_path):
    from datamodules import write_mask

    folder = shared_data / "msd_spleen_crop/ct_scan/sub-spleen2/ct"
    data = Decathlon(task="Task09_Spleen", predict_root=str(folder), spacing=[5.0, 1.6, 1.6])
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    geometry = batch["geometry"][0]
    probs = torch.softmax(torch.randn(2, *batch["image"].shape[2:]), 0)
    restored = geometry.restore(probs)
    assert restored.shape == (2, 164, 166, 26)
    assert torch.allclose(restored.sum(0), torch.ones(164, 166, 26), atol=1e-5)
    source = readers.read_volume(folder / "sub-spleen2_ct.nii.gz")
    assert source.array.min() == -1019
    path = write_mask(tmp_path / "a", restored.argmax(0).numpy().astype(np.uint8), geometry)
    assert np.allclose(readers.read_volume(path, labels=True).affine, source.affine, atol=1e-5)
