"""The W&B workspace of a sweep, sent by the real client to a server on the loopback."""

import json
import os
import subprocess
import sys

import pytest

from lightning_app.dashboard import axes, main, question_of
from lightning_app.sweep.file import load
from tests.sweeps.loopback import Loopback

GAMMA = "sweeps/dscpp_gamma.yaml"


def panels(spec):
    """Title or kind of every panel, by section."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {s["name"]: [p["config"].get("chartTitle", p["viewType"]) for p in s["panels"]] for s in sections}


@pytest.mark.parametrize(
    ("file", "names", "numbers"),
    [
        (GAMMA, ["data/name"], ["seed", "loss/gamma"]),
        ("sweeps/mbls_margin.yaml", ["data/name"], ["seed", "loss/margin"]),
        ("sweeps/gdl_2d.yaml", ["net/name", "data/name", "loss/name"], ["cfg.optimizer.init_args.lr"]),
    ],
)
def test_the_columns_are_what_the_file_varies(file, names, numbers):
    assert axes(load(file)) == (names, numbers)


def test_the_question_is_the_headers(tmp_path):
    assert question_of(load(GAMMA)).startswith("How does the exponent of DSC++ move calibration")


@pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces 0.4, in its own code
def test_a_dry_run_prints_panels_that_answer_the_question(capsys):
    assert main([GAMMA, "--project", "me/p", "--dry-run"]) == 0
    found = panels(json.loads(capsys.readouterr().out))
    assert list(found)[:5] == ["Question", "Calibration", "Overlap", "Training", "Pictures"]
    assert "val/ece against loss/gamma" in found["Question"]
    assert "val/ece by data/name" in found["Calibration"]


@pytest.mark.filterwarnings("ignore:Pydantic V1 style")
def test_the_reliability_curves_of_all_runs_lie_over_one_another(capsys):
    main([GAMMA, "--project", "me/p", "--stage", "test", "--dry-run"])
    spec = json.loads(capsys.readouterr().out)
    sections = {s["name"]: s["panels"] for s in spec["section"]["panelBankConfig"]["sections"]}
    (chart,) = [panel["config"] for panel in sections["Calibration"] if panel["viewType"] == "Vega2"]
    assert chart["panelDefId"] == "wandb/line/v0"
    assert chart["fieldSettings"] == {"x": "confidence", "y": "accuracy"}
    assert "test/reliability_curve_table" in json.dumps(chart["userQuery"])


def test_an_axis_that_mixes_names_and_objects_gives_its_columns(tmp_path):
    path = tmp_path / "x.yaml"
    dice, other = "{class_path: losses.DiceLoss, init_args: {gamma: 2.0}}", "{class_path: a.B, init_args: {gamma: 3}}"
    axis = f"[losses.DiceLoss, {dice}, {other}]"
    path.write_text(f"method: grid\nparameters: {{model.loss: {{values: {axis}}}}}\n")
    assert axes(load(path)) == (["loss/name"], ["loss/gamma"])


def test_a_project_without_its_entity_is_refused():
    with pytest.raises(ValueError, match="entity/project"):
        main([GAMMA, "--project", "p"])


@pytest.mark.slow  # a process with the real client
def test_the_real_client_saves_it():
    with Loopback() as server:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        call = [sys.executable, "-m", "lightning_app", "dashboard", GAMMA, "--project", "me/p"]
        done = subprocess.run(
            call, env={**kept, **server.environment()}, capture_output=True, text=True, timeout=90, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "workspace  " in done.stdout
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "p", "dscpp_gamma (val)")
    assert "val/ece against loss/gamma" in panels(view["spec"])["Question"]
