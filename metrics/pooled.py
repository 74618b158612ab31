"""Numbers of all voxels together when cases are drawn anew: no voxel is needed, the sums of the cases are."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .binning import Bins, rebin
from .errors import expected_calibration_error
from .intervals import jackknife_interval
from .number import Number
from .sums import CaseSums, stack_sums


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
    tallies = {key: _add_up(weights, tally) for key, tally in stacked.tallies.items()}
    confusion, nll = (_add_up(weights, field) for field in (stacked.confusion, stacked.nll))
    return CaseSums(bins, confusion, nll, tallies=tallies, multilabel=stacked.multilabel)


def pooled_values(cases: Sequence[CaseSums], rows: Sequence[Number]) -> Callable[[NDArray[np.float64]], NDArray]:
    """A function from weights of the cases (R, n) to the rows' numbers (R, len(rows), K); NaN where undefined."""
    stacked, classes = stack_sums(cases), cases[0].num_classes

    def values(weights: NDArray[np.float64]) -> NDArray:
        sums = weigh(stacked, torch.as_tensor(weights, dtype=torch.float64))
        found = torch.full((len(weights), len(rows), classes), torch.nan, dtype=torch.float64)
        for index, row in enumerate(rows):
            value = row.value(sums)
            found[:, index, : value.shape[-1]] = value
        return found.numpy()

    return values


def pooled_intervals(
    runs: Sequence[Sequence[CaseSums]], rows: Sequence[Number], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of pooled numbers over cases, and over seeds where there are several (`metrics.jackknife_interval`).

    Args:
        runs: For each seed the sums of the same cases.
        rows: Rows of the catalogue, that the sums know.
        level: Coverage.

    Returns:
        Low and high, each (len(rows), K): all together, then each foreground class; NaN for fewer than two cases.

    Example:
        >>> from metrics import catalogue, sum_case
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> cases = [sum_case(sure, torch.tensor(labels)).coarse(300) for labels in ([0, 1], [0, 0], [1, 0])]
        >>> low, high = pooled_intervals([cases], [catalogue.NUMBERS["ece"]])
        >>> bool(low[0, 0] <= 0.0833 <= high[0, 0])
        True
    """
    low, high = (np.full((len(rows), runs[0][0].num_classes), np.nan) for _ in range(2))
    for num_bins in {row.num_bins for row in rows}:  # no more bins than a number needs: they are summed n times
        places = [place for place, row in enumerate(rows) if row.num_bins == num_bins]
        coarse = [[sums.coarse(num_bins) for sums in cases] for cases in runs]
        values = [pooled_values(cases, [rows[place] for place in places]) for cases in coarse]
        low[places], high[places] = jackknife_interval(values, len(runs[0]), level)
    bounds = np.array([row.bounds for row in rows]).reshape(-1, 2, 1)
    return low.clip(bounds[:, 0], bounds[:, 1]), high.clip(bounds[:, 0], bounds[:, 1])


def error_interval(
    cases: Sequence[Bins], num_bins: int = 15, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval over cases of the ECE of all their voxels together, by `metrics.jackknife_interval`.

    Args:
        cases: Bins of each case, fields (C, B).
        num_bins: Bins of the ECE, a divisor of B.
        level: Coverage.

    Returns:
        Low and high, each (C,); NaN for fewer than two cases.

    Raises:
        ValueError: If level is not between 0 and 1, or num_bins does not divide B.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> cases = [bin_item(sure, torch.tensor(labels), "top_label") for labels in ([0, 1], [0, 0], [1, 0])]
        >>> low, high = error_interval(cases)
        >>> bool(low[0] <= 0.0833 <= high[0])
        True
    """
    stacked = [torch.stack(fields) for fields in zip(*(rebin(bins, num_bins) for bins in cases), strict=True)]

    def error(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        counted = torch.as_tensor(weights, device=stacked[0].device)
        return expected_calibration_error(Bins(*(_add_up(counted, field) for field in stacked))).cpu().numpy()

    return jackknife_interval([error], len(cases), level, (0, 1))
