"""Volumes of all formats: values, places and units, and headers that contradict themselves."""

import gzip
import json

import nibabel
import numpy as np
import pytest
import tifffile

from datamodules import ACDC, DataError, NNUNetRaw, readers, writers
from datamodules.geometry import Geometry
from tests.data.acdc.make import make as make_acdc
from tests.data.common import save_volume

VALUES = np.random.default_rng(0).integers(-100, 100, (5, 6, 7)).astype(np.int16)
TURN = (0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1)


def metaimage(path, array, header, data=None):
    """Write a MetaImage with these header lines."""
    sizes = " ".join(map(str, array.shape))
    lines = ["ObjectType = Image", f"NDims = {array.ndim}", f"DimSize = {sizes}", *header]
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL\n"]).encode() + (data or array.T.tobytes()))
    return path


def by_itk(path):
    """Array and affine as SimpleITK reads them."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


HEADERS = {
    "byte order": (["ElementType = MET_SHORT", "ElementByteOrderMSB = True"], ">i2"),
    "binary byte order": (["ElementType = MET_SHORT", "BinaryDataByteOrderMSB = True"], ">i2"),
    "int64": (["ElementType = MET_LONG_LONG"], "<i8"),
    "uint8": (["ElementType = MET_UCHAR"], "u1"),
    "double": (["ElementType = MET_DOUBLE"], "<f8"),
    "origin": (["ElementType = MET_SHORT", "Origin = 4 5 6"], "<i2"),
    "position": (["ElementType = MET_SHORT", "Position = 4 5 6"], "<i2"),
    "orientation": (["ElementType = MET_SHORT", f"Orientation = {' '.join(map(str, TURN))}"], "<i2"),
    "rotation": (["ElementType = MET_SHORT", f"Rotation = {' '.join(map(str, TURN))}"], "<i2"),
    "element size": (["ElementType = MET_SHORT", "ElementSize = 1 2 3"], "<i2"),
    "spacing over size": (["ElementType = MET_SHORT", "ElementSize = 9 9 9", "ElementSpacing = 1 2 3"], "<i2"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_fields_of_metaimage_by_simpleitk(tmp_path, name):
    header, kind = HEADERS[name]
    path = metaimage(tmp_path / "a.mha", abs(VALUES).astype(kind), header)
    volume, (array, affine) = readers.read_volume(path), by_itk(path)
    assert np.array_equal(volume.array, array)
    assert np.array_equal(volume.array, abs(VALUES))
    assert np.allclose(volume.affine, affine)


def test_ascii_and_headers_of_metaimage(tmp_path):
    text = " ".join(map(str, VALUES.T.ravel())).encode()
    path = metaimage(tmp_path / "a.mha", VALUES, ["BinaryData = False", "ElementType = MET_SHORT"], text)
    assert np.array_equal(readers.read_volume(path).array, VALUES)
    for skip in (16, -1):
        (tmp_path / "b.raw").write_bytes(b"x" * 16 + VALUES.T.tobytes())
        header = f"NDims = 3\nDimSize = 5 6 7\nHeaderSize = {skip}\nElementType = MET_SHORT\nElementDataFile = b.raw\n"
        (tmp_path / "b.mhd").write_text(header)
        assert np.array_equal(readers.read_volume(tmp_path / "b.mhd").array, VALUES)
    assert readers.parts(tmp_path / "b.mhd") == (tmp_path / "b.mhd", tmp_path / "b.raw")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6), (4, 5, 6, 2)])
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("ending", ["mha", "nrrd"])
def test_planes_channels_and_fourth_axes(tmp_path, shape, channels, ending):
    sitk = pytest.importorskip("SimpleITK")
    if channels and len(shape) == 4:
        pytest.skip("channels in four axes are none of a volume")
    array = np.random.default_rng(0).integers(0, 99, (*shape[::-1], *([3] if channels else []))).astype(np.int16)
    image = sitk.GetImageFromArray(array, isVector=channels)
    image.SetSpacing([1.5, 2, 3, 1][: len(shape)])
    sitk.WriteImage(image, str(tmp_path / f"a.{ending}"), useCompression=True)
    volume = readers.read_volume(tmp_path / f"a.{ending}")
    last = array.shape[-1] if channels else 1
    expected = array.reshape(*shape[::-1], last).transpose(*range(len(shape) - 1, -1, -1), len(shape))
    assert np.array_equal(volume.array.ravel(), expected.ravel())
    assert volume.array.shape[:3] == (*shape[:3], *[1] * (3 - len(shape)))
    assert volume.spacing == (1.5, 2, 3 if len(shape) > 2 else 1)
    assert readers.volume_header(tmp_path / f"a.{ending}")[0] == volume.array.shape


def test_a_sform_that_lost_its_scale_gives_way_to_the_qform(tmp_path):
    root = make_acdc(tmp_path)
    qform = np.diag([-1.3158, -1.3158, 10, 1])
    for path in sorted(root.rglob("*frame*.nii.gz")):
        image = nibabel.load(path)
        image = nibabel.Nifti1Image(np.asarray(image.dataobj), None)
        image.header.set_zooms((1.3158, 1.3158, 10))
        image.set_qform(qform, 1, update_affine=False)
        image.set_sform(np.diag([-1.0, -1, 1, 1]), 2, update_affine=False)
        nibabel.save(image, path)
    shape, affine = readers.volume_header(path)
    assert readers.volume_spacing(path, affine, shape) == pytest.approx((1.3158, 1.3158, 10))
    assert "1 x 1 x 1 in the sform, 1.316 x 1.316 x 10 in pixdim: the qform" in readers.read_volume(path).remark
    data = ACDC(root=str(root), spacing=[10, 1.5, 1.5])
    data.setup()
    sample = data.dataset("test")[0]
    assert sample["geometry"].spacing == pytest.approx((1.3158, 1.3158, 10))
    assert sample["geometry"].steps[-2].after[0] == image.shape[2]


def test_a_sform_alone_that_differs_from_pixdim_is_taken_and_told(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.diag([2.0, 2, 3, 1]))
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = 1
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert readers.read_volume(tmp_path / "a.nii.gz").spacing == (2, 2, 3)
    assert "the sform is taken" in readers.read_volume(tmp_path / "a.nii.gz").remark
    assert readers.read_volume(save_volume(tmp_path / "b.nii.gz", VALUES, np.diag([2.0, 2, 3, 1]))).remark == ""


def test_a_qform_that_is_mirrored_against_the_sform_is_told(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.diag([2.0, 2, 3, 1]))
    image.set_sform(np.diag([2.0, 2, 3, 1]), 1, update_affine=False)
    image.set_qform(np.diag([-2.0, 2, 3, 1]), 1, update_affine=False)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = readers.read_volume(tmp_path / "a.nii.gz")
    assert "axes point to RAS in the sform, to LAS in the qform: the sform is taken" in volume.remark
    assert np.array_equal(volume.affine[:3, :3], np.diag([2.0, 2, 3]))


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e-3), ("mm", 1), ("meter", 1e3), ("unknown", 1)])
def test_units_of_length(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(VALUES, np.diag([0.01, 0.02, 0.05, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert readers.read_volume(tmp_path / "a.nii.gz").spacing == pytest.approx(np.multiply((0.01, 0.02, 0.05), factor))


def test_planes_vectors_and_odd_types_of_nifti(tmp_path):
    plane = readers.read_volume(save_volume(tmp_path / "plane.nii.gz", VALUES[..., 0], np.diag([2.0, 3, 1, 1])))
    assert np.array_equal(plane.array, VALUES[..., :1])
    assert plane.spacing == (2, 3, 1)
    geometry = Geometry("volume", (5, 6, 1), plane.spacing, plane.affine, source=tmp_path / "plane.nii.gz")
    written = writers.write_mask(tmp_path / "m", np.ones((5, 6, 1), np.uint8), geometry)
    assert nibabel.load(written).shape == (5, 6)
    vector = readers.read_volume(save_volume(tmp_path / "vector.nii.gz", np.stack([VALUES] * 3, -1)[:, :, :, None]))
    assert vector.array.shape == (5, 6, 7, 3)
    colours = np.zeros((5, 6, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DataError, match=r"rgb\.nii\.gz: its voxels are colours"):
        readers.read_volume(save_volume(tmp_path / "rgb.nii.gz", colours))
    with pytest.raises(DataError, match=r"complex\.nii\.gz: its voxels are complex numbers. Save their magnitude"):
        readers.volume_header(save_volume(tmp_path / "complex.nii.gz", VALUES.astype(np.complex64)))


@pytest.mark.parametrize("kind", [nibabel.AnalyzeImage, nibabel.Spm99AnalyzeImage, nibabel.Nifti1Pair])
def test_pairs_of_header_and_voxels(tmp_path, kind):
    nibabel.save(kind(VALUES, np.diag([2.0, 2, 3, 1])), tmp_path / "a.hdr")
    assert readers.files(tmp_path, readers.VOLUME_ENDINGS) == [tmp_path / "a.hdr"]
    assert set(readers.parts(tmp_path / "a.hdr")) == {tmp_path / "a.hdr", tmp_path / "a.img"}
    for name in ("a.hdr", "a.img"):
        volume = readers.read_volume(tmp_path / name)
        assert np.array_equal(volume.array, VALUES)
        assert volume.spacing == (2, 2, 3)
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"a\.hdr: .* bytes, its header declares"):
        readers.read_volume(tmp_path / "a.hdr")


def test_every_flipped_bit_of_a_gzip_file_is_noticed(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", VALUES)
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(10, len(whole), 40).tolist():
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.nii\.gz: "):
            readers.read_volume(path)


def test_gzip_members_padding_and_what_swells(tmp_path):
    plain = gzip.decompress(save_volume(tmp_path / "a.nii.gz", VALUES).read_bytes())
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]) + bytes(100))
    assert np.array_equal(readers.read_volume(path).array, VALUES)
    path.write_bytes(gzip.compress(plain + bytes(10_000_000)))
    with pytest.raises(DataError, match="holds more than its header declares"):
        readers.read_volume(path)
    path.write_bytes(gzip.compress(plain)[:-4])
    with pytest.raises(DataError, match=r"b\.nii\.gz: cannot be read"):
        readers.read_volume(path)


def test_stacks_of_tiff_are_volumes(tmp_path):
    array = np.random.default_rng(0).integers(0, 99, (8, 5, 6, 2)).astype(np.uint16)  # x y z c
    stack = array[..., 0].transpose(2, 1, 0)
    tifffile.imwrite(tmp_path / "pages.tif", stack, photometric="minisblack")
    facts = {"spacing": 3, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(
        tmp_path / "imagej.tif", stack, imagej=True, photometric="minisblack", resolution=(2, 4), metadata=facts
    )
    facts = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (0.5, 0.25, 2.0), strict=True)} | {"axes": "ZCYX"}
    planes = array.transpose(2, 3, 1, 0)
    tifffile.imwrite(tmp_path / "z.ome.tif", planes, photometric="minisblack", metadata=facts)
    (tmp_path / "pages.json").write_text(json.dumps({"spacing": [3, 2, 1]}))
    read = {path.name: readers.read_volume(path) for path in readers.files(tmp_path, [".tif"])}
    assert np.array_equal(read["pages.tif"].array, array[..., 0])
    assert read["pages.tif"].spacing == (1, 2, 3)
    assert np.array_equal(read["imagej.tif"].array, array[..., 0])
    assert read["imagej.tif"].spacing == pytest.approx((0.5e-3, 0.25e-3, 3e-3))
    assert np.array_equal(read["z.ome.tif"].array, array)
    assert read["z.ome.tif"].spacing == pytest.approx((0.5e-3, 0.25e-3, 2e-3))
    volume = read["z.ome.tif"]
    geometry = Geometry("volume", (8, 5, 6), volume.spacing, volume.affine, source=tmp_path / "z.ome.tif")
    out = writers.write_mask(tmp_path / "out" / "m", (array[..., 0] > 50).astype(np.uint8), geometry)
    again = readers.read_volume(out)
    assert out.name == "m.tif"
    assert np.array_equal(again.array, array[..., 0] > 50)
    assert again.spacing == pytest.approx(volume.spacing)
    tifffile.imwrite(tmp_path / "t.ome.tif", stack, metadata={"axes": "TYX"})
    with pytest.raises(DataError, match="Save one file a time point"):
        readers.read_volume(tmp_path / "t.ome.tif")


def test_a_raw_folder_of_tiff_stacks_is_of_volumes(tmp_path):
    for name in ("a", "b", "c"):
        for folder, array in (("imagesTr", VALUES), ("labelsTr", (VALUES > 0).astype(np.uint8))):
            path = tmp_path / folder / (f"{name}_0000.tif" if folder == "imagesTr" else f"{name}.tif")
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, array.T.copy() + (name == "a"), photometric="minisblack")
            path.with_suffix(".json").write_text(json.dumps({"spacing": [3, 1, 1]}))
    labels = {"background": 0, "bright": 1, "brighter": 2}
    facts = {"channel_names": {"0": "light"}, "labels": labels, "numTraining": 3, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    data = NNUNetRaw(root=str(tmp_path), split_sizes=[1, 1, 1])
    data.setup("fit")
    assert data.spatial_dims == 3
    sample = data.dataset("val")[0]
    assert sample["geometry"].original_shape == VALUES.shape
    assert sample["geometry"].spacing == (1, 1, 3)
    shift = int(sample["case"] == "a")
    assert np.array_equal(sample["original_mask"], (VALUES > 0) + shift)


def test_the_json_of_nnunet_is_named_by_the_case_without_the_channel(tmp_path):
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            (tmp_path / folder / f"{name}.json").write_text(json.dumps({"spacing": [3, 2, 1.5]}))
            for number in range(2) if folder != "labelsTr" else [None]:
                channel = "" if number is None else f"_{number:04d}"
                array = (VALUES > 0).astype(np.uint8) if number is None else VALUES + number
                tifffile.imwrite(tmp_path / folder / f"{name}{channel}.tif", array.T.copy(), photometric="minisblack")
    names = {"channel_names": {"0": "light", "1": "dark"}, "labels": {"background": 0, "bright": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(names | {"numTraining": 3, "file_ending": ".tif"}))
    data = NNUNetRaw(root=str(tmp_path), split_sizes=[1, 1, 1], predict_root=str(tmp_path / "imagesTs"))
    for stage, subset in (("fit", "val"), ("predict", "predict")):
        data.setup(stage)
        assert data.dataset(subset)[0]["geometry"].spacing == (1.5, 2, 3)


def test_which_json_beside_a_stack_tells_its_spacing(tmp_path):
    for name in ("a_0000.tif", "b_0001.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, VALUES.T.copy(), photometric="minisblack")
    note = tmp_path / "a.json"
    note.write_text(json.dumps({"spacing": [3, 2, 1]}))
    (tmp_path / "b.json").write_text(json.dumps({"spacing": [6, 5, 4]}))  # that of b.tif alone
    spacings = {path.name: readers.read_volume(path).spacing for path in readers.files(tmp_path, [".tif"])}
    assert spacings == {"a_0000.tif": (1, 2, 3), "b_0001.tif": (1, 1, 1), "b.tif": (4, 5, 6)}
    (tmp_path / "a_0000.json").write_text(json.dumps({"shapes": [], "spacing": [3, 2, 1]}))
    assert readers.read_volume(tmp_path / "a_0000.tif").spacing == (1, 2, 3)
    note.write_text(json.dumps({"spacing": [3, 2, 2]}))
    with pytest.raises(DataError, match=r"a_0000\.json and .*a\.json: tell different spacings of a_0000\.tif"):
        readers.read_volume(tmp_path / "a_0000.tif")
    for content, message in (('{"spacing": [1, 1]}', "is not that of z, y and x"), ("{", "cannot be read")):
        note.write_text(content)
        with pytest.raises(DataError, match=rf"a\.json: .*{message}"):
            readers.read_volume(tmp_path / "a_0000.tif")


def test_ome_without_a_size_leaves_the_json_beside_it_to_tell(tmp_path):
    axes = {"axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.tif", VALUES.T.copy(), ome=True, photometric="minisblack", metadata=axes)
    assert readers.read_volume(tmp_path / "a.tif").spacing == (1, 1, 1)
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [3, 2, 1]}))
    assert readers.read_volume(tmp_path / "a.tif").spacing == (1, 2, 3)


UNITS = {"m": 1e3, "cm": 10, "mm": 1, "nm": 1e-6, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3}
UNITS |= {"Microns": 1e-3, "micrometers": 1e-3, "inch": 25.4, "in": 25.4, "\u00c5": 1e-7, "\u212b": 1e-7}
UNLIKE = ("furlong", "Mm", "sec")


def with_unit(path, unit, by):
    """A stack with voxels of 20 x 30 x 60 of a unit (of large ones a ten thousandth of it)."""
    x, y, z = np.array([20, 30, 60]) / (1e4 if UNITS.get(unit, 0) > 1 else 1)
    if by == "ome":
        facts = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (x, y, z), strict=True)}
        facts |= {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"} | {"axes": "ZYX"}
        tifffile.imwrite(path, VALUES.T.copy(), ome=True, photometric="minisblack", metadata=facts)
    else:
        facts = {
            "spacing": z,
            "unit": unit.encode("unicode_escape").decode().replace("\\xb5", "\\u00B5"),
            "axes": "ZYX",
        }
        facts["unit"] = facts["unit"].replace("\\xc5", "\\u00C5")
        array = VALUES.T.astype(np.uint16)
        tifffile.imwrite(path, array, imagej=True, photometric="minisblack", resolution=(1 / x, 1 / y), metadata=facts)
    return np.array([x, y, z])


@pytest.mark.parametrize("by", ["ome", "imagej"])
@pytest.mark.parametrize("unit", UNITS)
def test_units_of_tiff_are_converted(tmp_path, unit, by):
    sizes = with_unit(tmp_path / "a.tif", unit, by)
    assert readers.read_volume(tmp_path / "a.tif").spacing == pytest.approx(sizes * UNITS[unit], rel=1e-4)


@pytest.mark.parametrize("by", ["ome", "imagej"])
def test_a_pixel_is_no_length_and_an_unknown_unit_is_refused(tmp_path, by):
    for unit in ("pixel", "pixels"):
        with_unit(tmp_path / "a.tif", unit, by)
        assert readers.read_volume(tmp_path / "a.tif").spacing == (1, 1, 1)
    for unit in UNLIKE:
        with_unit(tmp_path / "a.tif", unit, by)
        with pytest.raises(DataError, match=rf"a\.tif: the unit '{unit}' of its spacing is not known\. Save it in mm"):
            readers.read_volume(tmp_path / "a.tif")
