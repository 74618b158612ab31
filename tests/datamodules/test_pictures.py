"""Pictures of all kinds as an independent reader shows them, or refused in one line."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from datamodules import DataError, readers
from tests.data.common import save_image

GREY = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def shown(path, mode="RGB"):
    """By Pillow."""
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_as_pillow_shows_it(tmp_path, mode, compression):
    path = tmp_path / "a.tif"
    Image.fromarray(RGB).convert(mode).save(path, compression=compression)
    assert np.array_equal(readers.read_image(path, 3), shown(path))
    grey = readers.read_image(path, 1)[..., 0].astype(int)
    assert np.abs(grey - shown(path).astype(float) @ [0.299, 0.587, 0.114]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_png_as_pillow_shows_it(tmp_path, mode):
    path = save_image(tmp_path / "a.png", RGB, mode)
    assert np.array_equal(readers.read_image(path, 3), shown(path))


@pytest.mark.parametrize("ending", ["ppm", "pgm", "pnm", "pbm"])
def test_portable_maps(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(GREY).convert({"pgm": "L", "pbm": "1"}.get(ending, "RGB")).save(path, format="ppm")
    assert np.array_equal(readers.read_image(path, 3), shown(path))
    assert readers.files(tmp_path, readers.IMAGE_ENDINGS) == [path]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(kind), photometric="miniswhite")
    assert np.array_equal(readers.read_image(tmp_path / "a.tif", 1)[..., 0], np.iinfo(kind).max - GREY.astype(kind))
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(DataError, match=r"b\.tif: WhiteIsZero"):
        readers.read_image(tmp_path / "b.tif", 1)


def test_boolean_arrays_that_tifffile_wrote_are_as_given(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY > 100)
    assert np.array_equal(readers.read_mask(tmp_path / "a.tif", "labels"), GREY > 100)
    assert np.array_equal(readers.read_mask(tmp_path / "a.tif", "grey"), 255 * (GREY > 100))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_stretched_as_greys_and_kept_as_labels(tmp_path, bits):
    labels = GREY % 2**bits
    path = tmp_path / "a.png"
    packed = np.packbits(np.unpackbits(labels[..., None], axis=-1)[..., 8 - bits :].reshape(20, -1), axis=-1)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 30, 20, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    data = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))
    assert np.array_equal(readers.read_mask(path, "labels"), labels)
    assert np.array_equal(readers.read_mask(path, "grey"), shown(path, "L"))
    assert np.array_equal(readers.read_mask(path, "colour"), shown(path))


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_tiff_of_odd_bits(tmp_path, bits):
    pytest.importorskip("imagecodecs")
    labels = (GREY.astype(int) % 2**bits).astype(np.uint8 if bits < 8 else np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels, bitspersample=bits, photometric="minisblack")
    assert np.array_equal(readers.read_mask(tmp_path / "a.tif", "labels"), labels)
    factor = 255 // (2**bits - 1) if bits < 8 else 1
    assert np.array_equal(readers.read_image(tmp_path / "a.tif", 1)[..., 0], labels * factor)


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_channels_of_tiff_first_or_last_planar_or_not(tmp_path, channels, kind):
    array = (np.random.default_rng(0).random((20, 30, channels)) * 200).astype(kind)
    first = np.moveaxis(array, -1, 0)
    tifffile.imwrite(tmp_path / "last.tif", array, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "pages.tif", first, photometric="minisblack")
    tifffile.imwrite(tmp_path / "planar.tif", first, photometric="minisblack", planarconfig="separate")
    tifffile.imwrite(tmp_path / "ome.ome.tif", first, photometric="minisblack", metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "unnamed.tif", array, photometric="minisblack", metadata=None, planarconfig="contig")
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(readers.read_image(path, channels), array), path
    with pytest.raises(DataError, match=rf"{channels} channels, but the data set declares 7. Set channels"):
        readers.read_image(tmp_path / "ome.ome.tif", 7)


def test_stacks_are_no_pictures_and_several_frames_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "z.ome.tif", np.stack([GREY] * 4), metadata={"axes": "ZYX"}, photometric="minisblack")
    with pytest.raises(DataError, match=r"are a stack, no picture\. Read it as a volume"):
        readers.read_image(tmp_path / "z.ome.tif", 1)
    frames = [Image.fromarray(GREY), Image.fromarray(GREY // 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.gif: holds 2 frames"):
        readers.read_mask(tmp_path / "a.gif", "grey")
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(GREY)
        file.write(RGB)
    with pytest.raises(DataError, match=r"two\.tif: holds 2 pictures of different kinds"):
        readers.read_image(tmp_path / "two.tif", 3)


def test_sixteen_bits_of_colour_are_kept(tmp_path):
    import cv2

    deep = RGB.astype(np.uint16) * 201
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    assert np.array_equal(readers.read_image(tmp_path / "a.png", 3), deep)


def test_lab_is_refused_and_palettes_of_tiff_are_colours(tmp_path):
    tifffile.imwrite(tmp_path / "lab.tif", RGB, photometric="cielab")
    with pytest.raises(DataError, match=r"lab\.tif: is in the colour space CIELAB. Save it as RGB"):
        readers.read_image(tmp_path / "lab.tif", 3)
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", GREY, photometric="palette", colormap=colours)
    assert np.array_equal(readers.read_image(tmp_path / "p.tif", 3), np.moveaxis(colours[:, GREY] >> 8, 0, -1))
    assert np.array_equal(readers.read_mask(tmp_path / "p.tif", "labels"), GREY)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.fromarray(GREY % 3)
    image.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255, 255]))
    assert set(map(tuple, readers.read_image(tmp_path / "a.png", 3).reshape(-1, 3).tolist())) == {
        (0, 0, 0),
        (250, 0, 0),
        (0, 250, 0),
    }


def test_a_shape_that_lies_in_the_transparency_is_found(tmp_path):
    mask = (GREY > 100).astype(np.uint8) * 255
    save_image(tmp_path / "a.png", np.dstack([np.zeros_like(RGB), mask]))
    assert np.array_equal(readers.read_mask(tmp_path / "a.png", "grey"), mask)


def test_the_limit_of_size_is_one_for_all_formats_and_can_be_set(tmp_path, monkeypatch):
    import nibabel

    paths = [save_image(tmp_path / f"a.{ending}", RGB) for ending in ("png", "tif", "bmp", "jpg", "gif", "ppm")]
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 30, 3), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.setenv("SEGMENTATION_MAX_VOXELS", "500")
    for path in paths:
        with pytest.raises(DataError, match=rf"{path.name}: .*more than 500 pixels.*SEGMENTATION_MAX_VOXELS=\d+"):
            readers.read_image(path, 3)
    with pytest.raises(DataError, match=r"a\.nii\.gz: 20x30x3 are more than 500"):
        readers.read_volume(tmp_path / "a.nii.gz")
    monkeypatch.setenv("SEGMENTATION_MAX_VOXELS", "2e3")
    for path in paths:
        assert readers.read_image(path, 3).shape == (20, 30, 3)


def test_pillow_s_own_limit_does_not_bind(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert readers.read_image(save_image(tmp_path / "a.png", RGB), 3).shape == (20, 30, 3)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    path = save_image(tmp_path / "a.png", GREY)
    data = bytearray(path.read_bytes())
    for position in range(40, len(data), 37):
        data[position] ^= 4
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.png: cannot be read"):
            readers.read_image(path, 1)
        data[position] ^= 4


def test_without_imagecodecs_pillow_decodes_or_the_error_names_the_extra(tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    labels = GREY % 16
    Image.fromarray(RGB).save(tmp_path / "rgb.tif", compression="tiff_lzw")
    tifffile.imwrite(tmp_path / "labels.tif", labels, bitspersample=4, photometric="minisblack")
    tifffile.imwrite(tmp_path / "deep.tif", RGB.astype(np.uint16), photometric="rgb")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", fails)
    assert np.array_equal(readers.read_image(tmp_path / "rgb.tif", 3), RGB)
    assert np.array_equal(readers.read_mask(tmp_path / "labels.tif", "labels"), labels)
    assert np.array_equal(readers.read_mask(tmp_path / "labels.tif", "grey"), labels * 17)
    with pytest.raises(DataError, match=r"deep\.tif: .*imagecodecs.*calibrated-segmentation\[formats\]"):
        readers.read_image(tmp_path / "deep.tif", 3)
