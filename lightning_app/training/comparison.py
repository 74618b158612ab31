"""The uncalibrated probabilities scored beside the calibrated ones."""

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import metrics
from lightning_app.files import write_csv
from lightning_app.training.run_folder import RunFolder


class CalibrationComparison(Callback):
    """Scores the uncalibrated probabilities beside the calibrated ones in `test`.

    Prints both and writes `calibration.csv`; does nothing for a checkpoint without a calibrator.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.before: Any = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.before = None
        if getattr(pl_module, "calibrator", None) is not None:
            names = tuple(pl_module.class_names)  # type: ignore[arg-type]
            self.before = metrics.Scorer(len(names), names).to(pl_module.device)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Score the case as the network alone has it."""
        if self.before is not None:
            self.before.update(outputs["uncalibrated"], batch["original_mask"], batch["geometry"][0].spacing)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write both."""
        if self.before is None:
            return
        before = {name: float(value) for name, value in self.before.compute().items()}
        after = {name: float(trainer.callback_metrics[f"test/{name}"]) for name in before}
        if not trainer.is_global_zero:
            return
        rows = [{"metric": name, "before": before[name], "after": after[name]} for name in before]
        write_csv(self.run.stage("test") / "calibration.csv", rows)
        lines = ["", f"{'calibration: ' + str(pl_module.calibrator_method):<34}{'before':>10}{'after':>10}"]
        main = [name for name in metrics.catalogue.main_keys() if name in before]
        lines += [f"{name:<34}{before[name]:>10.4f}{after[name]:>10.4f}" for name in main]
        sys.stdout.write("\n".join(lines) + "\n")
