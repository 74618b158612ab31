"""What a mask holds is looked at before it is believed: right, or refused in one line."""

import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from datamodules import Augment2D, DataError, Decathlon, ImageFolder, NNUNetRaw
from datamodules.case import Case
from datamodules.inspection import inspect_folder
from datamodules.masks import IGNORE, Binary, Index, PerClass, one_channel
from datamodules.values import counted, filled
from datamodules.volume_reader import VolumeReader
from tests.data.common import save_image, save_palette, save_volume

SHAPE = (48, 40)
BOX = np.zeros(SHAPE, bool)
BOX[10:34, 8:30] = True
TWO = BOX.astype(np.uint8)
TWO[20:34] *= 2


def folder(root, save, count=4, ending="png"):
    """Images, and masks as `save(path, number)` writes them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        save_image(root / f"images/{number}.png", rng.integers(0, 255, (*SHAPE, 3)).astype(np.uint8))
        (root / "masks").mkdir(exist_ok=True)
        save(root / f"masks/{number}.{ending}", number)
    return str(root)


def labels(data):
    return [data.label_reader().labels(case) for case in data.checked_cases()]


def tiff(array):
    def save(path, number):
        import tifffile

        tifffile.imwrite(path, array)

    return save


def png(array, mode=None):
    return lambda path, number: save_image(path, array, mode)


def palette(path, number):
    save_palette(path, BOX.astype(np.uint8), [(0, 0, 0), (128, 0, 0)])


RED = np.zeros((*SHAPE, 3), np.uint8)
RED[BOX, 0] = 255
UNSEEN = {
    "0 and 1": (png(BOX.astype(np.uint8)), "png", "--data.threshold 0.5"),
    "float 0..1": (tiff(BOX.astype(np.float32)), "tif", "--data.threshold 0.5"),
    "dark palette": (palette, "png", "--data.threshold 19"),
    "pure red": (png(RED), "png", "--data.threshold 38"),
    "three classes": (png(TWO), "png", r"--data.values \[0,1,2\] .* --data.threshold 0 joins"),
    "grey classes": (png(TWO * np.uint8(100)), "png", r"--data.values \[0,100,200\]"),
    "bright ground": (png((200 + 55 * BOX).astype(np.uint8)), "png", "all would be foreground.*--data.threshold 227.5"),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_threshold_that_does_not_part_the_values_is_refused_with_the_options_that_do(tmp_path, kind):
    save, ending, advice = UNSEEN[kind]
    root = folder(tmp_path, save, ending=ending)
    with pytest.raises(DataError, match=rf"masks/0\.{ending}: values .*{advice}") as caught:
        ImageFolder(root=root).setup("fit")
    assert "\n" not in str(caught.value)


def test_the_options_that_are_proposed_give_the_mask(tmp_path):
    root = folder(tmp_path, png(BOX.astype(np.uint8)))
    assert all(np.array_equal(mask, BOX) for mask in labels(ImageFolder(root=root, threshold=0.5)))
    root = folder(tmp_path / "b", png(TWO * np.uint8(100)))
    three = ImageFolder(root=root, coding="index", values=[0, 100, 200], classes=["a", "b", "c"])
    assert all(np.array_equal(mask, TWO) for mask in labels(three))


def test_numbers_of_objects_are_refused_until_the_threshold_is_given(tmp_path):
    numbers = np.zeros(SHAPE, np.uint16)
    for number in range(300):
        numbers[number % 48, (number // 48) * 6 : (number // 48) * 6 + 4] = number + 1
    root = folder(tmp_path, tiff(numbers), ending="tif")
    with pytest.raises(DataError, match=r"values 0, 1, 2, \.\.\. 299, 300 \(301 values\): more than an object"):
        ImageFolder(root=root).setup()
    assert all(np.array_equal(mask, numbers > 0) for mask in labels(ImageFolder(root=root, threshold=0)))


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 1, 2, 20, 255], [0, 7, 300, 301]])
def test_classes_and_objects_close_to_the_ground_are_not_lost_below_the_threshold(values):
    mask = np.zeros((40, 40), np.uint16)
    for number, value in enumerate(values[1:]):
        mask[8 * number : 8 * number + 7, 3:23] = value
    with pytest.raises(DataError, match=r"m.png: values 0, .* more than an object and its ground"):
        Binary(given=False, cure=None).decode([mask], [Path("m.png")])


@pytest.mark.parametrize("pixels", [1, 8])
def test_a_class_close_to_the_ground_is_not_lost_however_small(pixels):
    mask = np.zeros((40, 40), np.uint8)
    mask[5:30, 5:30] = 255
    mask[34, :pixels] = 1
    with pytest.raises(DataError, match=r"m.png: values 0, 1, 255: more than an object and its ground"):
        Binary(given=False, cure=None).decode([mask], [Path("m.png")])


def disc(radius, place=(32, 32), size=64):
    y, x = np.mgrid[:size, :size]
    return (y - place[0]) ** 2 + (x - place[1]) ** 2 < radius**2


@pytest.mark.parametrize("value", [20, 100, 128, 200])
@pytest.mark.parametrize(
    "small", [disc(6), disc(3), disc(3, (6, 6)), disc(4, (32, 52))], ids=["within", "small", "apart", "at the rim"]
)
def test_one_exact_value_in_a_region_is_a_class_however_small(tmp_path, value, small):
    mask = np.where(small, value, 255 * disc(20)).astype(np.uint8)
    root = folder(tmp_path, png(mask))
    advice = rf"--data.coding index --data.values \[0,{value},255\] .* edges, set --data.threshold 127.5"
    with pytest.raises(DataError, match=rf"0\.png: values 0, {value}, 255: more than an object and its .*{advice}"):
        Binary(given=False, cure=None).decode([mask], [Path(root, "masks/0.png")])
    assert dict(inspect_folder(Path(root)).options)["values"] == f"[0,{value},255]"
    np.testing.assert_array_equal(Binary(127).decode([mask], [Path("m.png")]), mask > 127)


@pytest.mark.parametrize("how", ["half", "shifted", "third"])
@pytest.mark.parametrize("shape", ["disc", "box", "many"])
def test_few_values_along_edges_are_soft_edges(how, shape):
    many = np.any([disc(5, place, 120) for place in np.random.default_rng(0).integers(8, 112, (25, 2))], axis=0)
    box = np.zeros((120, 120), bool)
    box[21:88, 17:70] = True
    sharp = 255 * {"disc": disc(31, (60, 61), 120), "box": box, "many": many}[shape].astype(np.int64)
    if how == "shifted":
        soft = (sharp[:, 1:] + sharp[:, :-1]) // 2
    else:
        size = 2 if how == "half" else 3
        soft = sharp.reshape(120 // size, size, 120 // size, size).mean((1, 3))
    soft = np.rint(soft).astype(np.uint8)
    assert not filled(soft, np.unique(soft))
    if shape != "many":  # edges that are a large part of small objects are refused until the threshold is given
        np.testing.assert_array_equal(Binary(given=False, cure=None).decode([soft], [Path("m.png")]), soft > 127)


def test_three_stray_pixels_are_no_class():
    mask = 255 * disc(20).astype(np.uint8)
    mask[30:33, 30] = 130  # as in the labels of AxonSEM
    np.testing.assert_array_equal(Binary(given=False, cure=None).decode([mask], [Path("m.png")]), mask > 127)
    mask[30:32, 31] = 130
    with pytest.raises(DataError, match="values 0, 130, 255: more than an object"):
        Binary(given=False, cure=None).decode([mask], [Path("m.png")])


def test_a_class_in_a_volume_is_no_edge():
    cube = np.zeros((20, 20, 20), np.uint8)
    cube[2:18, 2:18, 2:18] = 255
    cube[8:11, 8:11, 8:11] = 128
    with pytest.raises(DataError, match=r"values 0, 128, 255: more than an object"):
        Binary(given=False, cure=None).decode([cube], [Path("m.nii.gz")])
    whole = np.zeros((20, 20, 20))
    whole[3:17, 3:17, 3:17] = 1
    soft = whole.reshape(10, 2, 10, 2, 10, 2).mean((1, 3, 5))
    assert not filled(soft, np.unique(soft))


def jpeg(array):
    return lambda path, number: Image.fromarray(array.astype(np.uint8)).save(path, "JPEG", quality=95)


@pytest.mark.parametrize("array", [BOX, TWO, TWO * 100], ids=["0 and 1", "0 to 2", "grey classes"])
@pytest.mark.parametrize("options", [{}, {"threshold": 0}, {"coding": "index", "classes": ["a", "b", "c"]}])
def test_classes_in_a_jpeg_are_refused(tmp_path, array, options):
    root = folder(tmp_path, jpeg(array), ending="jpg")
    with pytest.raises(DataError, match=r"0\.jpg: .*\. Store the masks anew as PNG or TIFF"):
        ImageFolder(root=root, **options).setup("fit")


def test_lossy_storage_and_interpolation_are_no_classes():
    mask = np.zeros((60, 60), np.uint8)
    mask[11:37, 13:42] = 255
    for quality in (50, 75, 95, 100):
        file = io.BytesIO()
        Image.fromarray(mask).save(file, "JPEG", quality=quality)
        found = Binary(given=False, cure=None).decode([np.asarray(Image.open(file))], [Path("m.jpg")])
        np.testing.assert_array_equal(found, mask > 127)
    for method in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
        soft = np.asarray(Image.fromarray(mask).resize((157, 143), method))
        np.testing.assert_array_equal(Binary(given=False, cure=None).decode([soft], [Path("m.png")]), soft > 127)


def test_soft_edges_empty_and_full_masks_are_read():
    soft = np.asarray(Image.fromarray(255 * BOX.astype(np.uint8)).resize((97, 103), Image.Resampling.BICUBIC))
    coding = Binary(given=False)
    assert np.array_equal(coding.decode([soft], ["a"]), soft > 127)
    assert not coding.decode([np.zeros(SHAPE, np.uint8)], ["a"]).any()
    assert coding.decode([np.full(SHAPE, 255, np.uint8)], ["a"]).all()
    with pytest.raises(DataError, match="values 1: none is above"):
        coding.decode([np.ones(SHAPE, np.uint8)], ["a"])
    with pytest.raises(DataError, match="not finite"):
        coding.decode([np.full(SHAPE, np.nan)], ["a"])
    with pytest.raises(DataError, match=r"^b: values 0, 1"):
        PerClass().decode([255 * BOX, BOX.astype(np.uint8)], ["a", "b"])


@pytest.mark.parametrize(
    ("save", "ending", "bands"),
    [
        (png(255 * BOX.astype(np.uint8), "1"), "png", "1"),
        (tiff(BOX), "tif", "1"),
        (png(np.dstack([np.full((*SHAPE, 3), 255, np.uint8), 255 * BOX.astype(np.uint8)])), "png", "RGBA"),
    ],
    ids=["1-bit PNG", "1-bit TIFF", "drawn in alpha"],
)
def test_one_bit_and_alpha_masks_are_read_under_both_codings(tmp_path, save, ending, bands):
    root = folder(tmp_path, save, ending=ending)
    assert all(np.array_equal(mask, BOX) for mask in labels(ImageFolder(root=root)))
    values = [0, 255] if bands == "RGBA" else [0, 1]
    assert all(np.array_equal(mask, BOX) for mask in labels(ImageFolder(root=root, coding="index", values=values)))


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(np.zeros(SHAPE, np.uint8)), Image.fromarray(255 * BOX.astype(np.uint8))]

    def save(path, number):
        frames[0].save(path, save_all=True, append_images=frames[1:])

    with pytest.raises(DataError, match=r"0\.gif: holds 2 frames"):
        ImageFolder(root=folder(tmp_path, save, ending="gif")).setup()


def test_labels_in_equal_channels_and_one_channel_a_class():
    assert np.array_equal(one_channel(np.repeat(TWO[..., None], 3, -1), SHAPE, 3, "a"), TWO)
    opaque = np.dstack([TWO, TWO, TWO, np.full(SHAPE, 255, np.uint8)])
    assert np.array_equal(one_channel(opaque, SHAPE, 3, "a"), TWO)
    one_hot = np.stack([number == TWO for number in range(3)], -1).astype(np.uint8)
    assert np.array_equal(one_channel(one_hot, SHAPE, 3, "a"), TWO)
    assert np.array_equal(one_channel(255 * one_hot[..., 1:], SHAPE, 3, "a"), TWO)
    one_hot[12, 12] = 1
    with pytest.raises(DataError, match=r"^a: 3 channels that differ, for 3 classes"):
        one_channel(one_hot, SHAPE, 3, "a")


def test_255_is_ignored_only_where_the_data_set_declares_it(tmp_path):
    mask = 255 * BOX.astype(np.uint8)
    root = folder(tmp_path, png(mask))
    with pytest.raises(DataError, match=r"value 255 \(528 voxels\) is no declared label; .*--data.ignore"):
        ImageFolder(root=root, coding="index").setup()
    assert all(np.array_equal(m, BOX) for m in labels(ImageFolder(root=root, coding="index", values=[0, 255])))
    mask = np.where(TWO == 2, 255, TWO).astype(np.uint8)
    declared = ImageFolder(root=folder(tmp_path / "b", png(mask)), coding="index", ignore=[255])
    assert all(np.array_equal(found, mask) for found in labels(declared))


def test_a_class_that_no_mask_holds_is_refused_before_training_and_only_then(tmp_path):
    root = folder(tmp_path, png(np.zeros(SHAPE, np.uint8)))
    with pytest.raises(DataError, match=r"'background' fills all 4 masks.*masks/0\.png holds 0\..*absent_classes"):
        ImageFolder(root=root).setup("fit")
    ImageFolder(root=root).setup("test")
    ImageFolder(root=root, absent_classes=["foreground"]).setup("fit")
    root = folder(tmp_path / "three", png(TWO))
    with pytest.raises(DataError, match=r"no voxel of 4 masks is of class 'd'.*absent_classes \[d\]"):
        ImageFolder(root=root, coding="index", classes=["a", "b", "c", "d"]).setup("fit")


def test_classes_that_differ_in_their_side_alone_are_told_where_training_mirrors(tmp_path):
    options = {"root": folder(tmp_path, png(TWO)), "coding": "index", "classes": ["other", "left lung", "right lung"]}
    assert any("'left lung' and 'right lung' differ in their side" in note for note in ImageFolder(**options).notes())
    for still in ({"augment": False}, {"augmentation": Augment2D(mirror=(0.5, 0.0))}):
        assert ImageFolder(**options, **still).notes() == []


def test_what_was_found_sound_is_not_read_again_and_a_changed_file_is(tmp_path, monkeypatch):
    root = folder(tmp_path, png(255 * BOX.astype(np.uint8)))
    ImageFolder(root=root).setup("fit")
    calls = []
    read = Binary.decode
    monkeypatch.setattr(Binary, "decode", lambda *a: calls.append(a) or read(*a))
    ImageFolder(root=root).setup("fit")
    assert not calls
    save_image(tmp_path / "masks/2.png", BOX.astype(np.uint8))
    with pytest.raises(DataError, match=r"masks/2\.png: values 0, 1"):
        ImageFolder(root=root).setup("fit")
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
def test_negative_labels_are_told_from_the_largest(kind):
    top = min(np.iinfo(kind).max, 60_000)
    mask = np.array([[-1, 0, top], [top, top, -1]], kind)
    found = Index(2, {-1: IGNORE, 0: 0, top: 1}).decode([mask], [Path("a.nii.gz")])
    assert found.tolist() == [[255, 0, 1], [1, 1, 255]]
    values, counts = counted(mask)
    assert values.tolist() == [-1, 0, top]
    assert counts.tolist() == [2, 1, 3]
    with pytest.raises(DataError, match=rf"value {top} \(3 voxels\) is no declared label; the file holds -1, 0, {top}"):
        Index(2, {-1: IGNORE, 0: 0}).decode([mask], [Path("a.nii.gz")])


# Volumes

CUBE = np.zeros((12, 10, 8), np.uint8)
CUBE[3:8, 3:8, 2:6] = 1


def raw_folder(root, mask, names, affine=None, **facts):
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.normal(100, 20, mask.shape).astype(np.float32)
        save_volume(root / f"imagesTr/c{number}_0000.nii.gz", image)
        save_volume(root / f"labelsTr/c{number}.nii.gz", mask, np.eye(4) if affine is None else affine)
    facts = {"channel_names": {"0": "MR"}, "labels": names, "file_ending": ".nii.gz"} | facts
    (root / "dataset.json").write_text(json.dumps(facts))
    return str(root)


def test_a_stray_label_never_joins_another_class(tmp_path):
    mask = 5 * CUBE
    mask[3, 3, 2] = 1
    mask[4, 4, 4] = 2
    root = raw_folder(tmp_path, mask, {"background": 0, "x": 2, "y": 5})
    with pytest.raises(
        DataError, match=r"c0\.nii\.gz: value 1 \(1 voxels\) is no declared label; .* declared are 0, 2, 5"
    ):
        NNUNetRaw(root=root).setup("fit")
    mask[3, 3, 2] = 0
    data = NNUNetRaw(root=raw_folder(tmp_path, mask, {"background": 0, "x": 2, "y": 5}))
    assert data.label_values == (0, 2, 5)
    assert all(np.array_equal(np.array([0, 2, 5])[found], mask) for found in labels(data))


def test_0_and_255_in_volumes_are_refused_or_declared(tmp_path):
    root = raw_folder(tmp_path, 255 * CUBE, {"background": 0, "a": 1})
    with pytest.raises(DataError, match=r"value 255 \(100 voxels\).*Name it in labels of .*dataset\.json"):
        NNUNetRaw(root=root).setup("fit")
    data = NNUNetRaw(root=raw_folder(tmp_path / "b", 255 * CUBE, {"background": 0, "a": 255}))
    data.setup("fit")
    assert all(np.array_equal(found, CUBE) for found in labels(data))


@pytest.mark.parametrize(
    "affine",
    [np.diag([-1.0, 1, 1, 1]), np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])],
    ids=["mirrored", "permuted"],
)
def test_masks_that_lie_elsewhere_in_space_are_refused_before_training(tmp_path, affine):
    if affine[0, 0] < 0:
        affine[0, 3] = CUBE.shape[0] - 1  # the same place in space: only the order of the voxels differs
    root = raw_folder(tmp_path, CUBE, {"background": 0, "a": 1}, affine)
    with pytest.raises(DataError, match=r"labelsTr/c0\.nii\.gz: lies up to .* mm off .*ignore_affine"):
        NNUNetRaw(root=root).setup("fit")
    NNUNetRaw(root=root, ignore_affine=True).setup("fit")


def test_masks_of_several_channels_are_one_hot_or_refused_in_3d(tmp_path):
    one_hot = np.stack([CUBE == 0, CUBE == 1], -1).astype(np.uint8)
    data = NNUNetRaw(root=raw_folder(tmp_path, one_hot, {"background": 0, "a": 1}))
    for number in range(4):
        save_volume(tmp_path / f"imagesTr/c{number}_0000.nii.gz", np.random.default_rng(number).random(CUBE.shape))
    assert all(np.array_equal(found, CUBE) for found in labels(data))


def test_a_decathlon_task_of_ones_own_refuses_255(tmp_path):
    for number in range(3):
        save_volume(
            tmp_path / f"Task99_Own/imagesTr/c{number}.nii.gz", np.random.default_rng(number).random(CUBE.shape)
        )
        save_volume(tmp_path / f"Task99_Own/labelsTr/c{number}.nii.gz", 255 * CUBE)
    with pytest.raises(DataError, match=r"c0\.nii\.gz: value 255 \(100 voxels\) is no declared label"):
        Decathlon(root=str(tmp_path), task="Task99_Own", classes=["background", "a"]).setup("fit")


def test_nothing_counts_outside_the_field_of_view_of_a_volume(tmp_path):
    rng = np.random.default_rng(0)
    truth, field = rng.integers(0, 2, (6, 5, 4)).astype(np.uint8), np.zeros((6, 5, 4), np.uint8)
    field[:3] = 1
    arrays = {"image": rng.normal(size=(6, 5, 4)).astype(np.float32), "mask": truth, "valid": field}
    for name, array in arrays.items():
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    image, mask, valid = (tmp_path / f"{name}.nii.gz" for name in arrays)
    reader = VolumeReader(Index(2), None, 1)
    case = Case("a", (image,), (mask,), valid=valid)
    assert np.array_equal(reader.labels(case), np.where(field, truth, IGNORE))
    assert np.array_equal(reader.read(case).labels, np.where(field, truth, IGNORE))


def test_a_channel_that_dataset_json_does_not_name_is_refused(tmp_path):
    noise = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    for number in range(2):
        save_volume(tmp_path / f"imagesTr/a_{number:04d}.nii.gz", noise)
    save_volume(tmp_path / "labelsTr/a.nii.gz", (noise > 1).astype(np.uint8))
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"a_0001.nii.gz: is a channel that .* does not name, channel_names has 1"):
        NNUNetRaw(root=str(tmp_path)).find_cases()
    facts["channel_names"]["1"] = "CT"
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    assert len(NNUNetRaw(root=str(tmp_path)).find_cases()[0].images) == 2


def test_two_masks_that_differ_by_the_ending_alone_are_refused_and_a_dead_link_is_named(tmp_path):
    for name in "abcd":
        save_image(tmp_path / f"images/{name}.png", np.arange(64, dtype=np.uint8).reshape(8, 8))
        save_image(tmp_path / f"masks/{name}.png", 255 * np.eye(8, dtype=np.uint8))
    save_image(tmp_path / "masks/a.tif", 255 * np.eye(8, dtype=np.uint8)[::-1])
    with pytest.raises(DataError, match=r"a.png and .*a.tif: are both masks of a.png and differ by the ending alone"):
        ImageFolder(root=str(tmp_path), channels=1).find_cases()
    (tmp_path / "masks/a.tif").unlink()
    (tmp_path / "masks/b.png").unlink()
    (tmp_path / "masks/b.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"b.png: is a link to nothing"):
        ImageFolder(root=str(tmp_path), channels=1).setup()
