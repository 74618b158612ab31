"""The reference shows docstrings as they are meant: their examples as code."""

from importlib.util import module_from_spec, spec_from_file_location

import pytest

import metrics
from lightning_app.shipped import HOME

griffe = pytest.importorskip("griffe")


def test_an_example_is_code_to_the_parser():
    spec = spec_from_file_location("rest", HOME / "docs" / "site" / "rest.py")
    rest = module_from_spec(spec)
    spec.loader.exec_module(rest)
    docstring = griffe.Docstring(rest.to_markdown(metrics.add_objects.__doc__))
    (code,) = [part for part in docstring.parse("google") if part.kind is griffe.DocstringSectionKind.examples]
    assert [kind for kind, _ in code.value] == [griffe.DocstringSectionKind.examples]
    assert code.value[0][1].endswith("[1.0, 1.0, 1.0]")
