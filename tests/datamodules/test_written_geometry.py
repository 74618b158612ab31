"""What is predicted of a file lies where the file lies: by SimpleITK for volumes, by Pillow for pictures."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from datamodules import Decathlon, Geometry, ImageFolder, readers, write_map, write_mask, write_probabilities

sitk = pytest.importorskip("SimpleITK")

SHAPE, SPACING, ORIGIN = (7, 6, 5), (1.0, 1.5, 2.5), (12.0, -30.0, 45.0)
OBLIQUE = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.5)
SHEAR = np.array([[1, 0.2, 0], [0, 1, 0.1], [0, 0, 1.0]])


def affine_of(turn, origin=ORIGIN):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(SPACING), origin
    return affine


def orientations():
    """The 48 signed permutations of the axes."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[list(order)] * signs


def nifti(array, affine, qform=1, sform=1, unit="mm", kind=nibabel.Nifti1Image):
    image = kind(array, affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    image.header.set_xyzt_units(unit)
    return image


def contents():
    return np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.float32)


def inputs(folder: Path) -> None:
    """Files of all kinds of geometry; where the two affines of a header may disagree they do."""
    folder.mkdir()
    array = contents()
    for number, turn in enumerate(orientations()):
        nibabel.save(nifti(array, affine_of(turn)), folder / f"turn{number:02d}.nii.gz")
    nibabel.save(nifti(array, affine_of(OBLIQUE)), folder / "oblique.nii.gz")
    nibabel.save(nifti(array, affine_of(OBLIQUE), qform=1, sform=0), folder / "qform_only.nii")
    nibabel.save(nifti(array, affine_of(OBLIQUE), qform=0, sform=2), folder / "sform_only.nii.gz")
    nibabel.save(nifti(array, affine_of(np.eye(3)), 0, 0), folder / "neither.nii.gz")
    nibabel.save(nifti(array, affine_of(OBLIQUE @ SHEAR)), folder / "shear.nii.gz")
    nibabel.save(nifti(array, affine_of(np.eye(3)), unit="micron"), folder / "micrometre.nii.gz")
    nibabel.save(nifti(array, affine_of(OBLIQUE), kind=nibabel.Nifti1Pair), folder / "pair.hdr")
    lost = nifti(array, affine_of(np.diag([-1, -1, 1])))
    lost.set_sform(np.diag([-1.0, -1, 1, 1]), 2, update_affine=False)
    nibabel.save(lost, folder / "lost_scale.nii.gz")
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(OBLIQUE.ravel().tolist())
    for name in ("meta.mha", "meta_two.mhd", "nrrd.nrrd", "nrrd_two.nhdr"):
        sitk.WriteImage(image, str(folder / name))


def predicted(folder: Path, out: Path):
    """Writes, for each file, a mask of the voxels that are above a half, by way of the network's grid."""
    data = Decathlon(predict_root=str(folder), normalisation="none")
    data.setup("predict")
    for batch in data.predict_dataloader():
        inside = (batch["image"][0] > 0.5).float()
        probs = batch["geometry"][0].restore(torch.cat([1 - inside, inside]))
        case, geometry = batch["case"][0], batch["geometry"][0]
        mask = write_mask(out / "masks" / case, probs.argmax(0).numpy().astype(np.uint8), geometry)
        soft = write_probabilities(out / "probabilities" / case, probs.numpy(), geometry)
        yield case, geometry.source, mask, soft


def test_masks_lie_on_their_volumes_by_simpleitk(tmp_path):
    inputs(tmp_path / "in")
    cases = list(predicted(tmp_path / "in", tmp_path / "out"))
    assert len(cases) == 48 + 8 + 4
    for case, source, mask, soft in cases:
        image, written, probs = (sitk.ReadImage(str(path)) for path in (source, mask, soft))
        assert np.array_equal(sitk.GetArrayFromImage(written).T, contents()), case
        for fact in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(written, fact)() == getattr(image, fact)(), (case, fact)
        assert probs.GetOrigin()[:3] == image.GetOrigin(), case
        assert probs.GetSpacing()[:3] == image.GetSpacing(), case
        assert np.array_equal(readers.read_volume(soft).array[..., 1], contents()), case
        assert np.array_equal(readers.read_volume(soft).affine, readers.read_volume(source).affine), case
    endings = {source.name: mask.name for _, source, mask, _ in cases if "turn" not in source.name}
    assert endings["meta.mha"] == "meta.mha"
    assert endings["meta_two.mhd"] == "meta_two.mha"
    assert endings["nrrd_two.nhdr"] == "nrrd_two.nrrd"
    assert endings["qform_only.nii"] == "qform_only.nii.gz"


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_headers_are_the_input_s_own_save_for_what_tells_of_values(tmp_path, kind):
    image = nifti((contents() * 100).astype(np.int16), affine_of(OBLIQUE @ SHEAR), unit="micron", kind=kind)
    image.header["cal_max"], image.header["intent_code"] = 500, 2
    image.header.set_slope_inter(2, 7)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = readers.read_volume(tmp_path / "a.nii.gz")
    geometry = Geometry("volume", SHAPE, volume.spacing, volume.affine, source=tmp_path / "a.nii.gz")
    written = nibabel.load(write_mask(tmp_path / "m", contents().astype(np.uint8), geometry))
    for name in ("sform_code", "qform_code", "quatern_b", "srow_x", "srow_z", "xyzt_units", "qoffset_x"):
        assert np.array_equal(written.header[name], nibabel.load(tmp_path / "a.nii.gz").header[name])
    assert np.array_equal(written.header["pixdim"][:4], image.header["pixdim"][:4])
    assert isinstance(written, kind)
    assert written.get_data_dtype() == np.uint8
    assert (written.header["cal_max"], written.header["intent_code"]) == (0, 0)
    assert np.array_equal(np.asarray(written.dataobj), contents())
    entropy = write_map(tmp_path / "e", contents(), geometry, largest=1.0)
    assert np.array_equal(nibabel.load(entropy).get_sform(), image.get_sform())


@pytest.mark.parametrize("ending", ["mgz", "mgh"])
def test_freesurfer_files_in_kind(tmp_path, ending):
    nibabel.save(nibabel.MGHImage(contents(), affine_of(OBLIQUE)), tmp_path / f"a.{ending}")
    volume = readers.read_volume(tmp_path / f"a.{ending}")
    assert np.allclose(volume.affine, affine_of(OBLIQUE), atol=1e-5)
    geometry = Geometry("volume", SHAPE, volume.spacing, volume.affine, source=tmp_path / f"a.{ending}")
    path = write_mask(tmp_path / "m", contents().astype(np.uint8), geometry)
    assert path.name == "m.mgz"
    written = nibabel.load(path)
    assert np.array_equal(np.asarray(written.dataobj), contents())
    assert np.allclose(written.affine, volume.affine, atol=1e-6)


def displayed(path: Path) -> np.ndarray:
    """Pixels as Pillow shows them."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("largest", [5, 1000, 70_000])
@pytest.mark.parametrize("ending", ["nii.gz", "mha", "nrrd", "mgz"])
def test_labels_of_many_bits_are_kept_in_every_format(tmp_path, ending, largest):
    image = sitk.GetImageFromArray(contents().T)
    path = tmp_path / f"a.{ending}"
    if ending == "mgz":
        nibabel.save(nibabel.MGHImage(contents(), np.eye(4)), path)
    else:
        sitk.WriteImage(image, str(path))
    volume = readers.read_volume(path)
    geometry = Geometry("volume", SHAPE, volume.spacing, volume.affine, source=path)
    written = write_mask(tmp_path / "m", (contents() * largest).astype(np.int64), geometry)
    assert np.array_equal(readers.read_volume(written).array, contents() * largest)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_pictures_are_read_as_displayed_and_masks_written_as_the_file_lies(tmp_path, ending, number):
    pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[0x0112] = number
    path = tmp_path / "images" / f"a.{ending}"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path, exif=tags)
    shown = displayed(path)
    assert np.array_equal(readers.read_image(path, 3), shown)
    data = ImageFolder(predict_root=str(path.parent), size="native", normalisation="none")
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    labels = (batch["geometry"][0].restore(batch["image"][0])[0] > 100).numpy()
    out = write_mask(tmp_path / "out", labels.astype(np.uint8), batch["geometry"][0])
    stored = shown[..., 0] > 100
    assert np.array_equal(displayed(out), stored)
    with Image.open(out) as image:
        assert image.getexif().get(0x0112, 1) == number
        if ending != "jpg":
            assert np.array_equal(np.asarray(image), pixels[..., 0] > 100)
    assert np.array_equal(readers.read_mask(out, "labels"), stored)


def test_wide_pictures_come_back_to_the_shape_of_their_file(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.jpg", exif=tags)
    assert readers.read_image(tmp_path / "a.jpg", 1).shape == (30, 20, 1)
    probs = np.random.default_rng(0).random((3, 30, 20), np.float32)
    geometry = Geometry("image", (30, 20), source=tmp_path / "a.jpg")
    soft = write_probabilities(tmp_path / "p", probs, geometry)
    entropy = write_map(tmp_path / "e", probs[0], geometry, largest=1.0)
    assert displayed(soft).shape == displayed(entropy).shape == (30, 20)
    assert np.abs(displayed(soft) / 65535 - probs[2]).max() < 1e-4
    with Image.open(soft) as image:
        assert image.size == (30, 20)
