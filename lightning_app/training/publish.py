"""Where a figure goes: the run's folder always, and every logger that can show pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

from lightning_app.files import write_atomic


def publish(figure: Figure, path: Path, loggers: Iterable[Logger], key: str, step: int) -> None:
    """Save `figure` as PNG at `path` and show it under `key` in W&B and TensorBoard; other loggers keep to scalars."""
    write_atomic(path, lambda part: figure.savefig(part, dpi=120, bbox_inches="tight"))
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(key, figure, step, close=False)


def publish_table(
    loggers: Iterable[Logger], key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Show a table in W&B."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(key, columns=list(columns), data=[list(row) for row in rows], step=step)


def publish_masks(loggers: Iterable[Logger], key: str, image: Any, masks: dict[str, Any], step: int) -> None:
    """Show one image with switchable masks in W&B; `masks` maps a name to `mask_data` and `class_labels`."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=step, masks=[masks])
