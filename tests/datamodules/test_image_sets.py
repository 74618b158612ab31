"""What is peculiar to each 2D data set, on fakes and, where present, on the real images."""

import numpy as np
import pytest
from PIL import Image

from datamodules import (
    BUS2017,
    BUSI,
    DSB2018,
    ISBI2012,
    ISIC2016,
    ISIC2018,
    PH2,
    STARE,
    AxonSEM,
    CVCClinicDB,
    DataError,
    ImageFolder,
    KvasirSEG,
)
from tests.data.axon_sem.make import make as make_axon
from tests.data.bus2017.make import make as make_bus
from tests.data.busi.make import make as make_busi
from tests.data.cvc_clinicdb.make import make as make_cvc
from tests.data.image_folder.make import COLOURS
from tests.data.image_folder.make import make as make_folder
from tests.data.isbi2012.make import make as make_isbi
from tests.data.isic2016.make import make as make_isic2016


def read(data):
    """Name -> (image, mask) of all cases, as stored."""
    pipeline = data.make_pipeline()
    pairs = {}
    for case in data.find_cases():
        image = pipeline.read_image(case)
        pairs[case.name] = image, pipeline.read_mask(case, image.shape[:2])
    return pairs


def shares(data, value=1):
    return np.array([(mask == value).mean() for _, mask in read(data).values()])


def test_cvc_tiff_and_png_forms_are_the_same(tmp_path):
    tif = read(CVCClinicDB(root=str(make_cvc(tmp_path / "tif"))))
    png = read(CVCClinicDB(root=str(make_cvc(tmp_path / "png", ending="png"))))
    assert tif.keys() == png.keys()
    for name in tif:
        assert np.array_equal(tif[name][0], png[name][0])
        assert np.array_equal(tif[name][1], png[name][1])
        assert not tif[name][1][:2].any()


def test_cvc_keeps_sequences_together_and_warns_where_the_paper_does_not(tmp_path):
    data = CVCClinicDB(root=str(make_cvc(tmp_path, frames=range(1, 105))))
    data.setup()
    groups = [{case.group for case in cases} for cases in data.subsets.values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    paper = CVCClinicDB(root=str(tmp_path), split="paper")
    with pytest.warns(UserWarning, match="leaks"):
        paper.setup()
    assert [case.name for case in paper.subsets["test"]][:4] == ["4", "9", "12", "14"]


def test_cvc_refuses_frames_without_a_number(tmp_path):
    make_cvc(tmp_path, frames=(1, 2))
    for folder in ("Original", "Ground Truth"):
        (tmp_path / folder / "1.tif").rename(tmp_path / folder / "first.tif")
    with pytest.raises(DataError, match=r"first\.tif: is no frame number"):
        CVCClinicDB(root=str(tmp_path)).setup()


def test_busi_unites_lesions_and_may_leave_out_normal_images(tmp_path):
    root = str(make_busi(tmp_path))
    pairs = read(BUSI(root=root))
    assert pairs["benign (2)"][1].mean() > 1.5 * pairs["benign (1)"][1].mean()
    assert not pairs["normal (1)"][1].any()
    assert len(BUSI(root=root, normal=False).find_cases()) == 8
    (tmp_path / "Dataset_BUSI_with_GT/benign/benign (1).png").unlink()
    with pytest.raises(DataError, match=r"benign \(1\)_mask\.png: mask without an image"):
        BUSI(root=root).setup()


def test_busi_image_without_mask(tmp_path):
    make_busi(tmp_path)
    (tmp_path / "Dataset_BUSI_with_GT/malignant/malignant (3)_mask.png").unlink()
    with pytest.raises(DataError, match=r"malignant \(3\)\.png: has no malignant"):
        BUSI(root=str(tmp_path)).setup()


def test_isic2016_official_test_set_and_thresholded_edges(tmp_path):
    data = ISIC2016(root=str(make_isic2016(tmp_path)), split="official")
    data.setup()
    assert {subset: len(cases) for subset, cases in data.subsets.items()} == {"train": 5, "val": 1, "test": 3}
    assert not any(mask[:1].any() for _, mask in read(data).values())


def test_isbi2012_stacks_and_slices_are_the_same(tmp_path):
    stacks = read(ISBI2012(root=str(make_isbi(tmp_path / "a"))))
    slices = read(ISBI2012(root=str(make_isbi(tmp_path / "b", stacks=False))))
    assert stacks.keys() == slices.keys()
    assert all(np.array_equal(stacks[name][i], slices[name][i]) for name in stacks for i in range(2))
    assert 0.3 < np.mean([mask.mean() for _, mask in stacks.values()]) < 0.6


def test_axon_classes_come_from_a_file_each_and_animals_are_groups(tmp_path):
    data = AxonSEM(root=str(make_axon(tmp_path)))
    assert {case.group for case in data.find_cases()} == {"sub-rat1", "sub-rat2", "sub-rat3"}
    assert all(set(np.unique(mask)) == {0, 1, 2} and not mask[:1].any() for _, mask in read(data).values())
    next(tmp_path.rglob("*axon-manual.png")).unlink()
    with pytest.raises(DataError, match=r"seg-axon-manual\.png is missing"):
        data.find_cases()


@pytest.mark.parametrize(("coding", "classes"), [("binary", 2), ("index", 3), ("colour", 3), ("files", 3)])
def test_own_images_in_every_coding_with_awkward_names(tmp_path, coding, classes):
    data = ImageFolder(
        root=str(make_folder(tmp_path, coding)),
        images="images/*/*",
        masks="masks/*/{name}_*.png" if coding == "files" else "masks/*/{name}.png",
        classes=["background", "a", "b"][:classes],
        coding=coding,
        colours=[list(c) for c in COLOURS] if coding == "colour" else None,
        group="(patient [0-9]+)",
    )
    pairs = read(data)
    assert next(iter(pairs)) == "images__patient 0__Bild [0] größe"
    assert all(set(np.unique(mask)) == set(range(classes)) for _, mask in pairs.values())
    assert len({case.group for case in data.find_cases()}) == 3


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"masks": "masks/x.png"}, "must hold {name}"),
        ({"coding": "binary", "classes": ["a", "b", "c"]}, "coding='binary' with 3 classes"),
        ({"coding": "colour"}, "coding='colour'"),
        ({"size": [3]}, "size="),
        ({"normalisation": "magic"}, "normalisation='magic'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_own_images_with_wrong_arguments(arguments, match):
    with pytest.raises(DataError, match=match):
        ImageFolder(**arguments)


def test_own_images_without_mask_and_with_two(tmp_path):
    root = str(make_folder(tmp_path, "files"))
    with pytest.raises(DataError, match="has no mask"):
        ImageFolder(root=root, images="images/*/*").setup()
    with pytest.raises(DataError, match="2 masks, as"):
        ImageFolder(root=root, images="images/*/*", masks="masks/*/{name}_?.png", coding="index").setup()


def test_index_values_are_mapped_and_others_refused(tmp_path):
    from tests.data.common import save_image

    save_image(tmp_path / "images/a.png", np.zeros((8, 8), np.uint8))
    mask = np.zeros((8, 8), np.uint8)
    mask[0, :4] = (0, 128, 200, 255)
    save_image(tmp_path / "masks/a.png", mask)
    three = {"root": str(tmp_path), "coding": "index", "classes": ["b", "x", "y"], "values": [0, 128, 200]}
    assert read(ImageFolder(**three, ignore=[255]))["a"][1][0, :4].tolist() == [0, 1, 2, 255]
    with pytest.raises(DataError, match=r"a\.png: value 255 \(1 voxels\) is no .* holds 0, 128, 200, 255"):
        read(ImageFolder(**three))
    with pytest.raises(DataError, match=r"a\.png: value 200 \(1 voxels\), 255 \(1 voxels\) are no declared labels"):
        read(ImageFolder(root=str(tmp_path), coding="index", classes=["b", "x"], values=[0, 128]))


def test_the_papers_split_of_bus2017(tmp_path):
    data = BUS2017(root=str(make_bus(tmp_path, count=163)), split="paper")
    data.setup()
    assert [len(cases) for cases in data.subsets.values()] == [104, 26, 33]
    assert data.subsets["test"][0].name == "000005"


def test_mask_of_another_size_and_images_of_one_stem(tmp_path):
    from tests.data.common import save_image

    make_folder(tmp_path)
    path = next((tmp_path / "masks").rglob("*.png"))
    save_image(path, np.zeros((7, 9), np.uint8))
    data = ImageFolder(root=str(tmp_path), images="images/*/*", masks="masks/*/{name}.png")
    with pytest.raises(DataError, match="mask of 9x7 pixels for an image of 36x30"):
        read(data)
    image = next((tmp_path / "images").rglob("*.png"))
    image.with_suffix(".jpg").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=r"is a mask of .*\.jpg and of .*\.png .*Remove one of the two"):
        ImageFolder(root=str(tmp_path), images="images/*/*", masks="masks/*/{name}.png").setup()


REAL = [
    (CVCClinicDB, "cvc_clinicdb", 612, 0.063),
    (CVCClinicDB, "cvc_clinicdb_tif", 29, None),
    (ISIC2018, "isic2018", 4, 0.32),
    (ISIC2016, "isic2016", 379, 0.247),
    (PH2, "ph2", 10, None),
    (ISBI2012, "isbi2012", 30, None),
    (STARE, "stare", 10, None),
    (KvasirSEG, "kvasir_seg", 5, None),
]


@pytest.mark.parametrize(("cls", "folder", "count", "share"), REAL, ids=[case[1] for case in REAL])
def test_real_images_have_the_counts_and_shares_of_their_readme(shared_data, cls, folder, count, share):
    values = shares(cls(root=str(shared_data / folder)))
    assert len(values) == count
    assert values.min() > 0
    if share is not None:
        assert np.median(values) == pytest.approx(share, abs=0.006)


def test_real_cvc_forms_are_pixel_identical(shared_data):
    tif, png = (read(CVCClinicDB(root=str(shared_data / name))) for name in ("cvc_clinicdb_tif", "cvc_clinicdb"))
    common = tif.keys() & png.keys()
    assert common
    assert all(np.array_equal(tif[name][i], png[name][i]) for name in common for i in range(2))
    first_frames = {case.group for case in CVCClinicDB(root=str(shared_data / "cvc_clinicdb_tif")).find_cases()}
    assert len(first_frames) == 29


def test_real_busi(shared_data):
    data = BUSI(root=str(shared_data / "busi"))
    cases = data.find_cases()
    assert (len(cases), sum(len(case.masks) for case in cases)) == (54, 55)
    values = {name: mask.mean() for name, (_, mask) in read(data).items()}
    assert sum(value == 0 for value in values.values()) == 6
    assert np.median([value for value in values.values() if value]) == pytest.approx(0.056, abs=0.002)


def test_real_axon_sem(shared_data):
    pairs = read(AxonSEM(root=str(shared_data / "axon_sem")))
    assert len(pairs) == 4
    assert {image.shape[:2] for image, _ in pairs.values()} >= {(725, 725), (839, 769)}
    assert all(set(np.unique(mask)) == {0, 1, 2} for _, mask in pairs.values())


def test_real_unnamed_isic_images_by_pattern(shared_data):
    data = ImageFolder(
        root=str(shared_data / "isic2018_unnamed"), images="sample/*.jpg", masks="ground_truth/{name}.png"
    )
    sizes = {image.shape[:2] for image, _ in read(data).values()}
    assert len(data.find_cases()) == 5
    assert {(1132, 1490), (2304, 3072)} <= sizes


def test_real_organ_masks_by_pattern(shared_data):
    """SAM-Med2D demo: a mask an organ; the organs of one slice united."""
    data = ImageFolder(
        root=str(shared_data / "sammed2d_demo/data_demo"),
        images="images/amos_0004*.png",
        masks="masks/{name}_*_000.png",
    )
    (_, mask), *others = read(data).values()
    assert not others
    assert 0 < mask.mean() < 0.5


def test_stained_tissue_is_told_by_its_colour(tmp_path, shared_data):
    root = str(shared_data / "dsb2018")
    counts = [len(DSB2018(root=root, kind=kind).find_cases()) for kind in ("all", "grey", "stained")]
    assert counts == [423, 392, 31]
    with pytest.raises(DataError, match="use all, grey or stained"):
        DSB2018(root=str(tmp_path), kind="blue")


def test_a_kind_of_nuclei_is_chosen_by_the_colour_of_the_image(tmp_path):
    folder = tmp_path / "stage1_train"
    for name, colour in (("a", (90, 90, 90)), ("b", (150, 60, 140))):
        for part in ("images", "masks"):
            (folder / name / part).mkdir(parents=True)
        Image.new("RGB", (32, 32), colour).save(folder / name / "images" / f"{name}.png")
        Image.new("L", (32, 32), 255).save(folder / name / "masks" / "one.png")
    sets = {kind: DSB2018(root=str(tmp_path), kind=kind) for kind in ("grey", "stained")}
    found = {kind: [case.name for case in data.find_cases()] for kind, data in sets.items()}
    assert found == {"grey": ["a"], "stained": ["b"]}
