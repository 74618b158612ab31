"""Calibration in a Lightning program of your own: a callback beside your module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from calibrated_segmentation import metrics

Pair = tuple[Tensor, Tensor]


class CalibrationLogging(Callback):
    """Logs calibration, proper scores and overlap of *your* module's validation and test, and a reliability diagram.

    Numbers are logged as `val/<key>` and `test/<key>` with the keys of `metrics.catalogue`, exact over all voxels and
    processes; the diagram goes to W&B and TensorBoard loggers as `<stage>/reliability`.

    Args:
        num_classes: Number of classes, background among them.
        class_names: Their names, for a line a class.
        pair: From what your step returned and its batch to probabilities `(B, K, *S)` and labels `(B, *S)`; by default
            `outputs["probs"]`, or the softmax of `outputs["logits"]`, beside `batch["mask"]` or `batch["label"]`.
        ignore_index: Label of voxels that do not count.

    Raises:
        ValueError: In the first step, where the default finds no probabilities or labels.

    Example:
        >>> from calibrated_segmentation.integrations.lightning import CalibrationLogging
        >>> callback = CalibrationLogging(num_classes=2, pair=lambda outputs, batch: (outputs.softmax(1), batch[1]))
    """

    def __init__(
        self,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        pair: Callable[[Any, Any], Pair] | None = None,
        ignore_index: int = 255,
    ) -> None:
        self.scorer = metrics.Scorer(num_classes, class_names, ignore_index=ignore_index)
        self.pair = pair or usual_pair

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._begin(pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._begin(pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score the batch."""
        self._add(outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score the batch."""
        self._add(outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log numbers and diagram."""
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log numbers and diagram."""
        self._finish(trainer, pl_module, "test")

    def _begin(self, pl_module: LightningModule) -> None:
        self.scorer.to(pl_module.device).reset()

    def _add(self, outputs: Any, batch: Any) -> None:
        probs, target = self.pair(outputs, batch)
        self.scorer.update(probs.detach().float(), target)

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        values = self.scorer.compute()
        pl_module.log_dict({f"{stage}/{key}": value.float() for key, value in values.items()}, sync_dist=True)
        bins = self.scorer.over_all().bins["all.top_label"]
        if trainer.is_global_zero and not trainer.sanity_checking:
            draw(bins, trainer.loggers, f"{stage}/reliability", trainer.global_step)


def usual_pair(outputs: Any, batch: Any) -> Pair:
    """Probabilities and labels of a step that returns `probs` or `logits`, on a batch with `mask` or `label`.

    Raises:
        ValueError: If one of them is not there.

    Example:
        >>> import torch
        >>> labels = torch.zeros(1, 1, 4, dtype=torch.long)
        >>> probs, labels = usual_pair({"logits": torch.zeros(1, 2, 4)}, {"label": labels})
        >>> probs.shape, labels.shape
        (torch.Size([1, 2, 4]), torch.Size([1, 4]))
    """
    found = outputs if isinstance(outputs, Mapping) else {}
    probs = found.get("probs", found["logits"].softmax(1) if "logits" in found else None)
    keys = [key for key in ("mask", "label") if isinstance(batch, Mapping) and key in batch]
    if probs is None or not keys:
        raise ValueError(
            "CalibrationLogging finds no `probs` or `logits` in what the step returned, or no `mask` or `label` in the "
            "batch: give pair=lambda outputs, batch: (probabilities (B, K, *S), labels (B, *S))"
        )
    target = batch[keys[0]]
    return probs, target[:, 0] if target.ndim == probs.ndim else target


def draw(bins: "metrics.Bins", loggers: Sequence[Logger], key: str, step: int) -> None:
    """A reliability diagram for every logger that shows pictures.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import metrics
        >>> bins = metrics.bin_item(torch.tensor([[0.75], [0.25]]), torch.tensor([0]), "top_label")
        >>> draw(bins, loggers=[], key="val/reliability", step=0)  # no logger that shows pictures, no picture
    """
    able = [logger for logger in loggers if isinstance(logger, TensorBoardLogger | WandbLogger)]
    if not able or not int(torch.as_tensor(bins.count).sum()):
        return
    figure, _ = metrics.plot.reliability_diagram(metrics.Bins(*(field.cpu() for field in bins)))
    for logger in able:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [figure], step=step)
        else:
            logger.experiment.add_figure(key, figure, step)
