"""Where a figure goes: the run's folder always, and every logger that can show pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from lightning_app.files import write_atomic
from metrics.plot import literal

CURVE = "reliability_curve"  # of a stage, in W&B: what its chart of many runs reads
CURVE_AXES = ("confidence", "accuracy")


def publish(figure: Figure, path: Path, loggers: Iterable[Logger], key: str, step: int) -> None:
    """Save `figure` as PNG at `path` and show it under `key` in W&B, TensorBoard and MLflow."""
    literal(figure)
    write_atomic(path, lambda part: figure.savefig(part, dpi=120, bbox_inches="tight"))
    show(path, loggers, key, step)


def show(path: Path, loggers: Iterable[Logger], key: str, step: int) -> None:
    """Show a picture file under `key` in W&B, TensorBoard and MLflow; other loggers keep to scalars."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, np.asarray(_picture(path)), step, dataformats="HWC")
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, _picture(path), key=key, step=step, synchronous=True)


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def publish_table(
    loggers: Iterable[Logger], key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Show a table in W&B."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(key, columns=list(columns), data=[list(row) for row in rows], step=step)


def publish_curve(loggers: Iterable[Logger], stage: str, points: Sequence[Sequence[float]]) -> None:
    """Show accuracy against confidence in W&B, whose chart lays the curves of many runs over one another."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            table = wandb.Table(columns=list(CURVE_AXES), data=[list(point) for point in points])
            chart = wandb.plot.line(table, *CURVE_AXES, title=f"{stage}: accuracy against confidence")
            logger.experiment.log({f"{stage}/{CURVE}": chart})


def publish_masks(loggers: Iterable[Logger], key: str, image: Any, masks: dict[str, Any], step: int) -> None:
    """Show one image with switchable masks in W&B; `masks` maps a name to `mask_data` and `class_labels`."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=step, masks=[masks])
