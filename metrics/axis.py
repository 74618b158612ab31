"""The scorer's fine axis of confidence: equal bins and, at once, bins of equal width in log-odds.

Networks put most voxels within 1e-3 of 0 or 1, where equal bins see nothing. The number of a confidence p is

    min(floor(300 p), 299) + floor(100 logit(p) + 1600.5), the latter between 0 and 3,200.

Both terms are steps that only rise, so each pair has a number of its own: the axis is cut at every edge of either. A
cut anywhere between 1e-7 and 1 - 1e-7 is known to 1 % of p / (1 - p), and the bins fall into 300 equal ones, hence 10,
15, 20, 25, 50 and 100, exactly: that term is formed in float64, where the product is exact, and no edge of the one kind
lies within the float32 rounding of the other's (tests/metrics/test_axis.py).
"""

from functools import cache

import torch
from torch import Tensor

EQUAL_BINS = 300
ODDS_STEPS = 3200  # edges in log-odds, from -16 to 16
STEP = 0.01
AXIS_BINS = EQUAL_BINS + ODDS_STEPS


def equal_index(confidence: Tensor) -> Tensor:
    """Number (n,) int32 of the equal bin of confidences (n,) float64."""
    return (confidence * EQUAL_BINS).to(torch.int32).clamp_(max=EQUAL_BINS - 1)


def odds_index(confidence: Tensor) -> Tensor:
    """Number (n,) int32 of the step in log-odds of confidences (n,)."""
    p = confidence.float()
    odds = p.log().sub_(torch.log1p(-p)).mul_(1 / STEP).add_(ODDS_STEPS / 2 + 0.5)
    return odds.clamp_(0, ODDS_STEPS).to(torch.int32)


@cache
def axis_edges() -> Tensor:
    """The edges of the bins, (AXIS_BINS + 1,) float64 from 0 to 1.

    Example:
        >>> edges = axis_edges()
        >>> len(edges), float(edges[0]), float(edges[-1])
        (3501, 0.0, 1.0)
    """
    steps = torch.arange(1, ODDS_STEPS + 1, dtype=torch.float64)
    odds = torch.sigmoid((steps - ODDS_STEPS / 2 - 0.5) * STEP)
    equal = torch.arange(1, EQUAL_BINS, dtype=torch.float64) / EQUAL_BINS
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return torch.cat([odds, equal, ends]).sort().values


@cache
def equal_of_axis() -> Tensor:
    """The equal bin (AXIS_BINS,) int64 that each bin of the axis lies in."""
    edges = axis_edges()
    return equal_index((edges[1:] + edges[:-1]) / 2).long()


def to_equal(field: Tensor) -> Tensor:
    """Sums (..., AXIS_BINS) as sums of equal bins (..., EQUAL_BINS)."""
    equal = field.new_zeros(*field.shape[:-1], EQUAL_BINS)
    return equal.index_add_(-1, equal_of_axis().to(field.device), field)


def axis_index(confidence: Tensor) -> Tensor:
    """Number (n,) int64 of the bin of the fine axis that confidences (n,) fall into.

    Example:
        >>> index = axis_index(torch.tensor([0.0, 0.5, 1.0]))
        >>> index.tolist(), [round(float(edge), 3) for edge in axis_edges()[index]]
        ([0, 1750, 3499], [0.0, 0.5, 1.0])
    """
    return equal_index(confidence.double()).long() + odds_index(confidence)
