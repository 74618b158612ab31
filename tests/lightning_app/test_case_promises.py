"""`calibrate --method cases`: what it keeps, what predict writes of it, what test says to it."""

import csv

import numpy as np
import pytest
import torch

from lightning_app.calibration.cases import from_record, held_against, promise_cases, to_record
from lightning_app.cli import main
from lightning_app.training.case_sheet import case_numbers
from lightning_app.training.head import Head
from tests.lightning_app.small import SMALL

pytestmark = [
    pytest.mark.usefixtures("unpainted"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec"),
]
NAMES = ("background", "lesion")


def rows(expected, dice, volume=100.0):
    """A table of cases, whose expected volumes are off by up to 9 %."""
    factors = np.linspace(0.91, 1.09, len(expected))
    return [
        {"class": "lesion", "expected_dice": e, "dice": d, "expected_volume": volume, "true_volume": volume * f}
        for e, d, f in zip(expected, dice, factors, strict=True)
    ]


def test_what_is_promised_is_written_of_a_case_and_held_against_others(capsys):
    promises = from_record(
        to_record(promise_cases(rows([0.9] * 40 + [0.5] * 9, [0.85] * 40 + [0.3] * 9), NAMES, 0.8, 0.1, 0.9))
    )
    assert capsys.readouterr().out == ""
    p = torch.zeros(2, 10, 10)
    p[1, :5] = 1.0
    p[0] = 1 - p[1]
    sure = case_numbers(Head(NAMES), p, p.argmax(0), (2.0, 1.0), promises)
    assert (sure["look/lesion"], sure["expected_volume/lesion"]) == ("no", 100.0)
    assert sure["dice_low/lesion"] < sure["likely_dice/lesion"] < sure["expected_dice/lesion"] == 1.0
    assert sure["volume_low/lesion"] < 100.0 < sure["volume_high/lesion"] < 115.0
    unsure = case_numbers(Head(NAMES), 0.5 * p + 0.25, p.argmax(0), (2.0, 1.0), promises)
    assert unsure["look/lesion"] == "yes"
    cut = case_numbers(Head(NAMES), p, p.argmax(0), (2.0, 1.0), promises, largest=False)
    assert not {"look/lesion", "dice_low/lesion", "likely_dice/lesion"} & set(cut)
    assert cut["volume_low/lesion"] == sure["volume_low/lesion"]
    assert not {"passed", "dice_covered"} & set(held_against(promises, rows([0.95] * 3, [0.9] * 3), largest=False)[0])
    low, likely = promises["lesion"].dice.around(0.95)
    assert 0.7 < low < 0.9 < likely < 0.95  # two of three lie below
    held = held_against(promises, rows([0.95, 0.95, 0.4], [0.9, 0.7, 0.2]))[0]
    assert (held["passed"], held["bad"], held["covered"]) == (2, 1, 1 / 3)  # off by 9 % are two of them
    assert (held["dice_error"], held["dice_covered"]) == (pytest.approx((0.05 + 0.25 + 0.2) / 3), 1 / 3)
    assert held["likely_dice_error"] < held["dice_error"]


def test_promises_of_older_files_know_no_dice():
    record = to_record(promise_cases(rows([0.9] * 40, [0.85] * 40), NAMES, 0.8, 0.1, 0.9))
    del record["lesion"]["dice"]
    promises = from_record(record)
    p = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    numbers = case_numbers(Head(NAMES), p, p.argmax(0), None, promises)
    assert "dice_low/lesion" not in numbers
    assert numbers["look/lesion"] == "no"
    assert "dice_covered" not in held_against(promises, rows([0.95] * 3, [0.9] * 3))[0]


def test_without_a_cut_every_case_is_to_be_looked_at(capsys):
    promises = promise_cases(rows([0.9] * 12, [0.85] * 12), NAMES, 0.8, 0.1, 0.9)
    assert "WARNING   lesion: no case passes without a look: 12 cases are too few" in capsys.readouterr().out
    p = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    assert case_numbers(Head(NAMES), p, p.argmax(0), None, promises)["look/lesion"] == "yes"


def cells(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    args = [*(arg for arg in SMALL if "num_cases" not in arg), "--data.num_cases=[4,10,3]"]
    main(["fit", *args, "--trainer.max_epochs=1", f"--runs_dir={runs}", "--run_name=a"])
    return runs / "a", args


def test_from_the_command_line(run, capsys):
    """Ten validation cases: intervals, no cut; a calibrator fitted later drops them."""
    folder, args = run
    main(["predict", *args, f"--ckpt_path={folder}"])
    before = cells(folder / "predictions" / "test" / "cases.csv")
    assert {row["volume_low/region"] for row in before} == {""}
    main(["calibrate", *args, f"--ckpt_path={folder}", "--method=cases"])
    assert "region: volume within a factor" in capsys.readouterr().out
    main(["predict", *args, f"--ckpt_path={folder}"])
    for row in cells(folder / "predictions" / "test" / "cases.csv"):
        low, middle, high = (float(row[f"{key}/region"]) for key in ("volume_low", "expected_volume", "volume_high"))
        assert low < middle < high
        assert row["look/region"] == "yes"
    main(["test", *args, f"--ckpt_path={folder}"])
    assert "promise of each case" in capsys.readouterr().out
    assert [(row["class"], row["cases"]) for row in cells(folder / "test" / "cases.csv")] == [("region", "3")]
    main(["calibrate", *args, f"--ckpt_path={folder}", "--method=temperature"])
    assert "cases" not in torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)


def test_too_few_cases_are_refused(run, capsys):
    folder, args = run
    with pytest.raises(SystemExit):
        main(["calibrate", *args, f"--ckpt_path={folder}", "--method=cases", "--level=0.05"])
    assert "--method cases, region: 10 cases are too few for intervals of 95%: 19 would do" in capsys.readouterr().err
