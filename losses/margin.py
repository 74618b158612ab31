"""Margin-based label smoothing: a cap on the distance between the largest logit and the others.

:func:`margin_penalty` is the formula. The engine's ``Terms`` run the plain hinge, ``slopes.margin`` the squared ones;
``tests/losses/test_engine.py`` proves both equal.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from .base import LossOfParts, in_range, one_of, ratio, weighted_cost
from .cross_entropy import entropy_summands
from .engine import IGNORED, Cost, HandSlopes, Sums, Terms, Voxels, slopes

Penalty = Literal["l1", "squared_hinge", "equality"]


def margin_penalty(distances: Tensor, margin: float, penalty: str) -> Tensor:
    """Penalise each logit's distance from the largest: above the margin, or, as ``equality``, on both sides of it."""
    excess = distances - margin
    if penalty == "equality":
        return excess.square()
    hinge = excess.relu()
    return hinge if penalty == "l1" else hinge.square()


class MarginLabelSmoothingLoss(LossOfParts):
    r"""Cross entropy plus ``alpha`` times the mean, over voxels and classes, of :math:`\max(0, \max_j z_j - z_k - m)`.

    Where no distance exceeds the margin the confidence is at most :math:`1 / (1 + (K - 1) e^{-m})`. The largest logit
    itself adds 0 and counts in the mean. ``penalty="squared_hinge"`` squares the hinge; ``"equality"`` squares before
    cutting off, as the published code does, and so pulls small distances up to the margin too.
    Liu et al., CVPR 2022 (arXiv 2111.15430); Murugesan et al., Medical Image Analysis 2023 (arXiv 2209.09641).

    Args:
        margin: Distance between logits that costs nothing.
        alpha: Weight of the penalty; may be scheduled.
        penalty: Form of the penalty.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.MarginLabelSmoothingLoss(margin=1.0)(logits, labels)
        tensor(1.7211)
    """

    def __init__(
        self, margin: float = 10.0, alpha: float = 0.1, penalty: Penalty = "l1", *,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.margin = in_range("margin", margin, 0)
        self.alpha = in_range("alpha", alpha, 0)
        self.penalty = one_of("penalty", penalty, Penalty)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels, cross entropy and penalty."""
        penalty = margin_penalty(voxels.distances, self.margin, self.penalty) * voxels.counted
        return entropy_summands(voxels) | {"hinge": penalty}

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine, or the slopes by hand."""
        if self.penalty == "l1":
            return Terms(own=Cost(), margin=self.margin)
        return lambda voxels, weights: slopes.margin(voxels, weights, self.margin, self.penalty)

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted penalty."""
        margin = ratio(sums.hinge.sum(0).mean(), sums.volume.sum())
        return {"cross_entropy": weighted_cost(sums.cost, sums.volume, weights), "margin": margin}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"margin": self.alpha}
