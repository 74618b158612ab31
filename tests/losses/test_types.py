"""A type checker finds what is wrong in a call: names and choices stand in the signatures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = Path(__file__).with_name("wrong_calls.py")


@pytest.mark.slow
def test_every_wrong_call_is_found_and_no_other(tmp_path):
    """Slow: mypy reads torch's types."""
    pytest.importorskip("mypy")
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path),
        "--config-file",
        "pyproject.toml",
        str(CALLS),
    ]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    wrong = {n for n, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert {int(n) for n in re.findall(r"wrong_calls\.py:(\d+): error", found)} == wrong, found
