"""Lightning's loops over validation, test and predict cases, where there are fewer cases than processes."""

from lightning.pytorch import Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.prediction_loop import _PredictionLoop


def run_everywhere(trainer: Trainer) -> None:
    """Let a process without a case run the hooks of a loop too.

    Lightning 2.6 leaves them out there, and the others then wait for it for ever where metrics are summed.
    """
    evaluation = (trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop)
    for loop in evaluation:
        loop.__class__ = _Evaluation
    trainer.predict_loop.__class__ = _Prediction


class _Evaluation(_EvaluationLoop):
    @property
    def skip(self) -> bool:
        return super().skip and (self.trainer.world_size == 1 or self._combined_loader is None)


class _Prediction(_PredictionLoop):
    @property
    def skip(self) -> bool:
        return super().skip and (self.trainer.world_size == 1 or self._combined_loader is None)
