"""An error that meets several processes is told once; one of a further process alone is told by it."""

import subprocess
import sys

import pytest

CHILD = """
import pathlib, sys
from lightning_app.system.first_process import ends_untold
print("ready", flush=True)
pathlib.Path(sys.argv[1]).write_text(str(ends_untold(float(sys.argv[2]))))
"""
FIRST = """
import os, subprocess, sys
environment = {**os.environ, "LOCAL_RANK": sys.argv[1]}
child = subprocess.Popen([sys.executable, "-c", *sys.argv[3:]], env=environment, stdout=subprocess.PIPE)
child.stdout.readline()
if sys.argv[2] == "stays":
    child.wait()
"""


@pytest.mark.parametrize(
    ("rank", "first", "seconds", "untold"),
    [("1", "ends", "60", "True"), ("1", "stays", "0.2", "False"), ("0", "ends", "60", "False")],
)
def test_a_further_process_leaves_the_word_to_the_first_that_ends_too(tmp_path, rank, first, seconds, untold):
    said = tmp_path / "said"
    command = [sys.executable, "-c", FIRST, rank, first, CHILD, str(said), seconds]
    subprocess.run(command, stderr=subprocess.PIPE, check=True)  # waits for both: each holds the pipe
    assert said.read_text() == untold
