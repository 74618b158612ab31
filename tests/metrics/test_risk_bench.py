"""`benchmarks.risk`: what its splits show of cases whose risks are known."""

import numpy as np
import pytest
import torch

from benchmarks.risk import Shown, Wish, simulate, table
from metrics.axis import AXIS_BINS
from metrics.risk import promise, relative_size, risk_at


def odds(n, rng):
    """Cases of unequal sizes; the true voxels of each lie in bins around one of its own."""
    found = torch.zeros(n, 2, AXIS_BINS)
    for case in found:
        size = int(rng.integers(20, 400))
        bins = torch.from_numpy(rng.normal(2000 + rng.normal(0, 200), 100, size).astype(int))
        case[1] = torch.bincount(bins.clamp(0, AXIS_BINS - 1), minlength=AXIS_BINS)
        others = torch.from_numpy(rng.normal(1200, 300, 4 * size).astype(int)).clamp(0, AXIS_BINS - 1)
        case[0] = case[1] + torch.bincount(others, minlength=AXIS_BINS)
    return found


@pytest.mark.parametrize("wish", [Wish("fnr", 0.1), Wish("fdr", 0.2), Wish("fnr", 0.1, 0.9)])
def test_the_promised_level_holds_and_cuts_are_those_of_promise(wish, monkeypatch):
    monkeypatch.setattr("benchmarks.risk.SPLITS", 60)
    cases = odds(60, np.random.default_rng(3))
    risks, sizes = simulate(cases, wish)
    own, rest = np.array_split(np.random.default_rng(0).permutation(60), 2)
    kept = promise(cases[own], wish.risk, wish.level, wish.confidence)
    assert risks[0] == pytest.approx(risk_at(cases[rest], wish.risk, "case", kept.cut))
    assert sizes[0] == pytest.approx(relative_size(cases[rest], kept.cut))
    assert risks.mean() <= wish.level + 3 * risks.std() / len(risks) ** 0.5


def test_what_cannot_be_promised_is_counted_and_left_out_of_the_table(monkeypatch):
    monkeypatch.setattr("benchmarks.risk.SPLITS", 5)
    cases, wish = odds(8, np.random.default_rng(0)), Wish("fnr", 0.05)
    risks, sizes = simulate(cases, wish)
    assert len(risks) == 0
    assert "| few |" not in table([Shown("few", "DSC", 8, risks, sizes)], wish)
    assert "| some | DSC | 8 | 0.0500 (0.0000) | 0.00 | 2.00 [2.00, 2.00] | 0.60 |" in table(
        [Shown("some", "DSC", 8, np.full(2, 0.05), np.full(2, 2.0))], wish
    )
