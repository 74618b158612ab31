"""Keeps the run folder's own record: split, state, hyper-parameters, and the seed of each step."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from lightning_app.errors import UserError
from lightning_app.system.origin import commit, versions
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.split import record_split
from lightning_app.training.stage import data_of

SCORED = {"validate": "val", "test": "test"}


class RunRecord(Callback):
    """Writes the split and the state of the run, and makes a resumed run equal to an uninterrupted one.

    Each step's random numbers (dropout, say) are seeded by the run's seed, the epoch, the step and the process alone.

    Args:
        run: The run's folder.
        seed: The run's seed.
        hyperparameters: What loggers are told of the run.
        verb: What the program does.
    """

    def __init__(self, run: RunFolder, seed: int, hyperparameters: dict[str, Any], verb: str = "fit") -> None:
        self.run = run
        self.verb = verb
        self.begun = False
        self.interrupted = False
        self.seed = seed
        self.hyperparameters = hyperparameters
        self.started = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, which the first process made; note which code trains and which scores."""
        self.run.path = Path(trainer.strategy.broadcast(str(self.run.path)))
        if not trainer.is_global_zero:
            return
        if stage in SCORED and self.run.path.is_dir():
            scored = self.run.read_state().get("evaluated", {})
            self.run.write_state(evaluated={**scored, self.run.stage(SCORED[stage]).name: commit()})
        if stage != "fit":
            return
        self.run.write_state(status="running", error=None, process=None, commit=commit(), versions=versions())
        for logger in trainer.loggers:
            logger.log_hyperparams(self.hyperparameters)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write which case is in which part of the split, once: it is the law for whatever is done with the run."""
        if trainer.is_global_zero and not self.run.split.is_file():
            record_split(data_of(trainer), self.run)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what an interrupted run logged after its last checkpoint."""
        for logger in trainer.loggers:
            if isinstance(logger, CurvesLogger) and trainer.is_global_zero:
                logger.forget_from(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        torch.manual_seed(hash((self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)) % 2**63)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how long training took, over all sittings."""
        if trainer.is_global_zero:
            seconds = self.run.read_state().get("wall_seconds", 0.0) + time.monotonic() - self.started
            self.run.write_state(status="trained", wall_seconds=round(seconds, 1), epochs=trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the values of the kept checkpoint the summary that a W&B sweep reads."""
        if trainer.state.fn != "validate" or not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(values)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that the training has begun."""
        self.begun = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note why a training stopped; a failing `test` does not make a finished training a failed one.

        Whichever process stops first writes it: what the others then raise is only that they lost it.
        """
        stopped = isinstance(exception, KeyboardInterrupt | SystemExit)  # the latter by SIGTERM: preemption, say
        self.interrupted = stopped
        if self.verb != "fit" or not self.run.path.is_dir():
            return
        with suppress(OSError, UserError):  # a full disk must not hide why the run stopped
            if self.run.read_state().get("status") != "failed":
                error = f"{type(exception).__name__}: {exception}"
                status = "interrupted" if stopped else "failed"
                self.run.write_state(status=status, error=error, process=trainer.global_rank)
