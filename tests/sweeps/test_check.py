"""What the program's own parser says of a sweep file before anything is run."""

import re

import pytest
import yaml

from lightning_app.errors import UserError
from lightning_app.sweep.check import check_commands, covering
from lightning_app.sweep.file import grid_cells, load

COMMAND = ["${env}", "${interpreter}", "-m", "lightning_app", "fit", "${args}"]


@pytest.fixture
def check(tmp_path):
    """Writes a sweep file of given parameters and checks it."""

    def check(parameters, command=COMMAND):
        path = tmp_path / "question.yaml"
        path.write_text(yaml.safe_dump({"method": "grid", "command": command, "parameters": parameters}))
        check_commands(load(path), grid_cells(parameters))

    return check


@pytest.mark.parametrize(("name", "value"), [("model.los", "losses.DiceLoss"), ("seed_everythin", 0)])
def test_a_misspelt_parameter_is_refused_with_the_files_name(check, name, value):
    with pytest.raises(UserError, match=rf"question\.yaml: .*{re.escape(name)}"):
        check({name: {"values": [value]}})


def test_a_wrong_value_is_found_wherever_it_stands(check):
    with pytest.raises(UserError, match=r"question\.yaml: .*DiceLos"):
        check({"seed_everything": {"values": [0, 1]}, "model.loss": {"values": ["losses.DiceLoss", "losses.DiceLos"]}})


def test_another_program_is_not_asked(check):
    check({"anything": {"values": [1]}}, command=["${interpreter}", "other.py", "${args}"])


def test_a_few_cells_hold_every_value():
    cells = grid_cells({"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}})
    chosen = covering(cells)
    assert len(chosen) == 4
    assert {cell["a"] for cell in chosen} == {1, 2, 3}
    assert {cell["b"] for cell in chosen} == {"x", "y"}
