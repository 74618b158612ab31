"""Whole numbers of another scale than their type's, palettes and few bits: refused, said or decoded."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datamodules import DataError
from lightning_app.cli import main
from lightning_app.maps.scale import check_scale
from tests.maps.fakes import images, make_probs, opened, read_all, save_png

CELLS = ("--classes", "background,cell")


def scaled(root, top, dtype, most=1.0):
    """Maps in which `top` stands for one."""
    for seed, name in enumerate("abcd"):
        probs, labels = make_probs((21, 17), 2, seed)
        stored = np.rint(np.minimum(probs[1] / probs[1].max(), most) * top).astype(dtype)
        save_png(root / "probs" / f"{name}.png", stored)
        save_png(root / "labels" / f"{name}.png", labels * np.uint8(255))
    return root / "probs", root / "labels"


@pytest.mark.parametrize(("top", "dtype"), [(100, np.uint8), (1000, np.uint16), (255, np.uint16)])
@pytest.mark.parametrize("verb", ["calibrate", "evaluate"])
def test_whole_numbers_of_another_scale_are_refused(tmp_path, top, dtype, verb, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    probs, labels = map(str, scaled(tmp_path, top, dtype))
    rest = {"calibrate": ["--out", "c.ckpt"], "evaluate": ["--wandb", "false"]}[verb]
    with pytest.raises(SystemExit):
        main([verb, "--probs", probs, "--labels", labels, *CELLS, *rest])
    assert f"the largest value of all maps is {top} of {np.iinfo(dtype).max}" in capsys.readouterr().err


def test_small_chances_are_said_and_the_scale_of_the_type_is_not(tmp_path):
    folder = opened(*scaled(tmp_path / "small", 255, np.uint8, 0.2), *CELLS)
    (line,) = check_scale((pair.maps for pair in folder.pairs.pairs), folder.form)
    assert "the largest value of all maps is 51 of 255, a probability of 0.20" in line
    images(tmp_path / "full")
    folder = opened(tmp_path / "full" / "probs", tmp_path / "full" / "labels", *CELLS)
    assert check_scale((pair.maps for pair in folder.pairs.pairs), folder.form) == []


def test_maps_with_a_palette_of_greys_are_decoded_and_colours_are_refused(tmp_path):
    made = images(tmp_path)
    folder = tmp_path / "probs"
    for name in made:
        with Image.open(folder / f"{name}.png") as image:
            image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(folder / f"{name}.png")
    read = read_all(opened(folder, tmp_path / "labels", *CELLS))
    for name, (probs, _) in made.items():
        assert np.abs(read[name].probs - probs).max() < 0.01
    with Image.open(folder / "a.png") as image:
        coloured = image.copy()
    coloured.putpalette([part for k in range(256) for part in (k, 255 - k, 0)])
    coloured.save(folder / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is in colour"):
        read_all(opened(folder, tmp_path / "labels", *CELLS))


def save_four_bits(path, array):
    """A grey PNG of 4 bits a pixel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (row[::2] << 4 | row[1::2]).astype(np.uint8).tobytes() for row in array)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 4, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_four_bits_are_fifteenths(tmp_path):
    (tmp_path / "probs").mkdir()
    for seed, name in enumerate("ab"):
        probs, labels = make_probs((12, 10), 2, seed)
        save_four_bits(tmp_path / "probs" / f"{name}.png", np.rint(probs[1] * 15).astype(np.uint8))
        save_png(tmp_path / "labels" / f"{name}.png", labels * np.uint8(255))
    case = read_all(opened(tmp_path / "probs", tmp_path / "labels", *CELLS))["a"]
    assert np.allclose(case.probs[1], np.rint(make_probs((12, 10), 2, 0)[0][1] * 15) / 15, atol=1e-6)
