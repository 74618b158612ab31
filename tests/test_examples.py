"""Every public class and function shows an example; the suite runs them (`--doctest-modules`)."""

import importlib
import inspect
from types import ModuleType

import pytest

FACE = "calibrated_segmentation"
PLACES = [
    "losses", "metrics", "metrics.plot", "models", "datamodules", f"{FACE}.rooms", f"{FACE}.integrations.lightning",
    f"{FACE}.integrations.monai", f"{FACE}.integrations.nnunet",
]  # fmt: skip


def defined(module):
    """Public names to what a module defines itself."""
    own = {n: v for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__qualname__", "") == n}
    return {n: v for n, v in own.items() if v.__module__ == module.__name__}


def public(place):
    """Name to object of what a place offers: of `__all__`, and of the modules named there, what they define."""
    module = importlib.import_module(place)
    offered = {name: getattr(module, name) for name in getattr(module, "__all__", defined(module))}
    found = {f"{place}.{name}": each for name, each in offered.items()}
    for part in (m for m in offered.values() if isinstance(m, ModuleType) and not hasattr(m, "__all__")):
        found |= {f"{part.__name__}.{name}": each for name, each in defined(part).items()}
    return {name: each for name, each in found.items() if inspect.isclass(each) or inspect.isfunction(each)}


@pytest.mark.parametrize("place", PLACES)
def test_every_public_name_has_an_example(place):
    found = public(place)
    assert found
    assert not [name for name, each in found.items() if ">>>" not in (each.__doc__ or "")]


def test_the_suite_runs_the_examples_of_these_places(pytestconfig):
    rooms = {place.partition(".")[0] for place in PLACES}
    assert rooms <= set(pytestconfig.getini("testpaths"))
    assert "--doctest-modules" in pytestconfig.getini("addopts")
