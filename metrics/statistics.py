"""Statistics over cases: intervals, paired tests between runs, ranks over data sets. No voxels are needed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .binning import Bins, rebin

Statistic = Callable[..., Any]
CHUNK = 1 << 21  # numbers: the merged bins of the draws of a chunk take 16 MiB a field


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = np.mean, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> tuple[Any, Any]:
    """Percentile interval of a statistic over cases that are drawn with replacement.

    Args:
        values: (n,), or (n, m) for m figures of each case. A case that is NaN is left out; of (n, m), column by column.
        statistic: Called as ``statistic(array, axis=...)``.
        level: Coverage.
        seed: Seed of the draws.
        resamples: Number of draws.

    Returns:
        Low and high: floats for (n,), arrays (m,) for (n, m). NaN where no case is left; of a single case, its value
        twice.

    Raises:
        ValueError: If level is not between 0 and 1.
    """
    quantiles = _quantiles(level)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2:
        columns = [bootstrap_interval(array[:, i], statistic, level, seed, resamples) for i in range(array.shape[1])]
        return np.array([c[0] for c in columns]), np.array([c[1] for c in columns])
    array = array[~np.isnan(array)]
    if len(array) == 0:
        return float("nan"), float("nan")
    drawn = statistic(array[_draws(len(array), resamples, seed)], axis=1)
    low, high = np.quantile(drawn, quantiles)
    return float(low), float(high)


def bootstrap_bins(
    cases: Sequence[Bins],
    error: Callable[[Bins], Tensor],
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Percentile interval of a pooled error over cases that are drawn with replacement.

    The bins of every draw are the sum of the bins of its cases: no voxel is needed.

    Args:
        cases: Bins of each case, fields (C, B), all of one shape.
        error: A function of `metrics.errors`, from fields (..., C, B) to (..., C); the mean over the channels counts.
        level: Coverage.
        seed: Seed of the draws.
        resamples: Number of draws.

    Returns:
        Low and high; NaN where no case, or no voxel, is there.

    Raises:
        ValueError: If level is not between 0 and 1.
    """
    quantiles = _quantiles(level)
    drawn = [error(bins).nanmean(-1) for bins in _merged_draws(cases, seed, resamples)] if cases else []
    values = torch.cat(drawn).numpy() if drawn else np.empty(0)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, quantiles)
    return float(low), float(high)


def bootstrap_band(
    cases: Sequence[Bins], num_bins: int = 15, level: float = 0.95, seed: int = 0, resamples: int = 1000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of the observed frequency in every bin, for the band of a reliability diagram.

    Args:
        cases: Bins of each case, fields (C, B).
        num_bins: Bins of the diagram, a divisor of B.
        level: Coverage, of each bin by itself.
        seed: Seed of the draws.
        resamples: Number of draws.

    Returns:
        Low and high, each (C, num_bins); NaN where a bin has no voxel.

    Raises:
        ValueError: If level is not between 0 and 1, or num_bins does not divide B.
    """
    quantiles = _quantiles(level)
    coarse = [rebin(bins, num_bins) for bins in cases]
    drawn = torch.cat([bins.correct / bins.count for bins in _merged_draws(coarse, seed, resamples)]).numpy()
    filled = ~np.isnan(drawn).all(0)
    band = np.full((2, *drawn.shape[1:]), np.nan)
    band[:, filled] = np.nanquantile(drawn[:, filled], quantiles, axis=0)
    return band[0], band[1]


def paired_wilcoxon(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test between two methods on the same cases.

    Args:
        a: (n,) values of one method.
        b: (n,) values of the other, in the same order; pairs with a NaN are left out.

    Returns:
        The p-value; 1 where no pair differs.

    Raises:
        ValueError: If the shapes differ.
    """
    from scipy.stats import wilcoxon

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"a and b must be (n,) of one length, got {first.shape} and {second.shape}")
    difference = first - second
    difference = difference[~np.isnan(difference) & (difference != 0)]
    return float(wilcoxon(difference).pvalue) if len(difference) else 1.0


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction (1979) for testing several hypotheses.

    Args:
        p_values: (m,) raw p-values.

    Returns:
        (m,) corrected p-values, in the order given; reject where one is at most the level.
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


def _quantiles(level: float) -> list[float]:
    """The two quantiles of a percentile interval."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1")
    return [(1 - level) / 2, (1 + level) / 2]


def _draws(cases: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Indices (resamples, cases) of the cases drawn."""
    return np.random.default_rng(seed).integers(cases, size=(resamples, cases))


def _merged_draws(cases: Sequence[Bins], seed: int, resamples: int) -> Iterator[Bins]:
    """Bins of draws of the cases, fields (r, C, B), in chunks of r draws."""
    draws = _draws(len(cases), resamples, seed)
    times = torch.from_numpy(np.stack([np.bincount(row, minlength=len(cases)) for row in draws])).double()
    stacked = [torch.stack(fields).double().cpu() for fields in zip(*cases, strict=True)]
    shape = stacked[0].shape[1:]
    for weights in times.split(max(1, CHUNK // stacked[0][0].numel())):
        count, *sums = ((weights @ field.flatten(1)).reshape(-1, *shape) for field in stacked)
        yield Bins(count.round_().long(), *sums)
