"""`data inspect` on the layouts of public data sets: what it proposes finds the masks and reads them as drawn."""

import io
import json
import shlex
import zlib

import numpy as np
import pytest
from PIL import Image

from datamodules import NNUNetRaw
from datamodules.inspection import inspect_folder
from lightning_app.data_command import main
from tests.data.common import blob, generator, save_image, save_volume

SHAPE = (24, 32)
TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[6:15, 8:22] = 1


def _noise(path):
    rng = generator(zlib.crc32(path.as_posix().encode()))
    save_image(path, rng.integers(0, 255, (*SHAPE, 3), dtype=np.uint8))


def _scan(path, labels=None):
    rng = generator(zlib.crc32(path.as_posix().encode()))
    save_volume(path, rng.normal(0, 1, (9, 8, 7)).astype(np.float32) if labels is None else labels)


def _data(found):
    """The data set as proposed, after `data verify` has found nothing to say."""
    assert found.data
    assert main(["verify", found.data, *shlex.split(found.arguments("--"))]) == 0
    from lightning_app.data_command import build, find

    return build(find(found.data), shlex.split(found.arguments("--")))


def _labels(found):
    data = _data(found)
    return {case.name: data.label_reader().labels(case) for case in data.checked_cases()}


def _told(found):
    return " ".join(found.hints)


def test_images_of_cities_find_the_masks_of_the_same_city_whose_names_end_otherwise(tmp_path):
    for number in range(6):
        city = f"train/{'ab'[number % 2]}"
        _noise(tmp_path / f"leftImg8bit/{city}/x_{number}_leftImg8bit.png")
        save_image(tmp_path / f"gtFine/{city}/x_{number}_gtFine_labelTrainIds.png", TRUTH * 255)
    assert len(_labels(inspect_folder(tmp_path))) == 6


def test_why_the_best_patterns_are_not_taken_is_told(tmp_path):
    for number in range(3):
        _noise(tmp_path / f"images/{number}.png")
        save_image(tmp_path / f"masks/{number}.png", TRUTH * 255)
    _noise(tmp_path / "images/1.jpg")
    assert "Remove one of the two, or exclude it" in _told(inspect_folder(tmp_path))


def test_files_that_the_proposal_leaves_aside_are_counted_and_named(tmp_path):
    for number in range(3):
        _noise(tmp_path / f"CXR/{number}.png")
        for side in ("left", "right"):
            save_image(tmp_path / f"ManualMask/{side}Mask/{number}.png", np.roll(255 * TRUTH, 12 * len(side), 0))
    found = inspect_folder(tmp_path)
    assert dict(found.options)["masks"] == "ManualMask/leftMask/{name}.*"
    assert "3 more files are in no case, as ManualMask/rightMask/0.png" in _told(found)
    for folder in ("gold", "annotations/a", "annotations/b", "annotations/c"):
        for number in range(3):
            shift = 0 if folder[-1] in "dc" else 1 + (folder[-1] == "b")
            save_image(tmp_path / f"rated/{folder}/{number}.png", np.roll(255 * TRUTH, (shift, number), (0, 1)))
            _noise(tmp_path / f"rated/images/{number}.png")
    found = inspect_folder(tmp_path / "rated")
    assert "no rater of its own" in _told(found)
    assert "in no case" not in _told(found)


def test_cases_of_two_folders_are_not_paired_with_each_other(tmp_path):
    for number in range(4):
        _noise(tmp_path / f"x/{number:03d}.png")
        save_image(tmp_path / f"y/{number:03d}.png", 255 * TRUTH)
    assert inspect_folder(tmp_path).options == []
    for number in range(3):
        _scan(tmp_path / f"liver/case{number}/ct.nii.gz")
        _scan(tmp_path / f"liver/case{number}/liver.nii.gz", blob((9, 8, 7), generator(number)).astype(np.uint8))
    options = dict(inspect_folder(tmp_path / "liver").options)
    assert (options["images"], options["masks"]) == ("{folder}/ct.nii.gz", "{folder}/liver.nii.gz")


def _lesions(pieces=2):
    """Three classes, of which 0 lies at the border."""
    labels = 2 * TRUTH
    labels[8:12, 10:16] = 1
    labels[18:22, 2:9] = pieces > 1
    return labels


def _masked(root, mask):
    """Images and, drawn by the function, their masks."""
    for number in range(3):
        _noise(root / f"images/{number}.png")
        (root / "masks").mkdir(exist_ok=True)
        mask(root / f"masks/{number}.png")
    return inspect_folder(root)


def test_the_value_at_the_border_is_the_background_though_it_is_bright(tmp_path):
    shades = np.array([255, 128, 0], np.uint8)
    found = _masked(tmp_path, lambda path: save_image(path, shades[2 - _lesions()]))
    assert dict(found.options)["values"] == "[0,128,255]"
    found = _masked(tmp_path, lambda path: save_image(path, shades[_lesions()]))
    assert dict(found.options)["values"] == "[255,0,128]"
    assert "border has the value 255, so it is the background" in _told(found)
    assert "--data.ignore [255]" not in _told(found)
    assert set(np.unique(_labels(found)["0"][[0, -1]])) == {0}


def _with_palette(path, labels, colours):
    image = Image.fromarray(labels)
    image.putpalette(bytes(colours))
    image.save(path)


@pytest.mark.parametrize("pieces", [1, 2])
def test_classes_of_a_palette_are_proposed_by_their_indices(tmp_path, pieces):
    labels = _lesions(pieces)
    labels[0, 5] = 255
    rng = generator()
    colours = [0, 0, 0, 128, 0, 0, 0, 128, 0, *rng.integers(0, 255, 756).tolist(), 224, 224, 192]
    found = _masked(tmp_path, lambda path: _with_palette(path, labels, colours))
    assert dict(found.options)["values"] == "[0,1,2,255]"
    assert "--data.ignore [255]" in _told(found)
    assert np.array_equal(_labels(found)["0"], np.where(labels == 255, 3, labels))


def test_classes_of_a_palette_of_greys_and_of_two_bits_are_proposed_as_stored(tmp_path):
    greys = [value for shade in (0, 128, 255) for value in 3 * [shade]]
    found = _masked(tmp_path, lambda path: _with_palette(path, _lesions(), greys))
    assert np.array_equal(_labels(found)["0"], _lesions())
    found = _masked(tmp_path, lambda path: path.write_bytes(_png_of_two_bits(_lesions())))
    assert np.array_equal(_labels(found)["0"], _lesions())


def _png_of_two_bits(labels):
    image = Image.fromarray(labels)
    image.putpalette(bytes([value for shade in (0, 85, 170, 255) for value in 3 * [shade]]))
    file = io.BytesIO()
    image.save(file, "PNG", bits=2)
    data = bytearray(file.getvalue())
    assert data[24:26] == bytes([2, 3])
    data[25] = 0  # grey in place of the palette, which is left out
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    del data[start : start + 12 + length]
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_a_second_mask_of_an_image_is_no_image_and_folders_of_classes_are_asked_about(tmp_path):
    for folder in ("benign", "malignant"):
        for number in (1, 2, 3):
            _noise(tmp_path / f"data/{folder}/{folder} ({number}).png")
            save_image(tmp_path / f"data/{folder}/{folder} ({number})_mask.png", 255 * TRUTH)
    save_image(tmp_path / "data/benign/benign (2)_mask_1.png", 255 * np.roll(TRUTH, 8, 0))
    found = inspect_folder(tmp_path)
    assert "exclude" not in dict(found.options)
    assert "where they are classes, as benign and malignant" in _told(found)
    labels = _labels(found)
    assert len(labels) == 6
    both = TRUTH | np.roll(TRUTH, 8, 0)
    assert sum(np.array_equal(label, both) for label in labels.values()) == 1


def test_numbered_masks_of_an_image_that_agree_are_raters_and_no_classes(tmp_path):
    for number in range(4):
        _noise(tmp_path / f"images/{number:05d}.png")
        for rater in range(3):
            mask = 255 * np.roll(TRUTH, (rater, number), (0, 1)) * (number + rater > 0)
            save_image(tmp_path / f"gt/{number:05d}_l{rater}.png", mask.astype(np.uint8))
    found = inspect_folder(tmp_path)
    assert dict(found.options)["masks"] == "['gt/{name}_l0.*','gt/{name}_l1.*','gt/{name}_l2.*']"
    assert "coding" not in dict(found.options)
    assert len(_labels(found)) == 4


def test_numbered_volumes_of_raters_in_the_folder_of_a_case_are_raters(tmp_path):
    for number in range(3):
        _scan(tmp_path / f"case{number}/image.nii.gz")
        truth = blob((9, 8, 7), generator(number)).astype(np.uint8)
        for rater in (1, 2):
            _scan(tmp_path / f"case{number}/task01_seg0{rater}.nii.gz", np.roll(truth, rater, 0))
    found = inspect_folder(tmp_path)
    assert dict(found.options)["masks"] == "['{folder}/task01_seg01.nii.gz','{folder}/task01_seg02.nii.gz']"
    assert len(_labels(found)) == 3


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("sub-0{0}/anat/sub-0{0}_T2w.nii.gz", "derivatives/labels/sub-0{0}/anat/sub-0{0}_T2w_seg-manual.nii.gz"),
        ("ct/volume-{0}.nii.gz", "seg/segmentation-{0}.nii.gz"),
        ("volume-{0}.nii", "segmentation-{0}.nii"),
        ("Training/img/img000{0}.nii.gz", "Training/label/label000{0}.nii.gz"),
        ("CT-Seg_cases/c{0}.nii.gz", "Lung_Mask/c{0}.nii.gz"),
    ],
)
def test_masks_are_found_by_what_their_folders_and_the_beginnings_of_their_names_differ_in(tmp_path, image, mask):
    truths = [blob((9, 8, 7), generator(number)).astype(np.uint8) for number in range(5)]
    for number, truth in enumerate(truths):
        _scan(tmp_path / image.format(number))
        _scan(tmp_path / mask.format(number), truth)
    found = list(_labels(inspect_folder(tmp_path)).values())
    assert len(found) == 5
    assert sum(map(np.sum, found)) == sum(map(np.sum, truths))


def test_pictures_with_annotations_of_short_or_numbered_names_are_paired(tmp_path):
    for root, image, mask in (("a", "test_{}.bmp", "test_{}_anno.bmp"), ("b", "image{}.png", "label{}.png")):
        for number in range(4):
            _noise(tmp_path / root / image.format(number))
            save_image(tmp_path / root / mask.format(number), 255 * TRUTH)
        assert len(_labels(inspect_folder(tmp_path / root))) == 4


def test_volume_masks_of_one_value_tell_no_classes(tmp_path):
    for number in range(3):
        _scan(tmp_path / f"images/{number}.nii.gz")
        _scan(tmp_path / f"labels/{number}.nii.gz", np.zeros((9, 8, 7), np.uint8))
    found = inspect_folder(tmp_path)
    assert not {"classes", "values"} & set(dict(found.options))
    assert "hold 0 alone, which tells no classes" in _told(found)


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 2, 4)])
def test_a_known_set_is_offered_only_where_masks_hold_its_classes(tmp_path, classes):
    labels = np.resize(np.array(classes, np.uint8), (9, 8, 7))
    for number in range(3):
        for name in ("flair", "t1", "t1ce", "t2", "seg"):
            _scan(tmp_path / f"p{number}/p{number}_{name}.nii.gz", labels if name == "seg" else None)
    found = inspect_folder(tmp_path)
    assert found.data == ("BraTS" if len(classes) > 2 else "VolumeFolder")
    assert ("as BraTS nothing here can be trained: its classes are" in _told(found)) == (len(classes) == 2)


def test_a_normalisation_of_nnu_net_that_is_not_built_is_refused_by_name(tmp_path):
    for number in range(3):
        _scan(tmp_path / f"imagesTr/c{number}_0000.nii.gz")
        _scan(tmp_path / f"labelsTr/c{number}.nii.gz", blob((9, 8, 7), generator(number)).astype(np.uint8))
    facts = {"channel_names": {"0": "rgb_to_0_1"}, "labels": {"background": 0, "it": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    assert "rgb_to_0_1 asks for a division by 255" in _told(inspect_folder(tmp_path))
    assert NNUNetRaw(root=str(tmp_path), normalisation="minmax").methods() == ("minmax",)
