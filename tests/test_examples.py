"""Every public class and function shows an example; the suite runs them (`--doctest-modules`)."""

import importlib
import inspect
from types import ModuleType

import pytest

ROOMS = ["losses", "metrics", "metrics.plot", "models"]


def public(room):
    """Name to object of what a room offers: of `__all__`, and of the modules named there what they define."""
    module = importlib.import_module(room)
    offered = {name: getattr(module, name) for name in module.__all__}
    modules = [m for name, m in offered.items() if isinstance(m, ModuleType) and not hasattr(m, "__all__")]
    found = {f"{room}.{name}": each for name, each in offered.items()}
    for part in modules:
        own = {n: v for n, v in vars(part).items() if not n.startswith("_") and getattr(v, "__qualname__", "") == n}
        found |= {f"{part.__name__}.{n}": v for n, v in own.items() if v.__module__ == part.__name__}
    return {name: each for name, each in found.items() if inspect.isclass(each) or inspect.isfunction(each)}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_example(room):
    found = public(room)
    assert found
    assert not [name for name, each in found.items() if ">>>" not in (each.__doc__ or "")]


def test_the_suite_runs_the_examples_of_these_rooms(pytestconfig):
    rooms = {room.partition(".")[0] for room in ROOMS}
    assert rooms <= set(pytestconfig.getini("testpaths"))
    assert "--doctest-modules" in pytestconfig.getini("addopts")
