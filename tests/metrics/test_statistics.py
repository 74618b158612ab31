import numpy as np
import pytest
import scipy.stats

from metrics import statistics


def test_wilcoxon():
    rng = np.random.default_rng(0)
    a = rng.normal(size=20)
    b = a + rng.normal(0.5, 1, size=20)
    assert statistics.paired_wilcoxon(a, b) == (pytest.approx(scipy.stats.wilcoxon(a, b).pvalue), -1)
    assert statistics.paired_wilcoxon(b, a).direction == 1
    assert statistics.paired_wilcoxon(a, a) == (1, 0)
    assert statistics.paired_wilcoxon([*a, 1.0, np.nan], [*b, np.nan, 2.0]) == statistics.paired_wilcoxon(a, b)
    with pytest.raises(ValueError, match="one length"):
        statistics.paired_wilcoxon(a, b[:3])


def test_wilcoxon_of_few_pairs_by_hand():
    """Five pairs that all agree: 2 of the 2^5 sign patterns are as extreme."""
    assert statistics.paired_wilcoxon([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) == (pytest.approx(2 / 32), 1)


def test_the_direction_is_that_of_the_ranks_not_of_the_means():
    """18 of 20 pairs say that a is smaller; two outliers make its mean the larger."""
    b = np.linspace(0.05, 0.1, 20)
    a = b - np.linspace(0.015, 0.025, 20)
    a[:2] = 0.9
    test = statistics.paired_wilcoxon(a, b)
    assert a.mean() > b.mean()
    assert test == (pytest.approx(scipy.stats.wilcoxon(a - b).pvalue), -1)
    assert scipy.stats.wilcoxon(a - b, alternative="less").pvalue < 0.05


def test_not_worse_by_more_than_a_margin():
    rng = np.random.default_rng(1)
    b = rng.beta(20, 3, 30)
    a = b - 0.003 + rng.normal(0, 0.005, 30)
    assert statistics.not_worse(a, b, 0.01) == scipy.stats.wilcoxon(a - b + 0.01, alternative="greater").pvalue < 0.01
    assert statistics.not_worse(a, b, 0.003) > 0.05
    assert statistics.not_worse(a - 0.02, b, 0.01) > 0.99
    assert statistics.not_worse([0.5, np.nan], [0.51, 0.4], 0.01) == 1  # on the margin is not within it
    for margin in (0, -0.01, np.nan):
        with pytest.raises(ValueError, match="margin="):
            statistics.not_worse(a, b, margin)


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
