"""Compounds of an overlap loss and a cross entropy that share one pass over the voxels."""

from typing import Any

from torch import Tensor

from .base import in_range, result
from .costs import OwnCost
from .cross_entropy import weighted_cost
from .overlap import OverlapLoss, pool_batch
from .statistics import JointSums, OverlapStatistics, Terms, joint_sums
from .voxelwise import ratio


class CompoundLoss(OverlapLoss):
    """An overlap loss plus terms that are means over voxels, from one pass: what the compounds share.

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    def __init__(self, gamma: float, **options: Any) -> None:
        super().__init__(gamma, **options)

    def pooled_sums(self, logits: Tensor, target: Tensor, own: OwnCost, margin: float | None = None) -> JointSums:
        """Form the overlap statistics, a cost and a hinge in one pass; over the whole batch if it is pooled."""
        terms = Terms(self.gamma, self.clip, self.clip_labels, own, margin)
        sums = joint_sums(logits, target, self.ignore_index, terms)
        if self.pool == "image":
            return sums
        *statistics, cost, hinge, lead = pool_batch([*sums.statistics, sums.cost, sums.hinge, sums.lead])
        return JointSums(OverlapStatistics(*statistics), cost, hinge, lead)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the unweighted terms by name."""
        raise NotImplementedError


class ComboLoss(CompoundLoss):
    r"""Dice plus cross entropy: :math:`w_o (1 - \mathrm{overlap}) + w_e \, CE`.

    The defaults are those of the DSC++ paper's code, its clipping of the probabilities included.
    Taghanaky et al., CMIG 2019 (arXiv 1805.02798), in the form of Yeung et al.

    Args:
        overlap_weight: Weight of the Dice term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`; ``class_weights`` weigh both terms.
    """

    def __init__(
        self, overlap_weight: float = 1.0, entropy_weight: float = 1.0, gamma: float = 1.0, **options: Any
    ) -> None:
        super().__init__(gamma, **options)
        self.overlap_weight = in_range("overlap_weight", overlap_weight, 0)
        self.entropy_weight = in_range("entropy_weight", entropy_weight, 0)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the overlap loss and the cross entropy."""
        statistics, cost, *_ = self.pooled_sums(logits, target, OwnCost(self.clip))
        parts = {
            "overlap": self.mean(statistics, logits),
            "cross_entropy": weighted_cost(cost, statistics.volume, self.weights_for(logits)),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return self.overlap_weight * parts["overlap"] + self.entropy_weight * parts["cross_entropy"]


class ComboPlusPlusLoss(ComboLoss):
    """DSC++ plus cross entropy: :class:`ComboLoss` with an exponent on each voxel's error.

    Args:
        overlap_weight: Weight of the DSC++ term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`; ``class_weights`` weigh both terms.
    """

    def __init__(
        self, overlap_weight: float = 1.0, entropy_weight: float = 1.0, gamma: float = 2.0, **options: Any
    ) -> None:
        super().__init__(overlap_weight, entropy_weight, gamma, **options)


class DiceCrossEntropyLoss(ComboLoss):
    """Dice plus cross entropy as in the margin papers: :class:`ComboLoss` with their smoothing and no clipping.

    Args:
        overlap_weight: Weight of the Dice term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        **options: See :class:`~losses.overlap.OverlapLoss`; ``class_weights`` weigh both terms.
    """

    def __init__(
        self,
        overlap_weight: float = 1.0,
        entropy_weight: float = 1.0,
        gamma: float = 1.0,
        smooth: float = 1e-5,
        clip: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(overlap_weight, entropy_weight, gamma, smooth=smooth, clip=clip, **options)


class MarginDiceLoss(CompoundLoss):
    r"""Margin-based label smoothing plus Dice: :math:`CE + w_o (1 - \mathrm{overlap}) + \alpha \, \mathrm{hinge}`.

    As published the Dice term leaves the background out. Murugesan et al., Medical Image Analysis 2023
    (arXiv 2209.09641).

    Args:
        margin: Distance between logits that costs nothing.
        alpha: Weight of the penalty; may be scheduled.
        overlap_weight: Weight of the Dice term.
        include_background: Whether class 0 takes part in the Dice term.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    def __init__(
        self,
        margin: float = 10.0,
        alpha: float = 0.1,
        overlap_weight: float = 1.0,
        include_background: bool = False,
        **options: Any,
    ) -> None:
        defaults = {"gamma": 1.0, "smooth": 1e-5, "clip": 0.0}
        super().__init__(**{**defaults, "include_background": include_background, **options})
        self.margin = in_range("margin", margin, 0)
        self.alpha = in_range("alpha", alpha, 0)
        self.overlap_weight = in_range("overlap_weight", overlap_weight, 0)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the overlap loss, the cross entropy and the unweighted penalty."""
        statistics, cost, hinge, _ = self.pooled_sums(logits, target, OwnCost(), self.margin)
        parts = {
            "overlap": self.mean(statistics, logits),
            "cross_entropy": weighted_cost(cost, statistics.volume, self.weights_for(logits)),
            "margin": ratio(hinge.sum(0).mean(), statistics.volume.sum()),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["cross_entropy"] + self.overlap_weight * parts["overlap"] + self.alpha * parts["margin"]
