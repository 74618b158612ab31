"""The house as CONTRIBUTING draws it is the house as it stands: rooms as boxes, imports as arrows."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSES = ("lightning_app", "losses", "metrics", "models", "datamodules", "calibrated_segmentation")
MOST_LINES = 400
MOST_OF_A_FUNCTION = 60  # its docstring aside


def room(parts: list[str]) -> str:
    """The room that a dotted name lies in: a package, or a folder of one."""
    inner = ROOT.joinpath(*parts[:2])
    return ".".join(parts[:2]) if len(parts) > 1 and inner.is_dir() else parts[0]


def imported(path: Path) -> list[list[str]]:
    """The dotted names that a file imports, relative ones made whole."""
    package = list(path.relative_to(ROOT).parent.parts)
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names += [[*base, alias.name] for alias in node.names]
    return names


def arrows() -> dict[str, set[str]]:
    """Room to the rooms that it imports from."""
    found: dict[str, set[str]] = defaultdict(set)
    for house in HOUSES:
        for path in (ROOT / house).rglob("*.py"):
            here = room(list(path.relative_to(ROOT).parent.parts))
            there = {room(name) for name in imported(path) if name[0] in HOUSES}
            found[here] |= there - {here}
    return found


def drawn() -> dict[str, set[str]]:
    """The same as CONTRIBUTING draws it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- house -->\n```text\n(.*?)```", text, re.DOTALL)[1]
    lines = re.findall(r"^\[([\w.]+)\]\s+[^>\n]*?(?:-> ([\w., ]+))?$", block, re.MULTILINE)
    return {name: {part.strip() for part in targets.split(",") if part.strip()} for name, targets in lines}


def test_contributing_draws_the_house_as_it_stands():
    assert drawn() == dict(arrows())


def sources() -> dict[str, str]:
    """File to text."""
    paths = [path for room in (*HOUSES, "benchmarks") for path in (ROOT / room).rglob("*.py")]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_every_file_can_be_read_in_a_sitting():
    lines = {name: text.count("\n") for name, text in sources().items()}
    assert {name: number for name, number in lines.items() if number > MOST_LINES} == {}


def test_every_function_fits_a_screen():
    long = []
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                words = (ast.get_docstring(node, clean=False) or "").count("\n")
                if node.end_lineno - node.lineno + 1 - words > MOST_OF_A_FUNCTION:
                    long.append(f"{name}: {node.name}")
    assert long == []


def test_the_libraries_know_nothing_of_each_other_or_of_the_program():
    found = arrows()
    for house in ("losses", "metrics", "models", "datamodules"):
        for name, targets in found.items():
            if name.split(".")[0] == house:
                assert {target.split(".")[0] for target in targets} <= {house}
