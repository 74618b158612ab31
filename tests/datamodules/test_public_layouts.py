"""Layouts and files of public sets that were divided or read otherwise than their owners mean them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from datamodules import DataError, ImageFolder, VolumeFolder
from datamodules.splits import own_part
from datamodules.verify import remarks, verify
from tests.data.common import save_image

SHAPE = (40, 48)
BOX = np.zeros(SHAPE, bool)
BOX[8:28, 10:34] = True
NOISE = np.random.default_rng(0).integers(0, 255, (8, *SHAPE), dtype=np.uint8)


def soft(mask, rounds=2):
    """A mask whose edges are blurred, 0 to 1; one half is where the mask ends."""
    values = mask.astype(float)
    for axis in (0, 1) * rounds:
        values = (np.roll(values, 1, axis) + values + np.roll(values, -1, axis)) / 3
    return values


def labels(data):
    return [data.label_reader().labels(case) for case in data.checked_cases()]


@pytest.mark.parametrize(
    "names",
    [
        ("Train_Folder", "Val_Folder", "Test_Folder"),
        ("Training400", "Validation400", "Test400"),
        ("TrainDataset", "valset", "TestDataset/CVC-300"),
        ("a. Training Set", "c. Validation", "b. Testing Set"),
    ],
)
def test_folders_that_begin_as_parts_of_a_split_are_these_parts_and_no_patients(tmp_path, names):
    for part in names:
        for number in range(3):
            save_image(tmp_path / part / f"img/{part[0]}{number}.png", NOISE[number])
            save_image(tmp_path / part / f"mask/{part[0]}{number}.png", 255 * BOX.astype(np.uint8))
    data = ImageFolder(root=str(tmp_path), images="{folder}/img/{name}.*", masks="{folder}/mask/{name}.*", channels=1)
    data.setup("fit")
    found = {
        part: {case.images[0].relative_to(tmp_path).parts[0] for case in own} for part, own in data.subsets.items()
    }
    assert found == {part: {name.split("/")[0]} for part, name in zip(("train", "val", "test"), names, strict=True)}


@pytest.mark.parametrize("name", ["latest", "valve", "testis", "trainer", "contest", "retrain", "train_test", "p07"])
def test_other_folders_are_no_parts(name):
    assert own_part(name) == ""


@pytest.mark.parametrize("top", [1000, 65535])
def test_soft_edges_of_other_scales_are_not_cut_at_127(tmp_path, top):
    for number in range(4):
        save_image(tmp_path / f"images/{number}.png", NOISE[number])
        (tmp_path / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"masks/{number}.tif", np.rint(top * soft(BOX)).astype(np.uint16))
    with pytest.raises(DataError, match=rf"the threshold 127 is not in the middle.*--data.threshold {top / 2:.6g}"):
        ImageFolder(root=str(tmp_path), channels=1).setup("fit")
    data = ImageFolder(root=str(tmp_path), channels=1, threshold=top / 2)
    assert all(np.array_equal(found, soft(BOX) > 0.5) for found in labels(data))


@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("ink", [(255, 255, 255), (200, 30, 30)])
def test_a_shape_painted_on_nothing_ends_where_its_transparency_does(tmp_path, ink, hidden):
    alpha = np.rint(255 * soft(BOX)).astype(np.uint8)
    colours = np.where(alpha[..., None] > 0, np.array(ink, np.uint8), np.uint8(hidden))
    for number in range(4):
        save_image(tmp_path / f"images/{number}.png", NOISE[number])
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.dstack([colours, alpha])).save(tmp_path / f"masks/{number}.png")
    found = labels(ImageFolder(root=str(tmp_path), channels=1))
    assert all(np.array_equal(own, soft(BOX) > 0.5) for own in found)


def test_files_of_named_classes_are_read_in_the_order_of_the_classes(tmp_path):
    cup = np.zeros(SHAPE, bool)
    cup[12:20, 14:24] = True
    for number in range(4):
        save_image(tmp_path / f"images/{number}.png", NOISE[number])
        save_image(tmp_path / f"masks/{number}_disc.png", 255 * BOX.astype(np.uint8))
        save_image(tmp_path / f"masks/{number}_cup.png", 255 * cup.astype(np.uint8))
    options = {"root": str(tmp_path), "masks": "masks/{name}_*.png", "coding": "files", "channels": 1}
    data = ImageFolder(**options, classes=["background", "disc", "cup"])
    assert all(np.array_equal(found, BOX.astype(int) + cup) for found in labels(data))
    with pytest.raises(DataError, match="no voxel of 4 masks is of class 'cup'"):
        ImageFolder(**options, classes=["background", "cup", "disc"]).setup("fit")


def test_a_foreground_that_no_training_case_holds_is_refused(tmp_path):
    for part in ("train", "val", "test"):
        for number in range(2):
            save_image(tmp_path / part / f"images/{part}{number}.png", NOISE[number])
            save_image(tmp_path / part / f"masks/{part}{number}.png", 255 * (BOX & (part != "train")).astype(np.uint8))
    options = {"images": "{folder}/images/{name}.*", "masks": "{folder}/masks/{name}.*", "channels": 1}
    with pytest.raises(DataError, match="no training case holds class 'foreground'"):
        ImageFolder(root=str(tmp_path), **options).setup("fit")


def test_verify_says_that_fit_would_not_divide_the_cases(tmp_path):
    for folder in ("left", "right"):
        for number in range(4):
            save_image(tmp_path / f"images/{folder}/{number}.png", NOISE[number])
            save_image(tmp_path / f"masks/{folder}/{number}.png", 255 * BOX.astype(np.uint8))
    data = ImageFolder(
        root=str(tmp_path), images="images/{folder}/{name}.*", masks="masks/{folder}/{name}.*", channels=1
    )
    told = remarks(data, list(verify(data)))
    assert any("fit refuses to divide these cases" in line and "too few to give" in line for line in told)


@pytest.mark.parametrize("imagej", [False, True])
def test_a_mask_stack_without_a_spacing_lies_where_its_image_does(tmp_path, imagej):
    volumes = np.random.default_rng(0).integers(0, 255, (4, 6, 20, 24), dtype=np.uint8)
    mask = np.zeros(volumes[0].shape, np.uint8)
    mask[1:4, 5:15, 6:16] = 1
    for number in range(4):
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)
        facts = {"axes": "ZYX", "unit": "um", "spacing": 5.0}
        tifffile.imwrite(
            tmp_path / f"images/{number}.tif", volumes[number], imagej=True, resolution=(2.0, 2.0), metadata=facts
        )
        tifffile.imwrite(tmp_path / f"masks/{number}.tif", mask, imagej=imagej, metadata={"axes": "ZYX"})
    data = VolumeFolder(root=str(tmp_path))
    reports = list(verify(data))
    assert [report.problems for report in reports] == [[]] * 4
    assert np.allclose(reports[0].spacing, (0.0005, 0.0005, 0.005))
    assert np.array_equal(labels(data)[0], mask.transpose(2, 1, 0) > 0)
