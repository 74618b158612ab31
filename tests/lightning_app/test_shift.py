"""Test cases of another data set, or damaged: in folders of their own, refused where they do not fit."""

import csv
import shutil

import pytest

from benchmarks import posthoc
from benchmarks.shift import curve, other, table
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run
from lightning_app.report.shift import shift_table
from lightning_app.training.drift import check
from lightning_app.training.shift import stage_name
from tests.data.drive.make import make as make_drive
from tests.data.kvasir_seg.make import make as make_kvasir
from tests.data.stare.make import make as make_stare

pytestmark = pytest.mark.usefixtures("unpainted")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a fake DRIVE, with its test and the other sets beside it."""
    root = tmp_path_factory.mktemp("shift")
    make_drive(root / "drive")
    make_stare(root / "stare")
    make_kvasir(root / "kvasir")
    args = [
        "--data=datamodules.DRIVE",
        f"--data.root={root / 'drive'}",
        "--data.size=[32,32]",
        "--trainer.max_epochs=1",
    ]
    args += ["--trainer.limit_train_batches=1", "--test_after=true", f"--runs_dir={root}", "--run_name=run", *QUIET]
    main(["fit", *args, "--test_data=stare", f"--test_root={root / 'stare'}", "--corrupt=noise:1"])
    return root / "run"


def again(run, *options):
    main(["test", f"--ckpt_path={run}", *QUIET, *options])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_fit_tests_on_others_too_which_a_sweep_asks_for(run):
    assert {row["case"] for row in rows(run / "test" / "per_case.csv")} < {f"{n:02d}" for n in range(1, 41)}
    assert {row["case"] for row in rows(run / "test_stare_noise1" / "per_case.csv")} == {
        f"im000{n}" for n in range(1, 7)
    }
    assert {row["case"] for row in rows(run / "split.csv")} == {f"{n:02d}" for n in range(1, 41)}


def test_another_data_set_is_scored_beside_the_runs_own(run, capsys):
    before = (run / "test" / "per_case.csv").read_bytes()
    again(run, "--test_data=stare", f"--test_root={run.parent / 'stare'}")
    assert "test: 6 cases" in capsys.readouterr().out
    assert {row["case"] for row in rows(run / "test_stare" / "per_case.csv")} == {f"im000{n}" for n in range(1, 7)}
    assert (run / "test_stare" / "figures" / "reliability_all_top_label.png").is_file()
    assert (run / "test" / "per_case.csv").read_bytes() == before


def test_damaged_images_have_a_folder_of_their_own_and_other_numbers(run):
    before = (run / "test" / "per_case.csv").read_bytes()
    again(run, "--corrupt=noise:5")
    clean, damaged = (rows(run / name / "per_case.csv") for name in ("test", "test_noise5"))
    assert [row["case"] for row in clean] == [row["case"] for row in damaged]
    assert [row["nll"] for row in clean] != [row["nll"] for row in damaged]
    assert (run / "test" / "per_case.csv").read_bytes() == before


def test_the_report_shows_both_beside_the_runs_own_test(run):
    again(run, "--corrupt=blur:5")
    check(run / "test_blur5", {"share/vessel": [0.1, 0.2] * 20}, [{"share/vessel": 0.9}] * 20)
    found = shift_table(Comparison([Run(run)]))
    stages = [row[3] for row in found.rows]
    assert stages[:2] == ["test", "test_blur5"]
    assert [row[-1] for row in found.rows[:2]] == ["", "unlike: expected share of the image (vessel), p = 5e-16"]
    summary = {row["metric"]: row["mean"] for row in rows(run / "test_blur5" / "summary.csv") if row["class"] == "all"}
    assert found.keys[1][4] == float(summary["dice"])
    assert found.keys[1][5] == float(summary["ece_pooled"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--test_data=kvasir_seg", "--test_root={root}/kvasir"], "class names are"),
        (["--test_data=datamodules.Nothing"], "there is no data set datamodules.Nothing"),
        (["--corrupt=fog:2"], "give one of noise"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(run, options, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        again(run, *(option.format(root=run.parent) for option in options))
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert words in told


def leaking(run, root):
    """A STARE of which one case is a training case of the run, under another name; and that case."""
    trained = next(row["case"] for row in rows(run / "split.csv") if row["subset"] == "train")
    folder = run.parent / "drive" / "DRIVE" / "training"
    stare = make_stare(root) / "STARE" / "test"
    shutil.copy(folder / "images" / f"{trained}_training.tif", stare / "images" / "im0001.ppm")
    shutil.copy(folder / "1st_manual" / f"{trained}_manual1.gif", stare / "1st_manual" / "im0001.ah.ppm")
    shutil.copy(folder / "mask" / f"{trained}_training_mask.gif", stare / "mask" / "im0001.ppm")
    return trained


def test_a_case_that_was_trained_on_is_refused_whatever_its_name(run, tmp_path, capsys):
    trained = leaking(run, tmp_path / "leak")
    with pytest.raises(SystemExit):
        again(run, "--test_data=stare", f"--test_root={tmp_path / 'leak'}")
    assert f"test case im0001 is case {trained}" in capsys.readouterr().err


def test_calibrators_are_not_scored_on_another_set_that_was_trained_on(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMENTATION_DATA", str(tmp_path))
    trained = leaking(run, tmp_path / "stare")
    options = [str(run), "--shift", "--limit=1", "--methods=temperature", f"--output={tmp_path / 'shifted.csv'}"]
    with pytest.raises(UserError, match=f"test case im0001 is case {trained}"):
        posthoc.main(options)
    make_stare(tmp_path / "stare")
    posthoc.main(options)
    assert [row["tested"] for row in rows(tmp_path / "shifted.csv")] == ["own", "stare"] * 2


def test_validate_knows_no_other_test_cases(run, capsys):
    with pytest.raises(SystemExit):
        main(["validate", f"--ckpt_path={run}", "--corrupt=noise:1"])
    assert "--corrupt noise:1 goes with test and fit" in capsys.readouterr().err


def test_the_benchmark_takes_means_over_kinds_at_a_level():
    start = {"data": "a", "loss": "CE", "ece_pooled": 0.0, "risk": 0.0, "size": 1.0}
    made = [("own", "0", 0.9), ("noise", "3", 0.5), ("blur", "3", 0.7), ("other", "", 0.4)]
    given = [start | {"condition": kind, "level": level, "dice": dice} for kind, level, dice in made]
    assert curve(given, "a", "CE", "dice", [3]) == pytest.approx([0.9, 0.6])
    assert other(given, "a", "CE", "dice") == 0.4
    assert "| a | CE | 0.900 | 0.400 | 0.600 |" in table(given, [3])


def test_names_of_stages():
    assert stage_name(None, None) == "test"
    assert stage_name("stare", "noise:3") == "test_stare_noise3"
    assert stage_name("datamodules.KvasirSEG", None) == "test_kvasirseg"
    assert stage_name("my/other.yaml", None) == "test_other"
