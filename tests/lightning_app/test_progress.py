"""What trackers are told beside the numbers."""

import math

import pytest
import torch

import metrics
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
    progress, better = RunProgress(), better_of(key)
    for place, value in enumerate(values):
        changed = progress.note({key: value})
        seen = [one for one in values[: place + 1] if not math.isnan(one)]
        assert progress.best == {f"{better.__name__}/{key}": better(seen)}
        assert bool(changed) == (value == better(seen))


def test_memory_is_that_of_this_process():
    before = peak_memory(torch.device("cpu"))
    kept = torch.ones(40_000_000)
    assert peak_memory(torch.device("cpu")) >= before
    assert peak_memory(torch.device("cpu")) > kept.nbytes
