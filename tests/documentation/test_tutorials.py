"""The tutorials of the documentation, run as they are written: each block in order, and what a page says is seen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_app.shipped import HOME
from tests.documentation.pages import TUTORIALS, blocks, environment


def seen(line: str, output: str) -> bool:
    """Whether a line of the output holds what a page shows, `...` standing for anything, any space for any other."""
    words = [re.escape(part) for part in re.split(r"\s+", line.strip())]
    pattern = r"\s+".join(words).replace(re.escape("..."), ".*")
    return re.search(f"^.*{pattern}.*$", output, re.M) is not None


@pytest.mark.tutorial
@pytest.mark.parametrize("page", TUTORIALS, ids=[page.stem for page in TUTORIALS])
def test_every_block_runs_and_shows_what_the_page_says(page, tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = ""
    for kind, text in blocks(page):
        if kind == "text":
            missing = [line for line in text.splitlines() if not seen(line, output)]
            assert not missing, f"{page.name} shows {missing}, seen was:\n{output}"
            continue
        command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(PATH=path, PYTHONPATH=f"{HOME}:{tmp_path}", COLUMNS="200"),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )
        output = done.stdout
        assert done.returncode == 0, f"{page.name}: {text}\n{output}"


def test_there_are_tutorials_and_each_says_what_is_seen():
    assert len(TUTORIALS) == 7
    for page in TUTORIALS:
        kinds = [kind for kind, _ in blocks(page)]
        assert "text" in kinds
