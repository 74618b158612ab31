"""Smooth calibration error and curve (Błasiok and Nakkiran 2023, arXiv 2309.12236): a kernel in place of bins.

Residuals (confidence - correctness) are smoothed by a Gaussian on [0, 1] that is reflected at both ends, of a width
that the data choose. With it the error at width s is h(s) = integral over t of |sum_i (p_i - y_i) K_s(t, p_i)| / N. It
falls as s grows; the smooth calibration error is the one s with h(s) = s. No number of bins has to be chosen.

It is computed from bins: each holds its residuals exactly and stands at its mean confidence. On the scorer's fine axis
a bin is at most 0.0025 wide, of 300 equal ones 1/300. Voxels lie up to that width w from where their bin stands, so
h(s) and with it the error is off by at most w sqrt(2 / pi) E|p - y| / s; as shifts inside a bin cancel, what is seen is
below 1e-4 (tests/metrics/test_smooth.py).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .binning import Bins

GRID = 2048  # cells of [0, 1]: places are split between two neighbours, so their mean is kept
HALVINGS = 30


class SmoothCurve(NamedTuple):
    """A smoothed reliability curve; every field is (..., C, GRID) but the places (GRID,).

    Attributes:
        place: Middle of each cell.
        frequency: The place less the smoothed residual there, which is the share of right ones; the mean distance to
            the diagonal, weighed by the mass, is the smooth calibration error.
        mass: Voxels that the kernel weighs there: about those within 1.25 widths on either side.

    Example:
        >>> SmoothCurve._fields
        ('place', 'frequency', 'mass')
    """

    place: Tensor
    frequency: Tensor
    mass: Tensor


def smooth_calibration_error(bins: Bins) -> Tensor:
    """The smooth calibration error of bins (..., C, B), (..., C) float64; NaN without a voxel.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> round(float(smooth_calibration_error(bins)), 3)
        0.25
    """
    total = bins.count.sum(-1).double()
    waves = _waves(_spread(bins, bins.confidence - bins.correct))
    low, high = torch.zeros_like(total), torch.ones_like(total)
    for _ in range(HALVINGS):
        width = (low + high) / 2
        above = _smoothed(waves, width).abs().sum(-1) / total > width
        low, high = torch.where(above, width, low), torch.where(above, high, width)
    return ((low + high) / 2).masked_fill(total == 0, torch.nan)


def smooth_reliability_curve(bins: Bins) -> SmoothCurve:
    """The observed frequency over confidence, smoothed by the width that `smooth_calibration_error` finds.

    Args:
        bins: Fields (..., C, B).

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> curve = smooth_reliability_curve(bin_item(sure, torch.tensor([0, 1]), "top_label"))
        >>> round(float(curve.frequency[0, 1536]), 2)
        0.5
    """
    width = smooth_calibration_error(bins).nan_to_num(1.0)
    fields = (bins.count.double(), bins.confidence - bins.correct)
    count, residual = (_smoothed(_waves(_spread(bins, field)), width) for field in fields)
    place = (torch.arange(GRID, dtype=torch.float64, device=count.device) + 0.5) / GRID
    per_cell = (width * GRID * (2 * torch.pi) ** 0.5).clamp(1, GRID).unsqueeze(-1)
    return SmoothCurve(place, (place - residual / count.clamp_min(1e-12)).clamp(0, 1), count * per_cell)


def _spread(bins: Bins, weight: Tensor) -> Tensor:
    """Weights (..., B) put at the mean confidence of their bins, between the two nearest cells, (..., GRID)."""
    place = bins.confidence / bins.count.clamp(min=1) * GRID - 0.5
    cell = place.floor()
    part = place - cell
    cells = weight.new_zeros(*weight.shape[:-1], GRID)
    for index, share in ((cell, 1 - part), (cell + 1, part)):
        cells.scatter_add_(-1, index.long().clamp(0, GRID - 1), weight * share)
    return cells


def _waves(cells: Tensor) -> Tensor:
    """Fourier coefficients of cells (..., GRID) followed by their mirror image, which is what reflection means."""
    return torch.fft.rfft(torch.cat([cells, cells.flip(-1)], -1))


def _smoothed(waves: Tensor, width: Tensor) -> Tensor:
    """Cells (..., GRID) from their coefficients, smoothed by Gaussians of standard deviation `width` (...)."""
    wave = torch.arange(GRID + 1, dtype=torch.float64, device=width.device) * torch.pi
    damping = torch.exp(-0.5 * (width.unsqueeze(-1) * wave).square())
    return torch.fft.irfft(waves * damping, n=2 * GRID)[..., :GRID]
