"""What probabilities expect of a case whose label nobody has: the Dice of its mask, its volumes, how much is uncertain.

Right where the probabilities are: of an over-confident network they are as wrong as it is.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

UNCERTAIN = (0.1, 0.9)


def expected_dice(probs: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Dice, each class, that a mask is expected to have if every voxel is of class k with p_k, independently.

    With n voxels of the mask in the class, the hits T ~ (a, s) inside it and the misses F ~ (b, t) outside, mean and
    variance each, sums of Bernoulli variables, D = n + a + b:

        E[2 T / (n + T + F)] = 2 a / D - 2 (n + b) s / D^3 + 2 a t / D^3 + O(1 / D^2)

    That is the Taylor series to second order: against the exact expectation it is off by less than 0.005 from ten
    voxels on, by 0.05 for two. Where voxels hang together, T and F vary more but keep their means.

    Args:
        probs: (K, *S).
        mask: (*S) labels, made of the probabilities or in another way.
        valid: (*S) bool, the voxels that count; all if None.

    Returns:
        (K,) float64. An empty mask has 0 where half a voxel or more of the class is expected, else NaN, as the Dice of
        a class that is absent has.

    Example:
        >>> probs = torch.tensor([[0.1, 0.2, 0.9, 0.9], [0.9, 0.8, 0.1, 0.1]])
        >>> [round(value, 3) for value in expected_dice(probs, torch.tensor([1, 1, 0, 0])).tolist()]
        [0.879, 0.864]
    """
    values = []
    for p, inside in _classes(probs, mask, valid):
        spread = p * (1 - p)
        n = inside.sum().double()
        a, s = p[inside].sum(dtype=torch.float64), spread[inside].sum(dtype=torch.float64)
        b, t = p.sum(dtype=torch.float64) - a, spread.sum(dtype=torch.float64) - s
        whole = n + a + b
        value = 2 * a / whole + (2 * a * t - 2 * (n + b) * s) / whole**3
        empty = value.new_tensor(0.0 if b >= 0.5 else math.nan)
        values.append(torch.where(n > 0, value.clamp(0, 1), empty))
    return torch.stack(values)


def expected_volume(probs: Tensor, spacing: Sequence[float] | None = None, valid: Tensor | None = None) -> Tensor:
    """Volume of each class that is expected: the sum of p_k times the size of a voxel; (K,) float64.

    In mm3, in 2D mm2; in voxels without spacing.

    Example:
        >>> expected_volume(torch.tensor([[0.25, 0.5], [0.75, 0.5]]), (2.0,)).tolist()
        [1.5, 2.5]
    """
    size = math.prod(spacing or (1.0,))
    return size * torch.stack([p.sum(dtype=torch.float64) for p, _ in _classes(probs, probs[0], valid)])


def uncertain_share(probs: Tensor, valid: Tensor | None = None) -> Tensor:
    """Share of voxels with 0.1 < p_k < 0.9 among those with p_k > 0.1, each class, (K,); NaN where there are none.

    Example:
        >>> uncertain_share(torch.tensor([[0.5, 0.05, 0.95, 1.0], [0.5, 0.95, 0.05, 0.0]])).tolist()
        [0.3333333333333333, 0.5]
    """
    low, high = UNCERTAIN
    counts = [((p > low).sum(), ((p > low) & (p < high)).sum()) for p, _ in _classes(probs, probs[0], valid)]
    return torch.stack([unsure.double() / possible for possible, unsure in counts])


def _classes(probs: Tensor, mask: Tensor, valid: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Of each class p (N,), of the voxels that count, and which are in the mask."""
    if valid is not None:
        probs, mask = probs[:, valid], mask[valid]
    return [(p.reshape(-1), (mask == k).reshape(-1)) for k, p in enumerate(probs)]
