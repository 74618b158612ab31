"""One picture of how a training goes: losses, Dice, ECE, learning rate, seconds an epoch."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_app.files import append_csv, read_csv, write_atomic, write_csv
from lightning_app.training.run_folder import RunFolder
from metrics.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("epoch", "lr", "seconds")
APART = 10.0  # seconds between two drawings, so that short epochs are not spent on them
Curve = tuple[list[float], list[float]]


class ProgressPicture(Callback):
    """Writes `epochs.csv`, a row an epoch, and `progress.png` at validations and at the end.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.started = self.drawn = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the epochs that a resumed run trains again."""
        if trainer.is_global_zero and self.run.epochs.is_file():
            rows = [
                row for row in read_csv(self.run.epochs, appended=True) if int(row["epoch"]) < trainer.current_epoch
            ]
            write_csv(self.run.epochs, rows, COLUMNS)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row; its seconds are those with its validation."""
        if not trainer.is_global_zero:
            return
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        row = {"epoch": trainer.current_epoch, "lr": rate, "seconds": round(time.monotonic() - self.started, 3)}
        if self.run.epochs.is_file():
            append_csv(self.run.epochs, row, COLUMNS)
        else:
            write_csv(self.run.epochs, [row], COLUMNS)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, unless that was done a moment ago."""
        inside = trainer.state.fn == "fit" and not trainer.sanity_checking
        if inside and time.monotonic() - self.drawn >= APART:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the whole."""
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not self.run.curves.is_file():
            return
        self.drawn = time.monotonic()
        epochs = read_csv(self.run.epochs, appended=True) if self.run.epochs.is_file() else []
        figure = draw(read_csv(self.run.curves, appended=True), epochs, self.run.name)
        write_atomic(self.run.path / "progress.png", lambda part: figure.savefig(part, format="png"))


def draw(steps: Sequence[Mapping[str, str]], epochs: Sequence[Mapping[str, str]], title: str = "") -> "Figure":
    """The picture of a run.

    Args:
        steps: Rows of `metrics.csv`.
        epochs: Rows of `epochs.csv`.
        title: Above it.
    """
    figure, axes = style.new_figure(2, 3, size=(10, 5.4))
    panels = {
        "loss": {"training": by_epoch(steps, "train/loss"), "validation": by_epoch(steps, "val/loss")},
        "Dice": {"training": by_epoch(steps, "train/dice"), "validation": by_epoch(steps, "val/dice")},
        "ECE": {"validation": by_epoch(steps, "val/ece")},
        "learning rate": {"training": by_epoch(epochs, "lr")},
        "seconds an epoch": {"training": by_epoch(epochs, "seconds")},
    }
    for ax, (name, curves) in zip(axes.flat, panels.items(), strict=False):
        _panel(ax, name, curves)
    axes[0, 0].legend(fontsize=style.FONT - 1, frameon=False)
    axes[1, 2].axis("off")
    figure.suptitle(title, fontsize=style.FONT + 2)
    return style.literal(figure)


def by_epoch(rows: Sequence[Mapping[str, Any]], key: str) -> Curve:
    """Epochs, counted from 1, and the mean of a column's values within each; cells without a value are left out."""
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row.get(key):
            values[int(row["epoch"]) + 1].append(float(row[key]))
    return [float(epoch) for epoch in values], [float(np.mean(inside)) for inside in values.values()]


def _panel(ax: "Axes", name: str, curves: Mapping[str, Curve]) -> None:
    colours = {"training": style.BLUE, "validation": style.VERMILION}
    for label, (epochs, values) in curves.items():
        if epochs:
            ax.plot(epochs, values, color=colours[label], label=label, marker="." if len(epochs) < 40 else None)
    style.finish(ax, name, "epoch")
    ax.locator_params(axis="x", integer=True)
    if name != "loss":
        ax.set_ylim(bottom=0)
