"""Compounds of an overlap loss and a cross entropy that share one pass over the voxels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from losses.base import in_range, one_of, result, sum_over_processes
from losses.cross_entropy import cross_entropy_rows
from losses.margin import Penalty, margin_penalty
from losses.overlap import OverlapLoss
from losses.statistics import OVERLAP_ROWS, OverlapStatistics, overlap_rows, statistics_of
from losses.voxelwise import VoxelFormula, Voxels, class_rows, ratio, voxel_sums


class CompoundLoss(OverlapLoss):
    """An overlap loss plus terms that are means over voxels, from one pass: what the compounds share.

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    def __init__(self, gamma: float, **options: Any) -> None:
        super().__init__(gamma, **options)

    def joint_sums(self, logits: Tensor, target: Tensor, *formulas: VoxelFormula) -> tuple[OverlapStatistics, Tensor]:
        """Form the overlap statistics and the rows ``(R, K)`` of further formulas, summed over the batch.

        With ``pool="batch"`` both are summed over the processes too.
        """
        overlap = partial(overlap_rows, gamma=self.gamma, clip=self.clip, clip_labels=self.clip_labels)
        rows = voxel_sums(logits, target, self.ignore_index, overlap, *formulas)
        if self.pool == "batch":
            rows = sum_over_processes(rows.sum(0, keepdim=True))
        statistics = statistics_of(
            rows[:, :OVERLAP_ROWS], self.gamma, self.clip, self.clip_labels, target.is_floating_point()
        )
        return statistics, rows[:, OVERLAP_ROWS:].sum(0)

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
        entropy_rows = partial(cross_entropy_rows, clip=self.clip)
        statistics, (volume, entropy) = self.joint_sums(logits, target, entropy_rows)
        weights = self.weights_for(logits)
        parts = {
            "overlap": self.mean(statistics, logits),
            "cross_entropy": ratio((weights * entropy).sum(), (weights * volume).sum()),
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
        penalty: Form of the penalty, see :class:`~losses.margin.MarginLabelSmoothingLoss`.
        include_background: Whether class 0 takes part in the Dice term.
        **options: See :class:`~losses.overlap.OverlapLoss`.
    """

    def __init__(
        self,
        margin: float = 10.0,
        alpha: float = 0.1,
        overlap_weight: float = 1.0,
        penalty: Penalty = "l1",
        include_background: bool = False,
        **options: Any,
    ) -> None:
        defaults = {"gamma": 1.0, "smooth": 1e-5, "clip": 0.0}
        super().__init__(**{**defaults, "include_background": include_background, **options})
        self.margin = in_range("margin", margin, 0)
        self.alpha = in_range("alpha", alpha, 0)
        self.overlap_weight = in_range("overlap_weight", overlap_weight, 0)
        self.penalty = one_of("penalty", penalty, ("l1", "squared_hinge", "equality"))

    def _voxel_rows(self, voxels: Voxels) -> Tensor:
        penalty = margin_penalty(voxels.distances, self.margin, self.penalty) * voxels.counted
        return torch.cat([cross_entropy_rows(voxels), class_rows(penalty)], dim=1)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the overlap loss, the cross entropy and the unweighted penalty."""
        statistics, (volume, entropy, penalty) = self.joint_sums(logits, target, self._voxel_rows)
        weights = self.weights_for(logits)
        parts = {
            "overlap": self.mean(statistics, logits),
            "cross_entropy": ratio((weights * entropy).sum(), (weights * volume).sum()),
            "margin": ratio(penalty.mean(), volume.sum()),
        }
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["cross_entropy"] + self.overlap_weight * parts["overlap"] + self.alpha * parts["margin"]
