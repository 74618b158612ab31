"""What trackers are told beside the numbers."""

import math
from types import SimpleNamespace

import pytest
import torch

import metrics
from lightning_app.training import progress
from lightning_app.training.progress import RunProgress, better_of, peak_memory


def test_the_side_is_the_catalogues():
    sides = {"higher": max, "lower": min}
    for key, row in metrics.catalogue.NUMBERS.items():
        assert better_of(f"val/{key}") is sides.get(row.better)
        assert better_of(f"test/{key}/vessel") is sides.get(row.better)
        assert better_of(f"train/{key}") is None
    assert better_of("val/loss") is None


@pytest.mark.parametrize("key", ["val/dice", "val/ece"])
def test_the_best_so_far_is_kept_under_a_name_that_says_the_side(key):
    values = [0.5, 0.7, math.nan, 0.2, 0.9, 0.4]
    best, better = RunProgress(), better_of(key)
    for place, value in enumerate(values):
        changed = best.note({key: value})
        seen = [one for one in values[: place + 1] if not math.isnan(one)]
        assert best.best == {f"{better.__name__}/{key}": better(seen)}
        assert bool(changed) == (value == better(seen))


def test_throughput_is_that_of_all_processes(monkeypatch):
    logged, clock = {}, iter([10.0, 14.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.update(values, step=step))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.25}])
    trainer = SimpleNamespace(
        loggers=[logger], optimizers=[optimizer], world_size=2, is_global_zero=True, current_epoch=3, global_step=7
    )
    told, module = RunProgress(), SimpleNamespace(device=torch.device("cpu"))
    told.on_train_epoch_start(trainer, module)
    for images in (5, 3):
        told.on_train_batch_end(trainer, module, None, {"image": torch.zeros(images, 1)}, 0)
    told.on_train_epoch_end(trainer, module)
    assert (logged["train/images_per_second"], logged["train/lr"]) == (2 * 8 / 4, 0.25)
    assert (logged["epoch"], logged["step"]) == (3, 7)


def test_memory_is_that_of_this_process():
    before = peak_memory(torch.device("cpu"))
    kept = torch.ones(40_000_000)
    assert peak_memory(torch.device("cpu")) >= before
    assert peak_memory(torch.device("cpu")) > kept.nbytes
