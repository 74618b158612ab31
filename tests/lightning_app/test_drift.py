"""The line that says where new cases look unlike those of a promise: `predict`, `test`, older checkpoints."""

import json
import math
import shutil

import pytest
import torch

from datamodules.regions import Regions
from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.training.drift import OLD, Drift, TraitTable, check, columns, from_record, title, to_record
from lightning_app.training.head import Head, RegionHead
from metrics import case_traits
from metrics.drift import TRAITS
from tests.lightning_app.small import SMALL

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec"),
    pytest.mark.usefixtures("unpainted"),
]
LINE = "look unlike the 12 that the promise was made from"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on phantoms with a promise of twelve cases; twelve are there to be tested."""
    runs = tmp_path_factory.mktemp("runs")
    args = [*(arg for arg in SMALL if "num_cases" not in arg), "--data.num_cases=[4,12,12]", "--trainer.logger=false"]
    main(["fit", *args, "--trainer.max_epochs=3", f"--runs_dir={runs}", "--run_name=a"])
    main(["calibrate", *args, f"--ckpt_path={runs / 'a'}", "--method=risk"])
    return runs / "a", args


def verdict(folder):
    return json.loads((folder / "drift.json").read_text())["verdict"]


def told(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if "that the promise was made from" in line]


def test_predict_warns_of_corrupted_phantoms_and_not_of_fresh_ones(run, capsys):
    folder, args = run
    command = ["predict", *args, f"--ckpt_path={folder}", "--threshold=risk"]
    main([*command, "--data.seed=5"])
    assert told(capsys) == []
    assert verdict(folder / "predictions" / "test") == "alike"
    main([*command, "--data.noise=8"])
    (line,) = told(capsys)
    assert f"WARNING   12 cases {LINE}" in line
    assert "the promise may not hold; calibrate on labelled cases like these" in line
    found = json.loads((folder / "predictions" / "test" / "drift.json").read_text())
    assert (found["known"], found["new"], found["numbers"], found["verdict"]) == (12, 12, 4, "unlike")
    assert f"{title(found['found'][0]['key'])}, median {found['found'][0]['known']:.3g} ->" in line
    sheet = read_csv(folder / "predictions" / "test" / "cases.csv")
    assert not any("entropy" in name or name.startswith("share") for name in sheet[0])


def test_predict_that_goes_on_after_a_kill_compares_all_cases(run, capsys):
    folder, args = run
    command = ["predict", *args, f"--ckpt_path={folder}", "--threshold=risk", "--data.noise=8"]
    place = folder / "predictions" / "test"
    main(command)
    (first,), table = told(capsys), (place / "traits.csv").read_text()
    for name in ("cases.csv", "traits.csv"):  # nine are done, of the tenth half a line is there
        lines = (place / name).read_text().splitlines(keepends=True)
        (place / name).write_text("".join(lines[:10]) + lines[10][:9])
    main(command)
    assert told(capsys) == [first]
    assert sorted((place / "traits.csv").read_text().splitlines()) == sorted(table.splitlines())
    main([*command, "--threshold=argmax"])  # uses no promise
    assert told(capsys) == []
    assert not (place / "drift.json").exists()


def test_test_warns_of_damaged_cases_and_records_both(run, capsys):
    folder, args = run
    command = ["test", *args, f"--ckpt_path={folder}", "--trainer.limit_test_batches=6"]
    main(command)
    assert told(capsys) == []
    main([*command, "--data.noise=8", "--corrupt=noise:1"])
    (line,) = told(capsys)
    assert LINE in line
    assert (verdict(folder / "test"), verdict(folder / "test_noise1")) == ("alike", "unlike")


def test_too_few_cases_are_said_to_be_too_few(run, capsys):
    folder, args = run
    main(["test", *args, f"--ckpt_path={folder}", "--trainer.limit_test_batches=1", "--corrupt=blur:1"])
    assert "1 case: too few to tell whether they look like the 12" in told(capsys)[0]
    assert verdict(folder / "test_blur1") == "too few to tell"


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_checkpoint_of_an_older_version_says_so_in_a_line(run, tmp_path, capsys):
    folder, args = run
    old = shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("predictions", "test*"))
    checkpoint = torch.load(old / "checkpoints" / "best.ckpt", weights_only=True)
    del checkpoint["risk"]["traits"]
    torch.save(checkpoint, old / "checkpoints" / "best.ckpt")
    main(["predict", *args, f"--ckpt_path={old}", "--threshold=risk"])
    assert OLD in capsys.readouterr().err
    assert not (old / "predictions" / "test" / "drift.json").exists()


def test_the_record_comes_back_and_another_version_is_nothing():
    traits = columns([{"share/a": 0.1}, {"share/a": 0.2}])
    assert from_record(to_record(traits)) == {"share/a": [0.1, 0.2]}
    assert from_record(to_record(traits) | {"version": 0}) == {}
    assert from_record(None) == {}


def test_nothing_to_compare_is_never_called_alike(tmp_path, capsys):
    check(tmp_path, {"share/a": [0.1] * 20}, [{"share/a": 0.1}] * 20)
    assert verdict(tmp_path) == "alike"
    check(tmp_path, {"share/a": [0.1] * 20}, [{"share/b": 0.1}] * 20)
    assert OLD in capsys.readouterr().err
    assert not (tmp_path / "drift.json").exists()


def test_the_line_names_the_surest_number_and_counts_the_others():
    known = columns([{"share/a": 0.1 + i / 1000, "entropy/a": 0.5 + i / 100} for i in range(40)])
    drift = Drift.of(known, [{"share/a": 0.9 + i / 1000, "entropy/a": 0.8 + i / 100} for i in range(30)])
    assert drift.line == (
        "WARNING   30 cases look unlike the 40 that the promise was made from: expected share of the image (a), "
        "median 0.119 -> 0.915 (p = 7e-20, 1 more of 2 numbers): the promise may not hold; calibrate on labelled cases "
        "like these"
    )
    assert Drift.of(known, [{"share/a": 0.12, "entropy/a": 0.6}] * 2).line == ""


def test_the_table_keeps_the_last_whole_row_of_each_case_and_what_is_missing(tmp_path):
    table = TraitTable(tmp_path, ("background", "a"))
    table.begin({})
    row = {f"{key}/a": 0.5 for key in TRAITS}
    for case, made_by, share in (("1", "x", 0.1), ("1", "y", 0.2), ("2", "x", 0.3), ("2", "y", math.nan)):
        table.add(case, row | {"share/a": share}, made_by)
    assert [case["share/a"] for case in table.cases({"1": "y", "2": "x"})] == [0.2]  # "2" was made anew
    assert math.isnan(table.cases({"2": "y"})[0]["share/a"])


def test_traits_of_classes_and_of_regions_have_their_names():
    p = torch.softmax(torch.randn(3, 6, 5, generator=torch.manual_seed(0)), 0)
    found = Head(("background", "a", "b")).traits(p)
    assert list(found) == [f"{key}/{name}" for key in TRAITS for name in "ab"]
    assert found["share/b"] == pytest.approx(float(p[2].mean()))
    regions = RegionHead(("background", "a", "b"), Regions({"all": (1, 2), "b": (2,)}, (1, 2)))
    whole = torch.stack([p[0], 1 - p[0], 1 - p[2], p[2]])
    for name, pair in zip(("all", "b"), whole.split(2), strict=True):
        for key, value in case_traits(pair).items():
            assert regions.traits(whole)[f"{key}/{name}"] == float(value)
