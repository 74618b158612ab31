"""The uncalibrated probabilities scored beside the calibrated ones."""

import sys
from typing import Any

import metrics
from lightning_app.files import write_csv
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback


class CalibrationComparison(StageCallback):
    """Scores the uncalibrated probabilities beside the calibrated ones in `test`.

    Prints both and writes `calibration.csv`; does nothing for a checkpoint without a calibrator.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.before: metrics.Scorer | None = None

    def on_begin(self, stage: Stage) -> None:
        """Begin anew."""
        self.before = None
        if stage.name == "test" and getattr(stage.module, "calibrator", None) is not None:
            self.before = stage.head.scorer().to(stage.module.device)

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Score the case as the network alone has it."""
        if self.before is not None:
            probs, labels, _ = stage.head.scored(outputs["uncalibrated"], batch["original_mask"])
            raters = None if stage.head.regions else batch.get("original_raters")
            self.before.update(probs, labels, batch["geometry"][0].spacing, raters=raters)

    def on_finish(self, stage: Stage) -> None:
        """Print and write both."""
        if self.before is None:
            return
        before = {name: float(value) for name, value in self.before.compute().items()}
        after = {name: float(stage.trainer.callback_metrics[f"test/{name}"]) for name in before}
        if not stage.trainer.is_global_zero:
            return
        rows = [{"metric": name, "before": before[name], "after": after[name]} for name in before]
        write_csv(self.run.stage("test") / "calibration.csv", rows)
        lines = ["", f"{'calibration: ' + stage.module.calibrator_method:<34}{'before':>10}{'after':>10}"]
        main = [name for name in metrics.catalogue.main_keys() if name in before]
        lines += [f"{name:<34}{before[name]:>10.4f}{after[name]:>10.4f}" for name in main]
        sys.stdout.write("\n".join(lines) + "\n")
