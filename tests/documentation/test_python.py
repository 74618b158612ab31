"""The Python of the documentation runs as it is written, with `NAMES` for what a reader has at hand."""

import shutil
from pathlib import Path

import lightning.pytorch
import numpy as np
import pytest
import torch

import metrics
import models
from datamodules import DRIVE
from lightning_app.shipped import HOME
from tests.data.drive.make import make as make_drive
from tests.documentation.pages import PAGES, blocks

monai = pytest.importorskip("monai")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
BLOCKS = [(path, text) for path in PAGES for kind, text in blocks(path) if kind == "python"]


def names() -> dict[str, object]:
    """What the pages take as given: a network, a batch of two images of three classes, scores of two methods."""
    from monai.handlers import IgniteMetricHandler, from_engine
    from monai.transforms import Activationsd, Compose

    rng = np.random.default_rng(0)
    net = torch.nn.Conv2d(1, 3, 3, padding=1)
    image, labels = torch.randn(2, 1, 16, 16), torch.randint(0, 3, (2, 16, 16))
    return {
        "torch": torch, "metrics": metrics, "models": models, "Trainer": lightning.pytorch.Trainer, "DRIVE": DRIVE,
        "IgniteMetricHandler": IgniteMetricHandler, "from_engine": from_engine, "Compose": Compose,
        "Activationsd": Activationsd, "calibrator": models.TemperatureScaling(3),
        "net": net, "network": net, "image": image, "labels": labels,
        "batch": {"image": image, "label": labels[:, None]}, "probs": net(image).softmax(1).detach(), "target": labels,
        "dice_by_case": rng.uniform(0.6, 0.9, 12), "ece_by_seed_and_case": rng.uniform(0, 0.1, (3, 12)),
        "ours": rng.uniform(0.7, 0.9, 12), "theirs": rng.uniform(0.6, 0.8, 12), "p_values": [0.01, 0.04, 0.2],
    }  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a tiny DRIVE where $SEGMENTATION_DATA says."""
    make_drive(tmp_path / "data" / "drive", test=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGMENTATION_DATA", "data")
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(("path", "text"), BLOCKS, ids=[path.relative_to(HOME).as_posix() for path, _ in BLOCKS])
def test_a_block_runs(path, text, here, unpainted_here):
    exec(compile(text, str(path), "exec"), names())


def test_there_are_blocks():
    assert len(BLOCKS) >= 7
