"""What the terminal shows while a run goes on: five lines first, then a bar, or a line a minute where there is none."""

import importlib
import inspect
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.regions import Regions
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import data_of

SHOWN = ("val/loss", "val/dice", "val/ece")
PARTS = {"train": "training", "val": "validation", "test": "test"}
MINUTE = 60.0  # seconds between two lines in a log
LOOKED_AT = 4  # cases whose masks are read again for the first line


class Opening(Callback):
    """Prints what a training is made of before it begins: data, network, loss, device, run folder.

    Args:
        run: The run's folder.
        loss: The loss and its arguments, as text.
    """

    def __init__(self, run: RunFolder, loss: str) -> None:
        self.run = run
        self.loss = loss

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the lines."""
        if not trainer.is_global_zero:
            return
        count = sum(weight.numel() for weight in pl_module.parameters())
        lines = {
            "Data": describe_data(data_of(trainer)),
            "Network": f"{type(pl_module.net).__name__}, {count:,} parameters",
            "Loss": self.loss,
            "Device": describe_device(trainer),
            "Run folder": str(self.run),
        }
        sys.stdout.writelines(f"{name:<11} {text}\n" for name, text in lines.items())
        sys.stdout.flush()


def describe_data(data: Any) -> str:
    """Cases a part, their sizes, and the classes with their shares of the voxels, from a few training cases."""
    name, subsets = type(data).__name__, getattr(data, "subsets", None)
    if not subsets:
        return name
    cases = ", ".join(f"{len(subsets[part])} {text}" for part, text in PARTS.items() if subsets.get(part))
    masks = _training_masks(data)
    sizes = sorted({tuple(mask.shape) for mask in masks})
    shown = " to ".join(" x ".join(map(str, size)) for size in dict.fromkeys((sizes[0], sizes[-1])))
    of = f"of {len(masks)} training masks " if len(subsets["train"]) > len(masks) else ""
    return f"{name}: {cases} cases; {shown}; {of}{_shares(masks, data.class_names, getattr(data, 'regions', None))}"


def _training_masks(data: Any) -> list[torch.Tensor]:
    """The label maps (*S) of a few training cases, as stored: of slices the volume's."""
    cases, reader = data.subsets["train"][:LOOKED_AT], data.label_reader()
    if reader is None:
        pipeline = data.dataset("train").pipeline
        return [pipeline.whole_item(case)["original_mask"].long() for case in cases]
    return [torch.from_numpy(np.asarray(reader.labels(case), np.int64)) for case in cases]


def _shares(masks: Sequence[torch.Tensor], names: Sequence[str], regions: Regions | None) -> str:
    """The classes, or regions, with their shares of the voxels; where raters differ, as most of them say."""
    counts = torch.stack([torch.bincount(mask.flatten(), minlength=256)[: len(names)] for mask in masks]).sum(0)
    shares = counts.double() / counts.sum().clamp_min(1)
    held = dict(zip(names, shares.tolist(), strict=True))
    if regions is not None:
        held = {name: float(shares[list(united)].sum()) for name, united in regions.united.items()}
    return ", ".join(f"{name} {_percent(share)}" for name, share in held.items())


def _percent(share: float) -> str:
    """A share with at least one digit that says something; never with an exponent."""
    if share >= 0.095 or share == 0:
        return f"{share:.0%}"
    return f"{100 * share:.1g}%" if share >= 1e-5 else "<0.001%"


def describe_loss(part: dict[str, Any]) -> str:
    """A loss of the configuration: its first argument, and those that differ from their defaults."""
    options = part.get("init_args") or {}
    package, _, name = part["class_path"].rpartition(".")
    kind = getattr(importlib.import_module(package), name)
    defaults = {key: one.default for key, one in inspect.signature(kind).parameters.items()}
    told = [key for place, key in enumerate(options) if not place or options[key] != defaults.get(key)]
    return f"{name}({', '.join(f'{key}={_value(options[key])}' for key in told)})"


def _value(value: Any) -> str:
    """An argument, where it is a loss itself or holds some as the loss that it is."""
    if isinstance(value, dict) and "class_path" in value:
        return describe_loss(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items())
    return str(value)


def describe_device(trainer: Trainer) -> str:
    """Device, how many of it, and precision."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    many = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    return f"{many}{name}, precision {trainer.precision}"


def progress_bar() -> ProgressBar:
    """The bar of a terminal, or the lines of a log."""
    return RunBar() if sys.stdout.isatty() else LogLines()


class RunBar(TQDMProgressBar):
    """Lightning's bar without the run's number, with the last validation's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.validated: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the numbers, so that the bar shows them until the next validation."""
        self.validated = validation_numbers(trainer) or self.validated
        super().on_validation_end(trainer, pl_module)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The step's numbers, then the validation's."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {**metrics, **self.validated}


class LogLines(ProgressBar):
    """One line a minute, and one when the training ends.

    Args:
        every: Seconds between two lines.
    """

    def __init__(self, every: float = MINUTE) -> None:
        super().__init__()
        self.every = every
        self.last = time.monotonic()
        self.validated: dict[str, float] = {}
        self.enabled = True

    def disable(self) -> None:
        """Be silent; processes other than the first are."""
        self.enabled = False

    def enable(self) -> None:
        """Speak again."""
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the seconds."""
        self.last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a line if it is time."""
        if time.monotonic() - self.last >= self.every:
            self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the validation's numbers for the next line."""
        self.validated = validation_numbers(trainer) or self.validated

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last line."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        self.last = time.monotonic()
        if not self.enabled:
            return
        numbers = {key: float(value) for key, value in trainer.progress_bar_metrics.items()} | self.validated
        shown = "".join(f", {key} {value:.3f}" for key, value in numbers.items() if key != "v_num")
        epoch = min(trainer.current_epoch + 1, trainer.max_epochs or 0) if (trainer.max_epochs or 0) > 0 else None
        of = f"{epoch} of {trainer.max_epochs}" if epoch else f"{trainer.current_epoch + 1}"
        sys.stdout.write(f"epoch {of}, step {trainer.global_step}{shown}\n")
        sys.stdout.flush()


def validation_numbers(trainer: Trainer) -> dict[str, float]:
    """What the validation inside a training just gave; nothing for a sanity check or an evaluation of its own."""
    if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
        return {}
    return {key: float(trainer.callback_metrics[key]) for key in SHOWN if key in trainer.callback_metrics}
