"""Waiting threads give way: OpenMP itself says what it took from the environment."""

import os
import re
import subprocess
import sys

import pytest

from lightning_app.system.threads import CHOSEN

CODE = "from lightning_app.cli import main; main([]); import torch"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP is torch's on Linux")
@pytest.mark.parametrize(
    ("chosen", "taken"), [({}, "30000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")]
)
def test_threads_wait_shortly_unless_the_user_chose(chosen, taken):
    own = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    env = own | {"OMP_DISPLAY_ENV": "verbose", "OMP_NUM_THREADS": "1"} | chosen
    told = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True).stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", told) == [taken]
