"""DICOM series as volumes, segmentations as labels; everything else is refused by name."""

import builtins

import numpy as np
import pytest

from datamodules import DataError, Decathlon, Geometry, readers, write_mask, write_segmentation
from tests.data.dicom import save_series

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")
highdicom = pytest.importorskip("highdicom")

TURNED = (0.8, 0.6, 0, -0.6, 0.8, 0)
TO_RAS = np.diag([-1.0, -1, 1, 1])


def values(shape=(7, 6, 5)):
    return np.random.default_rng(0).integers(-100, 2000, shape)


def by_itk(folder):
    """Array and affine as SimpleITK reads the series."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, TO_RAS @ affine


@pytest.mark.parametrize("cosines", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), TURNED, (1, 0, 0, 0, 0.6, 0.8)])
def test_a_series_is_one_volume_where_its_slices_say(tmp_path, cosines):
    folder = save_series(tmp_path / "ct", values(), (0.7, 0.8, 2.5), cosines, (10, -20, 30))
    volume = readers.read_volume(folder)
    array, affine = by_itk(folder)
    assert np.array_equal(volume.array, array)
    assert np.array_equal(volume.array, values() - 1000)
    assert np.allclose(volume.affine, affine, atol=1e-4)
    assert np.allclose(volume.spacing, (0.7, 0.8, 2.5))
    shape, header = readers.volume_header(folder)
    assert (shape, header.tolist()) == (volume.array.shape, volume.affine.tolist())


def test_a_tilted_gantry_shears_the_volume(tmp_path):
    folder = save_series(tmp_path, values(), step=(0, 1.0, 2.0))
    affine = readers.read_volume(folder).affine
    assert np.allclose(affine @ [0, 0, 4, 1], TO_RAS @ [0, 4, 8, 1])


def test_slopes_that_differ_from_slice_to_slice_are_each_slice_s(tmp_path):
    volume = readers.read_volume(save_series(tmp_path, values(), slope=(1, 0.5, 0.25)))
    slopes = np.array([1, 0.5, 0.25, 1, 0.5])
    assert np.allclose(volume.array, values() * slopes - 1000)


def test_two_series_in_one_folder_are_two_cases_and_never_one(tmp_path):
    save_series(tmp_path / "two", values(), name="a{number}.dcm")
    save_series(tmp_path / "two", values((4, 4, 3)), name="b{number}.dcm")
    save_series(tmp_path / "one", values())
    cases = Decathlon(predict_root=str(tmp_path)).find_new_cases(tmp_path)
    assert [case.name for case in cases] == ["one", "two/a0", "two/b0"]
    assert [readers.volume_header(case.images[0])[0] for case in cases] == [(7, 6, 5), (7, 6, 5), (4, 4, 3)]
    with pytest.raises(DataError, match="holds 2 image series"):
        readers.read_volume(tmp_path / "two")


def test_missing_doubled_and_unlike_slices_are_refused(tmp_path):
    folder = save_series(tmp_path / "gap", values())
    (folder / "IM0002").unlink()  # the middle one
    with pytest.raises(DataError, match=r"1 to 2 mm apart, some are missing"):
        readers.read_volume(folder)
    folder = save_series(tmp_path / "double", values(), step=(0, 0, 0))
    with pytest.raises(DataError, match="several slices lie at one place"):
        readers.read_volume(folder)
    folder = save_series(tmp_path / "unlike", values())
    data = pydicom.dcmread(folder / "IM0002")
    data.PixelSpacing = [2, 2]
    data.save_as(folder / "IM0002")
    with pytest.raises(DataError, match="differ in size, spacing or direction"):
        readers.read_volume(folder)


@pytest.mark.parametrize("cosines", [(1, 0, 0, 0, 1, 0), TURNED])
def test_a_segmentation_written_is_read_as_it_was_and_lies_on_its_image(tmp_path, cosines):
    folder = save_series(tmp_path / "ct", values(), (1, 1, 2), cosines)
    mask = np.zeros((7, 6, 5), np.uint8)
    mask[1:4, 2:5, 1:3], mask[5, 0, 3] = 1, 2
    volume = readers.read_volume(folder)
    geometry = Geometry("volume", mask.shape, volume.spacing, volume.affine, source=folder)
    path = write_segmentation(tmp_path / "out" / "seg", mask, geometry, ("background", "liver", "tumour"))
    assert np.array_equal(readers.read_volume(path, labels=True, like=folder).array, mask)
    inside = highdicom.seg.segread(path).get_volume(combine_segments=True)
    index = np.argwhere(inside.array == 2)[0]
    assert np.allclose(TO_RAS @ inside.affine @ [*index, 1], volume.affine @ [5, 0, 3, 1], atol=1e-3)
    with pytest.raises(DataError, match="a DICOM segmentation"):
        readers.read_volume(path)
    assert write_mask(tmp_path / "out" / "mask", mask, geometry).name == "mask.nii.gz"


def test_a_segmentation_of_another_grid_is_refused(tmp_path):
    folder = save_series(tmp_path / "ct", values())
    other = save_series(tmp_path / "other", values(), origin=(0.5, 0, 0))
    volume = readers.read_volume(folder)
    geometry = Geometry("volume", (7, 6, 5), volume.spacing, volume.affine, source=folder)
    path = write_segmentation(tmp_path / "seg", np.ones((7, 6, 5), np.uint8), geometry, ("background", "a"))
    with pytest.raises(DataError, match="do not lie on the image's voxels"):
        readers.read_volume(path, labels=True, like=other)


def test_contours_are_refused_by_name(tmp_path):
    folder = save_series(tmp_path, values((4, 4, 1)), name="a.dcm")
    data = pydicom.dcmread(folder / "a.dcm")
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    data.save_as(folder / "rt.dcm")
    with pytest.raises(DataError, match=r"rt\.dcm: is an RTSTRUCT"):
        readers.read_volume(folder / "rt.dcm")


@pytest.mark.parametrize("package", ["SimpleITK", "pydicom"])
def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch, package):
    folder = save_series(tmp_path / "ct", values((4, 4, 2)))
    real = builtins.__import__

    def without(name, *args):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"calibrated-segmentation\[formats\]"):
        readers.read_volume(folder)


def test_headers_that_make_no_segmentation_are_told_in_one_line(tmp_path):
    folder = save_series(tmp_path / "ct", values())
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.PatientID, data.StudyInstanceUID
        data.save_as(path)
    volume = readers.read_volume(folder)
    geometry = Geometry("volume", (7, 6, 5), volume.spacing, volume.affine, source=folder)
    with pytest.raises(DataError, match=r"IM0\d+: its header makes no DICOM segmentation"):
        write_segmentation(tmp_path / "seg", np.ones((7, 6, 5), np.uint8), geometry, ("background", "a"))
    assert not list(tmp_path.glob("*seg*"))


def test_all_slices_are_the_parts_of_a_series(tmp_path):
    folder = save_series(tmp_path / "ct", values())
    assert readers.parts(folder) == readers.parts(folder / "IM0003") == tuple(sorted(folder.iterdir()))


def test_a_task_of_dicom_series_with_labels_of_any_format(tmp_path):
    images, labels = tmp_path / "Task99_Own" / "imagesTr", tmp_path / "Task99_Own" / "labelsTr"
    mask = np.zeros((7, 6, 5), np.uint8)
    mask[1:4, 2:5, 1:3] = 1
    for name in ("a", "b", "c"):
        save_series(images / name, values(), (1, 1, 2), TURNED)
        volume = readers.read_volume(images / name)
        geometry = Geometry("volume", mask.shape, volume.spacing, volume.affine, source=images / name)
        write = write_mask if name == "a" else lambda *args: write_segmentation(*args, ("background", "liver"))
        write(labels / name, mask, geometry)
    data = Decathlon(root=str(tmp_path), task="Task99_Own", classes=["background", "liver"], split_sizes=[1, 1, 1])
    data.setup("fit")
    for subset in ("train", "val", "test"):
        assert (data.dataset("test" if subset == "train" else subset)[0]["original_mask"].numpy() == mask).all()
    assert {path.name for c in data.checked_cases() for path in c.masks} == {"a.nii.gz", "b.dcm", "c.dcm"}
