"""`benchmarks.rates`: which rate is chosen, and the sweep that is written; runs are folders written by hand."""

import json

import pytest
import yaml

from benchmarks import rates
from lightning_app.errors import UserError
from lightning_app.files import read_csv, read_yaml
from lightning_app.sweep.file import cell_name, command_line, grid_cells, load

LOSSES = [{"class_path": "losses.CrossEntropyLoss"}, {"class_path": "losses.DiceLoss", "init_args": {"gamma": 2.0}}]
DICE = {("CrossEntropyLoss", 0.1): 0.5, ("CrossEntropyLoss", 0.2): 0.7, ("DiceLoss", 0.1): 0.6, ("DiceLoss", 0.2): 0.6}
NLL = {("DiceLoss", 0.1): 0.4, ("DiceLoss", 0.2): 0.3}


@pytest.fixture
def tried(tmp_path):
    """A sweep over two sets, two losses and two rates; only the first set's runs are finished."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 9.0}}")
    parameters = {
        "config": {"values": [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]},
        "seed_everything": {"values": [0]},
        "model.loss": {"values": LOSSES},
        "optimizer.lr": {"values": [0.1, 0.2]},
    }
    command = ["${env}", "${interpreter}", "-m", "lightning_app", "fit", "--model.net=models.UNet", "${args}"]
    sweep = {"program": "lightning_app", "method": "grid", "command": command, "parameters": parameters}
    (tmp_path / "rates.yaml").write_text(yaml.safe_dump(sweep))
    seeds = {**parameters, "seed_everything": {"values": [0, 1, 2]}}
    (tmp_path / "seeds.yaml").write_text(yaml.safe_dump({**sweep, "parameters": seeds}))
    for cell in grid_cells(parameters):
        folder = tmp_path / "runs" / "rates" / cell_name(cell, parameters)
        (folder / "val").mkdir(parents=True)
        key = rates.loss_name(cell["model.loss"]), cell["optimizer.lr"]
        rows = f"dice,a,0.9\ndice,all,{DICE[key]}\nnll,all,{NLL.get(key, 1.0)}\n"
        (folder / "val" / "summary.csv").write_text("metric,class,mean\n" + rows)
        status = "finished" if "one" in cell["config"] else "running"
        (folder / "state.json").write_text(json.dumps({"status": status}))
    return tmp_path


def call(folder, *more):
    paths = [str(folder / "rates.yaml"), "--runs_dir", str(folder / "runs"), "--template", str(folder / "seeds.yaml")]
    return rates.main([*paths, "--output", str(folder / "out"), *more])


def test_best_dice_is_chosen_and_of_equals_the_lower_nll(tried):
    assert call(tried) == 0
    rows = read_csv(tried / "out" / "rates.csv")
    assert {row["data"] for row in rows} == {"one"}
    assert len(rows) == 4
    assert {(row["loss"], row["lr"]) for row in rows if row["chosen"] == "yes"} == {
        ("CrossEntropyLoss", "0.2"),
        ("DiceLoss", "0.2"),
    }


def test_written_sweep_runs_each_loss_at_its_rate_with_every_seed(tried):
    call(tried, "--seeds", "2")
    sweep = load(tried / "out" / "one.yaml")
    cells = grid_cells(sweep.parameters)
    assert len(cells) == 4  # two losses, two of three seeds
    assert "--model.net=models.UNet" in command_line(sweep.config, cells[0])
    for cell in cells:
        config = read_yaml(cell["config"])
        assert config["model"]["loss"] in LOSSES
        assert config["optimizer"] == {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.2}}
    assert not (tried / "out" / "two.yaml").exists()


def test_runs_that_won_are_copied_and_their_seed_is_not_run_again(tried):
    call(tried, "--chosen", str(tried / "six"))
    chosen = {row["run"] for row in read_csv(tried / "out" / "rates.csv") if row["chosen"] == "yes"}
    assert {path.name for path in (tried / "six").iterdir()} == chosen
    assert all((path / "val" / "summary.csv").is_file() for path in (tried / "six").iterdir())
    assert {cell["seed_everything"] for cell in grid_cells(load(tried / "out" / "one.yaml").parameters)} == {1, 2}


def test_no_sweep_is_written_where_no_seed_is_left(tried):
    call(tried, "--chosen", str(tried / "six"), "--seeds", "1")
    assert not (tried / "out" / "one.yaml").exists()


def test_unfinished_set_is_refused_by_name(tried):
    with pytest.raises(UserError, match="--data two: not all of its runs are finished"):
        call(tried, "--data", "two")


def test_name_of_a_sum_names_its_parts():
    parts = {"a": {"class_path": "losses.DiceLoss"}, "b": {"class_path": "losses.AverageCalibrationLoss"}}
    sum_of_both = {"class_path": "losses.WeightedSumLoss", "init_args": {"losses": parts}}
    assert rates.loss_name(sum_of_both) == "DiceLoss+AverageCalibrationLoss"
