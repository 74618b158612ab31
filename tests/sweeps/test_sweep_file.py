import json
import os

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_app.sweep.file import cell_key, cell_name, command_line, draw, grid_cells, load, problems

LOSSES = [
    {"class_path": "losses.DicePlusPlusLoss", "init_args": {"gamma": 2.0}},
    {"class_path": "losses.CrossEntropyLoss"},
]
SOUND = {
    "method": "grid",
    "metric": {"name": "val/ece", "goal": "minimize"},
    "command": ["${env}", "${interpreter}", "-m", "lightning_app", "fit", "${args}"],
    "parameters": {"seed_everything": {"values": [0, 1]}, "model.loss": {"values": LOSSES}},
}

values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def of_the_agent(config, cell):
    """What `wandb agent` makes of a command, by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in cell.items()}})
    macros |= {"interpreter": ["python"], "program": [config.get("program")], "env": ["/usr/bin/env"]}
    line = []
    for item in create_sweep_command(list(config["command"])):
        line += macros[item[2:-1]] if item.startswith("${") else [item]
    return line


@settings(max_examples=60, deadline=None)
@given(
    cell=st.dictionaries(st.sampled_from(["a.b", "seed_everything", "config", "model.loss"]), values, max_size=4),
    macro=st.sampled_from(["args", "args_no_equals", "args_no_hyphens", "args_no_boolean_flags", "args_json"]),
)
def test_the_command_is_the_one_that_the_agent_runs(cell, macro):
    config = {
        **SOUND,
        "program": "lightning_app",
        "command": ["${env}", "${interpreter}", "${program}", f"${{{macro}}}"],
    }
    assert command_line(config, cell) == of_the_agent(config, dict(sorted(cell.items())))


def test_environment_variables_are_read_as_the_agent_reads_them(monkeypatch):
    monkeypatch.setenv("FOLDER", "/data/x")
    monkeypatch.delenv("ABSENT", raising=False)
    config = {"command": ["--root=${envvar:FOLDER}/y", "${envvar:ABSENT}", "${args}"]}
    assert command_line(config, {"a": 1}) == ["--root=/data/x/y", "ABSENT", "--a=1"] == of_the_agent(config, {"a": 1})
    assert os.environ.get("ABSENT") is None


def test_a_sound_file_has_no_problem():
    assert problems(SOUND) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "guess"}, "method must be one of grid, random, bayes, got 'guess'"),
        ({"command": ["${interpreter}", "${args}", "--max_epochs=1"]}, "must stand last"),
        ({"command": ["${python}", "${args}"]}, "unknown macro ${python}"),
        ({"parameters": {}}, "missing or empty"),
        ({"parameters": {"a": {"values": [1, None]}}}, 'write the text "null"'),
        ({"parameters": {"a": {"values": [1, 1]}}}, "stands twice"),
        ({"parameters": {"a": {"parameters": {"b": {"value": 1}}}}}, "dotted names"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "a grid takes `values`"),
        ({"method": "random", "parameters": {"a": {"min": 0, "max": 3}}}, "whole numbers only"),
        ({"method": "random", "parameters": {"a": {"distribution": "normal"}}}, "W&B server only"),
        ({"method": "bayes", "metric": {}}, "bayes needs `metric"),
        (
            {"parameters": {"model.loss": {"values": ["A", "B"]}, "model.loss.gamma": {"values": [1, 2]}}},
            "one axis of dicts",
        ),
    ],
)
def test_a_fault_is_named(change, says):
    found = problems({**SOUND, **change})
    assert any(says in text for text in found), found


def test_a_faulty_file_is_refused_by_name(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("method: grid\nparameters: {a: {values: [null]}}\n")
    with pytest.raises(ValueError, match=r"x\.yaml: parameter a: null becomes the text None"):
        load(path)


def test_a_grid_varies_its_first_parameter_slowest():
    cells = grid_cells({"a": {"values": [1, 2]}, "b": {"value": 0}, "c": {"values": ["x", "y"]}})
    assert [tuple(cell.values()) for cell in cells] == [(1, 0, "x"), (1, 0, "y"), (2, 0, "x"), (2, 0, "y")]


def test_names_are_readable_folder_names_and_depend_on_nothing_but_the_values():
    cell = {"seed_everything": 0, "config": "configs/data/drive.yaml", "model.loss": LOSSES[0], "fixed": 1}
    other = {"class_path": "losses.DicePlusPlusLoss", "init_args": {"gamma": 3.0}}
    parameters = {
        "seed_everything": {"values": [0, 1]},
        "config": {"values": ["configs/data/drive.yaml", "configs/data/busi.yaml"]},
        "model.loss": {"values": [*LOSSES, other]},
        "fixed": {"value": 1},
    }
    swapped = dict(reversed(cell.items()))
    assert cell_name(cell, parameters) == f"seed0-drive-DicePlusPlusLoss_gamma2.0-{cell_key(cell)}"
    assert cell_name({**cell, "model.loss": LOSSES[1]}, parameters).startswith("seed0-drive-CrossEntropyLoss-")
    assert cell_key(swapped) == cell_key(cell)
    assert cell_key({**cell, "seed_everything": 1}) != cell_key(cell)


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ({"min": 0.0, "max": 3.0}, lambda v: 0 <= v <= 3),
        ({"min": 1, "max": 3, "distribution": "int_uniform"}, lambda v: v in (1, 2, 3)),
        ({"min": 1e-5, "max": 1e-2, "distribution": "log_uniform_values"}, lambda v: 1e-5 <= v <= 1e-2),
        ({"min": -2.0, "max": 0.0, "distribution": "log_uniform"}, lambda v: 0.13 < v <= 1),
        ({"min": 0.0, "max": 1.0, "q": 0.25, "distribution": "q_uniform"}, lambda v: v in (0, 0.25, 0.5, 0.75, 1)),
        ({"values": LOSSES}, lambda v: v in LOSSES),
        ({"value": [32, 32]}, lambda v: v == [32, 32]),
    ],
)
def test_draws_stay_in_their_range(spec, holds):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [draw(study.ask(), {"x": spec})["x"] for _ in range(10)]
    assert all(map(holds, drawn))
    assert json.dumps(drawn)
