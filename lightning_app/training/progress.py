"""What trackers are told beside the numbers themselves: the best so far, learning rate, throughput, memory."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn

import metrics
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.run_folder import STAGES


class RunProgress(Callback):
    """Tells trackers how a training goes; the curves in the run folder hold what repeats, so none of this.

    Once an epoch: `train/lr`, `train/images_per_second` of all processes, `train/memory_gb`, the peak of this process
    on the GPU where there is one. In W&B's summary: the best value so far of every number of the catalogue that has a
    better side, as `max/val/dice` or `min/val/ece`.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self.images = 0
        self.started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A resumed run goes on from the best values of its curves."""
        for logger in trainer.loggers:
            if isinstance(logger, CurvesLogger):
                for row in logger.rows:
                    self.note({key: float(value) for key, value in row.items() if value})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self.images, self.started = 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        self.images += len(batch["image"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the trackers of the epoch."""
        if not trainer.is_global_zero or not self.started:
            return
        seconds = max(time.monotonic() - self.started, 1e-9)
        values = {
            "train/lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "train/images_per_second": self.images * trainer.world_size / seconds,
            "train/memory_gb": peak_memory(pl_module.device) / 1e9,
            "epoch": float(trainer.current_epoch),
        }
        for logger in trainer.loggers:
            if not isinstance(logger, CurvesLogger):
                logger.log_metrics(values, step=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best values, unless this is a sanity check or an evaluation of its own."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        changed = self.note({key: float(value) for key, value in trainer.callback_metrics.items()})
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(changed)

    def note(self, values: Mapping[str, float]) -> dict[str, float]:
        """The best values that change with `values`, under the names they are kept by."""
        changed = {}
        for key, value in values.items():
            better = better_of(key)
            name = f"{better.__name__}/{key}" if better else ""
            if better and value == better(value, self.best.get(name, value)):
                self.best[name] = changed[name] = value
        return changed


def better_of(key: str) -> Callable[..., float] | None:
    """`max` or `min`, whichever side of a logged number is better; None where neither is, or it is no such number."""
    stage, _, rest = key.partition("/")
    row = metrics.catalogue.NUMBERS.get(rest.partition("/")[0])
    return {"higher": max, "lower": min}.get(row.better) if row and stage in STAGES else None


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held: on the GPU it uses, else in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
