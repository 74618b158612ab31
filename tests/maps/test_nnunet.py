"""What is nnU-Net's own: crops of its first version, volumes turned to RAS, regions, the labels of dataset.json."""

import json
import pickle

import numpy as np
import pytest
from nibabel.orientations import io_orientation

from datamodules import DataError
from lightning_app.cli import main
from lightning_app.maps import nnunet as format_
from lightning_app.maps.problems import names_of, problems_of
from lightning_app.maps.reading import write_map
from tests.maps.fakes import AFFINE, make_probs, nnunet, opened, read_all, save_nifti

ORGANS = ("--classes", "background,one,two")


def first_version(root, properties=None):
    """A cropped float16 softmax of nnU-Net v1 with its .pkl; gives the whole map in (x, y, z)."""
    probs, labels = make_probs((6, 5, 4), 3, 1)
    probs = probs.astype(np.float16)
    whole = np.zeros((3, 9, 8, 7), np.float16)
    whole[0] = 1
    whole[:, 2:8, 1:6, 3:7] = probs
    (root / "pred").mkdir(parents=True)
    np.savez_compressed(root / "pred" / "a.npz", softmax=probs.transpose(0, 3, 2, 1))
    known = {
        "original_size_of_raw_data": np.array([7, 8, 9]),
        "crop_bbox": [[3, 7], [1, 6], [2, 8]],
        "itk_spacing": (0.8, 0.8, 2.5),
        "itk_origin": (-12.0, 7.0, 3.0),
        "itk_direction": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    }
    (root / "pred" / "a.pkl").write_bytes(pickle.dumps(known if properties is None else properties))
    save_nifti(root / "labels" / "a.nii.gz", np.pad(labels, ((2, 1), (1, 2), (3, 0))))
    return whole


def test_a_crop_of_the_first_version_lies_where_its_pkl_says(tmp_path):
    whole = first_version(tmp_path)
    folder = opened(tmp_path / "pred", tmp_path / "labels", *ORGANS)
    case = read_all(folder)["a"]
    assert np.abs(case.probs - whole).max() < 1e-6
    assert np.allclose(case.map.affine, AFFINE)
    path = write_map(case.map, case.map.probs, folder.form, tmp_path / "out", tmp_path / "pred")[0]
    with np.load(path) as new, np.load(tmp_path / "pred" / "a.npz") as old:
        assert new["softmax"].dtype == np.float16
        assert (new["softmax"] == old["softmax"]).all()


@pytest.mark.parametrize("broken", ["none", "lacks"])
def test_a_crop_without_its_place_is_refused(tmp_path, broken):
    first_version(tmp_path, properties={"spacing": 1})
    if broken == "none":
        (tmp_path / "pred" / "a.pkl").unlink()
        save_nifti(tmp_path / "pred" / "a.nii.gz", np.zeros((9, 8, 7), np.uint8))
    with pytest.raises(DataError, match="cropped"):
        opened(tmp_path / "pred", tmp_path / "labels", *ORGANS)


def test_volumes_that_nnunet_turned_to_ras_come_back(tmp_path):
    """NibabelIOWithReorient keeps the map in RAS and the hard mask in the orientation of the input."""
    probs, labels = make_probs((7, 6, 5), 3, 2)
    turned = np.array([[0, 0.9, 0, 1], [-0.7, 0, 0, 2], [0, 0, 1.5, 3], [0, 0, 0, 1]])
    import nibabel

    image = nibabel.Nifti1Image(probs[0], turned)
    ras = nibabel.as_closest_canonical(image).affine
    orientation = io_orientation(turned)
    reoriented = np.stack([nibabel.orientations.apply_orientation(p, orientation) for p in probs])
    assert reoriented.shape[1:] == (6, 7, 5)
    (tmp_path / "pred").mkdir()
    np.savez(tmp_path / "pred" / "a.npz", probabilities=reoriented.transpose(0, 3, 2, 1))
    properties = {"nibabel_stuff": {"original_affine": turned, "reoriented_affine": ras}}
    (tmp_path / "pred" / "a.pkl").write_bytes(pickle.dumps(properties))
    save_nifti(tmp_path / "pred" / "a.nii.gz", probs.argmax(0).astype(np.uint8), turned)
    save_nifti(tmp_path / "labels" / "a.nii.gz", labels, turned)
    folder = opened(tmp_path / "pred", tmp_path / "labels", *ORGANS)
    case = read_all(folder)["a"]
    assert np.abs(case.probs - probs).max() < 1e-6
    assert case.map.found["masks_agree"] == 1
    path = write_map(case.map, case.map.probs, folder.form, tmp_path / "out", tmp_path / "pred")[0]
    with np.load(path) as new:
        assert (new["probabilities"] == reoriented.transpose(0, 3, 2, 1)).all()


def regions(root):
    """Sigmoids of two nested regions, as nnU-Net writes them; the sigmoids in (x, y, z) and the labels."""
    rng = np.random.default_rng(0)
    made = rng.uniform(size=(2, 6, 5, 4)).astype(np.float32)
    labels = rng.integers(0, 3, (6, 5, 4)).astype(np.uint8)
    (root / "pred").mkdir(parents=True)
    np.savez(root / "pred" / "a.npz", probabilities=made.transpose(0, 3, 2, 1))
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[made[0] > 0.5] = 1
    mask[made[1] > 0.5] = 2
    save_nifti(root / "pred" / "a.nii.gz", mask)
    save_nifti(root / "labels" / "a.nii.gz", labels)
    return made, labels


@pytest.mark.parametrize("told", ["option", "dataset.json"])
def test_regions_are_two_class_problems_of_their_own(tmp_path, told):
    made, labels = regions(tmp_path)
    options = ("--regions", "whole=1,2;core=2")
    if told == "dataset.json":
        facts = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
        (tmp_path / "pred" / "dataset.json").write_text(json.dumps(facts))
        options = ()
    folder = opened(tmp_path / "pred", tmp_path / "labels", *options)
    case = read_all(folder)["a"]
    assert names_of(folder.form) == [("whole", ("not whole", "whole")), ("core", ("not core", "core"))]
    whole, core = problems_of(case, folder.form)
    assert np.allclose(whole.probs[1], made[0])
    assert (whole.target.numpy() == np.isin(labels, (1, 2))).all()
    assert np.allclose(core.probs, np.stack((1 - made[1], made[1])))
    assert (core.target.numpy() == (labels == 2)).all()
    assert case.map.found["masks_agree"] == 1


def test_sigmoids_of_regions_without_a_word_are_refused_with_the_option(tmp_path):
    regions(tmp_path)
    with pytest.raises(DataError, match="--regions"):
        opened(tmp_path / "pred", tmp_path / "labels", *ORGANS)


def test_the_ignored_label_of_dataset_json_does_not_count(tmp_path):
    nnunet(tmp_path)
    facts = json.loads((tmp_path / "pred" / "dataset.json").read_text())
    facts["labels"]["ignore"] = 3
    (tmp_path / "pred" / "dataset.json").write_text(json.dumps(facts))
    labels = np.full((9, 8, 6), 3, np.uint8)
    labels[0] = 1
    save_nifti(tmp_path / "labels" / "p1.nii.gz", labels)
    case = read_all(opened(tmp_path / "pred", tmp_path / "labels"))["p1"]
    assert set(np.unique(case.label.array)) == {1, 255}


def test_labels_of_either_version_of_dataset_json(tmp_path):
    for facts in ({"labels": {"0": "background", "1": "one"}}, {"labels": {"background": 0, "one": 1}}):
        (tmp_path / "dataset.json").write_text(json.dumps(facts))
        assert format_.read_labels(tmp_path).names == ["background", "one"]
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match="not understood"):
        format_.read_labels(tmp_path)


@pytest.mark.parametrize(
    "labels", [{"background": 0, "tumour": 2, "liver": 1}, {"0": "background", "2": "tumour", "1": "liver"}]
)
def test_channels_are_named_by_the_numbers_of_dataset_json_and_not_by_its_order(tmp_path, labels, capsys):
    nnunet(tmp_path)
    (tmp_path / "pred" / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert format_.read_labels(tmp_path / "pred").names == ["background", "liver", "tumour"]
    folders = ["--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels")]
    with pytest.raises(SystemExit):
        main(["evaluate", *folders, "--classes", "background,tumour,liver"])
    assert "dataset.json numbers them background 0, liver 1, tumour 2; leave --classes out" in capsys.readouterr().err


def test_numbers_with_a_gap_name_no_channels(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1, "b": 3}}))
    with pytest.raises(DataError, match="are not numbered 0, 1, 2"):
        format_.read_labels(tmp_path)


def test_no_class_is_called_all(tmp_path, capsys):
    nnunet(tmp_path)
    (tmp_path / "pred" / "dataset.json").unlink()
    folders = ["--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels")]
    with pytest.raises(SystemExit):
        main(["evaluate", *folders, "--classes", "background,all,b"])
    assert "all is the name of the row over all classes" in capsys.readouterr().err
