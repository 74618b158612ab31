"""A type checker finds what is wrong in a call: names and choices stand in the signatures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALLS = [Path("tests") / room / "wrong_calls.py" for room in ("losses", "metrics")]


@pytest.mark.slow
def test_every_wrong_call_is_found_and_no_other(tmp_path):
    """Slow: mypy reads torch's types."""
    pytest.importorskip("mypy")
    options = ["--cache-dir", str(tmp_path), "--config-file", "pyproject.toml"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, CALLS)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    lines = {f"{path}:{n}": text for path in CALLS for n, text in enumerate((ROOT / path).read_text().splitlines(), 1)}
    wrong = {place for place, text in lines.items() if text.endswith("# wrong")}
    assert set(re.findall(r"^(\S+:\d+): error", found, re.MULTILINE)) == wrong, found
