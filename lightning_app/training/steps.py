"""When the learning rate changes, and whether what is watched is there."""

from typing import Any, Literal

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lightning_app.errors import UserError
from lightning_app.training.checkpoint import check_monitor

Interval = Literal["auto", "epoch", "step"]
MONITORED = "val/loss"


def scheduled(optimizer: Optimizer, scheduler: LRScheduler | None, interval: Interval, trainer: Trainer) -> Any:
    """The optimizer and when its schedule goes on, as Lightning's `configure_optimizers` gives them.

    Args:
        optimizer: The optimizer.
        scheduler: Its schedule, or None.
        interval: Whether it counts epochs or steps; `auto` knows those that count steps, OneCycleLR and CyclicLR.
        trainer: For the epochs between two validations, after which a plateau is looked for.

    Raises:
        UserError: If the schedule watches a number that nothing logs, or would end before the training.
    """
    if scheduler is None:
        return optimizer
    if isinstance(scheduler, ReduceLROnPlateau):
        monitor = getattr(scheduler, "monitor", None) or MONITORED
        _check_plateau(monitor, scheduler.mode, trainer)
        plan = {"scheduler": scheduler, "monitor": monitor, "frequency": trainer.check_val_every_n_epoch or 1}
        return {"optimizer": optimizer, "lr_scheduler": plan}
    by_steps = isinstance(scheduler, OneCycleLR | CyclicLR)
    unit = ("step" if by_steps else "epoch") if interval == "auto" else interval
    if isinstance(scheduler, OneCycleLR):
        _check_length(scheduler.total_steps, unit, trainer)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": unit}}


def _check_plateau(monitor: str, mode: str, trainer: Trainer) -> None:
    check_monitor("--lr_scheduler", monitor, mode)
    if monitor.startswith("val/") and not trainer.limit_val_batches:
        raise UserError(f"--lr_scheduler.monitor {monitor}: there is no validation; watch train/loss")


def _check_length(total: int, unit: str, trainer: Trainer) -> None:
    """Refuse a cycle that is not as long as the training: one is never finished, the other ends in an error."""
    steps = trainer.estimated_stepping_batches if unit == "step" else trainer.max_epochs
    if steps is not None and 0 < steps < float("inf") and steps != total:
        raise UserError(
            f"--lr_scheduler OneCycleLR has {total} steps and the training {int(steps)} {unit}s: "
            f"give --lr_scheduler.total_steps {int(steps)}"
        )


def check_stopping(trainer: Trainer) -> None:
    """Refuse an early stopping that watches a number that nothing logs, or its wrong side, before the first epoch.

    Raises:
        UserError: If there is one.
    """
    for callback in trainer.early_stopping_callbacks:
        check_monitor("EarlyStopping", callback.monitor, callback.mode)
