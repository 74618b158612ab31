"""Learning rate schedules from the command line, by step and by epoch, and what early stopping watches."""

import pytest
from lightning.pytorch import Callback

from lightning_app.cli import main
from tests.lightning_app.small import SMALL

pytestmark = pytest.mark.usefixtures("unpainted")

QUICK = [*SMALL, "--trainer.logger=false", "--trainer.num_sanity_val_steps=0", "--max_epochs=3", "--model.net.width=2"]
SCHEDULERS = "torch.optim.lr_scheduler"


class Rates(Callback):
    """Keeps the learning rate of every step."""

    seen: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates(tmp_path, *options: str) -> list[float]:
    """The learning rate of each of six steps, two an epoch."""
    Rates.seen = []
    callback = f"--trainer.callbacks={__name__}.Rates"
    main(["fit", *QUICK, f"--runs_dir={tmp_path}", "--lr=0.1", callback, *options])
    return Rates.seen


def test_one_cycle_goes_on_with_every_step(tmp_path):
    options = [f"--lr_scheduler={SCHEDULERS}.OneCycleLR", "--lr_scheduler.max_lr=1.0", "--lr_scheduler.total_steps=6"]
    seen = rates(tmp_path, *options, "--trainer.limit_val_batches=0")
    assert len(seen) == 6
    assert seen[0] == pytest.approx(1 / 25)  # by the formula of its documentation: max_lr / div_factor
    assert max(seen) == pytest.approx(1.0, rel=0.2)
    assert seen[-1] == pytest.approx(1 / 25 / 1e4)  # the cycle is finished


@pytest.mark.parametrize(("interval", "expected"), [("auto", [1, 1, 2, 2, 4, 4]), ("step", [1, 2, 4, 8, 16, 32])])
def test_other_schedules_go_on_as_asked(tmp_path, interval, expected):
    options = [f"--lr_scheduler={SCHEDULERS}.ExponentialLR", "--lr_scheduler.gamma=0.5", f"--lr_interval={interval}"]
    seen = rates(tmp_path, *options, "--trainer.limit_val_batches=0")
    assert seen == pytest.approx([0.1 / divisor for divisor in expected])


def test_a_plateau_is_looked_for_after_each_validation(tmp_path):
    options = [f"--lr_scheduler={SCHEDULERS}.ReduceLROnPlateau", "--lr_scheduler.patience=0"]
    hopeless = ["--lr_scheduler.threshold=1000", "--lr_scheduler.threshold_mode=abs"]
    seen = rates(tmp_path, *options, *hopeless, "--max_epochs=5", "--trainer.check_val_every_n_epoch=2")
    assert seen == pytest.approx([0.1] * 8 + [0.01] * 2)  # the second validation is no better, after four epochs


def test_a_plateau_of_a_named_number(tmp_path):
    options = ["--lr_scheduler=lightning.pytorch.cli.ReduceLROnPlateau", "--lr_scheduler.monitor=val/ece"]
    assert rates(tmp_path, *options, "--max_epochs=1") == [0.1, 0.1]


STOP = "--trainer.callbacks=lightning.pytorch.callbacks.EarlyStopping"
PLATEAU = "--lr_scheduler=lightning.pytorch.cli.ReduceLROnPlateau"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ([STOP, "--trainer.callbacks.monitor=val_loss"], ["EarlyStopping.monitor val_loss", "val/loss", "val/dice"]),
        ([STOP, "--trainer.callbacks.monitor=val/dice"], ["EarlyStopping.mode min", "the better side is max"]),
        ([PLATEAU, "--lr_scheduler.monitor=val/dise"], ["--lr_scheduler.monitor val/dise", "did you mean val/dice"]),
        ([PLATEAU, "--lr_scheduler.monitor=val/dice"], ["--lr_scheduler.mode min", "the better side is max"]),
        ([PLATEAU, "--lr_scheduler.monitor=val/nll", "--trainer.limit_val_batches=0"], ["there is no validation"]),
        (
            [f"--lr_scheduler={SCHEDULERS}.OneCycleLR", "--lr_scheduler.max_lr=1", "--lr_scheduler.total_steps=9"],
            ["has 9 steps and the training 6 steps", "--lr_scheduler.total_steps 6"],
        ),
    ],
)
def test_what_is_watched_must_be_there_before_the_first_epoch(capsys, tmp_path, options, parts):
    with pytest.raises(SystemExit) as stop:
        rates(tmp_path, *options) if STOP not in options else main(["fit", *QUICK, f"--runs_dir={tmp_path}", *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(part in error for part in parts), error
    assert not Rates.seen or STOP in options
    assert not list(tmp_path.iterdir())
