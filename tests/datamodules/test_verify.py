"""Checking a folder finds what is wrong, all of it, and names the files."""

import numpy as np
import pytest

from datamodules import DRIVE, BraTS, DataError, Decathlon, ImageFolder, Phantom, nifti
from datamodules.verify import summary, verify
from tests.data.brats.make import make as make_brats
from tests.data.common import save_image, save_volume
from tests.data.decathlon.make import make as make_decathlon
from tests.data.drive.make import make as make_drive
from tests.data.image_folder.make import make as make_folder

TASK = "Task04_Hippocampus"


def problems(data):
    return [problem for report in verify(data) for problem in report.problems]


def test_a_good_folder_has_no_problem_and_a_summary(tmp_path):
    data = DRIVE(root=str(make_drive(tmp_path)))
    reports = list(verify(data))
    assert [report.problems for report in reports] == [[]] * 40
    facts = dict(summary(reports, data.class_names))
    assert facts["cases"] == facts["readable"] == "40"
    assert facts["shapes"] == "44 x 43 (1 different)"
    assert facts["share of vessel"].startswith("median")


def test_every_problem_of_a_folder_is_found(tmp_path):
    make_decathlon(tmp_path, count=7)
    images, labels = tmp_path / TASK / "imagesTr", tmp_path / TASK / "labelsTr"
    names = sorted(path.name for path in images.iterdir())
    shape = (12, 18, 13)
    (images / names[0]).write_bytes((images / names[0]).read_bytes()[:2000])
    save_volume(images / names[1], np.full(shape, np.nan, np.float32))
    save_volume(labels / names[2], np.zeros((2, 2, 2), np.uint8))
    save_volume(labels / names[3], np.full((12, 21, 14), 5, np.uint8))
    (images / names[5]).write_bytes((images / names[4]).read_bytes())
    (labels / names[5]).write_bytes((labels / names[4]).read_bytes())
    truth = np.zeros(shape, np.uint8)
    save_volume(images / names[6], np.arange(truth.size, dtype=np.float32).reshape(shape))
    save_volume(labels / names[6], truth, np.diag([1.0, 1, 3, 1]))
    found = "\n".join(problems(Decathlon(root=str(tmp_path))))
    for name, text in zip(
        names, ["cannot be read", "NaN", "shape (2, 2, 2)", "value 5", "", "same image", "affine"], strict=True
    ):
        assert any(name in line and text in line for line in found.splitlines()) or not text
    assert len(found.splitlines()) == 6


def test_duplicates_and_flat_images_are_found_in_2d(tmp_path):
    make_folder(tmp_path)
    paths = sorted((tmp_path / "images").rglob("*.png"))
    paths[1].write_bytes(paths[0].read_bytes())
    save_image(paths[2], np.full((30, 36, 3), 9, np.uint8))
    data = ImageFolder(root=str(tmp_path), images="images/*/*", masks="masks/*/{name}.png")
    found = problems(data)
    assert len(found) == 2
    assert "same image as case 'images__patient 0__Bild [0] größe'" in found[0]
    assert "every pixel has the value 9" in found[1]


def test_a_wrong_layout_is_an_error_at_once(tmp_path):
    with pytest.raises(DataError, match="holds no folder"):
        list(verify(DRIVE(root=str(tmp_path))))


def test_the_phantom_has_nothing_to_verify():
    assert problems(Phantom(num_cases=(1, 1, 1))) == []


def test_every_file_is_read_and_its_header_parsed_once(tmp_path, monkeypatch):
    make_decathlon(tmp_path, count=3)
    read = []
    monkeypatch.setattr(nifti, "open_header", lambda path: pytest.fail(f"{path.name} is opened for its header alone"))
    unpacked = nifti._unpacked
    monkeypatch.setattr(nifti, "_unpacked", lambda path: read.append(path) or unpacked(path))
    reports = list(verify(Decathlon(root=str(tmp_path))))
    assert [report.problems for report in reports] == [[]] * 3
    assert sorted(read) == sorted(path for path in tmp_path.rglob("*.nii.gz"))


def test_a_set_whose_form_is_found_with_its_cases_is_checked_by_that_form(tmp_path):
    assert problems(BraTS(root=str(make_brats(tmp_path, "2018", 2)))) == []
