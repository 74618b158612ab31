"""Figures and numbers in each tracker, read back with the tracker's own client."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger
from matplotlib.figure import Figure
from PIL import Image

import metrics
from lightning_app.training.figures import TrainingFigures, improves
from lightning_app.training.publish import publish


@pytest.fixture
def figure():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def test_tensorboard_shows_the_figure_that_lies_in_the_folder(tmp_path, figure):
    from tensorboard.backend.event_processing import event_accumulator as accumulator

    logger = TensorBoardLogger(tmp_path)
    for step in (3, 7):
        publish(figure, tmp_path / "a.png", [logger], "val/reliability", step)
    logger.finalize("success")
    events = accumulator.EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    shown = events.Images("val/reliability")
    assert [event.step for event in shown] == [3, 7]
    with Image.open(tmp_path / "a.png") as image:
        assert (shown[0].width, shown[0].height) == image.size


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of the packages that it imports
def test_mlflow_shows_the_figure_that_lies_in_the_folder(tmp_path, figure, monkeypatch):
    import mlflow

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # which MLflow sets by itself, and leaves to the next test
    logger = MLFlowLogger(tracking_uri=store, artifact_location=str(tmp_path / "artifacts"))
    publish(figure, tmp_path / "a.png", [logger], "val/reliability", 3)
    logger.log_metrics({"val/ece": 0.25}, step=3)
    client = mlflow.MlflowClient(tracking_uri=store)
    assert client.get_run(logger.run_id).data.metrics["val/ece"] == 0.25
    files = [file.path for file in client.list_artifacts(logger.run_id, "images")]
    (picture,) = [file for file in files if file.endswith(".png")]
    assert "reliability" in picture
    assert "+step+3+" in picture
    there = Image.open(client.download_artifacts(logger.run_id, picture)).convert("RGB")
    with Image.open(tmp_path / "a.png") as here:
        assert np.array_equal(np.asarray(there), np.asarray(here.convert("RGB")))


def test_other_loggers_keep_to_scalars(tmp_path, figure):
    publish(figure, tmp_path / "a.png", [CSVLogger(tmp_path)], "val/reliability", 3)
    assert (tmp_path / "a.png").is_file()


class TestMedia:
    @staticmethod
    def trainer(value, best, mode="max"):
        kept = ModelCheckpoint(monitor="val/dice", mode=mode)
        kept.best_model_score = best
        values = {} if value is None else {"val/dice": value}
        return SimpleNamespace(callback_metrics=values, checkpoint_callbacks=[kept, ModelCheckpoint()])

    @pytest.mark.parametrize(
        ("value", "best", "mode", "better"),
        [(0.5, None, "max", True), (0.5, 0.4, "max", True), (0.5, 0.6, "max", False), (0.5, 0.6, "min", True)],
    )
    def test_a_validation_that_improves_on_the_kept_checkpoint_is_told_from_others(self, value, best, mode, better):
        trainer = self.trainer(value, best, mode)
        assert improves(trainer, trainer.checkpoint_callbacks[0]) is better

    @pytest.mark.parametrize(("log_media", "goes"), [("every", True), ("never", False), ("best", False)])
    def test_pictures_go_to_loggers_as_asked(self, log_media, goes):
        figures = TrainingFigures(None, log_media=log_media)
        assert figures._goes_to_loggers(self.trainer(0.5, 0.6)) is goes
        assert figures._goes_to_loggers(self.trainer(0.7, 0.6)) is (log_media != "never")


@pytest.mark.parametrize("name", ["$x_{$", "a$b", "100 % $", r"\frac{$1}$", "^_$ {$"])
@pytest.mark.parametrize("axes", ["on", "off"])
def test_classes_and_cases_are_shown_by_any_name(tmp_path, name, axes):
    bins = metrics.Bins(*(torch.rand(2, 15) for _ in metrics.Bins._fields))
    figure, ax = metrics.plot.reliability_diagram(bins, title=f"case {name}", labels=[name, "other"])
    ax.set_xticks([0.5], [name])
    ax.axis(axes)
    publish(figure, tmp_path / "a.png", (), "key", 0)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] > 100
