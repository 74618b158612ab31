"""Case by case evaluation on the original grid: tables, reliability sums and figures of a stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

import metrics
from lightning_app.files import write_atomic, write_csv
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.scoring import ScoringPool

ScoredCase = tuple[str, metrics.CaseSums]


class CaseEvaluation(Callback):
    """Writes the stage's folder after `validate` and `test` from what the module's scorer kept of every case.

    `per_case.csv` has a row a case and class and a row `all` a case; `summary.csv` the means over the cases and the
    pooled values, with 95 % bootstrap intervals over the cases; `bins.npz` the reliability sums, pooled (the whole
    image on the fine axis) and by case (300 bins; counts of each class on the fine axis). The names are those of
    `metrics.catalogue`.

    Args:
        run: The run's folder.
        surface: Measure surface distances (HD95, ASSD, NSD) too, in mm; slower.
        workers: Processes that score cases beside the inference; 0 scores in the main one.

    Raises:
        ValueError: If the number of workers is below 0.
    """

    def __init__(self, run: RunFolder, surface: bool = False, workers: int = 0) -> None:
        if workers < 0:
            raise ValueError(f"--score_workers {workers}: a number of processes, 0 to score in the main one")
        self.run = run
        self.surface = surface
        self.workers = workers
        self.cases: list[ScoredCase] = []
        self.bins: Mapping[str, metrics.Bins] = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the scorer what to measure; inside training only what is quick."""
        if trainer.state.fn == TrainerFn.FITTING:
            scorer_of(pl_module, "val").surface = False
        else:
            self._start(pl_module, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the scorer what to measure."""
        self._start(pl_module, "test")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `val/`, unless this is the validation inside training."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write `test/`."""
        self._finish(trainer, pl_module, "test")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no process behind."""
        self._end(pl_module)

    def cases_by_dice(self) -> list[str]:
        """Names of the evaluated cases, worst Dice first."""
        dice = metrics.catalogue.NUMBERS["dice"]
        scores = {name: float(dice.value(sums)[0]) for name, sums in self.cases}
        return sorted((case for case in scores if np.isfinite(scores[case])), key=lambda case: scores[case])

    def _start(self, pl_module: LightningModule, stage: str) -> None:
        scorer_of(pl_module, stage).surface = self.surface
        pl_module.scoring = ScoringPool(self.workers) if self.workers else None  # type: ignore[assignment]

    def _end(self, pl_module: LightningModule) -> None:
        pool = getattr(pl_module, "scoring", None)  # other modules than ours have none
        if pool is not None:
            pool.close()
            pl_module.scoring = None  # type: ignore[assignment]

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        scorer = scorer_of(pl_module, stage)
        if pl_module.scoring is not None:
            pl_module.scoring.finish()  # type: ignore[operator,union-attr]
        self._end(pl_module)
        self.bins = scorer.over_all().bins
        self.cases = sorted(gather(scorer.records), key=lambda case: case[0])
        if trainer.is_global_zero and self.cases:
            write_stage(self.run.stage(stage), self.cases, self.bins, class_names(pl_module))


def write_stage(
    folder: Path, cases: Sequence[ScoredCase], pooled: Mapping[str, metrics.Bins], class_names: Sequence[str]
) -> None:
    """Write `per_case.csv`, `summary.csv` and `bins.npz` of a stage.

    Args:
        folder: The stage's folder.
        cases: Name and sums of each case, in order.
        pooled: "<region>.<view>" to the fine bins of all cases.
        class_names: Names of the classes, background first.
    """
    rows = [{"case": name, **row} for name, sums in cases for row in metrics.rows_from_sums(sums, class_names)]
    write_csv(folder / "per_case.csv", rows)
    write_csv(folder / "summary.csv", summarise(rows) + summarise_pooled([sums for _, sums in cases], class_names))
    write_bins(folder / "bins.npz", cases, pooled, class_names)


def scorer_of(pl_module: LightningModule, stage: str) -> metrics.Scorer:
    """The module's scorer of a stage."""
    return pl_module.scorers[stage]  # type: ignore[index,return-value]


def class_names(pl_module: LightningModule) -> tuple[str, ...]:
    """Names of the classes of the module's data, background first."""
    return tuple(pl_module.class_names)  # type: ignore[arg-type]


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes, on each of them, in the order of the processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shards: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shards, items)
    return [item for shard in shards for item in shard]


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the cases and 95 % bootstrap interval of each number and class; cases without a value are left out."""
    summary = []
    names = [name for name in rows[0] if name not in {"case", "class"}] if rows else []
    for label in dict.fromkeys(row["class"] for row in rows):
        for name in names:
            values = np.array([row[name] for row in rows if row["class"] == label], dtype=float)
            values = values[np.isfinite(values)]
            mean = values.mean() if len(values) else np.nan
            low, high = metrics.bootstrap_interval(values, bounds=metrics.catalogue.bounds_of(name))
            summary.append({"metric": name, "class": label, "mean": mean, "low": low, "high": high, "n": len(values)})
    return summary


def summarise_pooled(cases: Sequence[metrics.CaseSums], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The numbers of all voxels together, by class, with intervals over the cases."""
    together = metrics.merge_sums(cases)
    rows = [row for row in metrics.catalogue.of_average("pooled") if row.known(together)]
    lows, highs = metrics.pooled_intervals([[sums.coarse(metrics.catalogue.NUM_BINS) for sums in cases]], rows)
    summary = []
    for row, low, high in zip(rows, lows, highs, strict=True):
        values = row.value(together).tolist()
        for label, *numbers in zip(["all", *class_names[1:]], values, low.tolist(), high.tolist(), strict=False):
            summary.append(
                {"metric": row.key, "class": label, **dict(zip(("mean", "low", "high"), numbers, strict=True))}
            )
            summary[-1]["n"] = len(cases)
    return summary


def write_bins(
    path: Path, cases: Sequence[ScoredCase], pooled: Mapping[str, metrics.Bins], class_names: Sequence[str]
) -> None:
    """Write reliability sums, pooled and by case, as one compressed file, atomically."""
    arrays = {"cases": np.array([name for name, _ in cases]), "class_names": np.array(class_names)}
    by_case = metrics.stack_sums([sums for _, sums in cases])
    if by_case.odds is not None:
        arrays |= {"axis_edges": metrics.axis_edges().numpy(), "all.classwise.case_odds": by_case.odds.numpy()}
    for key, bins in pooled.items():
        for field, values, stacked in zip(metrics.Bins._fields, bins, by_case.bins[key], strict=True):
            arrays[f"{key}.{field}"] = values.cpu().numpy()
            arrays[f"{key}.case_{field}"] = stacked.numpy()
    write_atomic(path, lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]
