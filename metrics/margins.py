"""Distances between logits: what margin-based label smoothing bounds."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .binning import iter_blocks


class MarginCounts(NamedTuple):
    """Histogram of the distances d_k = max_j z_j - z_k of all classes but the largest.

    Attributes:
        edges: (E,) bounds of the cells.
        counts: (E + 1,) int64; the first cell lies below the first edge, the last above the last.

    Example:
        >>> from metrics import count_margins
        >>> counts = count_margins(torch.tensor([[12.0, 3.0], [0.0, 0.0]]))
        >>> counts.violations(10)
        0.5
    """

    edges: Tensor
    counts: Tensor

    def violations(self, margin: float) -> float:
        """Share of distances above ``margin``.

        Raises:
            ValueError: If the margin is none of the edges.
        """
        index = (self.edges - margin).abs().argmin()
        if abs(self.edges[index].item() - margin) > 1e-6:
            raise ValueError(f"margin={margin} is none of the edges {self.edges.tolist()}")
        return (self.counts[index + 1 :].sum() / self.counts.sum()).item()


def count_margins(
    logits: Tensor, edges: Sequence[float] = tuple(range(31)), keep: Tensor | None = None
) -> MarginCounts:
    """Count the distances of one item.

    Args:
        logits: (K, *S).
        edges: Ascending bounds.
        keep: (*S) bool, the voxels that count; all if None.

    Returns:
        The histogram; those of several items add up, field by field.

    Example:
        >>> count_margins(torch.tensor([[12.0, 3.0], [0.0, 0.0]]), edges=(0, 5, 10)).counts.tolist()
        [0, 1, 0, 1]
    """
    bounds = torch.tensor(edges, dtype=torch.float32, device=logits.device)
    counts = torch.zeros(len(bounds) + 1, dtype=torch.int64, device=logits.device)
    kept = None if keep is None else keep.reshape(-1)
    for z, k in iter_blocks(logits.detach().reshape(len(logits), -1), kept):
        if k is not None:
            z = z[:, k]
        apart = (z.amax(0) - z).float().sort(0).values[1:]
        counts += torch.bincount(torch.bucketize(apart, bounds).flatten(), minlength=len(counts))
    return MarginCounts(bounds, counts)
