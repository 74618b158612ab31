"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest

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
