"""Oddities of files, and files that are broken."""

import numpy as np
import pytest
import tifffile

from datamodules import DataError, readers
from datamodules.masks import Binary, Colour, Index, PerClass
from tests.data.common import save_image, save_palette, save_volume

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def test_rgba_loses_its_alpha_and_grey_is_repeated(tmp_path):
    rgba = np.stack([GRADIENT, GRADIENT // 2, GRADIENT // 3, np.full_like(GRADIENT, 200)], axis=-1)
    assert np.array_equal(readers.read_image(save_image(tmp_path / "a.png", rgba), 3), rgba[..., :3])
    grey = readers.read_image(save_image(tmp_path / "b.png", GRADIENT), 3)
    assert np.array_equal(grey, np.repeat(GRADIENT[..., None], 3, -1))
    assert readers.read_image(tmp_path / "a.png", 1).shape == (6, 8, 1)


def test_rgb_tiff_with_a_grey_photometric_tag_that_pillow_refuses(tmp_path):
    from PIL import Image, UnidentifiedImageError

    rgb = np.repeat(GRADIENT[..., None], 3, -1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)
    assert np.array_equal(readers.read_image(path, 3), rgb)


def test_sixteen_bit_images_keep_their_depth(tmp_path):
    deep = GRADIENT.astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", deep)
    save_image(tmp_path / "a.png", deep)
    for name in ("a.tif", "a.png"):
        assert np.array_equal(readers.read_image(tmp_path / name, 1)[..., 0], deep)


def test_palette_images_are_read_by_colour_and_palette_masks_by_index(tmp_path):
    path = save_palette(tmp_path / "a.png", GRADIENT % 3, [(0, 0, 0), (255, 0, 0), (0, 255, 0)])
    assert readers.read_image(path, 3)[0, 2].tolist() == [
        255 * int(GRADIENT[0, 2] % 3 == 1),
        255 * int(GRADIENT[0, 2] % 3 == 2),
        0,
    ]
    assert np.array_equal(readers.read_mask(path, "labels"), GRADIENT % 3)


def test_lossy_palette_gif_is_thresholded_by_colour_not_by_index(tmp_path):
    mask = GRADIENT > 100
    path = save_palette(tmp_path / "a.gif", mask, [(4, 4, 4), (252, 252, 252)])
    decoded = Binary().decode([readers.read_mask(path, "grey")], [path])
    assert np.array_equal(decoded, mask)


def test_one_bit_rgb_and_interpolated_masks(tmp_path):
    mask = GRADIENT > 127
    one = save_image(tmp_path / "one.png", 255 * mask.astype(np.uint8), mode="1")
    rgb = save_image(tmp_path / "rgb.png", np.repeat(255 * mask.astype(np.uint8)[..., None], 3, -1))
    soft = save_image(tmp_path / "soft.png", GRADIENT)
    for path in (one, rgb, soft):
        assert np.array_equal(Binary().decode([readers.read_mask(path, "grey")], [path]), mask)


def test_codings(tmp_path):
    a, b = np.array([[0, 200, 200]]), np.array([[0, 0, 200]])
    assert Binary().decode([a, b], [tmp_path] * 2).tolist() == [[0, 1, 1]]
    assert PerClass().decode([a, b], [tmp_path] * 2).tolist() == [[0, 1, 2]]
    assert Index(3, {0: 0, 4: 2, 9: 255}).decode([np.array([[0.0, 4.0, 9.0]])], [tmp_path]).tolist() == [[0, 2, 255]]
    colours = np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8)
    assert Colour(((0, 0, 0), (255, 0, 0))).decode([colours], [tmp_path]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("coding", "array", "match"),
    [
        (
            Index(3),
            np.array([[0, 7]]),
            r"value 7 \(1 voxels\) is no .* holds 0, 7, declared are 0, 1, 2",
        ),
        (Index(3), np.array([[0, 0.5]]), "0.5 is no label"),
        (Index(3), np.array([[0, np.nan]]), "not finite"),
        (Colour(((0, 0, 0),)), np.array([[[1, 2, 3]]]), r"colour \(1, 2, 3\)"),
        (Colour(((0, 0, 0),)), np.array([[1]]), "not in colour"),
    ],
)
def test_labels_out_of_range_are_named(tmp_path, coding, array, match):
    with pytest.raises(DataError, match=match):
        coding.decode([array], [tmp_path / "mask.png"])


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "gif", "bmp"])
def test_truncated_image_names_the_file(tmp_path, ending):
    path = tmp_path / f"Größe 1.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    save_image(path, noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"Größe 1\..*cannot be read"):
        readers.read_image(path, 3)


def test_truncated_and_foreign_volumes_name_the_file(tmp_path):
    noise = np.random.default_rng(0).integers(0, 9999, (32, 32, 32)).astype(np.int16)
    path = save_volume(tmp_path / "a.nii.gz", noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.nii\.gz: cannot be read"):
        readers.read_volume(path)
    path.write_bytes(b"not NIfTI at all")
    with pytest.raises(DataError, match="cannot be read"):
        readers.read_volume(path)


@pytest.mark.parametrize("content", [None, b""])
def test_absent_and_empty_files(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: (does not exist|the file is empty)"):
        readers.read_image(path, 3)


def test_link_to_nothing(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="link to nothing"):
        readers.read_image(tmp_path / "a.png", 3)


def test_volumes_with_nan_or_an_absurd_spacing(tmp_path):
    volume = np.ones((4, 4, 4), np.float32)
    volume[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="1 voxels are NaN"):
        readers.read_volume(save_volume(tmp_path / "nan.nii.gz", volume))
    with pytest.raises(DataError, match="absurd"):
        readers.volume_spacing(tmp_path, np.diag([1, 1, 0, 1]), (4, 4, 4))
    for scale in (1e-6, 5000.0):
        path = save_volume(tmp_path / "scale.nii.gz", np.ones((4, 4, 4), np.uint8), np.diag([1, 1, scale, 1]))
        with pytest.raises(DataError, match="absurd"):
            readers.read_volume(path)
    singular = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    path = save_volume(tmp_path / "singular.nii", np.ones((4, 4, 4), np.uint8))
    with pytest.raises(DataError, match="singular"):
        readers.volume_spacing(path, singular, (4, 4, 4))


def test_one_slice_that_nnunet_marks_as_two_dimensional_is_read(tmp_path):
    path = save_volume(tmp_path / "one.nii.gz", np.ones((4, 5, 1), np.uint8), np.diag([0.5, 2, 999, 1]))
    assert readers.read_volume(path).spacing == (0.5, 2.0, 1.0)
    path = save_volume(tmp_path / "two.nii.gz", np.ones((4, 5, 2), np.uint8), np.diag([0.5, 2, 999, 1]))
    with pytest.raises(DataError, match="absurd"):
        readers.read_volume(path)


def test_a_volume_named_as_compressed_that_is_not_says_so(tmp_path):
    path = save_volume(tmp_path / "a.nii", np.ones((4, 4, 4), np.uint8)).rename(tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"named as compressed and is not\. Rename it to \.nii"):
        readers.read_volume(path)


def test_natural_order():
    assert sorted(["10.png", "9.png", "img2", "img10", "1.png"], key=readers.natural) == [
        "1.png",
        "9.png",
        "10.png",
        "img2",
        "img10",
    ]
