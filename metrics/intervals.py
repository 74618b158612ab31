"""Intervals that hold what they say: over cases, over seeds and cases, of paired differences, of pooled numbers.

How often each contains the true value, by simulation: docs/statistics.md and `python -m benchmarks.intervals`.

Shape letters: S seeds, n cases, R draws.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .binning import Bins, rebin

Floats = NDArray[np.float64]
Ends = tuple[float, float]
ANYWHERE = (-np.inf, np.inf)
ENOUGH_CASES = 8  # from here on the intervals hold 95 %; the tables of docs/statistics.md say how far below
LEAST_TO_DRAW = 4  # of fewer, too many draws hold one case alone
FARTHEST = 2.0  # times the reach of Student's t
CHUNK = 1 << 21  # numbers of a chunk of draws


class _Moments(NamedTuple):
    """Mean of tables of seeds by cases, under weights of both, and its variance.

    Attributes:
        mean: (R,).
        cases: (R, n), the mean of each case over the seeds.
        variance: (R,), of the mean, from the two-way table.
        freedom: (R,), Satterthwaite's degrees of freedom of that variance.
    """

    mean: Floats
    cases: Floats
    variance: Floats
    freedom: Floats


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 2000, bounds: Ends = ANYWHERE
) -> Ends:
    """Interval of the mean over cases, or over seeds and cases: bootstrap-t, nested for several seeds.

    Seeds are drawn with replacement, and cases, the same for all seeds; t = (mean* - mean) / se* of every draw, se the
    standard error of the two-way table. The ends are the mean less the outer quantiles of t times se sqrt(n / (n - 1)).
    No end reaches farther than twice Student's t (with Satterthwaite's degrees of freedom), as one odd case would have
    it; with several seeds none falls short of it. Below four cases it is Student's t alone.

    Args:
        values: (n,) cases, or (S, n) seeds by cases. A case that is NaN throughout is left out; one that some seeds
            lack takes its mean over the others there.
        level: Coverage.
        seed: Seed of the draws.
        resamples: Number of draws R.
        bounds: Least and largest value that the mean can take; the ends are cut there.

    Returns:
        Low and high; NaN for fewer than two cases. Below `ENOUGH_CASES` they cover less than they say.

    Raises:
        ValueError: If level is not between 0 and 1, or a value is infinite.

    Example:
        >>> low, high = bootstrap_interval([0.8, 0.9, 0.7, 0.85, 0.75], bounds=(0, 1))
        >>> low < 0.8 < high
        True
    """
    matrix = as_matrix(values, "values")
    return _interval([matrix[:, ~np.isnan(matrix).all(0)]], level, seed, resamples, bounds)


def difference_interval(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 2000, bounds: Ends = ANYWHERE
) -> Ends:
    """Interval of the mean of a - b over the cases that both have; the seeds of each are drawn by themselves.

    Args:
        a: (n,) or (S, n) values of one method.
        b: (n,) or (S', n) values of another on the same cases, in the same order.
        level: Coverage.
        seed: Seed of the draws.
        resamples: Number of draws R.
        bounds: As for `bootstrap_interval`.

    Returns:
        Low and high, as of `bootstrap_interval`.

    Raises:
        ValueError: If the numbers of cases differ, and as for `bootstrap_interval`.

    Example:
        >>> difference_interval([0.8, 0.9, 0.7], [0.7, 0.8, 0.6])[0] > 0
        True
    """
    first, second = as_matrix(a, "a"), as_matrix(b, "b")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"a and b must hold the same cases, got {first.shape[1]} and {second.shape[1]}")
    both = ~(np.isnan(first).all(0) | np.isnan(second).all(0))
    return _interval([first[:, both], -second[:, both]], level, seed, resamples, bounds)


def jackknife_interval(
    values: Sequence[Callable[[Floats], Floats]], cases: int, level: float = 0.95, bounds: Ends = ANYWHERE
) -> tuple[Floats, Floats]:
    """Interval of numbers of all voxels together, such as a pooled ECE, over cases and seeds.

    Such a number is no mean over cases, and drawing cases anew adds bins' noise to it that its own sample does not
    have: percentile and BCa intervals of a small pooled ECE miss it. Each case is left out in turn instead; Student's t
    with Satterthwaite's degrees of freedom, standard error sqrt(n / (n - 1)) times the jackknife's.

    Args:
        values: For each seed, a function from weights of the cases (R, n) to the numbers (R, ...).
        cases: Number of cases n.
        level: Coverage.
        bounds: As for `bootstrap_interval`.

    Returns:
        Low and high, each (...); NaN for fewer than two cases.

    Raises:
        ValueError: If level is not between 0 and 1.

    Example:
        >>> errors = np.array([0.1, 0.2, 0.3, 0.4])
        >>> mean = lambda weights: weights @ errors / weights.sum(1)
        >>> low, high = jackknife_interval([mean], cases=4)
        >>> bool(low < 0.25 < high)
        True
    """
    weights = np.concatenate([np.ones((1, cases)), 1 - np.eye(cases)])
    found = np.stack([function(weights) for function in values])  # (S, 1 + n, ...)
    point, left = found[:, 0], found[:, 1:].mean(0)
    if cases < 2:
        return np.full_like(point[0], np.nan), np.full_like(point[0], np.nan)
    known = (~np.isnan(left)).sum(0)
    of_cases = np.nansum(np.square(left - mean_of_known(left)), 0)
    others = max(len(point) - 1, 1)
    of_seeds = np.square(point - point.mean(0)).sum(0) / others / len(point)
    variance = of_cases + of_seeds
    doubt = of_cases**2 / np.maximum(known - 1, 1) + of_seeds**2 / others
    freedom = np.divide(variance**2, doubt, out=np.ones_like(variance), where=doubt > 0)
    reach = np.where(known < 2, np.nan, _student(level, freedom) * np.sqrt(variance))
    return np.clip(point.mean(0) - reach, *bounds), np.clip(point.mean(0) + reach, *bounds)


def combine_seeds(
    values: ArrayLike, reaches: ArrayLike, cases: int, level: float = 0.95, bounds: Ends = ANYWHERE
) -> Ends:
    """Interval of the mean of one pooled number over seeds, from the seeds' own intervals over the same cases.

    The part of the cases is the mean of the seeds' (it does not shrink with more seeds: the cases are the same ones),
    that of the seeds their variance over S; Student's t with Satterthwaite's degrees of freedom.

    Args:
        values: (S,) the number of each seed.
        reaches: (S,) half widths of their intervals, of the same level.
        cases: Number of cases n behind these.
        level: Coverage.
        bounds: As for `bootstrap_interval`.

    Returns:
        Low and high.

    Example:
        >>> low, high = combine_seeds([0.10, 0.12, 0.11], reaches=[0.02, 0.02, 0.02], cases=20)
        >>> bool(low < 0.11 < high)
        True
    """
    found, half = np.asarray(values, dtype=np.float64), np.asarray(reaches, dtype=np.float64)
    of_cases = np.square(half / _student(level, cases - 1)).mean()
    of_seeds, others = found.var(ddof=1) / len(found) if len(found) > 1 else 0.0, max(len(found) - 1, 1)
    variance = of_cases + of_seeds
    doubt = of_cases**2 / max(cases - 1, 1) + of_seeds**2 / others
    reach = _student(level, variance**2 / doubt) * np.sqrt(variance) if doubt > 0 else 0.0 * variance
    low, high = np.clip([found.mean() - reach, found.mean() + reach], *bounds)
    return float(low), float(high)


def frequency_band(cases: Sequence[Bins], num_bins: int = 15, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval over cases of the observed frequency in every bin, for the band of a reliability diagram.

    Each case that has a voxel in the bin is left out in turn; Student's t over these cases, cut at 0 and 1.

    Args:
        cases: Bins of each case, fields (C, B).
        num_bins: Bins of the diagram, a divisor of B.
        level: Coverage, of each bin by itself.

    Returns:
        Low and high, each (C, num_bins); NaN where fewer than two cases have a voxel.

    Raises:
        ValueError: If level is not between 0 and 1, or num_bins does not divide B.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> cases = [bin_item(sure, torch.tensor(labels), "top_label") for labels in ([0, 1], [0, 0])]
        >>> low, high = frequency_band(cases, num_bins=2)
        >>> low[0, 1] <= 0.75 <= high[0, 1]
        np.True_
    """
    coarse = [rebin(bins, num_bins) for bins in cases]
    count = torch.stack([bins.count for bins in coarse]).double().cpu().numpy()
    correct = torch.stack([bins.correct for bins in coarse]).double().cpu().numpy()
    here = count > 0
    number = here.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        frequency = correct.sum(0) / count.sum(0)
        left = np.where(here, (correct.sum(0) - correct) / (count.sum(0) - count), np.nan)
        reach = _student(level, number - 1) * np.sqrt(np.nansum(np.square(left - frequency), 0))
    reach = np.where(number < 2, np.nan, reach)
    return np.clip(frequency - reach, 0, 1), np.clip(frequency + reach, 0, 1)


def as_matrix(values: ArrayLike, name: str = "values") -> Floats:
    """Values of seeds by cases (S, n), of (n,) or (S, n); seeds without any value are left out.

    Raises:
        ValueError: If the shape is another, or a value is infinite.

    Example:
        >>> as_matrix([0.9, 0.8]).shape
        (1, 2)
    """
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if matrix.ndim != 2 or np.isinf(matrix).any():
        raise ValueError(f"{name} must be (cases,) or (seeds, cases) finite numbers, NaN where there is none")
    valued = ~np.isnan(matrix).all(1)
    return matrix[valued] if valued.any() else matrix[:1]


def mean_of_known(values: Floats) -> Floats:
    """Mean over the first axis of what is not NaN; NaN of nothing.

    Example:
        >>> mean_of_known(np.array([[0.5, np.nan], [1.0, np.nan]])).tolist()
        [0.75, nan]
    """
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0) / known.sum(0)


def _interval(tables: Sequence[Floats], level: float, seed: int, resamples: int, bounds: Ends) -> Ends:
    """Interval of the sum of the means of tables (S, n), each of its own seeds, all of the same cases."""
    _check_level(level)
    number = tables[0].shape[1]
    if number < 2:
        return np.nan, np.nan
    tables = [np.where(np.isnan(table), mean_of_known(table), table) for table in tables]
    even = [np.full((1, len(table)), 1 / len(table)) for table in tables]
    found = _moments(tables, even, np.full((1, number), 1 / number))
    mean, spread = found.mean[0], np.sqrt(found.variance[0])
    reach = _student(level, found.freedom[0]) * spread
    below = above = reach
    if number >= LEAST_TO_DRAW and spread > 0:
        t = np.concatenate(list(_pivots(tables, mean, seed, resamples)))
        outer = np.quantile(t, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        least = reach if max(map(len, tables)) > 1 else 0.0
        wide = spread * np.sqrt(number / (number - 1))
        above, below = (wide * outer * [-1, 1]).clip(least, FARTHEST * reach)
    low, high = np.clip([mean - below, mean + above], *bounds)
    return float(low), float(high)


def _pivots(tables: Sequence[Floats], mean: float, seed: int, resamples: int) -> Iterator[Floats]:
    """The pivots t of the draws, in chunks; infinite where a draw has no spread, as that of one case alone."""
    generator, number = np.random.default_rng(seed), tables[0].shape[1]
    size, least = max(1, CHUNK // number), 1e-7 * max(np.ptp(table) for table in tables)
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        cases = _draws(generator, number, count)
        seeds = [_draws(generator, len(table), count) for table in tables]
        found = _moments(tables, seeds, cases)
        spread = np.sqrt(found.variance)
        flat = spread <= least
        away = np.where(np.abs(found.mean - mean) <= least, 0, found.mean - mean)
        yield np.where(flat & (away != 0), np.copysign(np.inf, away), away / np.where(flat, 1, spread))


def _draws(generator: np.random.Generator, number: int, count: int) -> Floats:
    """Weights (count, number) of so many items drawn with replacement."""
    return generator.multinomial(number, np.full(number, 1 / number), count) / number


def _moments(tables: Sequence[Floats], seeds: Sequence[Floats], cases: Floats) -> _Moments:
    """Moments of the sum of tables (S, n) under weights of their seeds (R, S) and of the cases (R, n)."""
    number = cases.shape[1]
    by_case = sum((weights @ table for table, weights in zip(tables, seeds, strict=True)), np.zeros_like(cases))
    mean = (by_case * cases).sum(1)
    of_cases = (np.square(by_case - mean[:, None]) * cases).sum(1) / (number - 1)
    parts = [_seed_parts(table, w, cases) for table, w in zip(tables, seeds, strict=True) if len(table) > 1]
    of_seeds, rest = (sum((part[i] for part in parts), np.zeros_like(mean)) for i in (0, 1))
    doubt = sum((part[0] ** 2 / (part[2] - 1) for part in parts), of_cases**2 / (number - 1))
    variance = np.maximum(of_seeds + of_cases - rest, np.maximum(of_seeds, of_cases))
    freedom = np.divide(variance**2, doubt, out=np.ones_like(mean), where=doubt > 0)
    return _Moments(mean, by_case, variance, freedom)


def _seed_parts(table: Floats, seeds: Floats, cases: Floats) -> tuple[Floats, Floats, int]:
    """Variance of the mean of a table (S, n) by its seeds, and by what neither seed nor case explains, (R,); and S."""
    size, number = table.shape
    by_seed, by_case = cases @ table.T, seeds @ table
    mean = (by_seed * seeds).sum(1)
    of_seeds = (np.square(by_seed - mean[:, None]) * seeds).sum(1) / (size - 1)
    whole = ((cases @ np.square(table).T) * seeds).sum(1)  # of the square; less what seed and case explain
    rest = whole - (by_seed**2 * seeds).sum(1) - (by_case**2 * cases).sum(1) + mean**2
    return of_seeds, rest.clip(min=0) / ((size - 1) * (number - 1)), size


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1")


def _student(level: float, freedom: ArrayLike) -> Floats:
    """Quantile of Student's t that leaves (1 - level) / 2 above it."""
    from scipy.special import stdtrit

    _check_level(level)
    return stdtrit(np.maximum(freedom, 1), (1 + level) / 2)
