"""Compounds of an overlap loss and a cross entropy that share one pass over the voxels.

The formulas are those of :mod:`losses.overlap`, :mod:`losses.cross_entropy` and :mod:`losses.margin` side by side; the
engine's ``Terms`` run them in one pass, which ``tests/losses/test_engine.py`` proves equal.
"""

from collections.abc import Sequence

from torch import Tensor

from .base import Absent, LossOfParts, Pool, Soft, in_range, ratio, weighted_cost
from .cross_entropy import cost_summands
from .engine import IGNORED, Cost, HandSlopes, Sums, Terms, Voxels
from .margin import margin_penalty
from .overlap import OverlapLoss


class CompoundLoss(LossOfParts, OverlapLoss):
    """An overlap loss plus terms that are means over voxels, from one pass: what the compounds share."""

    def own_cost(self) -> Cost:
        """Give the cost of each voxel that stands beside the overlap: the cross entropy."""
        return Cost(self.clip)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap and of the cost."""
        return super().summands(voxels) | cost_summands(voxels, self.own_cost())

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(self.gamma, self.clip, self.clip_labels, self.own_cost())


class ComboLoss(CompoundLoss):
    r"""Dice plus cross entropy: :math:`w_o (1 - \mathrm{overlap}) + w_e \, CE`.

    The defaults are those of the DSC++ paper's code, its clipping of the probabilities included.
    Taghanaky et al., CMIG 2019 (arXiv 1805.02798), in the form of Yeung et al.

    Args:
        overlap_weight: Weight of the Dice term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ComboLoss()(logits, labels)
        tensor(2.3749)
    """

    def __init__(
        self, overlap_weight: float = 1.0, entropy_weight: float = 1.0, gamma: float = 1.0, *, smooth: float = 1e-7,
        clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)
        self.overlap_weight = in_range("overlap_weight", overlap_weight, 0)
        self.entropy_weight = in_range("entropy_weight", entropy_weight, 0)

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the overlap loss and the cross entropy."""
        entropy = weighted_cost(sums.cost, sums.volume, weights)
        return {"overlap": self.overlap(sums, weights), "cross_entropy": entropy}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"overlap": self.overlap_weight, "cross_entropy": self.entropy_weight}


class ComboPlusPlusLoss(ComboLoss):
    """DSC++ plus cross entropy: :class:`ComboLoss` with an exponent on each voxel's error.

    Args:
        overlap_weight: Weight of the DSC++ term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.ComboPlusPlusLoss()(logits, labels)
        tensor(2.3433)
    """

    def __init__(
        self, overlap_weight: float = 1.0, entropy_weight: float = 1.0, gamma: float = 2.0, *, smooth: float = 1e-7,
        clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            overlap_weight, entropy_weight, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip


class DiceCrossEntropyLoss(ComboLoss):
    """Dice plus cross entropy as in the margin papers: :class:`ComboLoss` with their smoothing and no clipping.

    Args:
        overlap_weight: Weight of the Dice term.
        entropy_weight: Weight of the cross entropy.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.DiceCrossEntropyLoss()(logits, labels)
        tensor(2.3749)
    """

    def __init__(
        self, overlap_weight: float = 1.0, entropy_weight: float = 1.0, gamma: float = 1.0, smooth: float = 1e-5,
        clip: float = 0.0, *, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            overlap_weight, entropy_weight, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip


class MarginDiceLoss(CompoundLoss):
    r"""Margin-based label smoothing plus Dice: :math:`CE + w_o (1 - \mathrm{overlap}) + \alpha \, \mathrm{hinge}`.

    As published the Dice term leaves the background out. Murugesan et al., Medical Image Analysis 2023
    (arXiv 2209.09641).

    Args:
        margin: Distance between logits that costs nothing.
        alpha: Weight of the penalty; may be scheduled.
        overlap_weight: Weight of the Dice term.
        include_background: Whether class 0 takes part in the Dice term.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first; they weigh both terms.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.MarginDiceLoss(margin=1.0)(logits, labels)
        tensor(2.3310)
    """

    def __init__(
        self, margin: float = 10.0, alpha: float = 0.1, overlap_weight: float = 1.0, include_background: bool = False,
        *, gamma: float = 1.0, smooth: float = 1e-5, clip: float = 0.0, pool: Pool = "image", absent: Absent = "count",
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)
        self.margin = in_range("margin", margin, 0)
        self.alpha = in_range("alpha", alpha, 0)
        self.overlap_weight = in_range("overlap_weight", overlap_weight, 0)

    def own_cost(self) -> Cost:
        """Give the exact cross entropy."""
        return Cost()

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap, the cross entropy and the penalty."""
        hinge = margin_penalty(voxels.distances, self.margin, "l1") * voxels.counted
        return super().summands(voxels) | {"hinge": hinge}

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(self.gamma, self.clip, self.clip_labels, self.own_cost(), self.margin)

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the overlap loss, the cross entropy and the unweighted penalty."""
        entropy = weighted_cost(sums.cost, sums.volume, weights)
        margin = ratio(sums.hinge.sum(0).mean(), sums.volume.sum())
        return {"cross_entropy": entropy, "overlap": self.overlap(sums, weights), "margin": margin}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"overlap": self.overlap_weight, "margin": self.alpha}
