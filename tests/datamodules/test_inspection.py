"""`data inspect` proposes options under which the folder is read right."""

import shlex

import numpy as np
import pytest

from datamodules import ImageFolder
from datamodules.inspection import inspect_folder
from lightning_app.data_command import main
from tests.data.common import save_image
from tests.data.drive.make import make as make_drive

SHAPE = (24, 32)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[6:15, 8:22] = 1
LAYOUTS = {
    "two folders": ("images/{}.png", "masks/{}.png", 255),
    "0 and 1 in nested folders": ("images/p{}/1.png", "labels/p{}/1.png", 1),
    "side by side": ("{}_img.png", "{}_mask.png", 255),
    "prefixes": ("img_{}.png", "mask_{}.png", 200),
    "suffix in another folder": ("x/{}.png", "ground truth/{}_segmentation.png", 100),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_proposed_reads_the_masks(tmp_path, layout):
    image, mask, value = LAYOUTS[layout]
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, SHAPE).astype(np.uint8)
        save_image(tmp_path / image.format(number), pixels)
        save_image(tmp_path / mask.format(number), value * TRUTH)
    found = inspect_folder(tmp_path)
    options = dict(found.options)
    numbers = {name: float(options.pop(name)) for name in ("threshold",) if name in options}
    data = ImageFolder(**options | {"channels": int(options["channels"])}, **numbers)
    cases = data.checked_cases()
    assert len(cases) == 3
    assert all(np.array_equal(data.label_reader().labels(case), TRUTH) for case in cases)


def test_known_sets_are_recognised_and_the_commands_printed(tmp_path, capsys):
    root = make_drive(tmp_path / "drive")
    assert main(["inspect", str(root)]) == 0
    assert f"fit --data datamodules.DRIVE --data.root {root}" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(tmp_path / "empty")]) == 1
    assert "no file here has an ending that is read" in capsys.readouterr().out


def _series(root, folder, masks, name="{}.png"):
    for number, mask in enumerate(masks):
        save_image(root / folder / name.format(number), mask.astype(np.uint8))


def test_raters_are_found_and_dark_objects_inverted(tmp_path):
    noise = np.random.default_rng(0)
    _series(tmp_path, "raw", [noise.integers(0, 255, SHAPE) for _ in range(3)])
    rated = {
        name: [255 * (1 - np.roll(TRUTH, (shift, n), (0, 1))) for n in range(3)] for shift, name in enumerate("abc")
    }
    for name, masks in rated.items():
        _series(tmp_path, f"annotations/{name}", masks, "seg_{}.png")
    _series(tmp_path, "gold", rated["c"], "seg_{}.png")
    found = inspect_folder(tmp_path)
    options = dict(found.options)
    assert options["masks"] == "['annotations/a/*_{name}.*','annotations/b/*_{name}.*']"
    assert options["invert"] == "true"
    assert "annotations/c: the same masks" in " ".join(found.hints)
    assert main(["verify", "ImageFolder", *shlex.split(found.arguments("--"))]) == 0


def test_masks_whose_name_says_more_go_before_a_field_of_view(tmp_path):
    noise = np.random.default_rng(0)
    for folder in ("images", "mask", "1st_manual"):
        _series(tmp_path, folder, [noise.integers(0, 2, SHAPE) * 255 for _ in range(3)])
    assert dict(inspect_folder(tmp_path).options)["masks"].startswith("1st_manual/")


def test_folders_of_classes_are_no_raters(tmp_path):
    noise = np.random.default_rng(0)
    _series(tmp_path, "images", [noise.integers(0, 255, SHAPE) for _ in range(3)])
    for shift, name in enumerate(("masks/one", "masks/two")):
        _series(tmp_path, name, [255 * np.roll(TRUTH, 12 * shift, 0) for _ in range(3)])
    assert not dict(inspect_folder(tmp_path).options)["masks"].startswith("[")
