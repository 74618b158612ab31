"""Tests over cases: paired, between runs, and ranks over data sets. No voxels are needed; intervals: `intervals`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class PairedTest(NamedTuple):
    """A test between two methods on the same cases.

    Attributes:
        p_value: Two-sided; 1 where no pair differs.
        direction: 1 where the first tends to the larger values by the sum of the signed ranks, which is what the test
            is about (the means may say otherwise), -1 where the second does, 0 where neither.

    Example:
        >>> paired_wilcoxon([0.9, 0.8, 0.7, 0.85, 0.95], [0.8, 0.6, 0.4, 0.45, 0.45])
        PairedTest(p_value=0.0625, direction=1)
    """

    p_value: float
    direction: int


def paired_wilcoxon(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test between two methods on the same cases.

    Args:
        a: (n,) values of one method.
        b: (n,) values of the other, in the same order; pairs with a NaN are left out.

    Returns:
        The two-sided p-value, and which of the two is the larger by the ranks.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> paired_wilcoxon([0.9, 0.8, 0.7, 0.85, 0.95], [0.8, 0.6, 0.4, 0.45, 0.45]).p_value
        0.0625
    """
    from scipy.stats import rankdata, wilcoxon

    difference = _differences(a, b)
    if not len(difference):
        return PairedTest(1.0, 0)
    ranks = rankdata(np.abs(difference)) @ np.sign(difference)
    return PairedTest(float(wilcoxon(difference).pvalue), int(np.sign(ranks)))


def not_worse(a: ArrayLike, b: ArrayLike, margin: float) -> float:
    """One-sided p-value of "b exceeds a by the margin or more": small where a is not worse by that much.

    Wilcoxon's signed-rank test of a - b + margin; the half of an equivalence test (TOST) that speaks for a.

    Args:
        a: (n,) values of one method, larger is better.
        b: (n,) values of the other, in the same order; pairs with a NaN are left out.
        margin: Largest loss that counts as none, above 0.

    Raises:
        ValueError: If the shapes differ, or the margin is not above 0.

    Example:
        >>> round(not_worse([0.90, 0.80, 0.71, 0.85, 0.95], [0.91, 0.80, 0.70, 0.86, 0.95], margin=0.02), 5)
        0.03125
    """
    from scipy.stats import wilcoxon

    if not margin > 0:
        raise ValueError(f"margin={margin} must be above 0")
    difference = _differences(np.asarray(a, dtype=np.float64) + margin, b)
    return float(wilcoxon(difference, alternative="greater").pvalue) if len(difference) else 1.0


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Differences a - b of the pairs that are known and differ."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"a and b must be (n,) of one length, got {first.shape} and {second.shape}")
    difference = first - second
    return difference[~np.isnan(difference) & (difference != 0)]


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction (1979) for testing several hypotheses.

    Args:
        p_values: (m,) raw p-values.

    Returns:
        (m,) corrected p-values, in the order given; reject where one is at most the level.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)), 1.0)
    return corrected


class Ranking(NamedTuple):
    """Comparison of methods over blocks.

    Attributes:
        mean_ranks: (methods,) mean rank, 1 is best, ties share their mean rank.
        p_value: Of Friedman's test that all methods are alike.
        critical_difference: Mean ranks further apart than this differ by Nemenyi's test.

    Example:
        >>> friedman_nemenyi([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]]).mean_ranks.tolist()
        [1.5, 1.5, 3.0]
    """

    mean_ranks: NDArray[np.float64]
    p_value: float
    critical_difference: float


def rank_methods(values: ArrayLike, higher_is_better: bool = False) -> NDArray[np.float64]:
    """Rank of each method within each block, 1 is best; ties share their mean rank.

    Args:
        values: (blocks, methods).
        higher_is_better: Whether the largest value gets rank 1.

    Returns:
        (blocks, methods).

    Example:
        >>> rank_methods([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]]).tolist()
        [[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]]
    """
    from scipy.stats import rankdata

    array = np.asarray(values, dtype=np.float64)
    return rankdata(-array if higher_is_better else array, axis=1)


def friedman_nemenyi(values: ArrayLike, level: float = 0.05) -> Ranking:
    """Friedman's test, and Nemenyi's critical difference of mean ranks (Demsar, JMLR 2006).

    CD = q sqrt(k (k + 1) / 6n) for k methods and n blocks, q the studentised range of k and infinite degrees of
    freedom, over sqrt 2.

    Args:
        values: (blocks, methods), smaller is better; a block is a data set (or a case).
        level: Level of Nemenyi's test.

    Raises:
        ValueError: For fewer than two methods or blocks, or values that are not finite.

    Example:
        >>> ranking = friedman_nemenyi([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3], [0.1, 0.2, 0.3]])
        >>> round(ranking.p_value, 3), round(ranking.critical_difference, 2)
        (0.097, 1.91)
    """
    from scipy.stats import chi2, studentized_range

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or min(array.shape) < 2:
        raise ValueError(f"values must be (blocks, methods), at least two of each, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values holds numbers that are not finite: leave blocks without a value out")
    blocks, methods = array.shape
    ranks = rank_methods(array)
    spread = np.square(ranks - (methods + 1) / 2).sum() / (methods - 1)  # blocks * k (k + 1) / 12 without ties
    mean_ranks = ranks.mean(0)
    between = blocks**2 * np.square(mean_ranks - (methods + 1) / 2).sum()
    p_value = float(chi2.sf(between / spread, methods - 1)) if spread else 1.0
    quantile = studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return Ranking(mean_ranks, p_value, float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks))))
