"""Keeps the best checkpoint by a number of the catalogue, in the direction that is better."""

import difflib
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_app.errors import UserError
from metrics import catalogue

BEST = "best"
LOSSES = ("val/loss", "train/loss", "train/dice")  # logged, and no numbers of the catalogue's evaluation
SEVERAL = "best-{epoch}-{step}"


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`; `best.ckpt` is the best of what it keeps, however many that are.

    Args:
        monitor: What is watched, `val/<key>` of the catalogue or another logged name; None keeps the latest.
        mode: `auto` takes the better side from the catalogue; a name that it does not know needs `min` or `max`.
        save_top_k: How many are kept; where it is not 1, under names of their own beside `best.ckpt`.
        filename: Name of the kept files, without ending.
        **kwargs: As for `ModelCheckpoint`.
    """

    def __init__(
        self,
        monitor: str | None = "val/dice",
        mode: Literal["auto", "min", "max"] = "auto",
        save_top_k: int = 1,
        filename: str = BEST,
        **kwargs: Any,
    ) -> None:
        self.asked_mode = mode
        known = _mode_of(monitor)
        if filename == BEST and save_top_k not in (0, 1):
            filename = SEVERAL
        super().__init__(
            monitor=monitor,
            mode=(known or "min") if mode == "auto" else mode,
            save_top_k=save_top_k,
            filename=filename,
            **kwargs,
        )

    @property
    def state_key(self) -> str:
        """As of `ModelCheckpoint`, so that runs of older versions resume with the best that they know."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a monitor that nothing logs, and a direction that is unknown or wrong, before training begins.

        Raises:
            UserError: If there is one.
        """
        if stage == "fit" and self.monitor is not None:
            check_monitor("--checkpoint", self.monitor, self.asked_mode)
        super().setup(trainer, pl_module, stage)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a monitor that this data and network do not give, such as a class that is not there.

        Raises:
            UserError: If it was not logged.
        """
        there = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if self.monitor is not None and self.monitor.startswith("val/") and self.monitor not in there:
            raise UserError(_unknown("--checkpoint", self.monitor, there))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        best = Path(filepath).with_name(BEST + self.FILE_EXTENSION)
        if filepath == self.best_model_path and Path(filepath) != best:
            trainer.save_checkpoint(best, self.save_weights_only)


def _mode_of(monitor: str | None) -> str:
    """`max` or `min` where the catalogue knows which is better, else nothing."""
    row = None if monitor is None or monitor in LOSSES else catalogue.find(monitor)
    return {"higher": "max", "lower": "min"}.get(row.better, "") if row else ""


def check_monitor(owner: str, monitor: str, mode: str) -> None:
    """Refuse a watched number that nothing logs, and a direction that is unknown or wrong.

    Args:
        owner: What watches it, as `--checkpoint`.
        monitor: Name of the number.
        mode: `min`, `max`, or `auto` for the catalogue's.

    Raises:
        UserError: If there is one.
    """
    known = _mode_of(monitor)
    logged = monitor in LOSSES or monitor.startswith("train/loss_")
    if not logged and (not monitor.startswith("val/") or catalogue.find(monitor) is None):
        raise UserError(_unknown(owner, monitor, [f"val/{key}" for key in catalogue.directed()]))
    if not known and mode == "auto":
        raise UserError(f"{owner}.monitor {monitor}: say which side is better, {owner}.mode min or max")
    if known and mode not in ("auto", known):
        raise UserError(f"{owner}.mode {mode} would take the worst {monitor} for the best: the better side is {known}")


def _unknown(owner: str, monitor: str, there: list[str]) -> str:
    near = difflib.get_close_matches(monitor, there, 2)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{owner}.monitor {monitor}: no such number is logged; {meant}there are {', '.join([*there, *LOSSES])}"
