"""The tutorials of the documentation, run as they are written: each block in order, and what a page says is seen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
QUIET = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}


def seen(line: str, output: str) -> bool:
    """Whether a line of the output holds what a page shows, `...` standing for anything, any space for any other."""
    words = [re.escape(part) for part in re.split(r"\s+", line.strip())]
    pattern = r"\s+".join(words).replace(re.escape("..."), ".*")
    return re.search(f"^.*{pattern}.*$", output, re.M) is not None


@pytest.mark.tutorial
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_block_runs_and_shows_what_the_page_says(page, tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **QUIET, "PATH": path, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    output = ""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            missing = [line for line in text.splitlines() if not seen(line, output)]
            assert not missing, f"{page.name} shows {missing}, seen was:\n{output}"
            continue
        command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )
        output = done.stdout
        assert done.returncode == 0, f"{page.name}: {text}\n{output}"


def test_there_are_tutorials_and_each_says_what_is_seen():
    assert len(PAGES) == 7
    for page in PAGES:
        kinds = [kind for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))]
        assert set(kinds) <= {"bash", "python", "text"}
        assert "text" in kinds
