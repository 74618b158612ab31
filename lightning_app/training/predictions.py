"""Writes masks, probabilities and maps of uncertainty of `predict` on the original grid, one case at a time."""

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import is_series, is_written, write_map, write_mask, write_probabilities, write_segmentation
from lightning_app.calibration.calibrate import threshold_labels

MAPS = ("entropy", "mutual_information")  # of inferences that average members
ENTRIES = "cases.csv"


class PredictionWriter(Callback):
    """Writes `<case>` masks to `masks/` and probabilities to `probabilities/`; goes on after a kill.

    Where the inference averages members (test-time augmentation, ensembles, dropout), it also writes the predictive
    entropy to `entropy/` and the mutual information to `mutual_information/`: in nats for volumes, and as shares of
    log K, the largest there can be, for images.

    Files appear whole or not at all, the mask last; then the case is entered in `cases.csv` with a fingerprint of what
    made it: checkpoint, calibrator, cuts and settings. A case whose entry says the same is not computed again, one that
    something else made is.

    Args:
        folder: Where to write.
        threshold: `argmax`, `calibrated` for the cuts that `calibrate` kept with the checkpoint, or a cut for each
            foreground class.
        probabilities: Write probability maps too.
        settings: Further plain data that the predictions depend on, such as the configuration of model and data.

    Raises:
        ValueError: If `calibrated` cuts are asked of a checkpoint without, or their number is not that of the classes.
    """

    def __init__(
        self,
        folder: Path,
        threshold: str | list[float] = "argmax",
        probabilities: bool = True,
        settings: Any = None,
    ) -> None:
        self.folder = folder
        self.threshold = threshold
        self.probabilities = probabilities
        self.settings = settings
        self.cuts: list[float] | None = None
        self.fingerprint = ""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Settle the cuts and tell the module which cases are done."""
        self.cuts = self._find_cuts(pl_module)
        self.fingerprint = self._fingerprint(trainer.ckpt_path)
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
        for name in MAPS:
            if name in outputs:
                values = outputs[name][0].float().cpu().numpy()
                write_map(self.folder / name / case, values, geometry, largest=math.log(len(probs)))
        labels = probs.argmax(dim=0) if self.cuts is None else threshold_labels(probs, self.cuts)
        mask = labels.numpy().astype(np.uint8)
        if is_series(geometry):
            write_segmentation(self.folder / "dicom_seg" / case, mask, geometry, pl_module.class_names)  # type: ignore[arg-type]
        write_mask(self.folder / "masks" / case, mask, geometry)
        with (self.folder / ENTRIES).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow([case, self.fingerprint])

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

    def _fingerprint(self, checkpoint: Any) -> str:
        """Short digest of everything that the files depend on; calibrating rewrites the checkpoint and changes it."""
        stamp = Path(checkpoint).stat().st_mtime_ns if checkpoint else None
        made_by = json.dumps([str(checkpoint), stamp, self.cuts, self.settings], sort_keys=True, default=str)
        return hashlib.sha256(made_by.encode()).hexdigest()[:16]

    def _done(self) -> set[str]:
        """Names of the cases that have a mask, made last by what makes them now."""
        entries = self.folder / ENTRIES
        if not entries.is_file():
            return set()
        with entries.open(newline="", encoding="utf-8") as file:
            last = {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}  # a kill may leave half a line
        ours = {case for case, fingerprint in last.items() if fingerprint == self.fingerprint}
        return {case for case in ours if is_written(self.folder / "masks" / case)}
