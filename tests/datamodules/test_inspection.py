"""`data inspect` proposes options under which the folder is read right."""

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
