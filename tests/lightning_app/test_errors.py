"""What a user gets wrong: one line that names the thing and the cure, exit code 2, no traceback."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import losses
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.training.checkpoint_files import read_checkpoint, save_checkpoint
from lightning_app.training.run_folder import RunFolder
from tests.data.dsb2018.make import make as make_dsb2018

pytestmark = pytest.mark.usefixtures("unpainted")

SMALL = ["--data.size=16", "--data.num_cases=[2,1,1]", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
QUIET = ["--trainer.logger=false", "--trainer.accelerator=cpu"]


class NotFinite(nn.Module):
    """A loss that is not finite."""

    def forward(self, logits, target):
        return logits.sum() * float("nan")


class NotFiniteGradient(nn.Module):
    """A loss whose value is finite and whose gradient is not, from the third step on."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, logits, target):
        self.steps += torch.is_grad_enabled()
        return logits.square().mean() + ((logits * 0).abs().sqrt().mean() if self.steps > 2 else 0)


class Buggy(nn.Module):
    """A loss with a fault in its code, or one that calls ours wrongly."""

    def __init__(self, how: str = "value"):
        super().__init__()
        self.how = how

    def forward(self, logits, target):
        if self.how == "value":
            raise ValueError("not enough values to unpack")
        if self.how == "file":
            return open("/nowhere/weights.npy")
        return losses.DiceLoss()(logits, target[:, :3])


class BuggyNet(nn.Module):
    """A network whose layers do not fit."""

    def __init__(self, in_channels: int = 1):
        super().__init__()
        self.layer = nn.Linear(7, 2)

    def forward(self, image):
        return self.layer(image)


class ThreeChannels(nn.Module):
    """A network that ignores how many classes the data have."""

    def __init__(self, in_channels: int = 1):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 3, 1)

    def forward(self, image):
        return self.layer(image)


@pytest.fixture(scope="module")
def trained(unpainted, tmp_path_factory):
    """A run that has finished."""
    return main(["fit", *SMALL, *QUIET, f"--runs_dir={tmp_path_factory.mktemp('runs')}"]).run_folder.path


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, `one`."""
    return RunFolder(shutil.copytree(trained, tmp_path / "one"))


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
        (["fitt"], ["'fitt'; did you mean fit? choose from fit, validate"]),
        (["xyz"], ["'xyz'; choose from fit, validate"]),
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


def test_a_missing_folder_is_named_and_the_failed_start_leaves_nothing(capsys, tmp_path):
    options = [*QUIET, f"--runs_dir={tmp_path}", "--run_name=one"]
    error = message(capsys, "fit", "--data=datamodules.DRIVE", "--data.root=/nowhere", *options)
    assert all(part in error for part in ("/nowhere", "--data.root", "SEGMENTATION_DATA")), error
    assert not list(tmp_path.iterdir())


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


def test_a_gradient_that_is_not_finite_stops_before_its_step(capsys, tmp_path):
    options = ["--data.size=16", "--data.num_cases=[8,1,1]", "--data.batch_size=2", "--trainer.max_epochs=2", *QUIET]
    options += [f"--model.loss={__name__}.NotFiniteGradient", f"--runs_dir={tmp_path}", "--run_name=one"]
    options += ["--trainer.check_val_every_n_epoch=9", "--trainer.enable_progress_bar=false"]
    error = message(capsys, "fit", *options)
    assert "the gradient's norm is nan at step 2 on cases train_000" in error
    assert "before this step changed the weights" in error
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    assert state["status"] == "failed"
    assert "gradient" in state["error"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([f"--model.loss={__name__}.Buggy"], ValueError),
        ([f"--model.loss={__name__}.Buggy", "--model.loss.how=file"], FileNotFoundError),
        ([f"--model.loss={__name__}.Buggy", "--model.loss.how=ours"], ValueError),
        ([f"--model.net={__name__}.BuggyNet"], RuntimeError),
    ],
)
def test_a_fault_in_the_users_own_code_keeps_its_traceback(tmp_path, given, error):
    with pytest.raises(error) as caught:
        main(["fit", *SMALL, *QUIET, *given, f"--runs_dir={tmp_path}"])
    assert any("Buggy" in str(entry.frame.f_locals.get("self", "")) for entry in caught.traceback)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["validate", "test", "predict", "calibrate", "export"])
def test_an_untrained_network_is_not_used(capsys, tmp_path, verb):
    checkpoint = tmp_path / "two" / "checkpoints" / "last.ckpt"
    assert "there is no run in" in message(capsys, verb, f"--runs_dir={tmp_path}")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    error = message(capsys, verb, f"--runs_dir={tmp_path}")
    assert f"{verb} needs --ckpt_path, its network is untrained without" in error
    assert f"the newest run is --ckpt_path {tmp_path / 'two'}" in error


@pytest.mark.parametrize("content", [b"", b"PK", b"no checkpoint", b"\x80\x02."])
@pytest.mark.parametrize("verb", ["test", "calibrate", "export"])
def test_what_is_no_checkpoint_is_named(capsys, tmp_path, verb, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    error = message(capsys, verb, *SMALL[:2], *QUIET, f"--ckpt_path={path}", f"--runs_dir={tmp_path / 'runs'}")
    assert f"{path} is no checkpoint that can be read" in error
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("content", [{"a": 1}, [1], {"state_dict": 3}, {"state_dict": {"a": "text"}}])
def test_a_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="no checkpoint of this program"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_checkpoint_with_all_its_epochs_behind_it(capsys, run, tmp_path):
    places = [f"--runs_dir={tmp_path}", "--run_name"]
    error = message(capsys, "fit", *SMALL, *QUIET, f"--ckpt_path={run}", *places, "B")
    assert "has 1 epochs behind it" in error
    assert "--weights_from" in error
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    second = main(["fit", *SMALL, *QUIET, f"--weights_from={run}", *places, "B", "--optimizer.lr=1e-12"])
    weights = [read_checkpoint(run.checkpoint("last"))["state_dict"] for run in (run, second.run_folder)]
    assert all(torch.allclose(weights[0][name], weights[1][name]) for name in weights[0] if name.startswith("net."))
    assert read_checkpoint(second.run_folder.checkpoint("last"))["epoch"] == 0


def test_weights_that_are_not_finite_are_not_used(capsys, run):
    checkpoint = read_checkpoint(run.checkpoint("best"))
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name][0] = float("nan")
    save_checkpoint(checkpoint, run.checkpoint("best"))
    for verb in ("test", "predict", "calibrate", "export"):
        error = message(capsys, verb, f"--ckpt_path={run}")
        assert "weights hold NaN or infinite numbers" in error, verb
    assert run.read_state()["status"] == "finished"


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


def test_a_checkpoint_of_another_network(capsys, run):
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
