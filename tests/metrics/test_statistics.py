import time
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch

import metrics
from metrics import errors, statistics
from tests.metrics.data import segmentation

ECE = partial(errors.expected_calibration_error, num_bins=15)


def case_bins(number, view="top_label"):
    return [metrics.bin_item(*segmentation(seed=seed), view, 300) for seed in range(number)]


@pytest.mark.parametrize("view", ["top_label", "classwise"])
@pytest.mark.parametrize("error", [ECE, errors.brier_score, partial(errors.adaptive_calibration_error, num_bins=10)])
def test_interval_from_bins_equals_a_loop_over_draws(view, error):
    cases = case_bins(7, view)
    draws = np.random.default_rng(3).integers(7, size=(50, 7))
    values = [error(metrics.merge_bins(*(cases[i] for i in row))).mean().item() for row in draws]
    expected = np.quantile(values, [0.05, 0.95])
    assert statistics.bootstrap_bins(cases, error, 0.9, seed=3, resamples=50) == pytest.approx(expected, abs=1e-12)


def test_chunks_make_no_difference(monkeypatch):
    cases = case_bins(5)
    whole = statistics.bootstrap_bins(cases, ECE, resamples=40)
    monkeypatch.setattr(statistics, "CHUNK", 700)
    assert statistics.bootstrap_bins(cases, ECE, resamples=40) == pytest.approx(whole, abs=1e-15)


def test_interval_of_one_case_and_of_none():
    (case,) = case_bins(1)
    assert statistics.bootstrap_bins([case], ECE) == pytest.approx([ECE(case).item()] * 2)
    assert np.isnan(statistics.bootstrap_bins([], ECE)).all()
    assert np.isnan(statistics.bootstrap_bins([metrics.empty_bins(1, 300)] * 2, ECE)).all()


def test_interval_from_bins_is_fast():
    cases = case_bins(100, "classwise")
    start = time.process_time()
    statistics.bootstrap_bins(cases, ECE)
    assert time.process_time() - start < 4


def test_band_of_the_diagram():
    cases = case_bins(6)
    low, high = statistics.bootstrap_band(cases, 10, resamples=200)
    pooled = metrics.rebin(metrics.merge_bins(*cases), 10)
    frequency = (pooled.correct / pooled.count).numpy()
    full = pooled.count.numpy() > 0
    assert low.shape == (1, 10)
    assert (low[full] <= frequency[full]).all()
    assert (frequency[full] <= high[full]).all()
    assert np.isnan(low[~full]).all()


def test_interval_of_values_covers_its_mean():
    values = np.random.default_rng(0).normal(size=(30, 2))
    values[3, 0] = np.nan
    low, high = metrics.bootstrap_interval(values)
    assert (low < np.nanmean(values, 0)).all()
    assert (np.nanmean(values, 0) < high).all()
    assert metrics.bootstrap_interval(values[:, 1])[0] == low[1]


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [metrics.bootstrap_interval(rng.normal(size=40), resamples=400) for _ in range(300)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.94, abs=0.04)


@pytest.mark.parametrize("level", [0, 1, 1.5])
def test_level_must_be_a_share(level):
    with pytest.raises(ValueError, match="level="):
        metrics.bootstrap_interval([1.0, 2.0], level=level)


def test_wilcoxon():
    rng = np.random.default_rng(0)
    a = rng.normal(size=20)
    b = a + rng.normal(0.5, 1, size=20)
    assert statistics.paired_wilcoxon(a, b) == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
    assert statistics.paired_wilcoxon(a, a) == 1
    assert statistics.paired_wilcoxon([*a, 1.0, np.nan], [*b, np.nan, 2.0]) == statistics.paired_wilcoxon(a, b)
    with pytest.raises(ValueError, match="one length"):
        statistics.paired_wilcoxon(a, b[:3])


def test_wilcoxon_of_few_pairs_by_hand():
    """Five pairs that all agree: 2 of the 2^5 sign patterns are as extreme."""
    assert statistics.paired_wilcoxon([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) == pytest.approx(2 / 32)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert len(statistics.holm([])) == 0


def test_friedman_and_nemenyi():
    values = np.random.default_rng(0).normal(size=(12, 5)) + np.arange(5) * 0.5
    result = statistics.friedman_nemenyi(values)
    assert result.p_value == pytest.approx(scipy.stats.friedmanchisquare(*values.T).pvalue)
    assert result.mean_ranks == pytest.approx(scipy.stats.rankdata(values, axis=1).mean(0))
    assert result.critical_difference == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 12)), abs=1e-3)  # Demsar, table 5


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_studentised_range_of_the_table(methods, q):
    difference = statistics.friedman_nemenyi(np.random.default_rng(0).random((6, methods))).critical_difference
    assert difference / np.sqrt(methods * (methods + 1) / 36) == pytest.approx(q, abs=1.1e-3)


def test_ties_and_equal_methods():
    tied = np.round(np.random.default_rng(0).random((9, 4)), 1)
    assert statistics.friedman_nemenyi(tied).p_value == pytest.approx(scipy.stats.friedmanchisquare(*tied.T).pvalue)
    assert statistics.friedman_nemenyi(np.ones((5, 3))).p_value == 1


def test_ranks_follow_the_direction():
    assert statistics.rank_methods([[1.0, 2.0, 2.0]]).tolist() == [[1.0, 2.5, 2.5]]
    assert statistics.rank_methods([[1.0, 2.0, 2.0]], higher_is_better=True).tolist() == [[3.0, 1.5, 1.5]]


@pytest.mark.parametrize("values", [np.ones(3), np.ones((1, 3)), np.ones((3, 1)), np.full((3, 3), np.nan)])
def test_friedman_refuses(values):
    with pytest.raises(ValueError, match="values"):
        statistics.friedman_nemenyi(values)


def test_bins_on_draws_keep_counts_exact():
    big = metrics.Bins(torch.tensor([[2**40 + 1]]), *(torch.ones(1, 1, dtype=torch.float64) for _ in range(3)))
    (merged,) = statistics._merged_draws([big] * 3, seed=0, resamples=4)
    assert (merged.count == 3 * (2**40 + 1)).all()
