r"""Losses of the overlap of prediction and reference: Dice, DSC++, Tversky and Focal Tversky, plain and ++.

With probabilities :math:`p`, one-hot or soft labels :math:`y` and an exponent :math:`\gamma`, per item and class:

.. math::
    V = \sum y \quad S = \sum p \quad T = \sum y p \quad
    N = \sum [y (1 - p)]^\gamma \quad P = \sum [(1 - y) p]^\gamma

:func:`overlap_summands` is what is summed, voxel by voxel; :func:`dice_loss` and :func:`tversky_loss` are the losses
from the sums. This is what soft labels, exponents below 1 and ``torch.compile`` run. Integer labels run by the engine's
``Terms``; ``test_fast_path_equals_the_formula`` in ``tests/losses/test_engine.py`` proves both equal.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Absent, Pool, SegmentationLoss, Soft, in_range, one_of, weighted_mean
from .engine import IGNORED, HandSlopes, Sums, Terms, Voxels, power


def overlap_summands(voxels: Voxels, gamma: float, clip: float = 0.0, clip_labels: bool = False) -> dict[str, Tensor]:
    """Summands of V, S, T, N and P; probabilities, and labels if so, are held within ``[clip, 1 - clip]``."""
    p, rest, y, other = voxels.probs, voxels.rest, voxels.labels, 1 - voxels.labels
    if clip:
        p, rest = p.clamp(clip, 1 - clip), rest.clamp(clip, 1 - clip)
    if clip and clip_labels:
        y, other = y.clamp(clip, 1 - clip), other.clamp(clip, 1 - clip)
    parts = {"predicted": p, "overlap": y * p, "missed": power(y * rest, gamma), "spurious": power(other * p, gamma)}
    counted = {name: part * voxels.counted for name, part in parts.items()}
    return {"voxels": voxels.counted, "volume": voxels.labels, **counted}


def semimetric_summands(voxels: Voxels, gamma: float, clip: float = 0.0) -> dict[str, Tensor]:
    r"""Summands for soft labels that are least at the labels, and for labels 0 and 1 those of :func:`overlap_summands`.

    :math:`T = \sum \min(y, p)`, and missed and spurious are what the one lacks of the other,
    :math:`N = \sum (y - p)_+^\gamma` and :math:`P = \sum (p - y)_+^\gamma`: 0 at p = y alone, whatever the exponent.
    With exponent 1 this is the Dice semimetric loss of Wang et al., 2023 (arXiv 2303.16296).
    """
    p, y = (part.clamp(clip, 1 - clip) for part in (voxels.probs, voxels.labels))
    missed, spurious = power((y - p).relu(), gamma), power((p - y).relu(), gamma)
    parts = {"predicted": p, "overlap": torch.minimum(y, p), "missed": missed, "spurious": spurious}
    counted = {name: part * voxels.counted for name, part in parts.items()}
    return {"voxels": voxels.counted, "volume": voxels.labels, **counted}


def dice_loss(s: Sums, smooth: float) -> Tensor:
    r"""One minus the soft overlap of each class, :math:`1 - (2T + s) / (2T + N + P + s)`; ``(B, K)``."""
    return 1 - fraction(2 * s.overlap + smooth, 2 * s.overlap + s.missed + s.spurious + smooth)


def tversky_loss(s: Sums, fn_weight: float, fp_weight: float, smooth: float) -> Tensor:
    r"""One minus the Tversky index of each class, :math:`1 - (T + s) / (T + \delta N + \phi P + s)`; ``(B, K)``."""
    return 1 - fraction(s.overlap + smooth, s.overlap + fn_weight * s.missed + fp_weight * s.spurious + smooth)


def fraction(top: Tensor, bottom: Tensor) -> Tensor:
    """Divide; where nothing is expected and nothing is found, and no smoothing decides, the overlap is 1."""
    empty = bottom == 0
    return torch.where(empty, 1.0, top / torch.where(empty, 1.0, bottom))


def powered(loss: Tensor, exponent: float) -> Tensor:
    """Raise a loss to a power; at 0, where a power below 1 has no slope, the gradient is 0."""
    zero = loss <= 0  # not of a NaN, which stays one
    return torch.where(zero, 0.0, torch.where(zero, 1.0, loss) ** exponent)


class OverlapLoss(SegmentationLoss):
    """Mean over items and classes of one minus an overlap: what this family shares.

    An item without a counted voxel is left out of the mean. With ``pool="batch"`` the sums of all items and all
    processes are added first, with gradient, and the mean is over classes.

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.OverlapLoss()(logits, labels)
        tensor(0.7071)
    """

    #: Whether ``clip`` holds labels as well as probabilities.
    clip_labels = True

    def __init__(
        self, gamma: float = 1.0, smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image",
        absent: Absent = "count", include_background: bool = True, soft: Soft = "product",
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        self.gamma = float(in_range("gamma", gamma, 0, open_low=True))
        self.smooth = in_range("smooth", smooth, 0)
        self.clip = in_range("clip", clip, 0, 0.49)
        self.pool = one_of("pool", pool, Pool)
        self.absent = one_of("absent", absent, Absent)
        self.include_background = include_background
        self.soft = one_of("soft", soft, Soft)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap."""
        if self.soft == "semimetric" and voxels.soft:
            return semimetric_summands(voxels, self.gamma, self.clip)
        return overlap_summands(voxels, self.gamma, self.clip, self.clip_labels)

    def per_class(self, sums: Sums) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``."""
        return dice_loss(sums, self.smooth)

    def overlap(self, sums: Sums, weights: Tensor) -> Tensor:
        """Average the loss over the items and classes that count."""
        if not self.include_background:
            weights = weights * (torch.arange(len(weights), device=weights.device) > 0)
        present = sums.volume > 0 if self.absent == "skip" else sums.voxels > 0
        return weighted_mean(self.per_class(sums), weights * present)

    def value(self, sums: Sums, weights: Tensor) -> Tensor:
        """Compute the loss from the sums."""
        return self.overlap(sums, weights)

    def fast(self) -> Terms | HandSlopes | None:
        """Give the same as terms of the engine."""
        return Terms(self.gamma, self.clip, self.clip_labels)


class DiceLoss(OverlapLoss):
    r"""Soft Dice loss, :math:`1 - (2T + s) / (V + S + s)` for each class; sums without squares.

    The baseline of the DSC++ and the margin papers: no clipping, background included, for each image. With another
    ``gamma`` it is DSC++ without that loss's clipping. Milletari et al., V-Net, 3DV 2016 (arXiv 1606.04797).

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.DiceLoss()(logits, labels)
        tensor(0.7071)
    """

    def __init__(
        self, gamma: float = 1.0, smooth: float = 1e-5, clip: float = 0.0, *, pool: Pool = "image",
        absent: Absent = "count", include_background: bool = True, soft: Soft = "product",
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)

    @property
    def inverse_gamma(self) -> float | None:  # type: ignore[override]
        """Exponent of the DSC++ loss whose optimum this loss has; none at 1, where the optimum is 0 or 1."""
        return self.gamma if self.gamma > 1 else None


class DicePlusPlusLoss(DiceLoss):
    r"""DSC++ loss, :math:`1 - (2T + s) / (2T + N(\gamma) + P(\gamma) + s)` for each class.

    An exponent above 1 weakens the penalty of uncertain errors against that of confident ones. With ``gamma`` 1 it is
    Dice; at 2 a free probability settles at the true one over the overlap reached; above, the background lifts off 0.
    An absent class has a loss near 1 until its probabilities fall to about ``10 * clip``, see ``absent``.
    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.DicePlusPlusLoss(gamma=2.0)(logits, labels)
        tensor(0.6754)
    """

    def __init__(
        self, gamma: float = 2.0, *, smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image",
        absent: Absent = "count", include_background: bool = True, soft: Soft = "product",
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            gamma, smooth, clip, pool=pool, absent=absent, include_background=include_background, soft=soft,
            class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip


class TverskyLoss(OverlapLoss):
    r"""Tversky loss, :math:`1 - (T + s) / (T + \delta N + \phi P + s)` for each class.

    Weights of one half make it Dice. Salehi et al., MLMI 2017 (arXiv 1706.05721).

    Args:
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.TverskyLoss()(logits, labels)
        tensor(0.6730)
    """

    def __init__(
        self, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 1.0, *, smooth: float = 1e-7,
        clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(gamma, smooth, clip, pool, absent, include_background, soft, class_weights, ignore_index)
        self.fn_weight = in_range("fn_weight", fn_weight, 0)
        self.fp_weight = in_range("fp_weight", fp_weight, 0)

    def per_class(self, sums: Sums) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``."""
        return tversky_loss(sums, self.fn_weight, self.fp_weight, self.smooth)


class TverskyPlusPlusLoss(TverskyLoss):
    r"""Tversky++ loss: :class:`TverskyLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.TverskyPlusPlusLoss(fn_weight=0.6, fp_weight=0.4)(logits, labels)
        tensor(0.6629)
    """

    def __init__(
        self, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 2.0, *, smooth: float = 1e-7,
        clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        soft: Soft = "product", class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            fn_weight, fp_weight, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip


class FocalTverskyLoss(TverskyLoss):
    r"""Focal Tversky loss: the Tversky loss of each class to a power, then the mean.

    Abraham and Khan, ISBI 2019 (arXiv 1810.07842), in the form of Yeung et al.

    Args:
        exponent: Power of each class's loss.
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.FocalTverskyLoss()(logits, labels)
        tensor(0.7382)
    """

    def __init__(
        self, exponent: float = 0.75, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 1.0, *,
        smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count",
        include_background: bool = True, soft: Soft = "product", class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            fn_weight, fp_weight, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip
        self.exponent = in_range("exponent", exponent, 0, open_low=True)

    def per_class(self, sums: Sums) -> Tensor:
        """Compute the loss of each item and class, ``(B, K)``."""
        return powered(super().per_class(sums), self.exponent)


class FocalTverskyPlusPlusLoss(FocalTverskyLoss):
    r"""Focal Tversky++ loss: :class:`FocalTverskyLoss` with an exponent on each voxel's error.

    Yeung et al., Calibrating the Dice loss, J Digit Imaging 2023 (arXiv 2111.00528).

    Args:
        exponent: Power of each class's loss.
        fn_weight: Weight of the missed part.
        fp_weight: Weight of the spurious part.
        gamma: Exponent on each voxel's missed and spurious probability.
        smooth: Added above and below the fraction.
        clip: Probabilities and labels are held within ``[clip, 1 - clip]``; 0 is off.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        soft: Form of the overlap with soft labels: ``product``, or ``semimetric``, which is least at the labels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.FocalTverskyPlusPlusLoss(exponent=0.5)(logits, labels)
        tensor(0.7900)
    """

    def __init__(
        self, exponent: float = 0.75, fn_weight: float = 0.7, fp_weight: float = 0.3, gamma: float = 2.0, *,
        smooth: float = 1e-7, clip: float = 1e-7, pool: Pool = "image", absent: Absent = "count",
        include_background: bool = True, soft: Soft = "product", class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            exponent, fn_weight, fp_weight, gamma, smooth=smooth, clip=clip, pool=pool, absent=absent,
            include_background=include_background, soft=soft, class_weights=class_weights, ignore_index=ignore_index
        )  # fmt: skip
