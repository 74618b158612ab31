"""One's own folders: patients in one part of the split, masks with their images, files of classes."""

import numpy as np
import pytest

from datamodules import DataError, ImageFolder, VolumeFolder
from datamodules.patterns import expression
from datamodules.verify import remarks, verify
from tests.data.common import save_image

BOX = np.zeros((24, 24), np.uint8)
BOX[8:16, 6:18] = 255


def picture(path, seed):
    save_image(path, np.random.default_rng(seed).integers(0, 255, (*BOX.shape, 3)).astype(np.uint8))


def patients(root, count, scans=3, before="", only=()):
    """`count` patients, each a folder of `scans` images, those of `only` of one."""
    for number in range(count):
        for scan in range(1 if number in only else scans):
            name = f"{before}p{number:02}/{scan}.png"
            picture(root / "images" / name, 100 * number + scan + len(before))
            save_image(root / "masks" / name, BOX)
    return root


def of_patients(root, **options):
    return ImageFolder(root=str(root), images="images/{folder}/{name}.*", masks="masks/{folder}/{name}.*", **options)


def places(data):
    """Patient to the parts that his images lie in."""
    data.setup("test")
    found = {}
    for row in data.split_table():
        found.setdefault(row["case"].rpartition("__")[0], set()).add(row["subset"])
    return found


def test_a_folder_a_patient_is_in_one_part_and_that_is_said(tmp_path):
    data = of_patients(patients(tmp_path, 20))
    found = places(data)
    assert len(found) == 20
    assert all(len(parts) == 1 for parts in found.values())
    assert set().union(*found.values()) == {"train", "val", "test"}
    assert "each of 20 folders stay in one part" in data.notes()[0]
    assert data.notes()[0] in remarks(data, list(verify(data)))
    folds = [places(of_patients(tmp_path, fold=fold, num_folds=4)) for fold in range(4)]
    assert sorted(p for found in folds for p, parts in found.items() if parts == {"test"}) == sorted(found)


def test_a_patient_who_comes_back_moves_no_other_and_folders_of_one_image_keep_their_places(tmp_path):
    alone = places(of_patients(patients(tmp_path / "a", 20, scans=1)))
    flat = {}
    for number in range(20):
        picture(tmp_path / f"b/images/p{number:02}__0.png", 100 * number)
        save_image(tmp_path / f"b/masks/p{number:02}__0.png", BOX)
    data = ImageFolder(root=str(tmp_path / "b"))
    data.setup("test")
    flat = {row["case"][:3]: {row["subset"]} for row in data.split_table()}
    assert alone == flat
    picture(tmp_path / "a/images/p03/1.png", 7)
    save_image(tmp_path / "a/masks/p03/1.png", BOX)
    again = places(of_patients(tmp_path / "a"))
    assert {p: parts for p, parts in again.items() if p != "p03"} == {p: s for p, s in alone.items() if p != "p03"}
    assert len(again["p03"]) == 1


def test_one_folder_is_no_group_and_too_few_are_refused_with_the_way_out(tmp_path):
    one = of_patients(patients(tmp_path / "one", 1, scans=12))
    assert places(one) == {"p00": {"train", "val", "test"}}
    assert one.notes() == []
    two = patients(tmp_path / "two", 2, scans=10)
    with pytest.raises(
        DataError, match=r"folders stay whole, as 'p00'.*too few to give .* a case.*--data\.group '\(\.\+\)'"
    ):
        of_patients(two).setup()
    assert set().union(*places(of_patients(two, group="(.+)")).values()) == {"train", "val", "test"}
    with pytest.warns(UserWarning, match="leaks: cases of 2 groups"):
        of_patients(two, split="random").setup()


def test_the_owners_parts_are_kept_and_are_no_patients_themselves(tmp_path):
    for part in ("train/", "test/"):
        patients(tmp_path, 6, before=part)
    found = places(of_patients(tmp_path))
    assert all(len(parts) == 1 for parts in found.values())
    assert {p for p, parts in found.items() if parts == {"test"}} == {f"test__p{n:02}" for n in range(6)}
    assert len(set().union(*found.values())) == 3
    data = ImageFolder(root=str(tmp_path), images="images/{folder}/p00/{name}.*", masks="masks/{folder}/p00/{name}.*")
    assert {p: len(parts) for p, parts in places(data).items()} == {"train": 2, "test": 1}
    assert data.notes() == []


def test_a_fold_of_a_split_that_is_the_same_for_all_folds_is_refused(tmp_path):
    for part in ("train/", "test/"):
        patients(tmp_path, 4, scans=1, before=part)
    for fold in (0, 7):
        with pytest.raises(
            DataError, match=rf"fold={fold}: split='official' has one test part, the same for every fold"
        ):
            of_patients(tmp_path, fold=fold, num_folds=3).setup()
    tests = [places(of_patients(tmp_path, split="grouped", fold=fold, num_folds=3)) for fold in range(3)]
    assert sorted(p for found in tests for p, parts in found.items() if parts == {"test"}) == sorted(tests[0])
    names = sorted(tests[0])
    table = tmp_path / "split.csv"
    table.write_text(
        "case,subset\n" + "".join(f"{n}__0,{('train', 'val', 'test')[i % 3]}\n" for i, n in enumerate(names))
    )
    places(of_patients(tmp_path, split=str(table)))
    with pytest.raises(DataError, match=r"fold=0: split='.*split\.csv' has one test part"):
        of_patients(tmp_path, split=str(table), fold=0).setup()


def test_a_group_that_the_expression_leaves_out_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"p00/0\.png: group='p00\|\(p\\\\d\+\)' finds no group in it"):
        of_patients(patients(tmp_path, 4), group=r"p00|(p\d+)").setup()


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        (ImageFolder, {"ignore": [128]}, r"ignore=\[128\]: coding='binary' does not read it\. Set coding index, with"),
        (ImageFolder, {"values": [0, 1]}, r"values=\[0, 1\]: coding='binary' does not read it\. Set coding index or"),
        (ImageFolder, {"coding": "index", "invert": True}, "invert=True: coding='index' .* Set coding binary or leave"),
        (ImageFolder, {"coding": "files", "invert": True}, "invert=True: coding='files'"),
        (ImageFolder, {"coding": "index", "threshold": 0}, "threshold=0: .* Set coding binary or files"),
        (ImageFolder, {"colours": [[0, 0, 0], [9, 9, 9]]}, "colours=.* Set coding colour"),
        (VolumeFolder, {"coding": "binary", "threshold": 0.5, "ignore": [255]}, r"ignore=\[255\]: coding='binary'"),
        (VolumeFolder, {"threshold": 0.5}, "threshold=0.5: coding='index'"),
    ],
)
def test_options_that_the_coding_does_not_read_are_refused(kind, options, match):
    with pytest.raises(DataError, match=match):
        kind(**options)


def test_what_is_ignored_beside_two_values_is_read_as_the_error_says(tmp_path):
    mask = BOX.copy()
    mask[:4] = 128
    for name in "abc":
        picture(tmp_path / f"images/{name}.png", ord(name))
        save_image(tmp_path / f"masks/{name}.png", mask)
    data = ImageFolder(root=str(tmp_path), coding="index", values=[0, 255], ignore=[128])
    (case, *_) = data.checked_cases()
    assert np.array_equal(data.label_reader().labels(case), np.where(mask == 128, 255, mask == 255))


def masks_of(data):
    return {case.name: [path.name for path in case.masks] for case in data.checked_cases()}


def test_masks_of_excluded_images_are_not_united_into_others(tmp_path):
    for name in ("case_0", "case_0_flipped", "case_1", "case_1_flipped"):
        picture(tmp_path / f"images/{name}.png", len(name) + int(name[5]))
        save_image(tmp_path / f"masks/{name}_mask.png", BOX)
    data = ImageFolder(root=str(tmp_path), masks="masks/{name}_*.png", exclude="images/*_flipped.png")
    assert masks_of(data) == {"case_0": ["case_0_mask.png"], "case_1": ["case_1_mask.png"]}
    assert data.orphans == data.unlabelled == []
    save_image(tmp_path / "masks/case_1_second.png", BOX)
    assert masks_of(data)["case_1"] == ["case_1_mask.png", "case_1_second.png"]
    (note,) = data.notes()
    assert note.startswith("masks of one image are united, 1 for case_0_mask.png, 2 for case_1_")
    save_image(tmp_path / "masks/case_0_second.png", BOX)
    assert len(masks_of(data)["case_0"]) == 2
    assert data.notes() == []


def test_an_excluded_twin_of_an_image_or_a_mask_beside_it_claims_nothing(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png", ord(name))
        picture(tmp_path / f"{name}.tif", ord(name))
        for number in ("1", "1_x"):
            save_image(tmp_path / f"{name}_{number}.png", BOX)
    data = ImageFolder(root=str(tmp_path), images="*", masks="{name}_*.png", exclude=["*.tif", "*_*.png"])
    assert masks_of(data) == {name: [f"{name}_1.png", f"{name}_1_x.png"] for name in "ab"}


@pytest.mark.parametrize("ending", [".png", ".tif", ".ome.tif", ".OME.TIFF", ".nii.gz", ".seg.nrrd"])
def test_an_ending_is_one_and_an_old_mask_is_none(ending):
    rule = expression("masks/{name}.*", {"name": "s0", "folder": ""})
    assert rule.fullmatch(f"masks/s0{ending}")
    assert not rule.fullmatch(f"masks/s0.old{ending}")
    assert expression("masks/{name}.*.*", {"name": "s0", "folder": ""}).fullmatch(f"masks/s0.old{ending}")
    assert expression("*.*").fullmatch(f"s0.old{ending}")


def test_an_older_mask_beside_is_told_and_not_united(tmp_path):
    for name in ("s0", "s1", "s2"):
        picture(tmp_path / f"images/{name}.png", ord(name[1]))
        save_image(tmp_path / f"masks/{name}.png", BOX)
    save_image(tmp_path / "masks/s0.old.png", 255 - BOX)
    data = ImageFolder(root=str(tmp_path))
    assert masks_of(data) == {name: [f"{name}.png"] for name in ("s0", "s1", "s2")}
    assert [path.name for path in data.orphans] == ["s0.old.png"]


def class_files(root, files, **options):
    """Two classes, a file each: of every case the file of class `liver` marks the first row, `tumour` the last."""
    for case, names in files.items():
        picture(root / f"images/{case}.png", ord(case))
        for row, name in zip((0, -1), names, strict=True):
            mask = np.zeros_like(BOX)
            mask[row] = 255
            save_image(root / f"masks/{name}", mask)
    return ImageFolder(root=str(root), coding="files", **options)


def test_files_of_classes_that_are_called_otherwise_in_one_case_are_refused(tmp_path):
    alike = {case: (f"{case}_liver.png", f"{case}_tumour.png") for case in "abc"}
    options = {"masks": "masks/{name}_*.png", "classes": ["background", "liver", "tumour"]}
    data = class_files(tmp_path / "a", alike, **options)
    for case in data.checked_cases():
        assert data.label_reader().labels(case)[[0, -1], 0].tolist() == [1, 2]
    other = alike | {"c": ("c_liver.png", "c_Tumour.png")}
    with pytest.raises(DataError, match=r"c_Tumour\.png: .* told apart by Tumour, liver, those beside a_liver\.png by"):
        class_files(tmp_path / "b", other, **options).checked_cases()
    with pytest.raises(DataError, match=r"a_tumour\.png: holds the name of class 'tumour' and is read as 'other'"):
        class_files(tmp_path / "c", alike, **options | {"classes": ["background", "tumour", "other"]}).checked_cases()
    turned = class_files(tmp_path / "d", alike, **options | {"classes": ["background", "tumour", "liver"]})
    for case in turned.checked_cases():
        assert turned.label_reader().labels(case)[[0, -1], 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("names", "masks", "classes"),
    [
        (("{}liver.png", "{}tumour.png"), "masks/{name}*.png", ["liver", "tumour"]),
        (("l/{}.png", "t/{}.png"), "masks/*/{name}.png", ["liver", "tumour"]),
        (("set {0}/{0}_1.png", "set {0}/{0}_2.png"), "masks/*/{name}_?.png", ["liver", "tumour"]),
        (("{}_liver.png", "{}_liver_tumour.png"), "masks/{name}_*.*", ["liver", "liver tumour"]),
        (("{}_rest_no_tumour.png", "{}_tumour.png"), "masks/{name}_*.png", ["rest", "tumour"]),
        (("{}_A.png", "{}_B.tif"), "masks/{name}_[AB].*", ["c", "b"]),
        (("{}_left.png", "{}_right.png"), "masks/{name}_*.*", ["h", "l"]),
    ],
)
def test_files_of_classes_in_order_are_read_whatever_the_pattern(tmp_path, names, masks, classes):
    files = {case: tuple(name.format(case) for name in names) for case in "abx"}
    data = class_files(tmp_path, files, masks=masks, classes=["background", *classes])
    for case in data.checked_cases():
        assert data.label_reader().labels(case)[[0, -1], 0].tolist() == [1, 2]


def test_a_class_that_only_a_test_case_holds_and_cases_of_no_part_are_told(tmp_path):
    names = [f"s{number}" for number in range(8)]
    for number, name in enumerate(names):
        mask = (BOX > 0).astype(np.uint8)
        if name == "s2":
            mask[0] = 2
        picture(tmp_path / f"images/{name}.png", number)
        save_image(tmp_path / f"masks/{name}.png", mask)
    table = tmp_path / "split.csv"
    options = {"root": str(tmp_path), "coding": "index", "classes": ["background", "box", "edge"], "split": str(table)}
    table.write_text("case,subset\ns0,train\ns1,val\ns2,test\n")
    data = ImageFolder(**options)
    data.setup("fit")
    untaught, left = data.notes()
    assert untaught.startswith("no training case holds class 'edge', which s2 holds: it cannot be learned")
    assert left == f"split={str(table)!r} leaves 5 of 8 cases out of all parts"
    table.write_text("case,subset\ns0,val\ns1,test\n" + "".join(f"{name},train\n" for name in names[2:]))
    data = ImageFolder(**options)
    data.setup("fit")
    assert data.notes() == []
