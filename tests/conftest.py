"""Fixtures shared by all rooms."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from metrics.plot import style

# What a look for doctests would import: scripts of one name, and calls that are wrong on purpose.
collect_ignore_glob = ["data/*/make.py", "*/wrong_calls.py"]

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real images, `$SEGMENTATION_DATA` or the one beside the checkout; skips where there is none."""
    root = Path(os.environ.get("SEGMENTATION_DATA", SHARED_DATA))
    if not root.is_dir():
        pytest.skip("no real images here: set SEGMENTATION_DATA to run this test")
    return root


@contextlib.contextmanager
def without_paint() -> Iterator[None]:
    """Figures are made and their files stand, but of one pixel: painting takes most of a small run's time.

    Nor are their texts gathered, for which matplotlib makes all the ticks that painting would make.
    """

    def save(_figure, file, **_options):
        file.write(b"<svg/>") if hasattr(file, "write") else Image.new("L", (1, 1)).save(file, "png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        patch.setattr(style, "_texts", lambda _: ())
        yield


@pytest.fixture(scope="module")
def unpainted() -> Iterator[None]:
    """For files whose tests look at no picture."""
    with without_paint():
        yield


@pytest.fixture
def unpainted_here() -> Iterator[None]:
    """For a test that looks at no picture."""
    with without_paint():
        yield
