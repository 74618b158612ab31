"""What is done with each evaluated case: a callback hears of stages and cases, not of Lightning's loops."""

from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

import metrics
from lightning_app.training.head import Head, head_of

Name = Literal["fit", "sanity", "val", "test", "predict"]


@dataclass(frozen=True)
class Stage:
    """What is under way.

    Args:
        name: `val`, `test` or `predict`; `fit` for a validation inside training, `sanity` for the look before it.
        trainer: Lightning's.
        module: The training module.
    """

    name: Name
    trainer: Trainer
    module: Any

    @property
    def evaluates(self) -> bool:
        """Whether each case is scored on its original grid."""
        return self.name in ("val", "test")

    @property
    def datamodule(self) -> Any:
        """The data."""
        return data_of(self.trainer)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, background first."""
        return tuple(self.module.class_names)

    @property
    def head(self) -> Head:
        """What the network's channels mean."""
        return head_of(self.module)

    @property
    def scorer(self) -> metrics.Scorer:
        """The module's scorer of the stage."""
        return self.module.scorers["test" if self.name == "test" else "val"]


def data_of(trainer: Trainer) -> Any:
    """The data module, which Lightning's trainer has while a verb runs; else none."""
    return getattr(trainer, "datamodule", None)


class StageCallback(Callback):
    """Base of what looks at cases; each hook is told the stage, and does nothing unless overridden."""

    def on_begin(self, stage: Stage) -> None:
        """Before the first case."""

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """After each case of this process.

        Args:
            stage: What is under way.
            outputs: What the module's step returned.
            batch: The case, a batch of one.
        """

    def on_scored(self, stage: Stage) -> None:
        """After the last case, on every process, while the scorer still holds them; not of `predict`."""

    def on_finish(self, stage: Stage) -> None:
        """At the end, when the stage's numbers are known."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_begin(_stage(trainer, pl_module))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_begin(_stage(trainer, pl_module))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_begin(_stage(trainer, pl_module))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Hand on."""
        self.on_case(_stage(trainer, pl_module), outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Hand on."""
        self.on_case(_stage(trainer, pl_module), outputs, batch)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Hand on."""
        self.on_case(_stage(trainer, pl_module), outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_scored(_stage(trainer, pl_module))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_scored(_stage(trainer, pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_finish(_stage(trainer, pl_module))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_finish(_stage(trainer, pl_module))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand on."""
        self.on_finish(_stage(trainer, pl_module))


def _stage(trainer: Trainer, module: LightningModule) -> Stage:
    if trainer.state.fn == TrainerFn.FITTING:
        return Stage("sanity" if trainer.sanity_checking else "fit", trainer, module)
    names: dict[Any, Name] = {TrainerFn.VALIDATING: "val", TrainerFn.TESTING: "test"}
    return Stage(names.get(trainer.state.fn, "predict"), trainer, module)
