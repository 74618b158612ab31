"""What a user gets wrong: one line that names the thing and the cure, exit code 2, no traceback."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_app.cli import main
from tests.data.dsb2018.make import make as make_dsb2018

SMALL = ["--data.size=16", "--data.num_cases=[2,1,1]", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
QUIET = ["--trainer.logger=false", "--trainer.accelerator=cpu"]


class NotFinite(nn.Module):
    """A loss that is not finite."""

    def forward(self, logits, target):
        return logits.sum() * float("nan")


class ThreeChannels(nn.Module):
    """A network that ignores how many classes the data have."""

    def __init__(self, in_channels: int = 1):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 3, 1)

    def forward(self, image):
        return self.layer(image)


def message(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("lightning_app: error: ")
    return error


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["fitt"], ["'fitt'", "choose from fit, validate"]),
        (["fit", "--model.loss=losses.Nope"], ["--model.loss: there is no losses.Nope; fit --help lists"]),
        (["fit", "--model.loss=nowhere.Loss"], ["cannot load nowhere.Loss: No module named 'nowhere'; install it"]),
        (["fit", "--model.loss=torch.nn.MSELos"], ["cannot load torch.nn.MSELos: module 'torch.nn' has no"]),
        (
            ["fit", "--model.loss=torch.nn.MSELoss", "--model.loss.reductio=2"],
            ["takes no reductio; did you mean reduction"],
        ),
        (["fit", "--model.net=UNett"], ["--model.net: there is no models.UNett; did you mean models.UNet"]),
        (
            ["fit", "--data=datamodules.drive"],
            ["--data: there is no datamodules.drive; did you mean datamodules.DRIVE"],
        ),
        (["fit", "--data=losses.DiceLoss"], ["LightningDataModule", "losses.DiceLoss"]),
        (
            ["fit", "--model.loss.gama=2"],
            ["--model.loss.gama: losses.DicePlusPlusLoss takes no gama", "did you mean gamma?"],
        ),
        (["fit", "--model.loss.zz=2"], ["takes no zz; it takes gamma, ", "pool", "include_background"]),
        (["fit", "--data.patch_sise=2"], ["--data.patch_sise: datamodules.Phantom", "did you mean patch_size or"]),
        (["fit", "--model.loss.gamma=two"], ["--model.loss.gamma: expected a number, got two"]),
        (["fit", "--data.patch_size=8"], ["--data.patch_size: 8 is no list", "--data.patch_size=[1,2]"]),
        (["fit", "--data.batch_size=many"], ["--data.batch_size: expected a whole number, got many"]),
        (["fit", "--data.num_cases=[4,3]"], ["--data.num_cases: Expected a tuple with 3 elements"]),
        (["fit", "--trainer.max_epochs=x"], ["--trainer.max_epochs: expected a whole number or null, got x"]),
        (["fit", "--model.inference.window=[8,8]"], ["--model.inference: name the class before its arguments"]),
        (
            ["fit", "--data=datamodules.BUSI", "--data.size=64,64"],
            [" size='64,64': give height and width, as [256,256]"],
        ),
        (["fit", "--model.loss.gamma=0"], ["gamma", "0.0"]),
        (["fit", "--optimizer.lr=fast"], ["lr", "fast"]),
        (["fit", "--config=nowhere.yaml"], ["nowhere.yaml"]),
        (["fit", "--model.binary=sigmoid", "--data.num_classes=3"], ["sigmoid", "3"]),
        (["test", "--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt"]),
    ],
)
def test_what_is_typed_wrong(capsys, tmp_path, args, parts):
    error = message(capsys, *args, *([f"--runs_dir={tmp_path}"] if args[0] == "fit" else []))
    assert all(part in error for part in parts), error
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named_and_the_failed_run_leaves_a_record(capsys, tmp_path):
    options = [*QUIET, f"--runs_dir={tmp_path}", "--run_name=one"]
    error = message(capsys, "fit", "--data=datamodules.DRIVE", "--data.root=/nowhere", *options)
    assert all(part in error for part in ("/nowhere", "--data.root", "SEGMENTATION_DATA")), error
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    assert state["status"] == "failed"
    assert "/nowhere" in state["error"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(capsys, tmp_path):
    error = message(capsys, "fit", "--trainer.accelerator=gpu", f"--runs_dir={tmp_path}")
    assert "no GPU" in error
    assert "--trainer.accelerator cpu" in error


def test_a_loss_that_is_not_finite_names_the_cases_and_leaves_no_checkpoint(capsys, tmp_path):
    options = [*SMALL, *QUIET, f"--model.loss={__name__}.NotFinite", f"--runs_dir={tmp_path}", "--run_name=one"]
    error = message(capsys, "fit", *options)
    assert "loss is nan" in error
    assert "train_000" in error
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_loss_from_elsewhere_gets_its_labels_as_int64(tmp_path):
    torchs = ["--model.loss=torch.nn.CrossEntropyLoss", "--model.loss.ignore_index=255"]
    runs = [
        main(["fit", *SMALL, *QUIET, *loss, f"--runs_dir={tmp_path}", f"--run_name=r{number}"])
        for number, loss in enumerate((torchs, ["--model.loss=losses.CrossEntropyLoss"]))
    ]
    theirs, ours = (run.trainer.callback_metrics["val/nll"].item() for run in runs)
    assert theirs == pytest.approx(ours, rel=1e-5)


def test_a_network_of_another_number_of_classes(capsys, tmp_path):
    error = message(capsys, "fit", *SMALL, *QUIET, f"--model.net={__name__}.ThreeChannels", f"--runs_dir={tmp_path}")
    assert "ThreeChannels gives 3 channels, the data need 2 (background, region)" in error


def test_a_checkpoint_of_another_network(capsys, tmp_path):
    run = main(["fit", *SMALL, *QUIET, f"--runs_dir={tmp_path}", "--run_name=one"]).run_folder
    capsys.readouterr()
    error = message(capsys, "test", f"--ckpt_path={run}", "--model.net.width=4")
    assert "of another network" in error
    assert "UNet" in error


def test_an_image_without_masks_is_named(capsys, tmp_path):
    root = tmp_path / "data"
    make_dsb2018(root)
    masks = next(path for path in sorted(root.rglob("masks")) if path.is_dir())
    for mask in masks.iterdir():
        mask.unlink()
    options = [*QUIET, "--trainer.max_epochs=1", f"--runs_dir={tmp_path / 'runs'}"]
    error = message(capsys, "fit", "--data=datamodules.DSB2018", f"--data.root={root}", *options)
    assert masks.parent.name in error


def test_a_truncated_image_is_named(capsys, tmp_path):
    root = tmp_path / "data"
    make_dsb2018(root)
    images: list[Path] = sorted(root.rglob("images/*.png"))
    for image in images:
        image.write_bytes(image.read_bytes()[:60])
    options = [*QUIET, "--trainer.max_epochs=1", f"--runs_dir={tmp_path / 'runs'}", "--data.size=[32,32]"]
    error = message(capsys, "fit", "--data=datamodules.DSB2018", f"--data.root={root}", *options)
    assert any(str(image) in error for image in images)


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="gamma"):
        main(["fit", "--debug", "--model.loss.gamma=0", f"--runs_dir={tmp_path}"])
