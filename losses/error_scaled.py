r"""The Dice loss with each voxel's slope scaled by its error, a gradient that no loss value has."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .base import Absent, Pool
from .engine import IGNORED, Voxels
from .overlap import OverlapLoss


class ErrorScaledDiceLoss(OverlapLoss):
    r"""Soft Dice loss whose slope by each probability is multiplied by that voxel's error :math:`|p - y|`.

    The value is that of ``DiceLoss``; the gradient is not that of the value, nor of any other:
    :math:`|p - y| \, \partial L / \partial p` by class, carried on through softmax. The plain slope of Dice is the same
    for all voxels of a label, however sure they are; with the factor a free probability of true frequency :math:`\pi`
    rests at odds of :math:`\frac{2 - D}{D} \frac{\pi}{1 - \pi}` where the class reached the soft overlap :math:`D`:
    above 1/2 just where :math:`\pi > D / 2`, the cut of the best Dice. A soft label is such a frequency.

    After what the abstract of Lux et al., MIDL 2026 (PMLR 315:3397-3423) says of their correction of region losses, a
    factor that scales the partial derivative linearly with the error; it may differ from theirs in detail.

    Args:
        smooth: Added above and below the fraction.
        pool: Form the overlap for each image, or for the whole batch over all processes.
        absent: A class that the reference lacks counts, near 1 once any of it is predicted, or is left out (``skip``).
        include_background: Whether class 0 takes part.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4).requires_grad_(), torch.eye(4).long()[None]
        >>> losses.ErrorScaledDiceLoss()(logits, labels)
        tensor(0.7071, grad_fn=<ToCopyBackward0>)
        >>> plain = torch.autograd.grad(losses.DiceLoss()(logits, labels), logits)[0]
        >>> scaled = torch.autograd.grad(losses.ErrorScaledDiceLoss()(logits, labels), logits)[0]
        >>> error = (logits.softmax(1)[:, 1] - labels).abs()
        >>> bool(torch.allclose(scaled[:, 1], plain[:, 1] * error))  # two classes err alike
        True
    """

    def __init__(
        self, smooth: float = 1e-5, *, pool: Pool = "image", absent: Absent = "count", include_background: bool = True,
        class_weights: Sequence[float] | None = None, ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__(
            1.0, smooth, 0.0, pool, absent, include_background, class_weights=class_weights, ignore_index=ignore_index
        )

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give the summands of the overlap, of probabilities that pass on a scaled gradient."""
        y, p = voxels.labels, voxels.probs
        of_class, of_others = _ScaledGradient.apply(p, 1 - p), _ScaledGradient.apply(p, p.detach())
        parts = {"overlap": y * of_class, "missed": y * (1 - of_class), "spurious": (1 - y) * of_others}
        counted = {name: part * voxels.counted for name, part in parts.items()}
        return {"voxels": voxels.counted, "volume": y, **counted}

    def fast(self) -> None:
        """Give none: the engine's terms have the gradient of the value."""


class _ScaledGradient(torch.autograd.Function):
    """Values as they are; their gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None
