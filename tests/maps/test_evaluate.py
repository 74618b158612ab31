"""`evaluate`: an ordinary run folder whose numbers are those of the arrays, resumed, in processes, compared."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import metrics
from lightning_app.cli import main
from lightning_app.maps.command import evaluate_parser
from lightning_app.maps.folder import Folder, open_folder
from lightning_app.maps.pictures import draw_cases
from lightning_app.maps.scoring import Measure, score
from lightning_app.maps.storage import read_array
from lightning_app.maps.sums_file import Scored, read_scored, write_scored
from lightning_app.report.read import Run
from tests.maps.fakes import images, make_probs, nnunet, save_nifti, save_png
from tests.maps.test_nnunet import regions

pytestmark = pytest.mark.usefixtures("without_figures")

CELLS = ("--classes", "background,cell")


CUT = ("--threshold", "0.2,0.2")


def run(root, *options, probs="probs", name="mine"):
    """Evaluate under `root` and give the run."""
    main(
        ["evaluate", "--probs", str(root / probs), "--labels", str(root / "labels"), "--runs_dir", str(root / "runs"),
         "--name", name, "--wandb", "false", *map(str, options)]
    )  # fmt: skip
    return Run(root / "runs" / name)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(run_):
    found = rows(run_.folder.stage("test") / "summary.csv")
    return {(row["metric"], row["class"]): float(row["mean"] or "nan") for row in found}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A folder of PNG maps, evaluated; its root, what was made, the run."""
    root = tmp_path_factory.mktemp("cells")
    made = images(root)
    return root, made, run(root, *CELLS)


def test_the_numbers_are_those_of_the_arrays(cells):
    _, made, run_ = cells
    found = summary(run_)
    probs = np.concatenate([p.reshape(2, -1) for p, _ in made.values()], 1).astype(np.float64)
    truth = np.concatenate([y.reshape(-1) for _, y in made.values()])
    predicted = probs.argmax(0)
    dice = 2 * ((predicted == 1) & (truth == 1)).sum() / ((predicted == 1).sum() + (truth == 1).sum())
    assert found["dice_pooled", "all"] == pytest.approx(dice, abs=1e-12)
    assert found["brier_pooled", "cell"] == pytest.approx(((probs[1] - truth) ** 2).mean(), abs=1e-6)
    foreground = 1 - probs[0]  # many of 256 levels lie on the edge of a bin
    bins = np.minimum((foreground * 15).astype(int), 14)
    gaps = [abs((foreground - truth)[bins == b].sum()) for b in range(15)]
    assert found["ece_foreground_pooled", "all"] == pytest.approx(sum(gaps) / truth.size, abs=1e-6)
    of_cases = {case.name: case.scores for case in run_.cases("test")}
    for name, (p, y) in made.items():
        expected = metrics.evaluate_case(torch.from_numpy(p), torch.from_numpy(y), ["background", "cell"])[-1]
        assert of_cases[name]["nll", "all"] == pytest.approx(expected["nll"], rel=1e-9)


def test_it_is_an_ordinary_run_folder(cells):
    _, made, run_ = cells
    folder = run_.folder
    assert run_.status == "finished"
    assert run_.loss == "mine"
    assert run_.data == "labels"
    assert run_.config["evaluate"]["form"]["kind"] == "png"
    assert [row["case"] for row in rows(folder.split)] == list(made)
    assert (folder.stage("test") / "figures" / "reliability_all_foreground.png").is_file()
    assert set(run_.pictures("test")) == {"worst", "median", "best"}
    assert not (folder.stage("test") / "parts").exists()
    assert "evaluate" in run_.command


def test_report_compares_evaluations_paired_by_case(cells, capsys):
    root, made, _ = cells
    for name, (probs, _) in made.items():
        np.save(root / f"{name}.npy", probs**2 / (probs**2).sum(0))
        (root / "sharp").mkdir(exist_ok=True)
        (root / f"{name}.npy").rename(root / "sharp" / f"{name}.npy")
    run(root, *CELLS, probs="sharp", name="sharper")
    main(["report", str(root / "runs" / "mine"), str(root / "runs" / "sharper"), "--out", str(root / "r.html")])
    told = capsys.readouterr().out
    assert "| mine | labels | 3 |" in told
    assert "| sharper | labels | 3 |" in told


def test_the_same_again_is_the_same_and_another_is_refused(cells, capsys):
    root, _, run_ = cells
    before = (run_.folder.stage("test") / "per_case.csv").read_bytes()
    run(root, *CELLS)
    assert (run_.folder.stage("test") / "per_case.csv").read_bytes() == before
    with pytest.raises(SystemExit) as stop:
        run(root, "--classes", "background,nucleus")
    assert stop.value.code == 2
    assert "holds another evaluation" in capsys.readouterr().err


def test_a_killed_evaluation_goes_on_with_the_cases_that_are_left(tmp_path, monkeypatch):
    made = images(tmp_path, names=("a", "b", "c", "d"))
    read = Folder.read

    def dies_at_the_third(self, case):
        if case.name == "c":
            raise KeyboardInterrupt
        return read(self, case)

    monkeypatch.setattr(Folder, "read", dies_at_the_third)
    with pytest.raises(SystemExit):
        run(tmp_path, *CELLS)
    state = json.loads((tmp_path / "runs" / "mine" / "state.json").read_text())
    assert state["status"] == "failed"
    assert len(list((tmp_path / "runs" / "mine" / "test" / "parts").iterdir())) == 2
    monkeypatch.setattr(Folder, "read", read)
    scored = []
    of_case = metrics.Scorer.score
    monkeypatch.setattr(
        metrics.Scorer, "score", lambda self, *given, **more: scored.append(1) or of_case(self, *given, **more)
    )
    resumed = run(tmp_path, *CELLS)
    assert len(scored) == 2
    monkeypatch.undo()
    whole = run(tmp_path, *CELLS, name="whole")
    for file in ("per_case.csv", "summary.csv"):
        assert (resumed.folder.stage("test") / file).read_text() == (whole.folder.stage("test") / file).read_text()
    assert len(resumed.cases("test")) == len(made)


@pytest.mark.slow  # two processes import torch
def test_processes_give_the_same_to_the_bit_and_their_errors_in_a_line(cells, capsys):
    root, _, run_ = cells
    other = run(root, *CELLS, "--jobs", 2, name="processes")
    for file in ("per_case.csv", "summary.csv"):
        assert (other.folder.stage("test") / file).read_text() == (run_.folder.stage("test") / file).read_text()
    (root / "broken").mkdir()
    for path in (root / "probs").iterdir():
        (root / "broken" / path.name).write_bytes(path.read_bytes() if path.stem != "c" else b"no picture")
    with pytest.raises(SystemExit) as stop:
        run(root, *CELLS, "--jobs", 2, "--format", "png", probs="broken", name="broken")
    assert stop.value.code == 2
    assert "c.png" in capsys.readouterr().err


def test_a_case_that_changed_is_scored_anew(tmp_path):
    images(tmp_path)
    parts = tmp_path / "parts"
    folder = open_folder(
        evaluate_parser().parse_args(["--probs", str(tmp_path / "probs"), "--labels", str(tmp_path / "labels"), *CELLS])
    )
    first = list(score(folder, parts, Measure(), 1))
    save_png(tmp_path / "probs" / "a.png", np.full((21, 17), 200, np.uint8))
    os.utime(tmp_path / "probs" / "a.png", ns=(1, 1))
    second = list(score(folder, parts, Measure(), 1))
    assert not torch.equal(first[0].sums.confusion, second[0].sums.confusion)
    assert torch.equal(first[1].sums.nll, second[1].sums.nll)


def test_kept_sums_come_back_to_the_bit(tmp_path):
    probs, labels = make_probs((9, 8, 7), 3)
    sums = metrics.Scorer(3, surface=True).score(torch.from_numpy(probs), torch.from_numpy(labels), (1.0, 1.0, 2.0))
    path = tmp_path / "a.pt"
    write_scored(path, Scored("a", sums, {}), "stamp")
    back = read_scored(path, "stamp").sums
    assert all(torch.equal(x, y) for k in sums.bins for x, y in zip(sums.bins[k], back.bins[k], strict=True))
    assert torch.equal(sums.nll, back.nll)
    assert all(torch.equal(sums.beside[k], back.beside[k]) for k in sums.beside)
    assert read_scored(path, "another") is None
    path.write_bytes(b"torn")
    assert read_scored(path, "stamp") is None


def test_hard_masks_give_overlap_and_surfaces_and_no_calibration(tmp_path, capsys):
    made = images(tmp_path)
    for name, (probs, _) in made.items():
        save_png(tmp_path / "hard" / f"{name}.png", (probs.argmax(0) * 255).astype(np.uint8))
    soft = summary(run(tmp_path, *CELLS))
    capsys.readouterr()
    hard = run(tmp_path, *CELLS, "--objects", "true", probs="hard", name="hard")
    assert "hard masks hold no probabilities" in capsys.readouterr().out
    found = summary(hard)
    assert found["dice_pooled", "all"] == soft["dice_pooled", "all"]
    assert ("hd95", "all") in found
    assert found["objects_true_pooled", "all"] > 0
    assert ("object_ece", "all") not in found
    assert not [metric for metric, _ in found if metric.startswith(("ece", "nll", "brier", "ace", "mce"))]


def test_regions_are_classes_of_one_run_each_a_two_class_problem_of_its_own(tmp_path):
    made, labels = regions(tmp_path)
    run_ = run(tmp_path, "--regions", "whole=1,2;core=2", "--surface", "true", probs="pred", name="r")
    scores, every = run_.cases("test")[0].scores, []
    for k, (name, united) in enumerate({"whole": (1, 2), "core": (2,)}.items()):
        inside = torch.from_numpy(made[k])
        expected = metrics.evaluate_case(
            torch.stack([1 - inside, inside]), torch.from_numpy(np.isin(labels, united).astype(np.uint8)),
            ["outside", name], (0.8, 0.8, 2.5), surface=True,
        )[-1]  # fmt: skip
        for key in ("dice", "ece", "nll", "brier", "ece_boundary", "hd95"):
            assert scores[key, name] == pytest.approx(expected[key], abs=1e-6), (name, key)
        every.append(expected["ece"])
    assert scores["ece", "all"] == pytest.approx(np.mean(every), abs=1e-6)
    assert run_.data == "labels"
    cut = run(tmp_path, "--regions", "whole=1,2;core=2", "--threshold", "0.5,0.2", probs="pred", name="cut")
    truth, claimed = labels == 2, made[1] >= 0.2
    dice = 2 * (truth & claimed).sum() / (truth.sum() + claimed.sum())
    found = cut.cases("test")[0].scores
    assert found["dice", "core"] == pytest.approx(dice, abs=1e-12)
    assert found["dice", "whole"] == scores["dice", "whole"]


def test_what_is_kept_of_regions_is_read_back_and_drawn(tmp_path):
    regions(tmp_path)
    options = ["--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels"), "--regions", "whole=1,2;core=2"]
    folder = open_folder(evaluate_parser().parse_args(options))
    first, again = (list(score(folder, tmp_path / "parts", Measure(), 1)) for _ in range(2))
    assert first[0].sums.multilabel
    assert again[0].sums.multilabel
    assert torch.equal(first[0].sums.confusion, again[0].sums.confusion)
    draw_cases(folder, [(first[0].name, first[0].sums)], tmp_path / "figures", [])
    with np.load(tmp_path / "figures" / "case_best.npz") as kept:
        mask = read_array(tmp_path / "pred" / "a.nii.gz").array
        assert (kept["prediction"] == mask.transpose(2, 1, 0)).all()


def test_hard_masks_hold_no_regions(tmp_path):
    regions(tmp_path)
    with pytest.raises(SystemExit) as error:
        run(tmp_path, "--regions", "whole=1,2;core=2", "--format", "mask", probs="pred")
    assert error.value.code == 2


def test_nnunet_volumes_with_spacing_and_surfaces(tmp_path):
    made = nnunet(tmp_path)
    run_ = run(tmp_path, "--surface", "true", probs="pred")
    hd95 = {case.name: case.scores["hd95", "organ1"] for case in run_.cases("test")}
    for name, (probs, labels) in made.items():
        expected = metrics.evaluate_case(
            torch.from_numpy(probs), torch.from_numpy(labels), ["b", "one", "two"], (0.8, 0.8, 2.5), surface=True
        )
        assert hd95[name] == pytest.approx(expected[0]["hd95"], rel=1e-6)


def test_objects_of_maps_are_those_of_the_mask_that_is_scored(tmp_path):
    """Three classes in volumes; with cuts the objects are those of the cut mask, with the same maps' confidences."""
    made = nnunet(tmp_path)
    given = ("--objects", "true", "--object_iou", "0.2", "--object_connectivity", "1")
    whole, cut = (run(tmp_path, *given, *cuts, probs="pred", name=f"n{len(cuts)}") for cuts in ((), CUT))
    rule = metrics.ObjectRule(0.2, 1)
    for run_, cuts in ((whole, None), (cut, [0.5, 0.2, 0.2])):
        scores = {case.name: case.scores for case in run_.cases("test")}
        for name, (probs, labels) in made.items():
            p = torch.from_numpy(probs)
            mask = p.argmax(0) if cuts is None else metrics.threshold_labels(p, cuts)
            bins, tally = metrics.object_sums(mask, torch.from_numpy(labels), p, rule)
            assert scores[name]["objects_claimed", "organ1"] == tally[1, 1]
            assert scores[name]["object_f1", "organ1"] == pytest.approx(metrics.object_score(tally, "f1")[1].item())
            ece = metrics.errors.expected_calibration_error(bins, 15)[1].item()
            assert scores[name]["object_ece", "organ1"] == pytest.approx(ece, nan_ok=True)


def test_the_picture_of_a_volume_is_a_slice_along_its_last_axis(tmp_path):
    made = nnunet(tmp_path, names=("p",))
    folder = open_folder(
        evaluate_parser().parse_args(["--probs", str(tmp_path / "pred"), "--labels", str(tmp_path / "labels")])
    )
    scored = list(score(folder, tmp_path / "parts", Measure(), 1))
    draw_cases(folder, [(scored[0].name, scored[0].sums)], tmp_path / "figures", [])
    with np.load(tmp_path / "figures" / "case_best.npz") as kept:
        assert (kept["truth"] == made["p"][1].transpose(2, 1, 0)).all()


@pytest.mark.slow  # W&B starts a process
def test_wandb_gets_the_numbers_and_the_figures(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("WANDB_MODE", None)
    images(tmp_path)
    main(
        ["evaluate", "--probs", str(tmp_path / "probs"), "--labels", str(tmp_path / "labels"), *CELLS,
         "--runs_dir", str(tmp_path / "runs"), "--name", "mine"]
    )  # fmt: skip
    logs = list((tmp_path / "runs" / "mine" / "wandb").glob("offline-run-*-mine"))
    assert len(logs) == 1
    names = {path.name.partition("_0")[0] for path in logs[0].rglob("*.png")}
    assert any("reliability_all_top_label" in name for name in names)
    assert b"test/ece_foreground_pooled" in next(logs[0].glob("*.wandb")).read_bytes()


@pytest.mark.skipif("SEGMENTATION_DATA" not in os.environ, reason="needs the real images")
def test_laddernet_on_drive(tmp_path):
    """The values that its authors' own evaluation and independent code give (data/README)."""
    data = Path(os.environ["SEGMENTATION_DATA"])
    maps, drive = data / "real_predictions" / "laddernet_drive" / "probabilities", data / "drive" / "DRIVE" / "test"
    if not maps.is_dir():
        pytest.skip("no maps")
    for observer, ece in ((1, 0.0020), (2, 0.0060)):
        labels = drive / f"{['', '1st', '2nd'][observer]}_manual" / f"{{name}}_manual{observer}.gif"
        main(
            ["evaluate", "--probs", f"{maps}/{{name}}_test.png", "--labels", str(labels), "--valid",
             f"{drive}/mask/{{name}}_test_mask.gif", "--classes", "background,vessel", "--runs_dir", str(tmp_path),
             "--name", f"o{observer}", "--wandb", "false"]
        )  # fmt: skip
        found = summary(Run(tmp_path / f"o{observer}"))
        assert found["ece_foreground_pooled", "all"] == pytest.approx(ece, abs=5e-5)
        if observer == 1:
            assert found["dice_pooled", "all"] == pytest.approx(0.8201, abs=5e-5)
            assert found["brier_pooled", "vessel"] == pytest.approx(0.03201, abs=5e-6)


def test_errors_are_one_line(tmp_path, capsys):
    images(tmp_path)
    (tmp_path / "probs" / "b.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, *CELLS)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "b.png" in told


def test_a_volume_without_a_value_in_a_class_is_no_error(tmp_path):
    probs, labels = make_probs((6, 5, 4), 3)
    save_nifti(tmp_path / "labels" / "a.nii.gz", np.minimum(labels, 1))
    save_nifti(tmp_path / "probs" / "a.nii.gz", np.moveaxis(probs, 0, -1))
    found = summary(run(tmp_path, "--classes", "background,one,two"))
    assert np.isfinite(found["dice", "all"])


@pytest.mark.parametrize("cuts", ["0.3", "[0.3]"])
def test_the_threshold_is_the_cut_of_the_mask_and_leaves_calibration_alone(cells, cuts):
    root, made, run_ = cells
    cut, whole = summary(run(root, *CELLS, "--threshold", cuts, "--surface", "true", name=f"cut{cuts}")), summary(run_)
    claimed = np.concatenate([(p[1] >= 0.3).ravel() for p, _ in made.values()])
    truth = np.concatenate([(y == 1).ravel() for _, y in made.values()])
    assert cut["dice_pooled", "all"] == pytest.approx(
        2 * (claimed & truth).sum() / (claimed.sum() + truth.sum()), abs=1e-12
    )
    assert cut["dice_pooled", "all"] != whole["dice_pooled", "all"]
    assert cut["ece_pooled", "all"] == whole["ece_pooled", "all"]
    assert cut["nll", "all"] == whole["nll", "all"]


@pytest.mark.parametrize("cuts", ["0.3,0.4", "2", "half"])
def test_a_threshold_that_is_no_cut_a_class_is_refused(cells, cuts, capsys):
    root, _, _ = cells
    with pytest.raises(SystemExit):
        run(root, *CELLS, "--threshold", cuts, name="refused")
    assert "a cut in (0, 1) of each of cell" in capsys.readouterr().err
    assert not (root / "runs" / "refused").exists()


def test_a_class_that_no_label_holds_is_said(tmp_path, capsys):
    images(tmp_path)
    for path in (tmp_path / "labels").iterdir():
        save_png(path, np.zeros((21, 17), np.uint8))
    run(tmp_path, *CELLS)
    told = capsys.readouterr().out
    assert "no label holds cell" in told
    assert "background fills every label" in told
