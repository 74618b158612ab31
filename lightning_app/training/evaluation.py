"""Case by case evaluation on the original grid: tables, reliability sums and figures of a stage."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

import metrics
from lightning_app.files import write_atomic, write_csv
from lightning_app.training.run_folder import RunFolder
from metrics.calibration import soft_bins
from metrics.errors import average_calibration_error, expected_calibration_error, maximum_calibration_error

IGNORE_INDEX = 255
NUM_BINS = 15
ECE = partial(expected_calibration_error, num_bins=NUM_BINS)
POOLED = (
    ("ece", "all.top_label", ECE),
    ("ace", "all.top_label", partial(average_calibration_error, num_bins=NUM_BINS)),
    ("mce", "all.top_label", partial(maximum_calibration_error, num_bins=NUM_BINS)),
    ("ece_classwise", "all.classwise", ECE),
    ("ece_foreground_region", "foreground.top_label", ECE),
    ("ece_boundary", "boundary.top_label", ECE),
)


class CaseEvaluation(Callback):
    """Scores every case of `validate` and `test` and writes the stage's folder.

    `per_case.csv` has a row a case and class and a row `all` a case; `summary.csv` the means over the cases and the
    pooled values, with 95 % bootstrap intervals over the cases; `bins.npz` the reliability sums, pooled (3,000 bins)
    and by case (300 bins).

    Args:
        run: The run's folder.
        surface: Also compute surface distances (HD95, ASSD, NSD), in mm; slower.
    """

    def __init__(self, run: RunFolder, surface: bool = False) -> None:
        self.run = run
        self.surface = surface
        self.cases: list[dict[str, Any]] = []
        self.bins: dict[str, metrics.Bins] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.cases, self.bins = [], {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.cases, self.bins = [], {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the case, unless this is the validation inside training."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._add(pl_module, outputs["original"][0], batch)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the case."""
        self._add(pl_module, outputs["original"][0], batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `val/`, unless this is the validation inside training."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `test/`."""
        self._finish(trainer, pl_module, "test")

    def cases_by_dice(self) -> list[str]:
        """Names of the evaluated cases, worst Dice first."""
        scores = {case["case"]: row["dice"] for case in self.cases for row in case["rows"] if row["class"] == "all"}
        return sorted((case for case in scores if np.isfinite(scores[case])), key=lambda case: scores[case])

    def _add(self, pl_module: LightningModule, probs: Tensor, batch: dict[str, Any]) -> None:
        case, spacing = batch["case"][0], batch["geometry"][0].spacing
        target = batch["original_mask"][0]
        sums = metrics.sum_case(probs, target, num_bins=metrics.FINE_BINS, spacing=spacing)
        rows = metrics.rows_from_sums(sums, class_names(pl_module))
        if self.surface:
            from metrics.surface import surface_rows  # scipy, a second

            distances = surface_rows(metrics.predict_labels(probs), target, len(probs), spacing, target != IGNORE_INDEX)
            rows = [row | more for row, more in zip(rows, distances, strict=True)]
        known = known_truth(probs, batch)
        rows = [row | (known if row["class"] == "all" else dict.fromkeys(known, float("nan"))) for row in rows]
        fine = {key: metrics.Bins(*(part.cpu() for part in bins)) for key, bins in sums.bins.items()}
        self.bins = {key: metrics.merge_bins(self.bins[key], bins) if self.bins else bins for key, bins in fine.items()}
        self.cases.append(
            {
                "case": case,
                "rows": [{"case": case, **row} for row in rows],
                "bins": {key: metrics.rebin(bins, metrics.CASE_BINS) for key, bins in fine.items()},
            }
        )

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.cases = sorted(gather(self.cases), key=lambda case: case["case"])
        self.bins = self._pool()
        if not trainer.is_global_zero or not self.cases:
            return
        folder, names = self.run.stage(stage), class_names(pl_module)
        rows = [row for case in self.cases for row in case["rows"]]
        write_csv(folder / "per_case.csv", rows)
        write_csv(folder / "summary.csv", summarise(rows) + summarise_pooled(self.cases, self.bins))
        write_bins(folder / "bins.npz", self.cases, self.bins, names)

    def _pool(self) -> dict[str, metrics.Bins]:
        """Sum the fine bins of all processes, in the order of the processes on each of them."""
        shards = [shard for shard in gather([self.bins]) if shard]
        return {key: metrics.merge_bins(*(shard[key] for shard in shards)) for key in (shards[0] if shards else ())}


def class_names(pl_module: LightningModule) -> tuple[str, ...]:
    """Names of the classes of the module's data, background first."""
    return tuple(pl_module.class_names)  # type: ignore[arg-type]


def known_truth(probs: Tensor, batch: dict[str, Any]) -> dict[str, float]:
    """Where the true probabilities of a case are known: its true ECE, and the lowest reachable NLL and Brier score."""
    if "true_probs" not in batch:
        return {}
    bins = soft_bins(probs, batch["true_probs"][0], "top_label", num_bins=NUM_BINS)
    lowest = metrics.lowest_scores(batch["true_probs"])
    return {
        "ece_true": float(expected_calibration_error(bins)),
        "nll_lowest": lowest["nll"],
        "brier_lowest": lowest["brier"],
    }


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes, on each of them, in the order of the processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shards: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shards, items)
    return [item for shard in shards for item in shard]


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the cases and 95 % bootstrap interval of each metric and class; cases without a value are left out."""
    summary = []
    names = [name for name in rows[0] if name not in {"case", "class"}] if rows else []
    for label in dict.fromkeys(row["class"] for row in rows):
        for name in names:
            values = np.array([row[name] for row in rows if row["class"] == label], dtype=float)
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            low, high = metrics.bootstrap_interval(values) if len(values) > 1 else (np.nan, np.nan)
            summary.append(
                {"metric": name, "class": label, "mean": values.mean(), "low": low, "high": high, "n": len(values)}
            )
    return summary


def summarise_pooled(cases: list[dict[str, Any]], bins: dict[str, metrics.Bins]) -> list[dict[str, Any]]:
    """Pooled values, class `pooled`, with intervals from resampling the cases' bins and sums."""
    summary = []
    for name, key, error in POOLED:
        low, high = metrics.statistics.bootstrap_bins([case["bins"][key] for case in cases], error)
        mean = float(error(bins[key]).mean())
        summary.append({"metric": name, "class": "pooled", "mean": mean, "low": low, "high": high, "n": len(cases)})
    return summary


def write_bins(path: Path, cases: list[dict[str, Any]], pooled: dict[str, Any], class_names: Any) -> None:
    """Write reliability sums, pooled and by case, as one compressed file, atomically."""
    arrays = {"cases": np.array([case["case"] for case in cases]), "class_names": np.array(class_names)}
    for key, bins in pooled.items():
        for field, values in zip(bins._fields, bins, strict=True):
            arrays[f"{key}.{field}"] = values.numpy()
        for index, field in enumerate(bins._fields):
            arrays[f"{key}.case_{field}"] = np.stack([case["bins"][key][index].numpy() for case in cases])
    write_atomic(path, lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]
