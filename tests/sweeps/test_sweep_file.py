import json
import os
from datetime import date

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_app.errors import UserError
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
        ({"parameter": {}}, "unknown key 'parameter', did you mean 'parameters'?"),
        ({"parameters": {"a": {"vals": [1]}}}, "unknown key 'vals', did you mean 'values'?"),
        ({"parameters": {"a": {"values": 3}}}, "values must be a list with at least one value, got 3"),
        ({"parameters": {"a": {"values": []}}}, "values must be a list"),
        ({"parameters": {"a": {"values": [1, 2], "probabilities": [0.1, 0.9]}}}, "only be obeyed by a W&B server"),
        ({"parameters": {"a": {"value": date(2020, 1, 1)}}}, "2020-01-01 is a date in YAML"),
        ({"metric": {"name": "x", "goal": "min"}}, "or maximize; got"),
        ({"run_cap": 0}, "run_cap must be a whole number of runs, got 0"),
        (
            {"parameters": {"model.loss": {"values": ["A", "B"]}, "model.loss.gamma": {"values": [1, 2]}}},
            "one axis of dicts",
        ),
    ],
)
def test_a_fault_is_named(change, says):
    found = problems({**SOUND, **change})
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("min: 1e-5, max: 1.0e-2", "min '1e-5' is a text in YAML; write 1.0e-5"),
        ("min: 1.0e-4, max: 2e-2", "max '2e-2' is a text in YAML; write 2.0e-2"),
        ("min: 0.5, max: 2.5E3", "max '2.5E3' is a text in YAML; write 2.5e+3"),
        ("min: '3', max: 5.0", "min '3' is a text in YAML; write 3.0"),
        ("min: true, max: 5.0", "min must be a number, got True"),
        ("min: 0.0, max: .inf", "max must be a number, got inf"),
        ("min: 0.01, max: 0.0001", "min 0.01 is larger than max 0.0001"),
        ("min: 0.0, max: 1.0, distribution: log_uniform_values", "must be above 0"),
        ("min: 0.000001, max: 0.01, distribution: log_uniform", "would draw 1.000001 to 1.01005"),
        ("min: 1, max: 1000, distribution: log_uniform", "write `distribution: log_uniform_values`"),
        ("min: 0.5, max: 3, distribution: int_uniform", "its ends are whole; got 0.5 and 3"),
        ("min: 0.0, max: 1.0, q: 0, distribution: q_uniform", "above 0, got 0"),
    ],
)
def test_a_range_that_draws_something_else_is_refused_by_parameter_and_cure(tmp_path, text, says):
    path = tmp_path / "x.yaml"
    path.write_text(f"method: random\nrun_cap: 2\nparameters: {{a.lr: {{{text}}}}}\n")
    with pytest.raises(UserError) as error:
        load(path)
    assert "x.yaml: parameter a.lr: " in str(error.value)
    assert says in str(error.value)


@given(low=st.floats(1e-12, 1e6), high=st.floats(1e-12, 1e6), digits=st.integers(0, 3))
def test_the_cure_of_a_text_is_the_number_that_was_meant(low, high, digits):
    low, high = sorted((low, high))
    texts = [f"{value:.{digits}e}" for value in (low, high)]
    spec = yaml.safe_load(f"{{min: '{texts[0]}', max: '{texts[1]}'}}")
    found = problems({**SOUND, "method": "random", "parameters": {"a": spec}})
    cures = [text.rpartition("write ")[2] for text in found]
    assert [yaml.safe_load(cure) for cure in cures] == [float(text) for text in texts]


def test_an_axis_may_mix_names_and_objects():
    axis = [
        LOSSES[0],
        "losses.DicePlusPlusLoss",
        {"class_path": "losses.DicePlusPlusLoss", "init_args": {"gamma": 3.0}},
        {"class_path": "losses.CrossEntropyLoss", "init_args": None},
        "losses.DiceLoss",
    ]
    parameters = {"model.loss": {"values": axis}}
    assert problems({**SOUND, "parameters": parameters}) == []
    names = [cell_name(cell, parameters).rpartition("-")[0] for cell in grid_cells(parameters)]
    assert names == [
        "DicePlusPlusLoss_gamma2.0",
        "DicePlusPlusLoss",
        "DicePlusPlusLoss_gamma3.0",
        "CrossEntropyLoss",
        "DiceLoss",
    ]


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
