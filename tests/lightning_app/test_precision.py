"""A CPU that computes gradients wrong in bfloat16 is found out before the network is changed by them."""

from types import SimpleNamespace

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

import losses
import models
from lightning_app.errors import UserError
from lightning_app.training import precision
from lightning_app.training.module import SegmentationModule


class Module(SegmentationModule):
    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.1)


def fit(sides, given="bf16-mixed", depth=2):
    """One step on random patches; the weights after it."""
    torch.manual_seed(0)
    module = Module(models.UNet(3, 1, 2, width=4, depth=depth), losses.DiceLoss(), num_classes=2)
    batch = {"image": torch.randn(2, 1, *sides), "mask": torch.zeros(2, *sides, dtype=torch.uint8), "case": ["a", "b"]}
    trainer = lightning.pytorch.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, precision=given, callbacks=[check := precision.PrecisionCheck()],
    )  # fmt: skip
    trainer.fit(module, DataLoader([batch], batch_size=None))
    assert not check.hooks
    return module


@pytest.fixture(autouse=True)
def quiet(recwarn):
    """Lightning's warnings on data without workers and validation."""


def test_two_slices_at_the_bottom_are_refused_naming_the_layer_before_the_step(monkeypatch):
    monkeypatch.setattr(precision, "thin_gradients_are_wrong", lambda: True)
    with pytest.raises(UserError, match=r"encoder\.2\S* wrong, whose input is 2x4x4: use --trainer.precision 32-true"):
        fit((8, 16, 16))


@pytest.mark.parametrize(("sides", "given"), [((16, 8, 8), "bf16-mixed"), ((8, 16, 16), "32-true")])
def test_other_sizes_and_float32_train(monkeypatch, sides, given):
    monkeypatch.setattr(precision, "thin_gradients_are_wrong", lambda: True)
    fit(sides, given)


@pytest.mark.parametrize("wrong", [True, False])
def test_nothing_is_watched_on_a_cpu_that_is_right(monkeypatch, wrong):
    monkeypatch.setattr(precision, "thin_gradients_are_wrong", lambda: wrong)
    check, module = precision.PrecisionCheck(), Module(models.UNet(3, 1, 2, width=4, depth=2), losses.DiceLoss())
    check.on_train_start(SimpleNamespace(precision="bf16-mixed"), module)
    assert bool(check.hooks) == wrong


def test_the_verdict_on_this_cpu_holds_for_another_size():
    """The gradient of other sizes, in bfloat16 after memory was dirtied, against float64."""
    generator = torch.Generator().manual_seed(1)
    image, weight = torch.randn(1, 32, 2, 6, 6, generator=generator), torch.randn(16, 32, 3, 3, 3, generator=generator)

    def gradient(dtype):
        w = weight.to(dtype).requires_grad_()
        return torch.autograd.grad(torch.nn.functional.conv3d(image.to(dtype), w, padding=1).sum(), w)[0].double()

    sought, wrong = gradient(torch.float64), False
    for _ in range(10):
        dirt = [torch.full((1 << power,), 3e30) for power in range(12, 23)]
        del dirt
        wrong |= not (gradient(torch.bfloat16) - sought).abs().max() < 0.1 * sought.abs().max()
    assert precision.thin_gradients_are_wrong() == wrong
