"""Which checkpoint is kept: on a module that logs a given number an epoch, and through the program."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_app.cli import main
from lightning_app.training.checkpoint import BestCheckpoint

pytestmark = [
    pytest.mark.usefixtures("unpainted"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]
VALUES = (0.3, 0.5, 0.1, 0.4, 0.2)


class Scripted(LightningModule):
    """Logs the next value after each epoch; its weight is the number of epochs."""

    def __init__(self, name):
        super().__init__()
        self.name, self.epochs = name, torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        self.epochs.data += 1
        return self.epochs * 0

    def validation_step(self, batch, batch_idx):
        epoch = 0 if self.trainer.sanity_checking else self.current_epoch
        self.log(self.name, VALUES[epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(tmp_path, name="val/dice", callback=None, epochs=5, **kwargs):
    callback = callback or BestCheckpoint(monitor=name, dirpath=tmp_path, enable_version_counter=False, **kwargs)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        log_every_n_steps=1,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(1, 1))
    trainer.fit(Scripted(name if callback.monitor is None else kwargs.get("logged", name)), loader, loader)
    return trainer


def kept_epoch(tmp_path):
    return torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]["epochs"].item() - 1


@pytest.mark.parametrize("name", ["val/dice", "val/nsd", "val/ece", "val/nll_pooled", "val/dice/organ"])
@pytest.mark.parametrize("top", [1, 3, -1])
def test_best_is_the_best_by_the_catalogue_however_many_are_kept(tmp_path, name, top):
    fit(tmp_path, name, save_top_k=top)
    better = max if "dice" in name or "nsd" in name else min
    assert kept_epoch(tmp_path) == VALUES.index(better(VALUES))
    several = [path for path in tmp_path.glob("*.ckpt") if path.name != "best.ckpt"]
    assert len(several) == {1: 0, 3: 3, -1: 5}[top]


def test_best_is_there_under_another_name_too_and_a_resumed_run_knows_it(tmp_path):
    fit(tmp_path, filename="mine-{epoch}", epochs=3)
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"best.ckpt", "mine-epoch=1.ckpt"}
    assert kept_epoch(tmp_path) == 1
    ours, theirs = BestCheckpoint(monitor="val/ece"), ModelCheckpoint(monitor="val/ece", mode="min")
    assert ours.state_key == theirs.state_key


@pytest.mark.parametrize(
    ("monitor", "mode", "words"),
    [
        ("val/dise", "auto", "did you mean val/dice"),
        ("dice", "max", "no such number is logged"),
        ("val/brier_true", "min", "there are val/dice, "),
        ("val/ece", "max", "would take the worst val/ece for the best"),
        ("val/loss", "auto", "--checkpoint.mode min or max"),
        ("val/nll_lowest", "auto", "--checkpoint.mode min or max"),
    ],
)
def test_a_wrong_monitor_or_mode_is_refused_before_training(tmp_path, monitor, mode, words):
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, monitor, mode=mode)


def test_a_class_that_the_data_lack_is_refused_after_the_first_look(tmp_path):
    callback = BestCheckpoint(monitor="val/dice/liver", dirpath=tmp_path)
    with pytest.raises(ValueError, match=r"val/dice/liver: no such number is logged; .*val/dice/organ"):
        fit(tmp_path, "val/dice/organ", callback)
    fit(tmp_path, "val/loss", mode="max")  # what no catalogue knows may be watched where its side is said
    assert kept_epoch(tmp_path) == 1


def test_the_program_refuses_a_monitor_that_nothing_logs(tmp_path, capsys):
    small = ["--data.size=16", "--data.num_cases=[2,1,1]", "--trainer.max_epochs=1", f"--runs_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *small, "--trainer.logger=false", "--checkpoint.monitor=val/ese", "--run_name=a"])
    assert stop.value.code == 2
    assert "--checkpoint.monitor val/ese: no such number is logged; did you mean val/ece" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))
