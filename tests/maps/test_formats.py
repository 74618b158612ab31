"""Every form that maps are stored in gives the probabilities that were stored, on the axes of the label."""

import nibabel
import numpy as np
import pytest
import tifffile

from datamodules import DataError
from lightning_app.maps.command import FORMATS
from lightning_app.maps.reading import KINDS, write_map
from lightning_app.maps.storage import read_array
from tests.maps.fakes import AFFINE, images, make_probs, nnunet, opened, read_all, save_nifti, save_png

CELLS = ("--classes", "background,cell")
ORGANS = ("--classes", "background,one,two")
SHAPE = (7, 6, 5)


def volumes(root, write, classes=3, names=("u", "v")):
    """Labels and maps that `write(stem, probs)` stores."""
    made = {}
    for seed, name in enumerate(names):
        probs, labels = make_probs(SHAPE, classes, seed)
        (root / "probs").mkdir(parents=True, exist_ok=True)
        write(root / "probs" / name, probs)
        save_nifti(root / "labels" / f"{name}.nii.gz", labels)
        made[name] = (probs, labels)
    return made


def agree(folder, made, tolerance=1e-6):
    for name, case in read_all(folder).items():
        assert np.abs(case.probs - made[name][0]).max() <= tolerance
        assert (case.label.array == made[name][1]).all()


def test_the_option_offers_what_is_read():
    assert tuple(KINDS) == FORMATS


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_png_is_the_foreground(tmp_path, bits):
    made = images(tmp_path, bits=bits)
    folder = opened(tmp_path / "probs", tmp_path / "labels", *CELLS)
    assert folder.form.kind == "png"
    assert not folder.hard
    agree(folder, made, 1e-7)


def test_a_float_tiff_is_the_foreground_and_a_grey_picture_stored_in_colour_too(tmp_path):
    made = images(tmp_path)
    (tmp_path / "tiff").mkdir()
    for name, (probs, _) in made.items():
        tifffile.imwrite(tmp_path / "tiff" / f"{name}.tif", probs[1].astype(np.float32))
        grey = np.rint(probs[1] * 255).astype(np.uint8)
        save_png(tmp_path / "rgb" / f"{name}.png", np.stack((grey, grey, grey), -1))
    agree(opened(tmp_path / "tiff", tmp_path / "labels", *CELLS), made)
    agree(opened(tmp_path / "rgb", tmp_path / "labels", *CELLS), made)


@pytest.mark.parametrize("last", [True, False])
def test_nifti_with_classes_last_or_first(tmp_path, last):
    def write(stem, probs):
        save_nifti(stem.with_suffix(".nii.gz"), np.moveaxis(probs, 0, -1) if last else probs)

    made = volumes(tmp_path, write)
    folder = opened(tmp_path / "probs", tmp_path / "labels", *ORGANS)
    assert folder.form.kind == "nifti"
    agree(folder, made)


def test_nifti_of_one_foreground_and_of_a_file_a_class(tmp_path):
    one = volumes(tmp_path / "1", lambda stem, p: save_nifti(stem.with_suffix(".nii.gz"), p[1]), classes=2)
    agree(opened(tmp_path / "1" / "probs", tmp_path / "1" / "labels", *CELLS), one)

    def a_class(stem, probs):
        for k, name in ((1, "one"), (2, "two")):
            save_nifti(stem.with_name(f"{stem.name}_{name}.nii.gz"), probs[k])

    many = volumes(tmp_path / "3", a_class)
    agree(opened(tmp_path / "3" / "probs", tmp_path / "3" / "labels", *ORGANS), many)
    pattern = tmp_path / "3" / "probs" / "{name}_{class}.nii.gz"
    agree(opened(pattern, tmp_path / "3" / "labels", *ORGANS), many)


def test_as_monai_and_itk_write_them(tmp_path):
    def monai(stem, probs):
        save_nifti(stem / f"{stem.name}_trans.nii.gz", np.moveaxis(probs, 0, -1))

    made = volumes(tmp_path / "m", monai)
    agree(opened(tmp_path / "m" / "probs", tmp_path / "m" / "labels", *ORGANS), made)
    made = volumes(
        tmp_path / "i", lambda stem, p: save_nifti(stem.with_suffix(".nii.gz"), np.moveaxis(p, 0, -1)[:, :, :, None])
    )
    agree(opened(tmp_path / "i" / "probs", tmp_path / "i" / "labels", *ORGANS), made)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize("axes", ["xyz", "zyx"])
def test_numpy_arrays_in_the_axes_of_the_label_or_turned(tmp_path, ending, axes):
    def write(stem, probs):
        stored = probs if axes == "xyz" else probs.transpose(0, 3, 2, 1)
        path = stem.with_suffix(ending)
        np.save(path, stored) if ending == ".npy" else np.savez(path, mine=stored)

    made = volumes(tmp_path, write)
    folder = opened(tmp_path / "probs", tmp_path / "labels", *ORGANS)
    assert folder.form.turned == (axes == "zyx")
    agree(folder, made)


def test_images_in_numpy_with_a_batch_axis_and_labels_in_numpy(tmp_path):
    probs, labels = make_probs((12, 9), 3)
    for part in ("probs", "labels"):
        (tmp_path / part).mkdir()
    np.save(tmp_path / "probs" / "a.npy", probs)
    np.save(tmp_path / "labels" / "a.npy", labels)
    agree(opened(tmp_path / "probs", tmp_path / "labels", *ORGANS), {"a": (probs, labels)})


def test_logits_of_classes_and_of_one_channel(tmp_path):
    made = volumes(tmp_path / "3", lambda stem, p: np.save(stem.with_suffix(".npy"), np.log(p) + 4.0))
    agree(opened(tmp_path / "3" / "probs", tmp_path / "3" / "labels", *ORGANS, "--logits", "true"), made, 1e-5)
    made = volumes(tmp_path / "1", lambda stem, p: np.save(stem.with_suffix(".npy"), np.log(p[1] / p[0])), classes=2)
    agree(opened(tmp_path / "1" / "probs", tmp_path / "1" / "labels", *CELLS, "--logits", "true"), made, 1e-5)


def test_nnunet_with_its_masks_and_its_names_of_classes(tmp_path):
    made = nnunet(tmp_path)
    folder = opened(tmp_path / "pred", tmp_path / "labels")
    assert folder.form.kind == "nnunet"
    assert folder.form.classes == ("background", "organ1", "organ2")
    agree(folder, made)
    case = next(iter(read_all(folder).values()))
    assert np.allclose(case.map.affine, AFFINE)
    assert case.map.found["masks_agree"] == 1


def test_nnunet_of_images(tmp_path):
    probs, labels = make_probs((14, 11), 2)
    (tmp_path / "pred").mkdir()
    np.savez_compressed(tmp_path / "pred" / "a.npz", probabilities=probs[:, None])
    save_png(tmp_path / "pred" / "a.png", probs.argmax(0).astype(np.uint8))
    save_png(tmp_path / "labels" / "a.png", labels)
    folder = opened(tmp_path / "pred", tmp_path / "labels", *CELLS)
    assert folder.form.kind == "nnunet"
    agree(folder, {"a": (probs, labels)})


def test_hard_masks_alone_are_known_as_such(tmp_path):
    made = images(tmp_path)
    for name, (probs, _) in made.items():
        save_png(tmp_path / "hard" / f"{name}.png", (probs.argmax(0) * 255).astype(np.uint8))
    folder = opened(tmp_path / "hard", tmp_path / "labels", *CELLS)
    assert folder.hard
    for name, case in read_all(folder).items():
        assert (case.probs.argmax(0) == made[name][0].argmax(0)).all()
    volumes(tmp_path / "v", lambda stem, p: save_nifti(stem.with_suffix(".nii.gz"), p.argmax(0).astype(np.uint8)))
    assert opened(tmp_path / "v" / "probs", tmp_path / "v" / "labels", *ORGANS).hard


def test_metaimage_maps_are_read(tmp_path):
    sitk = pytest.importorskip("SimpleITK")

    def write(stem, probs):
        image = sitk.GetImageFromArray(probs[1].transpose(2, 1, 0))
        image.SetSpacing((0.8, 0.8, 2.5))
        image.SetOrigin((-12.0, 7.0, 3.0))
        image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(stem.with_suffix(".mha")))

    made = volumes(tmp_path, write, classes=2)
    agree(opened(tmp_path / "probs", tmp_path / "labels", *CELLS), made)


def forms(root):
    """A folder of each form that can be written back, with its options."""
    images(root / "png")
    yield root / "png", CELLS
    images(root / "png16", bits=16)
    yield root / "png16", CELLS
    made = images(root / "tiff")
    for name, (probs, _) in made.items():
        (root / "tiff" / "probs" / f"{name}.png").unlink()
        tifffile.imwrite(root / "tiff" / "probs" / f"{name}.tif", probs[1].astype(np.float32))
    yield root / "tiff", CELLS
    volumes(root / "last", lambda s, p: save_nifti(s.with_suffix(".nii.gz"), np.moveaxis(p, 0, -1)))
    yield root / "last", ORGANS
    volumes(root / "first", lambda s, p: save_nifti(s.with_suffix(".nii"), p.astype(np.float64)))
    yield root / "first", ORGANS
    volumes(root / "npz", lambda s, p: np.savez(s.with_suffix(".npz"), p=p.transpose(0, 3, 2, 1).astype(np.float16)))
    yield root / "npz", ORGANS
    volumes(root / "logits", lambda s, p: np.save(s.with_suffix(".npy"), p[1]), classes=2)
    yield root / "logits", CELLS


def test_what_is_read_is_written_back_to_the_bit(tmp_path):
    for root, options in forms(tmp_path):
        folder = opened(root / "probs", root / "labels", *options)
        for pair in folder.pairs.pairs:
            map_ = folder.read(pair).map
            for path in write_map(map_, map_.probs, folder.form, root / "out", root / "probs"):
                before, after = read_array(root / "probs" / path.name), read_array(path)
                assert before.array.dtype == after.array.dtype
                assert (before.array == after.array).all(), root.name
                if path.name.endswith((".nii", ".nii.gz")):
                    old, new = nibabel.load(root / "probs" / path.name), nibabel.load(path)
                    assert old.get_data_dtype() == new.get_data_dtype()
                    assert (old.affine == new.affine).all()


def test_a_map_of_other_classes_is_refused_with_its_shape(tmp_path):
    volumes(tmp_path, lambda stem, p: np.save(stem.with_suffix(".npy"), np.stack((*p, p[0]))))
    with pytest.raises(DataError, match=r"shape \(4, 7, 6, 5\) is no map of background, one, two"):
        opened(tmp_path / "probs", tmp_path / "labels", *ORGANS)
