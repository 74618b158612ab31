"""Schedules of the loss's numbers, and multipliers that adapt."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

import losses
from lightning_app.training.schedules import LossSchedule, MultiplierUpdate


class Module(pl.LightningModule):
    """A one-layer network on four fixed images."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        self.net = torch.nn.Conv2d(1, 3, 1)
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append(getattr(self.loss, "alpha", None))
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, callback, epochs, folder, checkpoint=None):
    pl.seed_everything(0)
    data = [(torch.randn(1, 6, 6), torch.randint(0, 3, (6, 6))) for _ in range(4)]
    loader = DataLoader(data, batch_size=2)
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[callback], default_root_dir=folder, logger=False, accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(module, loader, loader, ckpt_path=checkpoint, weights_only=False)
    return trainer


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # four images need none
    "ignore:.*GPU available but not used.*",
    "ignore:.*num_workers.*",
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "add", "amount": 0.5}, [0.1, 0.6, 1.1, 1.6]),
        ({"mode": "add", "amount": 0.5, "bound": 1.0}, [0.1, 0.6, 1.0, 1.0]),
        ({"mode": "multiply", "amount": 2.0}, [0.1, 0.2, 0.4, 0.8]),
        ({"mode": "multiply", "amount": 0.5, "bound": 0.04}, [0.1, 0.05, 0.04, 0.04]),
        ({"mode": "step", "amount": 10.0, "every": 2}, [0.1, 0.1, 1.0, 1.0]),
    ],
)
def test_schedule_changes_the_weight_after_each_epoch(options, expected, tmp_path):
    module = Module(losses.MarginLabelSmoothingLoss(alpha=0.1))
    fit(module, LossSchedule(**options), 4, tmp_path)
    assert module.seen[::2] == pytest.approx(expected)


def test_schedule_goes_on_when_resumed(tmp_path):
    module = Module(losses.MarginLabelSmoothingLoss(alpha=0.1))
    trainer = fit(module, LossSchedule(amount=0.5), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = Module(losses.MarginLabelSmoothingLoss(alpha=0.1))
    fit(resumed, LossSchedule(amount=0.5), 4, tmp_path, tmp_path / "last.ckpt")
    assert resumed.seen[::2] == pytest.approx([1.1, 1.6])


def test_schedule_reaches_into_compounds():
    from lightning_app.training.schedules import read_number, write_number

    loss = losses.DeepSupervisionLoss(
        losses.WeightedSumLoss({"dice": losses.DiceLoss(), "margin": losses.MarginLabelSmoothingLoss()}, {"dice": 2.0})
    )
    assert read_number(loss, "loss.weights.dice") == 2.0
    assert read_number(loss, "loss.losses.margin.margin") == 10.0
    write_number(loss, "loss.weights.dice", 3.0)
    write_number(loss, "loss.losses.margin.margin", 5.0)
    assert loss.loss.weights["dice"] == 3.0
    assert loss.loss.losses["margin"].margin == 5.0


@pytest.mark.parametrize("path", ["gamma", "losses.dice.nothing", "penalty", "a.b.c"])
def test_a_path_without_a_number_is_refused(path):
    with pytest.raises(ValueError, match=path):
        LossSchedule(path).on_fit_start(None, Module(losses.MarginLabelSmoothingLoss()))


def test_schedule_validates_its_arguments():
    with pytest.raises(ValueError, match="mode must be one of"):
        LossSchedule(mode="divide")
    with pytest.raises(ValueError, match="every must be at least 1"):
        LossSchedule(every=0)


def test_multipliers_follow_the_validation_data(tmp_path):
    loss = losses.ClassAdaptiveMarginLoss(margin=0.0, rho=1.0)
    module = Module(losses.WeightedSumLoss({"dice": losses.DiceLoss(), "margin": loss}))
    fit(module, MultiplierUpdate(), 3, tmp_path)
    assert loss.updates == 3
    assert (loss.multipliers[0, :3] > 1e-3).any()
    assert (loss.multipliers[0, 3:] == 1e-6).all()
    assert (loss.observed == 0).all()
    assert not loss._forward_hooks
