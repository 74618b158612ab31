"""What the terminal shows of a training."""

import contextlib
import io
import re
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

import datamodules
import losses
import models
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.files import read_csv
from lightning_app.training.beginning import take_weights
from lightning_app.training.module import SegmentationModule
from lightning_app.training.terminal import LogLines, RunBar, _percent, describe_data, describe_loss, progress_bar
from tests.lightning_app.small import SMALL

pytestmark = pytest.mark.usefixtures("unpainted")

BAR = [*(option for option in SMALL if "progress_bar" not in option), "--trainer.logger=false"]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """What a training of two epochs writes where standard output is a file; its folder's name has a space."""
    runs, out = tmp_path_factory.mktemp("my runs"), io.StringIO()
    with contextlib.redirect_stdout(out):
        cli = main(["fit", *BAR, "--trainer.max_epochs=2", f"--runs_dir={runs}", "--run_name=one"])
    return cli, out.getvalue()


def test_five_lines_say_what_is_trained(logged):
    cli, text = logged
    lines = text.splitlines()[:5]
    assert [line[:11].strip() for line in lines] == ["Data", "Network", "Loss", "Device", "Run folder"]
    assert "4 training, 3 validation, 2 test cases; 32 x 32" in lines[0]
    assert f"UNet, {sum(weight.numel() for weight in cli.model.net.parameters()):,} parameters" in lines[1]
    assert "DicePlusPlusLoss(gamma=2.0)" in lines[2]
    assert "CPU, precision 32-true" in lines[3] or torch.cuda.is_available()
    assert str(cli.run_folder) in lines[4]


def test_a_log_has_lines_and_no_bar(logged):
    cli, text = logged
    assert "\r" not in text
    assert "it/s" not in text
    (line,) = re.findall(r"^epoch.*$", text, re.MULTILINE)
    assert line.startswith("epoch 2 of 2, step 4, train/loss ")
    shown = float(re.search(r"val/dice (\S+?),", line)[1])
    assert shown == pytest.approx(float(kept_dice(cli)), abs=6e-4)


def kept_dice(cli) -> str:
    """The last validation's Dice in the curves."""
    return [row["val/dice"] for row in read_csv(cli.run_folder.curves) if row["val/dice"]][-1]


def test_shares_of_classes_are_those_of_the_masks():
    data = datamodules.Phantom(spatial_dims=3, num_classes=3, size=16, num_cases=(3, 1, 1), seed=4)
    data.setup("fit")
    masks = [sample["mask"].numpy() for sample in data.dataset("train")]
    text = describe_data(data)
    assert "3 training, 1 validation, 1 test cases; 16 x 16 x 16; background" in text
    for number, name in enumerate(data.class_names):
        share = float(re.search(rf"{name} (\d+)%", text)[1])
        assert share == pytest.approx(100 * np.mean([mask == number for mask in masks]), abs=0.51)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1e-7, "<0.001%"), (2e-5, "0.002%"), (0.0142, "1%"), (0.0949, "9%"), (0.0998, "10%"), (0.9, "90%")],
)
def test_a_share_is_told_without_an_exponent(share, text):
    assert _percent(share) == text


def test_slices_are_told_by_their_volumes(tmp_path):
    for number in range(3):
        labels = np.zeros((6, 5, 4), np.uint8)
        labels[:3] = 1
        for folder, array in (("images", labels.astype(np.float32)), ("masks", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / folder / f"{number}.nii.gz")
    data = datamodules.VolumeFolder(
        root=str(tmp_path), classes=["background", "half"], slices=True, patch_size=[4, 4], split_sizes=[1, 1, 1]
    )
    data.setup("fit")
    assert describe_data(data) == (
        "VolumeFolder: 1 training, 1 validation, 1 test cases; 6 x 5 x 4; background 50%, half 50%"
    )


def test_a_foreign_data_module_is_named():
    assert describe_data(SimpleNamespace(subsets=None)) == "SimpleNamespace"


def test_shares_of_regions_are_those_of_the_classes_that_they_unite():
    regions = {"whole": [1, 2, 3], "core": [1, 3], "in": [3]}
    data = datamodules.Phantom(num_classes=4, size=16, num_cases=(4, 1, 1), regions=regions)
    data.setup("fit")
    masks = torch.stack([sample["mask"] for sample in data.dataset("train")])
    found = dict(part.rsplit(" ", 1) for part in describe_data(data).rpartition("; ")[2].split(", "))
    for name, united in regions.items():
        share = float(torch.isin(masks, torch.tensor(united)).double().mean())
        assert float(found[name].rstrip("%")) == pytest.approx(100 * share, abs=0.6)


def test_a_loss_is_told_by_what_was_changed():
    part = {"class_path": "losses.DicePlusPlusLoss", "init_args": {"gamma": 2.0, "pool": "batch", "absent": "count"}}
    assert describe_loss(part) == "DicePlusPlusLoss(gamma=2.0, pool=batch)"
    outer = {"class_path": "losses.DeepSupervisionLoss", "init_args": {"loss": part}}
    assert describe_loss(outer) == "DeepSupervisionLoss(loss=DicePlusPlusLoss(gamma=2.0, pool=batch))"


@pytest.mark.parametrize(("terminal", "kind"), [(True, RunBar), (False, LogLines)])
def test_a_bar_is_for_terminals(monkeypatch, terminal, kind):
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: terminal))
    assert type(progress_bar()) is kind


def test_the_bar_keeps_the_validations_numbers_and_leaves_out_the_runs():
    bar = RunBar()
    bar.disable()
    bar.val_progress_bar = bar.train_progress_bar = Tqdm(disable=True)
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), sanity_checking=False, loggers=[SimpleNamespace(version=7)],
        callback_metrics={"val/dice": torch.tensor(0.75), "val/nll": torch.tensor(1.0)},
        progress_bar_metrics={"train/loss": 0.5},
    )  # fmt: skip
    bar.on_validation_end(trainer, None)
    assert bar.get_metrics(trainer, None) == {"train/loss": 0.5, "val/dice": 0.75}


def test_a_minute_passes_between_two_lines(capsys):
    lines = LogLines(every=60)
    trainer = SimpleNamespace(
        current_epoch=0, max_epochs=-1, global_step=5, progress_bar_metrics={"train/loss": torch.tensor(0.5)}
    )
    for seconds in (10, 40, 11, 40):  # a line after 61, and not again after 40 more
        lines.last -= seconds
        lines.on_train_batch_end(trainer, None, None, None, 0)
    lines.disable()
    lines.last -= 61
    lines.on_train_batch_end(trainer, None, None, None, 0)
    assert capsys.readouterr().out == "epoch 1, step 5, train/loss 0.500\n"


def test_resume_of_a_finished_run_says_so_and_changes_no_weight(logged, capsys):
    cli, _ = logged
    before = torch.load(cli.run_folder.checkpoint("last"), weights_only=True)["state_dict"]
    again = main(["fit", f"--resume={cli.run_folder}", f"--runs_dir={cli.run_folder.path.parent}"])
    assert "is finished, all of its 2 epochs are behind it" in capsys.readouterr().err
    after = torch.load(again.run_folder.checkpoint("last"), weights_only=True)["state_dict"]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_weights_of_another_run_with_a_new_head(logged, capsys):
    cli, _ = logged
    path = cli.run_folder.checkpoint("last")
    theirs = torch.load(path, weights_only=True)["state_dict"]
    net = models.UNet(2, 1, 4, width=8, depth=3)  # four classes instead of two
    module = SegmentationModule(net, losses.DiceLoss(), num_classes=4, class_names=tuple("abcd"))
    fresh = {key: value.clone() for key, value in module.state_dict().items()}
    take_weights(module, path)
    told = capsys.readouterr().err
    for key, value in module.state_dict().items():
        if key.startswith("net."):
            head = fresh[key].shape != theirs[key].shape
            assert torch.equal(value, fresh[key] if head else theirs[key])
            assert (key in told) == head
    assert sum(key in told for key in theirs) == 2


def test_weights_of_a_network_of_which_nothing_fits_are_refused(logged):
    module = SegmentationModule(torch.nn.Conv2d(1, 2, 5), losses.DiceLoss())
    with pytest.raises(UserError, match=r"--weights_from .*last.ckpt: none of its \d+ weights fits"):
        take_weights(module, logged[0].run_folder.checkpoint("last"))
