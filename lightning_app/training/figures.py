"""Pictures of a run: reliability diagrams and overlays, during training and of each evaluated stage."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

import metrics
from lightning_app.files import part_name
from lightning_app.training.evaluation import CaseEvaluation, ScoredCase, gather
from lightning_app.training.publish import publish, publish_curve, publish_masks, publish_table
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.stage import Stage, StageCallback
from lightning_app.training.thumbnails import picture, thumbnail
from metrics import plot

DIAGRAMS = {
    "all.top_label": "top label, all voxels",
    "boundary.top_label": "top label, at the predicted boundary",
    "dilated.top_label": "top label, predicted foreground and around it",
    "all.foreground": "foreground probability, all voxels",
    "all.classwise": "each class, all voxels",
    "all.raters": "top label, against the share of raters",
    "all.object": "claimed objects",
}
NUM_BINS = metrics.catalogue.NUM_BINS


LogMedia = Literal["every", "best", "never"]


class TrainingFigures(StageCallback):
    """At each validation of `fit`: the reliability diagram, its bins as a table, overlays of the same few cases.

    Args:
        run: The run's folder; the latest pictures lie in `figures/`.
        num_cases: How many cases get an overlay, the first ones of the validation part.
        log_media: Which validations' pictures go to loggers: `every` one's, `best` for those that improve on the
            checkpoint kept so far, or `never`.
    """

    def __init__(self, run: RunFolder, num_cases: int = 4, log_media: LogMedia = "best") -> None:
        self.run = run
        self.num_cases = num_cases
        self.log_media = log_media
        self.shown: list[dict[str, Any]] = []
        self.bins: metrics.Bins | None = None

    def on_begin(self, stage: Stage) -> None:
        """Begin anew."""
        self.shown = []

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Keep small pictures, unless this is a sanity check or an evaluation of its own."""
        if stage.name == "fit" and stage.trainer.is_global_zero and len(self.shown) < self.num_cases:
            self.shown.append(thumbnail(batch, outputs["probs"].float(), stage.head, stage.scorer.cuts))

    def on_scored(self, stage: Stage) -> None:
        """Every process takes part in summing the bins."""
        if stage.name == "fit":
            self.bins = together(stage.scorer.over_all().channels["all.top_label"])

    def on_finish(self, stage: Stage) -> None:
        """Draw on the first process, once the validation's numbers are known."""
        trainer = stage.trainer
        if stage.name != "fit" or not trainer.is_global_zero or self.bins is None:
            return
        loggers = trainer.loggers if self._goes_to_loggers(trainer) else []
        step, folder = trainer.global_step, self.run.path / "figures"
        title = f"{source_of(stage, self.run)}\nvalidation, epoch {trainer.current_epoch}"
        figure, _ = plot.reliability_diagram(self.bins, num_bins=NUM_BINS, title=title)
        publish(figure, folder / "reliability.png", loggers, "val/reliability", step)
        publish_table(loggers, "val/reliability_bins", *bins_table(metrics.rebin(self.bins, NUM_BINS)), step)
        for shown in self.shown:
            self._show(loggers, step, stage.head.labels, shown)

    def _goes_to_loggers(self, trainer: Trainer) -> bool:
        if self.log_media != "best":
            return self.log_media == "every"
        return all(
            improves(trainer, kept) for kept in trainer.checkpoint_callbacks if isinstance(kept, ModelCheckpoint)
        )

    def _show(self, loggers: Sequence[Logger], step: int, names: Sequence[str], shown: dict[str, Any]) -> None:
        key = f"val_cases/{shown['case']}"
        figure, _ = draw(shown)
        publish(figure, self.run.path / "figures" / f"case_{shown['case']}.png", loggers, key, step)
        labels = dict(enumerate(names))
        prediction, truth = shown["prediction"].numpy(), shown["truth"].numpy()
        masks = {
            "prediction": {"mask_data": prediction, "class_labels": labels},
            "truth": {"mask_data": truth, "class_labels": {**labels, 255: "ignored"}},
            "error": {
                "mask_data": ((prediction != truth) & (truth != 255)).astype("uint8"),
                "class_labels": {0: "right", 1: "wrong"},
            },
        }
        publish_masks(loggers, f"{key}_masks", picture(shown["image"]), masks, step)


def improves(trainer: Trainer, kept: ModelCheckpoint) -> bool:
    """Whether the validation that just ended is better than the best that a checkpoint was kept for."""
    value, best = trainer.callback_metrics.get(kept.monitor or ""), kept.best_model_score
    if value is None or best is None:
        return True
    return bool(value > best if kept.mode == "max" else value < best)


class StageFigures(StageCallback):
    """After `validate` and `test`: reliability diagrams by region and view, and the worst, median and best case.

    Args:
        run: The run's folder; pictures go to `<stage>/figures/`.
        evaluation: The callback that scored the cases; it must run before this one.
        to_loggers: Show them in the loggers too.
    """

    def __init__(self, run: RunFolder, evaluation: CaseEvaluation, to_loggers: bool = True) -> None:
        self.run = run
        self.to_loggers = to_loggers
        self.evaluation = evaluation
        self.shown: dict[str, Path] = {}
        self.store: TemporaryDirectory[str] | None = None

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Keep a small picture of the case."""
        if stage.evaluates:
            self._keep(stage, outputs, batch)

    def on_scored(self, stage: Stage) -> None:
        """Draw, unless this is the validation inside training."""
        if stage.evaluates:
            self._draw(stage)

    def _keep(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Put the picture on the disk: which three are drawn is known when all are scored, memory holds one."""
        shown = thumbnail(batch, outputs["probs"].float(), stage.head, stage.scorer.cuts)
        if self.store is None:
            self.store = TemporaryDirectory(dir=self.run.path, prefix=part_name())
        path = Path(self.store.name) / f"{len(self.shown)}.pt"
        torch.save(shown, path)
        self.shown[shown["case"]] = path

    def _draw(self, stage: Stage) -> None:
        chosen = self._chosen()
        if stage.trainer.is_global_zero:
            folder, step = self.run.stage(stage.name) / "figures", stage.trainer.global_step
            names, source = stage.class_names, source_of(stage, self.run)
            loggers = stage.trainer.loggers if self.to_loggers else []
            draw_diagrams(self.evaluation.cases, self.evaluation.bins, names, folder.parent, loggers, step, source)
            scores = self.evaluation.dice_of_cases()
            for rank, shown in chosen.items():
                draw_case(shown, scores[shown["case"]], rank, stage.name, folder, loggers, step)
        self.shown = {}
        self._drop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing."""
        self._drop()

    def _drop(self) -> None:
        if self.store is not None:
            self.store.cleanup()
            self.store = None

    def _chosen(self) -> dict[str, dict[str, Any]]:
        """Pictures of the worst, median and best case by Dice, from whichever process scored them."""
        order = self.evaluation.cases_by_dice()
        if not order:
            return {}
        names = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
        mine = [(case, self.shown[case]) for case in names.values() if case in self.shown]
        found = dict(gather([(case, torch.load(path, weights_only=False)) for case, path in mine]))
        return {rank: found[case] for rank, case in names.items()}


def source_of(stage: Stage, run: RunFolder) -> str:
    """What a picture shows, in a line: data, loss and run."""
    return f"{type(stage.datamodule).__name__}, {type(stage.module.loss).__name__}, {run.name}"


def draw_diagrams(
    cases: Sequence[ScoredCase],
    pooled: Mapping[str, metrics.Bins],
    class_names: Sequence[str],
    folder: Path,
    loggers: Iterable[Logger],
    step: int,
    source: str = "",
) -> None:
    """Reliability diagrams of a stage by region and view, with bands and the ECE's interval over the cases.

    Args:
        cases: Name and sums of each case.
        pooled: "<region>.<view>" to the bins of all cases.
        class_names: Names of the classes, background first.
        folder: The stage's folder.
        loggers: Loggers that get the pictures too.
        step: Step that they are logged at.
        source: What was scored, for the titles: data, loss, run.
    """
    for key, words in DIAGRAMS.items():
        if key not in pooled:  # objects, where they were not asked for
            continue
        view, title = key.partition(".")[2], f"{folder.name}: {words}"
        channels = len(pooled[key].count)
        first = int(channels > 1 and not pooled[key].count[0].any())  # objects and regions have no background
        by_case = [_from_class(sums.channels[key], first) for _, sums in cases]
        band = metrics.frequency_band(by_case, NUM_BINS)
        low, high = metrics.error_interval(by_case, NUM_BINS)
        figure, _ = plot.reliability_diagram(
            _from_class(pooled[key], first), NUM_BINS, band, "\n".join(filter(None, [source, title])), view=view,
            labels=class_names[first - channels :] if channels > 1 else None, interval=(low[0], high[0]),
        )  # fmt: skip
        name = f"reliability_{key.replace('.', '_')}"
        publish(figure, folder / "figures" / f"{name}.png", loggers, f"{folder.name}/{name}", step)
    curve = bins_table(metrics.rebin(together(pooled["all.top_label"]), NUM_BINS))[1]
    publish_curve(loggers, folder.name, [row[3:5] for row in curve if row[2]])


def together(bins: metrics.Bins) -> metrics.Bins:
    """One channel (1, B) of the regions' together."""
    return metrics.Bins(*(field.sum(0, keepdim=True) for field in bins))


def _from_class(bins: metrics.Bins, first: int) -> metrics.Bins:
    return metrics.Bins(*(field[first:] for field in bins))


def draw_case(
    shown: dict[str, Any], dice: float, rank: str, stage: str, folder: Path, loggers: Iterable[Logger], step: int
) -> None:
    """The picture of a stage's worst, median or best case with its Dice, and of a volume the slices to leaf through."""
    figure, _ = draw({**shown, "dice": dice}, title=f"{rank}: ")
    publish(figure, folder / f"case_{rank}.png", loggers, f"{stage}_cases/{rank}", step)
    if shown["volume"] is not None:
        np.savez_compressed(folder / f"case_{rank}.npz", case=shown["case"], **shown["volume"])


def draw(shown: dict[str, Any], title: str = "") -> Any:
    """Overlay figure of a thumbnail."""
    facts = [f"{title}{shown['case']}", *filter(None, [shown["slice"], shown["cuts"]]), f"Dice {shown['dice']:.3f}"]
    image, prediction, truth, probs = (shown[name] for name in ("image", "prediction", "truth", "probs"))
    return plot.overlay(image, prediction, truth, probs, ", ".join(facts), shown["names"])


def bins_table(bins: metrics.Bins) -> tuple[list[str], list[list[float]]]:
    """Columns and rows of a top-label reliability table."""
    rows = []
    for index in range(bins.count.shape[1]):
        count = int(bins.count[0, index])
        mean = [float(part[0, index]) / count if count else float("nan") for part in (bins.confidence, bins.correct)]
        rows.append([index, index / bins.count.shape[1], count, *mean])
    return ["bin", "lower_edge", "count", "mean_confidence", "accuracy"], rows
