"""Padding that shifts an instance norm is told once, with its cure; everything else stays quiet."""

import warnings

import pytest

from lightning_app.cli import main
from tests.data.decathlon.make import make

pytestmark = pytest.mark.usefixtures("unpainted")

SMALL = [
    *("--data=datamodules.Decathlon", "--data.patch_size=[8,8,8]", "--data.split=random", "--data.split_sizes=[4,2,2]"),
    *("--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--trainer.max_epochs=1"),
    *("--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.logger=false"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Volumes of about 12 x 18 x 13 voxels."""
    return make(tmp_path_factory.mktemp("data"))


def fit(root, tmp_path, *args):
    return main(["fit", *SMALL, f"--data.root={root}", f"--runs_dir={tmp_path}", "--run_name=a", *args])


def test_much_padding_around_an_instance_norm_is_told_once(root, tmp_path):
    with pytest.warns(UserWarning, match=r"of what the network sees is padding") as told:
        fit(root, tmp_path, "--data.divisor=16")
    (message,) = [str(warning.message) for warning in told if "padding" in str(warning.message)]
    assert "InstanceNorm3d" in message
    assert "--model.inference models.SlidingWindow --model.inference.window [8,8,8] --data.divisor 1" in message


@pytest.mark.parametrize(
    "args",
    [
        ["--model.net.norm=batch", "--data.divisor=16"],
        ["--data.patch_size=[16,32,16]", "--data.divisor=16"],
        ["--model.inference=models.SlidingWindow", "--model.inference.window=[8,8,8]", "--data.divisor=1"],
    ],
    ids=["running statistics", "patches padded alike", "tiles"],
)
def test_no_false_alarm(root, tmp_path, args):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*padding")
        fit(root, tmp_path, *args)
