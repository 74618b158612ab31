"""Sweep files in W&B's format: reading, checking, drawing cells and building the command of a cell.

A sweep file asks one question. Its `parameters` span the cells; a cell is one choice of values, `{parameter: value}`.
The command of a cell is the list that `wandb agent` would run, item by item.
"""

import difflib
import hashlib
import itertools
import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_app.errors import UserError
from lightning_app.files import read_yaml

if TYPE_CHECKING:
    import optuna

DEFAULT_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]
METHODS = ("grid", "random", "bayes")
DISTRIBUTIONS = ("constant", "categorical", "int_uniform", "uniform", "log_uniform", "log_uniform_values", "q_uniform")
SERVER_ONLY = ("early_terminate", "controller", "imports", "job", "launch", "image_uri")
OWN = ("program", "method", "metric", "parameters", "command", "name", "description", "project", "entity", "run_cap")
KEYS = (*OWN, *SERVER_ONLY)
PARAMETER_KEYS = ("value", "values", "min", "max", "q", "distribution")
WEIGHTS = ("probabilities", "mu", "sigma")  # of a parameter, for a W&B server
EXPONENT = 50.0  # of e: 5e21; above it nobody means an exponent
_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_MACRO = re.compile(r"\$\{(\w+)\}")

Cell = dict[str, Any]


@dataclass(frozen=True)
class SweepFile:
    """A sweep file that was read and found sound.

    Args:
        path: The file.
        config: Its content, W&B's keys (`method`, `metric`, `parameters`, `command`, ...).
    """

    path: Path
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's name without its ending: names the study and the folder of the runs."""
        return self.path.stem

    @property
    def method(self) -> str:
        """`grid`, `random` or `bayes`."""
        return self.config["method"]

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Parameter name -> W&B's description of its values."""
        return self.config["parameters"]

    @property
    def metric(self) -> str:
        """Name of the metric that the sweep looks at, e.g. `val/ece`."""
        return self.config.get("metric", {}).get("name", "")

    @property
    def direction(self) -> str:
        """Optuna's word for the metric's goal: `minimize` or `maximize`."""
        return self.config.get("metric", {}).get("goal", "minimize")

    @property
    def varying(self) -> list[str]:
        """Names of the parameters that take more than one value."""
        return [
            name for name, spec in self.parameters.items() if "value" not in spec and len(spec.get("values", "..")) > 1
        ]


def load(path: str | Path) -> SweepFile:
    """Read a sweep file.

    Args:
        path: A YAML file in W&B's format.

    Returns:
        The file's name and content.

    Raises:
        UserError: The file is no sweep, or holds one of the faults that `problems` lists.
        OSError: The file cannot be read.
    """
    path = Path(path)
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: a sweep file holds keys `method` and `parameters`, this one holds {config!r}")
    found = problems(config)
    if found:
        raise UserError(f"{path}: " + "; ".join(found))
    return SweepFile(path, config)


def problems(config: Mapping[str, Any]) -> list[str]:
    """Faults of a sweep that would end, or quietly spoil, its runs under `wandb agent` or here.

    Args:
        config: A sweep file's content.

    Returns:
        One sentence a fault; empty for a sound file.
    """
    parameters = config.get("parameters")
    found = _unknown(config, KEYS)
    if not isinstance(parameters, dict) or not parameters:
        return [*found, "`parameters` is missing or empty"]
    found += _method_problems(config) + _command_problems(config.get("command", DEFAULT_COMMAND))
    for name, spec in parameters.items():
        found += [f"parameter {name}: {text}" for text in _parameter_problems(spec, config.get("method", "grid"))]
    return found + _order_problems(parameters)


def _unknown(given: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Keys that nobody reads, with the one that was meant."""
    found = []
    for key in [str(key) for key in given if key not in known]:
        near = difflib.get_close_matches(key, known, n=1)
        found.append(f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    return found


def _method_problems(config: Mapping[str, Any]) -> list[str]:
    found = []
    metric = config.get("metric", {})
    if config.get("method") not in METHODS:
        found.append(f"method must be one of {', '.join(METHODS)}, got {config.get('method')!r}")
    if not isinstance(metric, dict) or metric.get("goal", "minimize") not in ("minimize", "maximize"):
        found.append(f"write `metric: {{name: ..., goal: minimize}}`, or maximize; got {metric!r}")
    elif config.get("method") == "bayes" and not metric.get("name"):
        found.append("method bayes needs `metric: {name: ..., goal: minimize}`")
    cap = config.get("run_cap", 1)
    if not isinstance(cap, int) or cap < 1:
        found.append(f"run_cap must be a whole number of runs, got {cap!r}")
    return found


def _command_problems(command: Any) -> list[str]:
    if not isinstance(command, list) or not command:
        return ["`command` must be a list"]
    found = []
    if not str(command[-1]).startswith("${args"):
        found.append("`${args}` must stand last in `command`, so that a cell's values win over everything before them")
    known = {"env", "interpreter", "program", *_arguments({})}
    for item in map(str, command):
        macro = _MACRO.fullmatch(item)
        if macro and macro[1] not in known:
            found.append(f"`command`: unknown macro {item}, wandb agent would drop it without a word")
    return found


def _parameter_problems(spec: Any, method: str) -> list[str]:
    if not isinstance(spec, dict):
        return [f"write `{{value: {spec!r}}}` or `{{values: [...]}}`"]
    if "parameters" in spec:
        return ["nested parameters reach the program as one dict; write dotted names instead"]
    if set(spec) & set(WEIGHTS):
        return [f"{' and '.join(key for key in WEIGHTS if key in spec)} can only be obeyed by a W&B server"]
    found = _unknown(spec, PARAMETER_KEYS)
    if "value" in spec:
        return found + _value_problems([spec["value"]])
    if "values" not in spec:
        return found + _range_problems(spec, method)
    values = spec["values"]
    if not isinstance(values, list) or not values:
        return [*found, f"values must be a list with at least one value, got {values!r}"]
    return found + _value_problems(values)


def _value_problems(values: list[Any]) -> list[str]:
    found = []
    if any(value is None for value in values):
        found.append('null becomes the text None, which the parser refuses; write the text "null"')
    found += [f"{value!s} is a date in YAML; write it in quotes" for value in values if isinstance(value, date)]
    if len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
        found.append("a value stands twice")
    return found


def _range_problems(spec: dict[str, Any], method: str) -> list[str]:
    distribution = spec.get("distribution")
    if "min" not in spec or "max" not in spec:
        return [f"needs value, values, or min and max; distribution {distribution!r} runs on a W&B server only"]
    if method == "grid":
        return ["a grid takes `values`, not min and max"]
    if distribution not in (None, *DISTRIBUTIONS):
        return [f"distribution {distribution!r} runs on a W&B server only; here: {', '.join(DISTRIBUTIONS)}"]
    found = [text for end in ("min", "max", "q") if (text := _number_problem(end, spec.get(end, 1)))]
    return found or _ends_problems(spec["min"], spec["max"], distribution, spec.get("q", 1))


def _number_problem(end: str, value: Any) -> str:
    """What is wrong with an end of a range that is no number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str) and math.isfinite(number):  # YAML 1.1 wants a point and a signed exponent
        base, _, exponent = value.lower().partition("e")
        point = base if "." in base else f"{base}.0"
        return f"{end} {value!r} is a text in YAML; write {point}{f'e{int(exponent):+}' if exponent else ''}"
    return f"{end} must be a number, got {value!r}"


def _ends_problems(low: float, high: float, distribution: str | None, step: float) -> list[str]:
    found = []
    if low > high:
        found.append(f"min {low!r} is larger than max {high!r}")
    whole = isinstance(low, int) and isinstance(high, int)
    if distribution is None and whole:
        found.append("integer ends draw whole numbers only; write 0.0 and 3.0, or say `distribution: int_uniform`")
    if distribution == "int_uniform" and not whole:
        found.append(f"int_uniform draws whole numbers, so its ends are whole; got {low!r} and {high!r}")
    if distribution == "q_uniform" and step <= 0:
        found.append(f"q is the step between values and above 0, got {step!r}")
    if distribution == "log_uniform_values" and low <= 0:
        found.append(f"log_uniform_values has no logarithm of min {low!r}; it must be above 0")
    if distribution == "log_uniform" and (low > 0 or high > EXPONENT):
        drawn = f"{math.exp(min(low, EXPONENT)):.7g} to {math.exp(min(high, EXPONENT)):.7g}"
        found.append(
            f"log_uniform takes exponents of e, so {low!r} to {high!r} would draw {drawn}; "
            f"for values between min and max write `distribution: log_uniform_values`"
        )
    return found


def _order_problems(parameters: Mapping[str, Any]) -> list[str]:
    """A class and its arguments on two axes: refused values, and arguments that some of the classes lack."""
    return [
        f"parameters {outer} and {inner}: put both on one axis of dicts, {{class_path: ..., init_args: ...}}"
        for outer, inner in itertools.permutations(parameters, 2)
        if inner.startswith(outer + ".")
    ]


def server_only(config: Mapping[str, Any]) -> list[str]:
    """Keys of a sweep file that only a W&B server can obey."""
    return [key for key in SERVER_ONLY if key in config]


def grid_cells(parameters: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
    """All cells of a grid, the first parameter varying slowest."""
    axes = [spec["values"] if "values" in spec else [spec["value"]] for spec in parameters.values()]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*axes)]


def draw(trial: "optuna.Trial", parameters: Mapping[str, Mapping[str, Any]]) -> Cell:
    """Let an Optuna trial choose one value for each parameter.

    Args:
        trial: The trial; its study's sampler decides (random or Bayesian).
        parameters: W&B's descriptions of the values.

    Returns:
        The cell.
    """
    return {name: _draw_one(trial, name, spec) for name, spec in parameters.items()}


def _draw_one(trial: "optuna.Trial", name: str, spec: Mapping[str, Any]) -> Any:
    if "value" in spec:
        return spec["value"]
    if "values" in spec:  # Optuna's choices are scalars: whole objects travel as JSON
        coded = [json.dumps(value) if isinstance(value, dict | list) else value for value in spec["values"]]
        return spec["values"][coded.index(trial.suggest_categorical(name, coded))]
    low, high, kind = spec["min"], spec["max"], spec.get("distribution", "uniform")
    if kind == "int_uniform":
        return trial.suggest_int(name, low, high)
    if kind == "log_uniform":  # W&B gives the exponents of e
        return math.exp(trial.suggest_float(name, low, high))
    step = spec.get("q", 1) if kind == "q_uniform" else None
    return trial.suggest_float(name, low, high, step=step, log=kind == "log_uniform_values")


def _arguments(cell: Cell) -> dict[str, list[str]]:
    """A cell as each of W&B's macros spells it."""
    pairs = [f"{name}={value}" for name, value in cell.items()]
    switches = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in cell.items() if value is not False
    ]
    return {
        "args": [f"--{pair}" for pair in pairs],
        "args_no_hyphens": pairs,
        "args_no_equals": [word for name, value in cell.items() for word in (f"--{name}", str(value))],
        "args_no_boolean_flags": switches,
        "args_json": [json.dumps(cell)],
    }


def command_line(config: Mapping[str, Any], cell: Cell) -> list[str]:
    """The argument list that `wandb agent` runs for a cell.

    Args:
        config: A sweep file's content.
        cell: The values of its parameters.

    Returns:
        Program and arguments, one item each; `${envvar:NAME}` is read from the environment. The cell's arguments come
        in the order of their names, as W&B hands them out, whatever their order in the file.
    """
    cell = dict(sorted(cell.items()))
    macros = {
        "env": [] if platform.system() == "Windows" else ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [str(config.get("program"))],
        **_arguments(cell),
    }
    line: list[str] = []
    for item in map(str, config.get("command", DEFAULT_COMMAND)):
        text = _ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[1]), item)
        macro = _MACRO.fullmatch(text)
        line += macros[macro[1]] if macro else [text]
    return line


def cell_key(cell: Cell) -> str:
    """Eight letters that name a cell by its values, whatever its place in the file."""
    return hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:8]


def cell_name(cell: Cell, parameters: Mapping[str, Mapping[str, Any]]) -> str:
    """A readable folder name of a cell, the same each time: what varies in the sweep, then the cell's key."""
    varying = {name: spec.get("values", []) for name, spec in parameters.items() if len(spec.get("values", "..")) > 1}
    words = "-".join(
        _word(name, cell[name], values) for name, values in varying.items() if "value" not in parameters[name]
    )
    words = re.sub(r"[^\w.+-]+", "", words)[:90].strip("-.")
    return f"{words}-{cell_key(cell)}" if words else cell_key(cell)


def class_of(value: Any) -> str:
    """The class that a value names, as an object or by its name alone."""
    return str(value.get("class_path", "")) if isinstance(value, dict) else str(value)


def init_args(value: Any) -> dict[str, Any]:
    """The arguments that a value gives its class; none where it only names it."""
    return (value.get("init_args") or {}) if isinstance(value, dict) else {}


def _word(name: str, value: Any, among: Sequence[Any] = ()) -> str:
    """A value as a short word; of an object its class, and the arguments that differ between objects of that class."""
    if isinstance(value, dict) and "class_path" in value:
        alike = [init_args(other) for other in among if class_of(other) == value["class_path"]]
        shown = {k: v for k, v in init_args(value).items() if any(other.get(k) != v for other in alike)}
        return "_".join([value["class_path"].rpartition(".")[2], *(_word(key, item) for key, item in shown.items())])
    if isinstance(value, str):
        return Path(value).stem if value.endswith(".yaml") else value.rpartition(".")[2]
    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return "_".join(_word(key, item) for key, item in value.items())
    short = {"seed_everything": "seed", "max_epochs": "epochs"}
    last = name.rpartition(".")[2]
    return f"{short.get(last, last)}{value}"
