"""`data inspect` proposes options under which the folder is read right."""

import shlex

import numpy as np
import pytest

from datamodules import ImageFolder, VolumeFolder
from datamodules.inspection import inspect_folder
from lightning_app.data_command import main
from tests.data.common import blob, generator, save_image, save_volume
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


def test_raters_of_volumes_are_found_and_copies_left_out(tmp_path):
    rng = generator()
    for number in range(3):
        truth = blob((9, 8, 7), rng).astype(np.uint8)
        save_volume(tmp_path / f"scans/{number}.nii.gz", rng.normal(0, 1, truth.shape).astype(np.float32))
        said = {"a": truth, "b": np.roll(truth, 1, 0), "c": np.roll(truth, 1, 1)}
        for rater, mask in said.items():
            save_volume(tmp_path / f"annotations/{rater}/seg_{number}.nii.gz", mask)
        save_volume(tmp_path / f"consensus/seg_{number}.nii.gz", said["c"])
    found = inspect_folder(tmp_path)
    assert found.data == "VolumeFolder"
    assert dict(found.options)["masks"] == "['annotations/a/*_{name}.*','annotations/b/*_{name}.*']"
    assert "annotations/c: the same masks" in " ".join(found.hints)
    assert _verified(found)


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


def _verified(found):
    """Whether `data verify` has nothing to say under the proposed options."""
    return main(["verify", found.data, *shlex.split(found.arguments("--"))]) == 0


VOLUMES = {
    "two folders": ("scans/{}.nii.gz", "labels/{}.nii.gz"),
    "side by side": ("{}.nii.gz", "{}_seg-manual.nii.gz"),
    "a folder a case": ("{}/ct.nii.gz", "{}/segmentation.nii.gz"),
    "BIDS": ("raw/sub-{0}/ct/sub-{0}_ct.nii.gz", "raw/derivatives/labels/sub-{0}/ct/sub-{0}_ct_seg-manual.nii.gz"),
    "the Decathlon's without json": ("imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz"),
}


@pytest.mark.parametrize("layout", VOLUMES)
def test_volumes_find_their_masks_and_the_stored_values_are_proposed(tmp_path, layout):
    image, mask = VOLUMES[layout]
    rng = generator()
    truths = [blob((9, 8, 7), rng) for _ in range(3)]
    for number, truth in enumerate(truths):
        save_volume(tmp_path / image.format(number), rng.normal(0, 1, truth.shape).astype(np.float32))
        save_volume(tmp_path / mask.format(number), 255 * truth.astype(np.uint8))
    found = inspect_folder(tmp_path)
    assert found.data == "VolumeFolder"
    assert dict(found.options)["values"] == "[0,255]"
    assert _verified(found)
    options = {name: value for name, value in found.options if name in ("root", "images", "masks")}
    data = VolumeFolder(**options, values=[0, 255])
    assert data.label_values == [0, 255]
    read = [data.label_reader().labels(case) for case in data.checked_cases()]
    assert all(np.array_equal(labels, truth) for labels, truth in zip(read, truths, strict=True))


def test_a_volume_file_a_class_is_proposed_and_read_so(tmp_path):
    rng = generator()
    for number in range(3):
        save_volume(tmp_path / f"s{number}/ct.nii.gz", rng.normal(0, 1, (6, 5, 4)).astype(np.float32))
        for place, organ in enumerate(("liver", "spleen")):
            truth = np.zeros((6, 5, 4), np.uint8)
            truth[1 + 2 * place] = 1
            save_volume(tmp_path / f"s{number}/segmentations/{organ}.nii.gz", truth)
    found = inspect_folder(tmp_path)
    options = dict(found.options)
    assert (options["coding"], options["classes"]) == ("files", "[background,liver,spleen]")
    assert _verified(found)
    data = VolumeFolder(
        root=str(tmp_path),
        images=options["images"],
        masks=options["masks"],
        classes=["background", "liver", "spleen"],
        coding="files",
    )
    labels = data.label_reader().labels(data.checked_cases()[0])
    assert labels[:, 0, 0].tolist() == [0, 1, 0, 2, 0, 0]


def test_the_same_several_masks_of_every_image_are_classes_in_natural_order(tmp_path):
    noise = np.random.default_rng(0)
    _series(tmp_path, "images", [noise.integers(0, 255, SHAPE) for _ in range(3)])
    for number in (1, 2, 10):
        _series(tmp_path, "masks", [255 * np.roll(TRUTH, number, 0) for _ in range(3)], f"{{}}_class{number}.png")
    found = inspect_folder(tmp_path)
    assert dict(found.options)["classes"] == "[background,class1,class2,class10]"
    assert _verified(found)


def test_numbers_of_objects_are_joined_and_not_taken_for_classes(tmp_path):
    noise = np.random.default_rng(0)
    _series(tmp_path, "images", [noise.integers(0, 255, SHAPE) for _ in range(3)])
    masks = [np.zeros(SHAPE, np.uint8) for _ in range(3)]
    for count, mask in enumerate(masks, start=2):
        for number in range(count):
            mask[4 * number + 1 : 4 * number + 4, 2:9] = number + 1
    _series(tmp_path, "masks", masks)
    found = inspect_folder(tmp_path)
    assert "coding" not in dict(found.options)
    assert float(dict(found.options)["threshold"]) == 0
    assert _verified(found)


def test_images_without_a_mask_are_named_and_left_out(tmp_path):
    noise = np.random.default_rng(0)
    _series(tmp_path, "images", [noise.integers(0, 255, SHAPE) for _ in range(6)])
    _series(tmp_path, "masks", [255 * np.roll(TRUTH, n, 0) for n in range(4)])
    found = inspect_folder(tmp_path)
    assert "2 of 6 have no mask, as images/4.png" in found.hints
    assert dict(found.options)["exclude"] == "['images/4.png','images/5.png']"
    assert _verified(found)


def test_nothing_is_proposed_of_masks_or_volumes_that_cannot_be_read(tmp_path):
    _series(tmp_path / "a", "images", [TRUTH] * 2)
    (tmp_path / "a/masks").mkdir()
    for number in range(2):
        (tmp_path / f"a/masks/{number}.png").write_bytes(b"no picture")
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for number in range(2):
        save_volume(tmp_path / f"b/imagesTr/{number}.nii.gz", colours)
        save_volume(tmp_path / f"b/labelsTr/{number}.nii.gz", np.eye(4, dtype=np.uint8)[..., None])
    for folder, told in (("a", "none of the 2 masks"), ("b", "2 of 2 volumes that were looked at cannot be read")):
        found = inspect_folder(tmp_path / folder)
        assert (found.data, found.options) == ("", [])
        assert told in " ".join(found.hints)


def test_folders_of_data_sets_are_listed_and_not_taken_for_one(tmp_path, capsys):
    make_drive(tmp_path / "drive")
    (tmp_path / "Dataset001_A/imagesTr").mkdir(parents=True)
    assert main(["inspect", str(tmp_path)]) == 1
    assert "2: Dataset001_A, drive" in capsys.readouterr().out


def _masks(root, masks):
    for number, mask in enumerate(masks):
        save_image(root / f"images/{number}.png", generator(number).integers(0, 255, (24, 32), dtype=np.uint8))
        save_image(root / f"masks/{number}.{'tif' if mask.dtype.kind == 'f' else 'png'}", mask)
    return inspect_folder(root)


def test_without_black_the_commonest_colour_is_the_background(tmp_path):
    labels = TRUTH.copy()
    labels[18:22, 2:9] = 2
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    found = _masks(tmp_path, [colours[labels]] * 3)
    assert dict(found.options)["colours"] == "[[255,0,0],[0,0,255],[0,255,0]]"
    assert any("most pixels have the colour [255, 0, 0], so it is the background" in hint for hint in found.hints)


def test_one_object_of_two_codings_is_joined_and_said(tmp_path):
    found = _masks(tmp_path, [TRUTH, 255 * TRUTH, TRUTH, 255 * TRUTH])
    assert dict(found.options)["threshold"] == "0"
    assert "coding" not in dict(found.options)
    assert any("some masks hold 0 and 1, others 0 and 255" in hint for hint in found.hints)


def test_a_mask_with_nan_is_named_and_gives_no_threshold(tmp_path):
    odd = np.where(TRUTH > 0, np.nan, 0).astype(np.float32)
    found = _masks(tmp_path, [TRUTH.astype(np.float32)] * 3 + [odd])
    assert dict(found.options)["threshold"] == "0.5"
    assert any("3.tif: the mask holds values that are not finite" in hint for hint in found.hints)


def test_links_that_lead_out_are_proposed_to_be_followed(tmp_path):
    _masks(tmp_path / "there", [255 * TRUTH] * 3)
    (tmp_path / "here/masks").mkdir(parents=True)
    (tmp_path / "here/images").symlink_to(tmp_path / "there/images")
    for path in (tmp_path / "there/masks").iterdir():
        (tmp_path / "here/masks" / path.name).symlink_to(path)
    assert dict(inspect_folder(tmp_path / "here").options)["follow_links"] == "true"


def test_why_a_dataset_json_is_refused_is_told(tmp_path):
    save_volume(tmp_path / "imagesTr/a_0000.nii.gz", np.ones((4, 5, 6), np.float32))
    save_volume(tmp_path / "labelsTr/a.nii.gz", np.ones((4, 5, 6), np.uint8))
    (tmp_path / "dataset.json").write_text("{nope")
    assert any("as NNUNetRaw" in hint and "dataset.json" in hint for hint in inspect_folder(tmp_path).hints)


def _eyes(root, truth, name="{}.png", fields="mask"):
    """Images with a round field of view, the same but for its edge, and masks of their own."""
    rng = generator()
    for number in range(1, 5):
        field = np.zeros(SHAPE, bool)
        field[2:22, 4 : 28 - number % 2] = True
        save_image(root / f"images/{number:02d}_test.png", rng.integers(0, 255, SHAPE).astype(np.uint8))
        save_image(root / fields / f"{number:02d}_test_mask.png", 255 * field.astype(np.uint8))
        save_image(root / truth / name.format(f"{number:02d}"), 255 * blob(SHAPE, rng).astype(np.uint8))


@pytest.mark.parametrize(
    ("truth", "name", "fields"),
    [
        ("1st_manual", "{}_manual1.png", "mask"),
        ("mask_of_vessels", "{}_test_mask.png", "a_mask"),
        ("gt", "{}_test.png", "fov_gt"),
    ],
)
def test_a_field_of_view_is_not_taken_for_the_masks_and_that_is_said(tmp_path, truth, name, fields):
    _eyes(tmp_path, truth, name, fields)
    found = inspect_folder(tmp_path)
    options = dict(found.options)
    assert options["masks"].partition("/")[0] == truth
    cases = ImageFolder(**options | {"channels": int(options["channels"])}).checked_cases()
    assert [case.masks[0].parent.name for case in cases] == 4 * [truth]
    (said,) = [hint for hint in found.hints if "field of view" in hint]
    assert said.startswith(f"{fields}/")
    again = shlex.split(said.partition("give ")[2].replace("--data.", "--"))
    assert main(["verify", "ImageFolder", "--root", str(tmp_path), "--channels", "1", *again]) == 0


def test_masks_that_are_alike_in_all_images_are_asked_about_where_there_are_no_others(tmp_path):
    _eyes(tmp_path, "notes")
    for path in (tmp_path / "notes").iterdir():
        path.unlink()
    found = inspect_folder(tmp_path)
    assert dict(found.options)["masks"] == "mask/{name}_*.*"
    assert sum("as a field of view is" in hint for hint in found.hints) == 1
