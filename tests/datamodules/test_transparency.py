"""A channel is transparency where the file declares it, and a channel of the data everywhere else."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from datamodules import DataError, ImageFolder, readers
from datamodules.inspection import inspect_folder
from tests.data.common import save_image

SHAPE = (24, 30)
CLASSES = np.zeros(SHAPE, np.uint8)
CLASSES[2:9, 2:20] = 1
CLASSES[10:15, 3:25] = 2
CLASSES[16:22, 8:16] = 3
NOISE = np.random.default_rng(0).integers(1, 255, (*SHAPE, 4), dtype=np.uint8)


def tiff(path, array, how):
    """Write `(H, W, C)` as TIFF whose channels are first or last, planes or samples, named or not."""
    planes = np.moveaxis(array, -1, 0)
    if how == "pages of OME":
        tifffile.imwrite(path, planes, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    elif how == "named pages":
        tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "CYX"})
    elif how == "planar":
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate")
    else:
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig", metadata=None)
    return path


WAYS = ("pages of OME", "named pages", "planar", "samples")


def folder(root, save, count=3):
    for number in range(count):
        save_image(root / f"images/{number}.png", NOISE[..., 0])
        (root / "masks").mkdir(exist_ok=True)
        save(root / "masks", str(number))
    return str(root)


def labels(data):
    return [data.label_reader().labels(case) for case in data.checked_cases()]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(("classes", "value"), [(2, 1), (4, 1), (4, 255), (5, 1)])
def test_one_channel_a_class_keeps_its_last_class(tmp_path, how, classes, value):
    truth = np.minimum(CLASSES, classes - 1)
    one_hot = np.stack([truth == number for number in range(classes)], -1).astype(np.uint8) * np.uint8(value)
    root = folder(tmp_path, lambda path, name: tiff(path / f"{name}.tif", one_hot, how))
    names = ["background", *"abcd"][:classes]
    absent = names[int(truth.max()) + 1 :]
    data = ImageFolder(root=root, channels=1, coding="index", classes=names, absent_classes=absent)
    assert all(np.array_equal(found, truth) for found in labels(data))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_differ_are_no_grey_values_and_no_colours(tmp_path, how, channels):
    array = np.random.default_rng(0).integers(0, 255, (*SHAPE, channels), dtype=np.uint8)
    path = tiff(tmp_path / "a.tif", array, how)
    for kind in ("grey", "colour"):
        with pytest.raises(DataError, match=rf"a\.tif: {channels} channels that differ.*--data.coding index"):
            readers.read_mask(path, kind)
    path = tiff(tmp_path / "b.tif", np.repeat(array[..., :1], channels, -1), how)
    assert np.array_equal(readers.read_mask(path, "grey"), array[..., 0])


@pytest.mark.parametrize("declared", ["unassalpha", "assocalpha"])
def test_a_declared_transparency_of_a_mask_is_left_out(tmp_path, declared):
    opaque = np.dstack([CLASSES, np.full(SHAPE, 255, np.uint8)])
    tifffile.imwrite(
        tmp_path / "a.tif", opaque, photometric="minisblack", extrasamples=[declared], planarconfig="contig"
    )
    assert np.array_equal(readers.read_mask(tmp_path / "a.tif", "labels"), CLASSES)
    for mode in ("LA", "RGBA"):
        Image.fromarray(CLASSES).convert(mode).save(tmp_path / "a.png")
        found = readers.read_mask(tmp_path / "a.png", "labels")
        assert np.array_equal(found if mode == "LA" else found[..., 0], CLASSES)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("channels", [2, 4])
def test_the_last_channel_of_an_image_counts_unless_the_file_declares_it_transparent(tmp_path, how, channels):
    path = tiff(tmp_path / "a.tif", NOISE[..., :channels], how)
    assert np.array_equal(readers.read_image(path, channels), NOISE[..., :channels])
    for declared in (1, 3):
        with pytest.raises(DataError, match=rf"a\.tif: {channels} channels, .* declares {declared}. Set channels to "):
            readers.read_image(path, declared)


@pytest.mark.parametrize("declared", ["unassalpha", "assocalpha"])
def test_declared_transparency_of_an_image_is_dropped_unless_it_is_asked_for(tmp_path, declared):
    options = {"extrasamples": [declared], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "rgb.tif", NOISE, photometric="rgb", **options)
    tifffile.imwrite(tmp_path / "grey.tif", NOISE[..., :2], photometric="minisblack", **options)
    save_image(tmp_path / "rgb.png", NOISE)
    for path in (tmp_path / "rgb.tif", tmp_path / "rgb.png"):
        assert np.array_equal(readers.read_image(path, 3), NOISE[..., :3])
        assert np.array_equal(readers.read_image(path, 4), NOISE)
    assert np.array_equal(readers.read_image(tmp_path / "grey.tif", 1), NOISE[..., :1])
    assert np.array_equal(readers.read_image(tmp_path / "grey.tif", 2), NOISE[..., :2])


def test_transparency_before_other_channels_is_found(tmp_path):
    five = np.dstack([NOISE, NOISE[..., 0] // 2])
    extra = {"extrasamples": ["unassalpha", "unspecified"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", five, photometric="rgb", **extra)
    assert np.array_equal(readers.read_image(tmp_path / "a.tif", 4), five[..., [0, 1, 2, 4]])
    assert np.array_equal(readers.read_image(tmp_path / "a.tif", 5), five)


def test_what_pillow_would_leave_out_needs_the_package_that_reads_it(tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    Image.fromarray(NOISE).save(tmp_path / "declared.tif", compression="tiff_lzw")
    extra = {"extrasamples": ["unspecified"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "undeclared.tif", NOISE, photometric="rgb", **extra)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", fails)
    assert np.array_equal(readers.read_image(tmp_path / "declared.tif", 3), NOISE[..., :3])
    with pytest.raises(DataError, match=r"undeclared\.tif: .*imagecodecs"):
        readers.read_image(tmp_path / "undeclared.tif", 3)


def images_of(root, arrays):
    for number, array in enumerate(arrays):
        for name in ("images", "masks"):
            (root / name).mkdir(exist_ok=True)
        tiff(root / f"images/{number}.tif", array, "pages of OME")
        save_image(root / f"masks/{number}.png", 255 * (CLASSES > 0).astype(np.uint8))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_inspect_tells_and_proposes_the_channels_of_the_images(tmp_path, channels):
    array = np.random.default_rng(0).integers(0, 255, (*SHAPE, channels), dtype=np.uint8)
    array[..., :3] = array[..., :1]  # grey but for the last channel, which is the signal
    array[..., -1] = CLASSES
    images_of(tmp_path, [array] * 4)
    found = inspect_folder(tmp_path)
    assert dict(found.options)["channels"] == str(channels)
    assert f"{channels} channels" in dict(found.facts)["format"]
    data = ImageFolder(**dict(found.options) | {"channels": channels})
    assert np.array_equal(data.make_pipeline().read_image(data.checked_cases()[0]), array)
    plain = ImageFolder(root=str(tmp_path))
    with pytest.raises(DataError, match=f"{channels} channels, but the data set declares 3"):
        plain.make_pipeline().read_image(plain.checked_cases()[0])


def test_inspect_says_that_images_differ_in_their_channels(tmp_path):
    images_of(tmp_path, [NOISE[..., :2], NOISE, NOISE])
    found = inspect_folder(tmp_path)
    assert "channels" not in dict(found.options)
    assert any("channels differ: 2 as 0.tif, 4 as " in hint for hint in found.hints)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("ink", [255, 0])
def test_a_case_that_is_transparent_everywhere_is_empty(tmp_path, ink, mode, ending):
    shapes = [CLASSES == 1, np.zeros(SHAPE, bool), CLASSES == 2]

    def save(path, name):
        colours = np.full((*SHAPE, len(mode) - 1), ink, np.uint8)
        Image.fromarray(np.dstack([colours, 255 * shapes[int(name)].astype(np.uint8)])).save(path / f"{name}.{ending}")

    root = folder(tmp_path, save)
    for options in ({}, {"coding": "index", "values": [0, 255]}):
        assert np.array_equal(labels(ImageFolder(root=root, channels=1, **options)), shapes)


def test_an_opaque_mask_is_what_its_colours_say(tmp_path):
    for ink in (0, 255):
        save_image(tmp_path / "a.png", np.dstack([np.full((*SHAPE, 3), ink, np.uint8), np.full(SHAPE, 255, np.uint8)]))
        assert (readers.read_mask(tmp_path / "a.png", "grey") == ink).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_colours_under_transparency_are_refused(tmp_path, channels):
    one_hot = np.stack([np.minimum(CLASSES, channels - 1) == number for number in range(channels)], -1)
    hidden = [255 * one_hot.astype(np.uint8)]  # saved by a program that takes the last class for transparency
    hidden.append(np.repeat(hidden[0][..., :1], channels, -1))
    hidden[1][..., -1] = 0
    for number, array in enumerate(hidden):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
        for kind in ("grey", "labels"):
            with pytest.raises(DataError, match=rf"{number}\.png: .* transparent. Save it without transparency"):
                readers.read_mask(tmp_path / f"{number}.png", kind)
    object_seen = np.dstack([hidden[0][..., :1]] * channels)
    Image.fromarray(object_seen).save(tmp_path / "seen.png")
    assert np.array_equal(readers.read_mask(tmp_path / "seen.png", "grey"), object_seen[..., 0])
