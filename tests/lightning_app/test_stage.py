"""What a callback of stages hears: each case once, under the name of what is under way."""

import pytest
import torch
from lightning.pytorch import Trainer

import losses
import models
from datamodules import Phantom
from lightning_app.training.module import SegmentationModule
from lightning_app.training.stage import Stage, StageCallback

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")


class Trained(SegmentationModule):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Listener(StageCallback):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def on_begin(self, stage: Stage) -> None:
        self.heard.append((stage.name, "begin"))

    def on_case(self, stage: Stage, outputs, batch) -> None:
        assert ("original" in outputs) is (stage.evaluates or stage.name == "predict")
        self.heard.append((stage.name, batch["case"][0]))

    def on_scored(self, stage: Stage) -> None:
        self.heard.append((stage.name, f"scored {len(stage.scorer.records)}"))

    def on_finish(self, stage: Stage) -> None:
        self.heard.append((stage.name, "finish"))


@pytest.fixture(scope="module")
def run():
    listener = Listener()
    data = Phantom(size=32, num_cases=(4, 3, 2))
    net = models.UNet(2, data.in_channels, data.num_classes, width=4, depth=2)
    trainer = Trainer(
        logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", max_epochs=1,
        enable_checkpointing=False, callbacks=[listener], num_sanity_val_steps=1,
    )  # fmt: skip
    return trainer, Trained(net, losses.DiceLoss()), data, listener


def names(data, subset):
    data.setup()
    return [case.name for case in data.subsets[subset]]


def test_training_validates_under_another_name_than_validate(run):
    trainer, module, data, listener = run
    listener.heard.clear()
    trainer.fit(module, data)
    kinds = list(dict.fromkeys(name for name, _ in listener.heard))
    assert kinds == ["sanity", "fit"]
    cases = [what for name, what in listener.heard if name == "fit"]
    assert cases[0] == "begin"
    assert cases[-1] == "finish"
    assert cases[1:-2] == names(data, "val")


@pytest.mark.parametrize(("verb", "stage", "subset"), [("validate", "val", "val"), ("test", "test", "test")])
def test_each_evaluated_case_is_heard_once_and_the_scorer_holds_it(run, verb, stage, subset):
    trainer, module, data, listener = run
    listener.heard.clear()
    getattr(trainer, verb)(module, data, verbose=False)
    expected = names(data, subset)
    assert listener.heard == [(stage, what) for what in ["begin", *expected, f"scored {len(expected)}", "finish"]]


def test_predict_scores_nothing(run):
    trainer, module, data, listener = run
    listener.heard.clear()
    trainer.predict(module, data)
    expected = names(data, "test")
    assert listener.heard == [("predict", what) for what in ["begin", *expected, "finish"]]
