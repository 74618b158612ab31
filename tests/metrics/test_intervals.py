"""Intervals against slow and plain recomputation, and against what they promise: coverage."""

import numpy as np
import pytest
import scipy.stats
import torch

import metrics
from tests.metrics.data import segmentation

RNG = np.random.default_rng(0)


def draws(number, count, seed):
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, np.full(number, 1 / number), count), generator


def two_way(table):
    """Mean, its variance and Satterthwaite's degrees of freedom, by the analysis of variance of seeds by cases."""
    size, number = table.shape
    mean, by_seed, by_case = table.mean(), table.mean(1), table.mean(0)
    of_cases = by_case.var(ddof=1) / number
    if size == 1:
        return mean, of_cases, number - 1
    of_seeds = by_seed.var(ddof=1) / size
    residual = table - by_seed[:, None] - by_case + mean
    rest = np.square(residual).sum() / ((size - 1) * (number - 1)) / (size * number)
    variance = max(of_seeds + of_cases - rest, of_seeds, of_cases)
    return mean, variance, variance**2 / (of_seeds**2 / (size - 1) + of_cases**2 / (number - 1))


def student(table, level=0.95):
    mean, variance, freedom = two_way(table)
    return scipy.stats.t.interval(level, max(freedom, 1), mean, np.sqrt(variance))


def test_the_interval_of_an_error_leaves_out_one_case_in_turn():
    """Two channels; the error by hand from the sums that are left."""
    cases = []
    for share in np.random.default_rng(1).random((6, 2, 30)):
        count = torch.from_numpy(np.ceil(9 * share)).long()
        confidence = count * (torch.arange(30, dtype=torch.float64) + 0.5) / 30
        cases.append(metrics.Bins(count, confidence, torch.from_numpy(share) * count, torch.zeros_like(confidence)))

    def error(kept):
        gap = sum(c.confidence - c.correct for c in kept).numpy().reshape(2, 10, 3).sum(-1)
        return np.abs(gap).sum(-1) / sum(c.count for c in kept).numpy().sum(-1)

    whole, left = error(cases), np.array([error(cases[:i] + cases[i + 1 :]) for i in range(6)])
    reach = scipy.stats.t.ppf(0.95, 5) * np.sqrt(np.square(left - left.mean(0)).sum(0))
    found = metrics.error_interval(cases, num_bins=10, level=0.9)
    np.testing.assert_allclose(found, [whole - reach, whole + reach], rtol=1e-9)
    assert np.isnan(metrics.error_interval(cases[:1])).all()


def test_one_seed_equals_a_loop_over_draws():
    values = np.random.default_rng(3).exponential(size=9)
    times, _ = draws(9, 300, 5)
    pivots = []
    for row in times:
        drawn = np.repeat(values, row)
        pivots.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / 3))
    outer = np.quantile(pivots, [0.95, 0.05], method="inverted_cdf")
    farthest = 2 * np.subtract(student(values[None], 0.9), values.mean())
    expected = values.mean() + (-outer * values.std(ddof=1) / 3 * np.sqrt(9 / 8)).clip(*farthest)
    assert metrics.bootstrap_interval(values, 0.9, seed=5, resamples=300) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_several_seeds_equal_a_loop_over_draws_and_never_fall_short_of_student(spread):
    rng = np.random.default_rng(4)
    table = rng.exponential(size=8) + spread * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 8))
    times, generator = draws(8, 210, 6)
    seeds = generator.multinomial(3, np.full(3, 1 / 3), 210)
    mean, variance, _ = two_way(table)
    pivots = []
    for row, of_seeds in zip(times, seeds, strict=True):
        drawn = np.repeat(np.repeat(table, of_seeds, axis=0), row, axis=1)
        centre, spread_of_draw, _ = two_way(drawn)
        pivots.append((centre - mean) / np.sqrt(spread_of_draw))
    outer = np.quantile(pivots, [0.975, 0.025], method="inverted_cdf")
    least = np.array(student(table))
    low, high = mean + (-outer * np.sqrt(variance * 8 / 7)).clip(*2 * (least - mean))
    found = metrics.bootstrap_interval(table, seed=6, resamples=210)
    assert found == pytest.approx((min(low, least[0]), max(high, least[1])), abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 2), (1, 3), (2, 3), (4, 2)])
def test_few_cases_take_students_t(shape):
    table = RNG.normal(size=shape)
    assert metrics.bootstrap_interval(table) == pytest.approx(student(table), abs=1e-12)


DRAWN = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "dice": (lambda rng, n: rng.beta(20, 2, n), 20 / 22),
    "skewed": (lambda rng, n: rng.exponential(size=n), 1.0),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("number", [8, 20])
def test_the_interval_holds_what_it_says(name, number):
    """93 to 97 %, and 2 % for the 400 samples; the percentile bootstrap reaches 89, 87 and 83 at n = 8."""
    draw, truth = DRAWN[name]
    rng = np.random.default_rng(number)
    found = [metrics.bootstrap_interval(draw(rng, number), seed=i, resamples=300) for i in range(400)]
    assert 0.91 < np.mean([low <= truth <= high for low, high in found]) < 0.99


def test_the_spread_of_seeds_is_in_the_interval():
    """Seeds that differ more than the cases do: over the cases alone the truth is held in half of the samples."""
    rng = np.random.default_rng(0)
    hits = {"nested": 0, "cases": 0}
    for i in range(300):
        table = rng.normal(size=20) + 0.6 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 20))
        for name, values in (("nested", table), ("cases", table.mean(0))):
            low, high = metrics.bootstrap_interval(values, seed=i, resamples=300)
            hits[name] += low <= 0 <= high
    assert hits["nested"] / 300 > 0.91
    assert hits["cases"] / 300 < 0.85


def test_one_odd_case_does_not_stretch_the_interval_without_end():
    values = np.array([0.98] * 39 + [0.2])
    low, high = metrics.bootstrap_interval(values, bounds=(0, 1))
    reach = student(values[None])[1] - values.mean()
    assert low == pytest.approx(values.mean() - 2 * reach)
    assert high == pytest.approx(min(1.0, high))
    assert values.mean() < high


def test_alike_values_shift_and_scale():
    assert metrics.bootstrap_interval(np.full(9, 0.5)) == (0.5, 0.5)
    values = RNG.normal(size=(2, 12))
    low, high = metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval(3 - 2 * values, seed=0)[0] < 3 - 2 * low
    assert metrics.bootstrap_interval(5 + 2 * values) == pytest.approx((5 + 2 * low, 5 + 2 * high))


def test_cases_and_seeds_without_a_value():
    values = RNG.normal(size=(2, 10))
    gaps = np.insert(values, 4, np.nan, axis=1)
    assert metrics.bootstrap_interval(gaps) == metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval([*gaps, np.full(11, np.nan)]) == metrics.bootstrap_interval(values)
    once = np.concatenate([values, [[np.nan, 1.0], [np.nan, np.nan]]], axis=1)
    filled = np.concatenate([values, [[1.0], [1.0]]], axis=1)
    assert metrics.bootstrap_interval(np.delete(once, 10, axis=1)) == metrics.bootstrap_interval(filled)
    assert np.isnan(metrics.bootstrap_interval([1.0])).all()
    assert np.isnan(metrics.bootstrap_interval([np.nan, np.nan])).all()


def test_differences_take_the_cases_that_both_have():
    a, b = RNG.normal(size=(3, 10)), RNG.normal(size=(2, 10))
    a[:, 3], b[:, 4], b[0, 5] = np.nan, np.nan, np.nan
    kept = np.delete(np.arange(10), [3, 4])
    b_full = np.where(np.isnan(b), np.nanmean(b[:, 5]), b)
    assert metrics.difference_interval(a, b) == metrics.difference_interval(a[:, kept], b_full[:, kept])
    one = metrics.difference_interval(a[0], b[1])
    assert one == pytest.approx(metrics.bootstrap_interval(a[0] - b[1]))
    assert metrics.difference_interval(a[0], a[0]) == (0, 0)
    assert metrics.difference_interval(a[0], b[0])[0] == pytest.approx(
        -metrics.difference_interval(b[0], a[0])[1], abs=0.2
    )


def test_differences_hold_what_they_say_with_seeds_of_each_method():
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(300):
        case = rng.normal(size=20)
        a, b = (case + 0.3 * rng.normal(size=(3, 1)) + 0.2 * rng.normal(size=(3, 20)) for _ in range(2))
        low, high = metrics.difference_interval(a, b, seed=i, resamples=300)
        hits += low <= 0 <= high
    assert 0.91 < hits / 300 < 0.99


def test_what_is_refused():
    for level in (0, 1, 1.5):
        with pytest.raises(ValueError, match="level="):
            metrics.bootstrap_interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match="finite"):
        metrics.bootstrap_interval([1.0, np.inf])
    with pytest.raises(ValueError, match="same cases"):
        metrics.difference_interval([1.0, 2.0], [1.0])


def test_jackknife_of_a_mean_is_students_t():
    values = RNG.normal(size=7)
    low, high = metrics.jackknife_interval([lambda weights: weights @ values / weights.sum(1)], 7)
    reach = scipy.stats.t.ppf(0.975, 6) * values.std(ddof=1) / np.sqrt(6)
    assert (low, high) == (pytest.approx(values.mean() - reach), pytest.approx(values.mean() + reach))


def test_jackknife_of_ratios_equals_leaving_out_by_hand():
    part, whole = RNG.random((6, 2)), RNG.random((6, 2)) + 1
    whole[:, 1] = np.nan
    found = metrics.jackknife_interval([lambda w: (w @ part) / (w @ whole)] * 2, 6, bounds=(0, 1))
    left = [np.delete(part, i, 0)[:, 0].sum() / np.delete(whole, i, 0)[:, 0].sum() for i in range(6)]
    reach = scipy.stats.t.ppf(0.975, 5) * np.sqrt(np.square(left - np.mean(left)).sum())
    point = part[:, 0].sum() / whole[:, 0].sum()
    assert found[0][0] == pytest.approx(max(point - reach, 0))
    assert found[1][0] == pytest.approx(min(point + reach, 1))
    assert np.isnan([ends[1] for ends in found]).all()
    assert np.isnan(metrics.jackknife_interval([lambda w: w @ np.ones((1, 2))], 1)).all()


def test_the_jackknife_widens_with_the_spread_of_the_seeds():
    shift = np.array([-1.0, 0.0, 1.0])
    values = RNG.normal(size=12) * 0.01
    runs = [lambda w, s=s: w @ (values + s) / w.sum(1) for s in shift]
    low, high = metrics.jackknife_interval(runs, 12)
    reach = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert high - low == pytest.approx(2 * reach, rel=0.01)


def test_the_interval_of_a_small_pooled_error_holds():
    """The mean of 15 absolute sums, near 0: percentile intervals hold the truth in half of the samples."""
    rng = np.random.default_rng(0)
    truth, hits = 0.01, 0
    for _ in range(300):
        gaps = truth + rng.normal(0, 0.02, (12, 15))
        low, high = metrics.jackknife_interval([lambda w, g=gaps: np.abs(w @ g).mean(1) / w.sum(1)], 12)
        hits += low <= truth <= high
    assert 0.91 < hits / 300 < 0.99


@pytest.mark.parametrize("view", ["top_label", "classwise"])
def test_band_of_the_diagram(view):
    cases = [metrics.bin_item(*segmentation(seed=seed), view, 300) for seed in range(6)]
    low, high = metrics.frequency_band(cases, 10)
    coarse = [metrics.rebin(case, 10) for case in cases]
    count = np.stack([case.count.numpy() for case in coarse])
    right = np.stack([case.correct.numpy() for case in coarse])
    assert low.shape == high.shape == count.shape[1:]
    for place in np.ndindex(low.shape):
        n, c = count[(slice(None), *place)], right[(slice(None), *place)]
        here = n > 0
        if here.sum() < 2:
            assert np.isnan(low[place])
            continue
        n, c = n[here], c[here]
        left = np.array([(c.sum() - c[i]) / (n.sum() - n[i]) for i in range(len(n))])
        reach = scipy.stats.t.ppf(0.975, len(n) - 1) * np.sqrt(np.square(left - c.sum() / n.sum()).sum())
        assert low[place] == pytest.approx(max(c.sum() / n.sum() - reach, 0))
        assert high[place] == pytest.approx(min(c.sum() / n.sum() + reach, 1))


def test_a_bin_that_one_case_fills_has_no_band():
    full, empty = metrics.bin_item(*segmentation(), "top_label", 300), metrics.empty_bins(1, 300)
    assert np.isnan(metrics.frequency_band([full, empty])).all()
