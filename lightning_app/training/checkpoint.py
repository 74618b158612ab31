"""Keeps the best checkpoint by a number of the catalogue, in the direction that is better."""

import difflib
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

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
            ValueError: If there is one.
        """
        if stage == "fit" and self.monitor is not None:
            _check(self.monitor, self.asked_mode)
        super().setup(trainer, pl_module, stage)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a monitor that this data and network do not give, such as a class that is not there.

        Raises:
            ValueError: If it was not logged.
        """
        there = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if self.monitor is not None and self.monitor.startswith("val/") and self.monitor not in there:
            raise ValueError(_unknown(self.monitor, there))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        best = Path(filepath).with_name(BEST + self.FILE_EXTENSION)
        if filepath == self.best_model_path and Path(filepath) != best:
            trainer.save_checkpoint(best, self.save_weights_only)


def _mode_of(monitor: str | None) -> str:
    """`max` or `min` where the catalogue knows which is better, else nothing."""
    row = None if monitor is None or monitor in LOSSES else catalogue.find(monitor)
    return {"higher": "max", "lower": "min"}.get(row.better, "") if row else ""


def _check(monitor: str, mode: str) -> None:
    known = _mode_of(monitor)
    logged = monitor in LOSSES or monitor.startswith("train/loss_")
    if not logged and (not monitor.startswith("val/") or catalogue.find(monitor) is None):
        raise ValueError(_unknown(monitor, [f"val/{key}" for key in catalogue.directed()]))
    if not known and mode == "auto":
        raise ValueError(f"--checkpoint.monitor {monitor}: say which side is better, --checkpoint.mode min or max")
    if known and mode not in ("auto", known):
        raise ValueError(
            f"--checkpoint.mode {mode} would keep the worst {monitor}: leave it out, the catalogue says {known}"
        )


def _unknown(monitor: str, there: list[str]) -> str:
    near = difflib.get_close_matches(monitor, there, 2)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"--checkpoint.monitor {monitor}: no such number is logged; {meant}there are {', '.join([*there, *LOSSES])}"
