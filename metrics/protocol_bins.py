"""Bins as published code forms them: closed on the right, of equal width, or of equal numbers in several ways.

Shape letters: N voxels, M bins.
"""

import torch
from torch import Tensor

from .binning import Bins


def right_closed_bins(confidence: Tensor, correct: Tensor, edges: Tensor, keep_zero: bool = False) -> Bins:
    """Bins (lo, hi], fields (1, M).

    Args:
        confidence: (N,).
        correct: (N,) bool.
        edges: (M + 1,) ascending; a confidence at or below the first is dropped.
        keep_zero: Count it in the first bin instead.
    """
    index = torch.bucketize(confidence.to(edges.dtype), edges) - 1
    if keep_zero:
        index = index.clamp(min=0)
    inside = (index >= 0) & (index < len(edges) - 1)
    return _sums_by_index(index[inside], confidence[inside], correct[inside], len(edges) - 1)


def _sums_by_index(index: Tensor, confidence: Tensor, correct: Tensor, num_bins: int) -> Bins:
    """Bins, fields (1, M), of the voxels whose bin is known."""
    p, hit = confidence.double(), correct.double()
    empty = torch.zeros(num_bins, dtype=torch.float64, device=confidence.device)
    sums = [empty.index_add(0, index, values)[None] for values in (torch.ones_like(p), p, hit, (p - hit).square())]
    return Bins(sums[0].long(), *sums[1:])


def even_edges(num_bins: int, device: torch.device | str = "cpu") -> Tensor:
    """Edges (M + 1,) float32 of bins of equal width."""
    return torch.linspace(0, 1, num_bins + 1, device=device)


def _order_statistics(confidence: Tensor, last: int, num_bins: int) -> Tensor:
    """Values (M + 1,) float32 at the places i last / M of the ordered values, interpolated in float64."""
    ordered = confidence.double().sort().values
    position = torch.linspace(0, last, num_bins + 1, dtype=torch.float64, device=ordered.device)
    position = position.clamp(max=len(ordered) - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], position - low).float()


def equal_mass_edges(confidence: Tensor, num_bins: int) -> Tensor:
    """Edges (M + 1,) float32 at the places i N / M of the ordered values; the smallest value itself is dropped."""
    return _order_statistics(confidence, len(confidence), num_bins)


def quantile_edges(confidence: Tensor, num_bins: int) -> Tensor:
    """Edges (M + 1,) float32: 0, the M-quantiles (at the places i (N - 1) / M of the ordered values), 1."""
    edges = _order_statistics(confidence, len(confidence) - 1, num_bins)
    edges[0], edges[-1] = 0, 1
    return edges


def equal_count_bins(confidence: Tensor, correct: Tensor, num_bins: int) -> Bins:
    """Bins of floor(N / M) neighbours in the order of confidence, the rest in the last, fields (1, M); N >= M."""
    order = confidence.sort(stable=True).indices
    index = torch.arange(len(order), device=order.device) // (len(order) // num_bins)
    return _sums_by_index(index.clamp(max=num_bins - 1), confidence[order], correct[order], num_bins)


def weighted_gap(bins: Bins, total: int | Tensor) -> Tensor:
    """sum_m n_m |conf_m - acc_m| / total, scalar; 0 for an empty set."""
    gap = (bins.confidence - bins.correct).abs().sum()
    return gap / total if total else gap
