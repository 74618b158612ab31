"""Writes masks and probability maps of `predict` on the original grid, one case at a time."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import write_mask, write_probabilities


class PredictionWriter(Callback):
    """Writes `<case>` masks to `masks/` and probabilities to `probabilities/`; goes on after a kill.

    A case whose two files exist is not computed again. Files appear whole or not at all.

    Args:
        folder: Where to write.
        probabilities: Write probability maps too.
    """

    def __init__(self, folder: Path, probabilities: bool = True) -> None:
        self.folder = folder
        self.probabilities = probabilities

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the module which cases are done."""
        done = self._stems("masks")
        if self.probabilities:
            done &= self._stems("probabilities")
        pl_module.finished_cases = frozenset(done)

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
        if outputs is None:
            return
        case, geometry = batch["case"][0], batch["geometry"][0]
        probs = outputs[0].float().cpu().numpy()
        if self.probabilities:
            write_probabilities(self.folder / "probabilities" / case, probs, geometry)
        write_mask(self.folder / "masks" / case, probs.argmax(axis=0).astype(np.uint8), geometry)

    def _stems(self, kind: str) -> set[str]:
        folder = self.folder / kind
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {name.removesuffix(".gz").rsplit(".", 1)[0] for name in names if ".tmp" not in name}
