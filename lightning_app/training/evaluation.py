"""Case by case evaluation on the original grid: tables, reliability sums and figures of a stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer

import metrics
from lightning_app.calibration.cuts import asked_cuts
from lightning_app.files import write_atomic, write_csv
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.scoring import ScoringPool
from lightning_app.training.stage import Stage, StageCallback

ScoredCase = tuple[str, metrics.CaseSums]


class CaseEvaluation(StageCallback):
    """Writes the stage's folder after `validate` and `test` from what the module's scorer kept of every case.

    `per_case.csv` has a row a case and class and a row `all` a case; `summary.csv` the means over the cases and the
    pooled values, with 95 % bootstrap intervals over the cases; `bins.npz` the reliability sums, pooled (the whole
    image on the fine axis) and by case (300 bins; counts of each class on the fine axis), with each case's confusion,
    NLL and objects. The names are those of `metrics.catalogue`.

    Args:
        run: The run's folder.
        surface: Measure surface distances (HD95, ASSD, NSD) too, in mm; slower.
        objects: Find objects by this rule and match them too.
        workers: Processes that score cases beside the inference; 0 scores in the main one.
        threshold: What makes the masks of `test`: `argmax`, `calibrated`, or a cut of each foreground class.

    Raises:
        ValueError: If the number of workers is below 0.
    """

    def __init__(
        self,
        run: RunFolder,
        surface: bool = False,
        objects: metrics.ObjectRule | None = None,
        workers: int = 0,
        threshold: str | list[float] = "argmax",
    ) -> None:
        if workers < 0:
            raise ValueError(f"--score_workers {workers}: a number of processes, 0 to score in the main one")
        self.run = run
        self.surface, self.objects = surface, objects
        self.workers, self.threshold = workers, threshold
        self.cases: list[ScoredCase] = []
        self.bins: Mapping[str, metrics.Bins] = {}
        self.pool: ScoringPool | None = None

    def on_begin(self, stage: Stage) -> None:
        """Tell the scorer what to measure; inside training only what is quick."""
        if stage.name == "predict":
            return
        stage.scorer.surface = self.surface and stage.evaluates
        stage.scorer.objects = self.objects if stage.evaluates else None
        stage.scorer.expectations = stage.evaluates
        if stage.name == "test":
            found = getattr(stage.module, "thresholds", None)  # other modules than ours have none
            stage.scorer.cuts = asked_cuts(self.threshold, found, stage.class_names)
        if stage.evaluates:
            self._begin_pool(stage.module)

    def on_scored(self, stage: Stage) -> None:
        """Write `val/` or `test/`, unless this is the validation inside training."""
        if not stage.evaluates:
            return
        if self.pool is not None:
            self.pool.finish()
        self._end_pool(stage.module)
        self.bins = stage.scorer.over_all().channels
        self.cases = sorted(gather(stage.scorer.records), key=lambda case: case[0])
        if stage.trainer.is_global_zero and self.cases:
            write_stage(self.run.stage(stage.name), self.cases, self.bins, stage.class_names)
            self.run.note_post_hoc(stage.name, _post_hoc(stage))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no process behind."""
        self._end_pool(pl_module)

    def cases_by_dice(self) -> list[str]:
        """Names of the evaluated cases, worst Dice first."""
        scores = self.dice_of_cases()
        return sorted((case for case in scores if np.isfinite(scores[case])), key=lambda case: scores[case])

    def dice_of_cases(self) -> dict[str, float]:
        """Dice of each evaluated case."""
        dice = metrics.catalogue.NUMBERS["dice"]
        return {name: float(dice.value(sums)[0]) for name, sums in self.cases}

    def _begin_pool(self, module: Any) -> None:
        if self.workers:
            self.pool = ScoringPool(self.workers)
            module.score_in(self.pool)

    def _end_pool(self, module: Any) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None
            module.score_in(None)


def _post_hoc(stage: Stage) -> dict[str, Any]:
    """What was done to the network's probabilities before they were scored: calibrator, cuts of the masks."""
    method = getattr(stage.module, "calibrator_method", "") if stage.name == "test" else ""
    return {name: value for name, value in (("calibrator", method), ("cuts", stage.scorer.cuts)) if value}


def write_stage(
    folder: Path, cases: Sequence[ScoredCase], pooled: Mapping[str, metrics.Bins], class_names: Sequence[str]
) -> None:
    """Write `per_case.csv`, `summary.csv` and `bins.npz` of a stage, and `raters.csv` where there are several.

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
    if rows := by_rater(cases, class_names):
        write_csv(folder / "raters.csv", rows)


def by_rater(cases: Sequence[ScoredCase], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a case and rater, numbered from 1: ECE and Dice, that of each class too where there are several."""
    classes = [f"dice/{name}" for name in class_names[1:]] if len(class_names) > 2 else []
    return [
        {"case": name, "rater": rater, **dict(zip(("ece", "dice", *classes), values, strict=False))}
        for name, sums in cases
        if metrics.raters.BY_RATER in sums.beside
        for rater, values in enumerate(sums.beside[metrics.raters.BY_RATER].tolist(), 1)
    ]


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
    lows, highs = metrics.pooled_intervals([cases], rows)
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
    """Write reliability sums, pooled and by case, and by case all else that adds up, as one file, atomically."""
    arrays = {"cases": np.array([name for name, _ in cases]), "class_names": np.array(class_names)}
    by_case = metrics.stack_sums([sums for _, sums in cases])
    if by_case.odds is not None:
        arrays |= {"axis_edges": metrics.axis_edges().numpy(), "all.classwise.case_odds": by_case.odds.numpy()}
    arrays |= {"case_confusion": by_case.confusion.numpy(), "case_nll": by_case.nll.numpy()}
    arrays |= {f"case_tallies.{key}": tally.numpy() for key, tally in by_case.tallies.items()}
    channels = by_case.channels
    for key, bins in pooled.items():
        for field, values, stacked in zip(metrics.Bins._fields, bins, channels[key], strict=True):
            arrays[f"{key}.{field}"] = values.cpu().numpy()
            arrays[f"{key}.case_{field}"] = stacked.numpy()
    write_atomic(path, lambda part: np.savez_compressed(part, allow_pickle=False, **arrays))
