"""What tests and examples share: one thread, no network, a cache of their own, and for an example an empty folder."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of several workers wait for each other on few cores
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network for a newer version
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

if "SEGMENTATION_CACHE" not in os.environ:
    os.environ["SEGMENTATION_CACHE"] = tempfile.mkdtemp(prefix="segmentation-tests-")
    atexit.register(shutil.rmtree, os.environ["SEGMENTATION_CACHE"], ignore_errors=True)

collect_ignore_glob = ["calibrated_segmentation/integrations/nnunet/trainers/*"]  # nnU-Net's own import them


@pytest.fixture(autouse=True)
def _empty_folder(request: pytest.FixtureRequest) -> None:
    """Run each example in a folder of its own."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
