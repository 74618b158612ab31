"""Margin-based label smoothing: a cap on the distance between the largest logit and the others."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .base import SegmentationLoss, in_range, one_of, result
from .costs import OwnCost
from .cross_entropy import cross_entropy_rows, cross_entropy_slope, weighted_cost
from .statistics import Terms, joint_sums
from .voxelwise import Slopes, Voxels, as_numbers, class_rows, ratio, voxel_sums

Penalty = Literal["l1", "squared_hinge", "equality"]


def margin_penalty(distances: Tensor, margin: float, penalty: str) -> Tensor:
    """Penalise each logit's distance from the largest: above the margin, or, as ``equality``, on both sides of it."""
    excess = distances - margin
    if penalty == "equality":
        return excess.square()
    hinge = excess.relu()
    return hinge if penalty == "l1" else hinge.square()


def margin_slope(distances: Tensor, margin: float, penalty: str) -> Tensor:
    """Slope of :func:`margin_penalty`."""
    excess = distances - margin
    if penalty == "l1":
        return as_numbers(torch.gt, excess, 0.0, excess)
    return excess.mul_(2) if penalty == "equality" else excess.relu_().mul_(2)


def distance_slope(voxels: Voxels, slope: Tensor) -> Tensor:
    """Slope with respect to the logits from that with respect to their distances from the largest."""
    return (voxels.share(voxels.logits) * slope.sum(1, keepdim=True)).sub_(slope)


class MarginLabelSmoothingLoss(SegmentationLoss):
    r"""Cross entropy plus ``alpha`` times the mean, over voxels and classes, of :math:`\max(0, \max_j z_j - z_k - m)`.

    Where no distance exceeds the margin the confidence is at most :math:`1 / (1 + (K - 1) e^{-m})`. The largest logit
    itself adds 0 and counts in the mean. ``penalty="squared_hinge"`` squares the hinge; ``"equality"`` squares before
    cutting off, as the published code does, and so pulls small distances up to the margin too.
    Liu et al., CVPR 2022 (arXiv 2111.15430); Murugesan et al., Medical Image Analysis 2023 (arXiv 2209.09641).

    Args:
        margin: Distance between logits that costs nothing.
        alpha: Weight of the penalty; may be scheduled.
        penalty: Form of the penalty.
        **options: ``class_weights`` (of the cross entropy) and ``ignore_index``.
    """

    def __init__(self, margin: float = 10.0, alpha: float = 0.1, penalty: Penalty = "l1", **options: Any) -> None:
        super().__init__(**options)
        self.margin = in_range("margin", margin, 0)
        self.alpha = in_range("alpha", alpha, 0)
        self.penalty = one_of("penalty", penalty, ("l1", "squared_hinge", "equality"))

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels, cross entropy and penalty of a chunk: ``(G, 3, K)``."""
        penalty = margin_penalty(voxels.distances, self.margin, self.penalty) * voxels.counted
        return torch.cat([cross_entropy_rows(voxels), class_rows(penalty)], dim=1)

    def slopes(self, voxels: Voxels, weights: Sequence[Tensor]) -> Slopes:
        """Slopes of the rows."""
        slope = margin_slope(voxels.distances, self.margin, self.penalty).mul_(voxels.counted).mul_(weights[2])
        return Slopes(distance_slope(voxels, slope), cross_entropy_slope(voxels, weights[1]))

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted penalty."""
        if self.penalty == "l1":
            terms = Terms(own=OwnCost(), margin=self.margin)
            (_, volume, *_), cost, penalty, _ = joint_sums(logits, target, self.ignore_index, terms)
        else:
            volume, cost, penalty = voxel_sums(logits, target, self.ignore_index, self.rows, self.slopes).unbind(1)
        parts = {
            "cross_entropy": weighted_cost(cost, volume, self.weights_for(logits)),
            "margin": ratio(penalty.sum(0).mean(), volume.sum()),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["cross_entropy"] + self.alpha * parts["margin"]
