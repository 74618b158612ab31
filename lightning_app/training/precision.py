"""Refuses to train where a CPU computes a convolution's gradient wrong in bfloat16."""

from functools import lru_cache
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lightning_app.errors import UserError

THIN = 2  # the length of the first axis at which oneDNN's bfloat16 kernel for weights leaves parts of them unwritten
CLOSE = 0.1  # bfloat16 itself is right to 0.005 here


@lru_cache(maxsize=1)
def thin_gradients_are_wrong() -> bool:
    """Whether this CPU gets the weights' gradient of a 3D convolution over two slices wrong in bfloat16.

    Seen with oneDNN 3.13 on CPUs with avx512_bf16: what was not written holds whatever memory held before, so that is
    filled first.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 16, THIN, 4, 4, generator=generator)
    weight = torch.randn(32, 16, 3, 3, 3, generator=generator)
    sought = _gradient(image, weight)
    for _ in range(5):
        _fill_free_memory()
        found = _gradient(image.bfloat16(), weight.bfloat16()).float()
        if not (found - sought).abs().max() < CLOSE * sought.abs().max():
            return True
    return False


def _gradient(image: Tensor, weight: Tensor) -> Tensor:
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        weight = weight.clone().requires_grad_()
        total = nn.functional.conv3d(image, weight, padding=1).sum()
        return torch.autograd.grad(total, weight)[0]


def _fill_free_memory() -> None:
    blocks = [torch.full((1 << power,), 3e30) for power in range(12, 23)]
    del blocks


class PrecisionCheck(Callback):
    """Looks, in the first step of a training in bfloat16 on a CPU, for convolutions whose gradient would be wrong."""

    def __init__(self) -> None:
        self.hooks: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the 3D convolutions, where this CPU gets them wrong."""
        if pl_module.device.type != "cpu" or not str(trainer.precision).startswith("bf16"):
            return
        watched = {
            name: m for name, m in pl_module.named_modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] > 1
        }
        if watched and thin_gradients_are_wrong():
            self.hooks = [m.register_forward_pre_hook(_refusing(name)) for name, m in watched.items()]

    def on_train_batch_end(self, *_: Any) -> None:
        """Let go."""
        while self.hooks:
            self.hooks.pop().remove()


def _refusing(name: str) -> Any:
    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = list(inputs[0].shape[2:])
        if module.training and size[0] == THIN:
            raise UserError(
                f"--trainer.precision: in bfloat16 this CPU computes the gradient of {name} wrong, whose input is "
                f"{'x'.join(map(str, size))}: use --trainer.precision 32-true, patches with a longer first axis, or a "
                "network of less depth"
            )

    return look
