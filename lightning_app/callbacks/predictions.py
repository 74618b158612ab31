"""Writes masks and probability maps of `predict` on the original grid, one case at a time."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import write_mask, write_probabilities
from lightning_app.calibrate import threshold_labels


class PredictionWriter(Callback):
    """Writes `<case>` masks to `masks/` and probabilities to `probabilities/`; goes on after a kill.

    The mask is written last: a case that has one is done and is not computed again. Files appear whole or not at all.

    Args:
        folder: Where to write.
        threshold: `argmax`, `calibrated` for the cuts that `calibrate` kept with the checkpoint, or a cut for each
            foreground class.
        probabilities: Write probability maps too.

    Raises:
        ValueError: If `calibrated` cuts are asked of a checkpoint without, or their number is not that of the classes.
    """

    def __init__(self, folder: Path, threshold: str | list[float] = "argmax", probabilities: bool = True) -> None:
        self.folder = folder
        self.threshold = threshold
        self.probabilities = probabilities
        self.cuts: list[float] | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Settle the cuts and tell the module which cases are done."""
        self.cuts = self._find_cuts(pl_module)
        pl_module.finished_cases = frozenset(self._done())  # type: ignore[assignment]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one case."""
        if not outputs:
            return
        case, geometry = batch["case"][0], batch["geometry"][0]
        probs = outputs["original"][0].float().cpu()
        if self.probabilities:
            write_probabilities(self.folder / "probabilities" / case, probs.numpy(), geometry)
        labels = probs.argmax(dim=0) if self.cuts is None else threshold_labels(probs, self.cuts)
        write_mask(self.folder / "masks" / case, labels.numpy().astype(np.uint8), geometry)

    def _find_cuts(self, pl_module: LightningModule) -> list[float] | None:
        if self.threshold == "argmax":
            return None
        if self.threshold == "calibrated":
            if pl_module.thresholds is None:
                raise ValueError("--threshold calibrated: the checkpoint holds no cuts; run calibrate on it first")
            return pl_module.thresholds  # type: ignore[return-value]
        classes = pl_module.class_names[1:]  # type: ignore[index]
        if len(self.threshold) != len(classes):
            raise ValueError(f"--threshold {self.threshold} must give a cut for each of {', '.join(classes)}")
        return [0.5, *map(float, self.threshold)]

    def _done(self) -> set[str]:
        """Names of the cases that have a mask."""
        folder = self.folder / "masks"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {name.removesuffix(".gz").rsplit(".", 1)[0] for name in names if not name.startswith(".")}
