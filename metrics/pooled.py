"""Numbers of all voxels together when cases are drawn anew: no voxel is needed, the sums of the cases are."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .binning import Bins
from .catalogue import Number
from .sums import CaseSums, stack_sums

CHUNK = 100  # draws at once


class _Weighted(Mapping[str, Bins]):
    """Bins of cases added up by weights, each when asked for.

    Args:
        bins: "<region>.<view>" to bins (n, C, B).
        weights: (R, n).
    """

    def __init__(self, bins: Mapping[str, Bins], weights: Tensor) -> None:
        self.bins, self.weights, self.found = bins, weights, dict[str, Bins]()

    def __getitem__(self, key: str) -> Bins:
        if key not in self.found:
            self.found[key] = Bins(*(_add_up(self.weights, field) for field in self.bins[key]))
        return self.found[key]

    def __contains__(self, key: object) -> bool:
        return key in self.bins

    def __iter__(self) -> Iterator[str]:
        return iter(self.bins)

    def __len__(self) -> int:
        return len(self.bins)


def _add_up(weights: Tensor, field: Tensor) -> Tensor:
    return torch.tensordot(weights, field.double(), 1)


def weigh(stacked: CaseSums, weights: Tensor) -> CaseSums:
    """The sums of all cases, case i counted weights[r, i] times, for each r.

    Args:
        stacked: n cases, of `stack_sums`.
        weights: (R, n) float64.
    """
    bins = _Weighted(stacked.bins, weights)
    return CaseSums(bins, _add_up(weights, stacked.confusion), _add_up(weights, stacked.nll))


def pooled_values(cases: Sequence[CaseSums], rows: Sequence[Number]) -> Callable[[NDArray[np.float64]], NDArray]:
    """A function from weights of the cases (R, n) to the rows' numbers (R, len(rows), K); NaN where undefined."""
    stacked, classes = stack_sums(cases), cases[0].confusion.shape[-1]

    def values(weights: NDArray[np.float64]) -> NDArray:
        sums = weigh(stacked, torch.as_tensor(weights, dtype=torch.float64))
        found = torch.full((len(weights), len(rows), classes), torch.nan, dtype=torch.float64)
        for index, row in enumerate(rows):
            value = row.value(sums)
            found[:, index, : value.shape[-1]] = value
        return found.numpy()

    return values


def pooled_intervals(
    cases: Sequence[CaseSums], rows: Sequence[Number], level: float = 0.95, seed: int = 0, resamples: int = 1000
) -> tuple[NDArray, NDArray]:
    """Percentile intervals of pooled numbers over cases that are drawn with replacement.

    Args:
        cases: The sums of each case, with few bins.
        rows: Rows of the catalogue, that the sums know.
        level: Coverage.
        seed: Seed of the draws.
        resamples: Number of draws.

    Returns:
        Low and high, each (len(rows), K): all together, then each foreground class; NaN for fewer than two cases.
    """
    number = len(cases)
    if number < 2:
        return (np.full((len(rows), cases[0].confusion.shape[-1]), np.nan),) * 2
    values, generator = pooled_values(cases, rows), np.random.default_rng(seed)
    weights = generator.multinomial(number, np.full(number, 1 / number), resamples).astype(np.float64)
    drawn = np.concatenate([values(weights[start : start + CHUNK]) for start in range(0, resamples, CHUNK)])
    known = ~np.isnan(drawn).all(0)
    ends = np.full((2, *drawn.shape[1:]), np.nan)
    ends[:, known] = np.nanquantile(drawn[:, known], ((1 - level) / 2, (1 + level) / 2), axis=0)
    return ends[0], ends[1]
