"""Our callback beside a module that knows nothing of us."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

import metrics
from calibrated_segmentation.integrations.lightning import CalibrationLogging, usual_pair

CASES = [
    {"image": torch.randn(1, *size), "label": torch.randint(0, 3, (1, *size))} for size in ((8, 8), (8, 8), (8, 8))
]


class Theirs(LightningModule):
    """Somebody's module; its steps return logits."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 3, 1)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.layer(batch["image"]), batch["label"][:, 0])

    def validation_step(self, batch, batch_idx):
        return {"logits": self.layer(batch["image"])}

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore")
def test_numbers_and_diagram_reach_the_users_loggers(tmp_path):
    pytest.importorskip("tensorboard")
    logger = TensorBoardLogger(tmp_path)
    callback = CalibrationLogging(3, class_names=("background", "a", "b"))
    trainer = Trainer(
        max_epochs=1, logger=logger, callbacks=[callback], accelerator="cpu", enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    module = Theirs()
    trainer.fit(module, DataLoader(CASES, batch_size=2), DataLoader(CASES, batch_size=2))
    expected = metrics.Scorer(3)
    for case in CASES:
        expected.update(module.layer(case["image"][None]).softmax(1).detach(), case["label"])
    for key in ("ece", "ece_pooled", "dice", "nll"):
        assert float(trainer.callback_metrics[f"val/{key}"]) == pytest.approx(float(expected.compute()[key]), rel=1e-5)
    assert "val/dice/a" in trainer.callback_metrics
    trainer.test(module, DataLoader(CASES), verbose=False)
    assert "test/ece_boundary" in trainer.callback_metrics
    logger.experiment.flush()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir).Reload().Tags()
    assert {"val/reliability", "test/reliability"} <= set(events["images"])


def test_a_step_that_returns_nothing_we_know_is_told():
    with pytest.raises(ValueError, match="give pair=lambda outputs, batch"):
        usual_pair(torch.zeros(1), {"mask": torch.zeros(1)})
    with pytest.raises(ValueError, match="no `mask` or `label`"):
        usual_pair({"probs": torch.zeros(1)}, [torch.zeros(1)])
