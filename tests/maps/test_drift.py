"""Maps that look unlike those of a promise: `calibrate --probs`, `apply`, `evaluate --promise`."""

import json

import numpy as np
import pytest
import torch

from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.maps.fitted import FittedCalibrator
from lightning_app.training.drift import OLD
from tests.maps.fakes import make_probs, save_nifti

pytestmark = pytest.mark.usefixtures("without_figures")
NAMES = {2: "background,cell", 3: "background,one,two"}
KINDS = pytest.mark.parametrize("method", ["risk", "cases"])
SHAPES = pytest.mark.parametrize(("shape", "classes"), [((13, 11), 2), ((7, 6, 5), 3)], ids=["2d", "3d"])


def folder(root, part, seeds, shape, classes, sharp=3.0):
    for seed in seeds:
        for place, array in zip((part, f"{part}_labels"), make_probs(shape, classes, seed, sharp), strict=True):
            if len(shape) == 3:
                save_nifti(root / place / f"{seed}.nii.gz", np.moveaxis(array, 0, -1) if array.ndim > 3 else array)
            else:
                (root / place).mkdir(parents=True, exist_ok=True)
                np.save(root / place / f"{seed}.npy", array)


def both(root, shape, classes, method):
    """Maps as those of the fit, duller ones, and a promise."""
    folder(root, "fit", range(20), shape, classes)
    folder(root, "alike", range(50, 62), shape, classes)
    folder(root, "dull", range(70, 82), shape, classes, sharp=1.0)
    ask("calibrate", root, "fit", "--classes", NAMES[classes], "--method", method, "--out", str(root / "p.ckpt"))


def ask(verb, root, part, *options):
    labels = ["--labels", str(root / f"{part}_labels")] if verb != "apply" else []
    main([verb, "--probs", str(root / part), *labels, *options])


def lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if "look unlike the 20 that" in line]


@KINDS
@SHAPES
def test_apply_and_evaluate_warn_of_maps_unlike_those_of_the_promise(
    tmp_path, monkeypatch, shape, classes, method, capsys
):
    monkeypatch.chdir(tmp_path)
    both(tmp_path, shape, classes, method)
    found = {}
    for part, expected in (("alike", 0), ("dull", 1)):
        ask("apply", tmp_path, part, str(tmp_path / "p.ckpt"), "--out", str(tmp_path / "out" / part))
        said = lines(capsys)
        form = ("--classes", NAMES[classes], "--wandb", "false", "--name", part)
        ask("evaluate", tmp_path, part, "--promise", str(tmp_path / "p.ckpt"), *form)
        assert lines(capsys) == said  # the same cases, whether or not there are labels
        assert len(said) == expected
        places = (tmp_path / "out" / part, tmp_path / "runs" / part / "test")
        found[part] = [json.loads((place / "drift.json").read_text()) for place in places]
        assert found[part][0] == found[part][1]
        assert found[part][0]["verdict"] == ("unlike" if expected else "alike")
    assert found["dull"][0]["numbers"] == 4 * (classes - 1)


def test_apply_that_goes_on_compares_all_cases_and_leaves_cases_csv_alone(tmp_path, capsys):
    both(tmp_path, (13, 11), 2, "cases")
    command = (str(tmp_path / "p.ckpt"), "--out", str(tmp_path / "out"))
    ask("apply", tmp_path, "dull", *command)
    (first,), sheet = lines(capsys), (tmp_path / "out" / "cases.csv").read_text()
    assert not any(name.startswith(("share", "entropy")) for name in read_csv(tmp_path / "out" / "cases.csv")[0])
    (tmp_path / "out" / "cases.csv").write_text("\n".join(sheet.splitlines()[:3]) + "\n")  # two of twelve are done
    ask("apply", tmp_path, "dull", *command)
    assert lines(capsys) == [first]
    assert (tmp_path / "out" / "cases.csv").read_text() == sheet


def test_a_file_of_an_older_version_says_so_in_a_line(tmp_path, capsys):
    both(tmp_path, (13, 11), 2, "risk")
    content = torch.load(tmp_path / "p.ckpt", weights_only=True)
    del content["calibrated_maps"]["traits"]
    torch.save(content, tmp_path / "p.ckpt")
    assert FittedCalibrator.load(tmp_path / "p.ckpt").traits == {}
    ask("apply", tmp_path, "dull", str(tmp_path / "p.ckpt"), "--out", str(tmp_path / "out"))
    assert OLD in capsys.readouterr().err
    assert not (tmp_path / "out" / "drift.json").exists()


def test_regions_are_compared_each(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, count, least in (("fit", 20, 0.4), ("dull", 12, 0.0)):
        for case in range(count):
            labels = rng.integers(0, 3, (6, 5, 4)).astype(np.uint8)
            truth = np.stack([labels > 0, labels == 2])
            probs = np.where(truth, rng.uniform(least, 1, truth.shape), rng.uniform(0, 1 - least, truth.shape))
            save_nifti(tmp_path / part / f"{part}{case}.nii.gz", np.moveaxis(probs.astype(np.float32), 0, -1))
            save_nifti(tmp_path / f"{part}_labels" / f"{part}{case}.nii.gz", labels)
    form = ("--regions", "whole=1,2;core=2")
    ask("calibrate", tmp_path, "fit", *form, "--method", "risk", "--out", str(tmp_path / "p.ckpt"))
    ask("apply", tmp_path, "dull", str(tmp_path / "p.ckpt"), "--out", str(tmp_path / "out"))
    (line,) = lines(capsys)
    assert "of 8 numbers" in line
    keys = {one["key"] for one in json.loads((tmp_path / "out" / "drift.json").read_text())["found"]}
    assert {key.partition("/")[2] for key in keys} == {"whole", "core"}
