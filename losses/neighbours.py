"""Losses that look at the labels around a voxel: SVLS smooths labels near boundaries, NACL steers the logits.

:func:`neighbour_shares` is what both see, once for each voxel; the formulas are the ``summands``. SVLS runs by
autograd, NACL by ``slopes.neighbours`` of the engine, which ``tests/losses/test_engine.py`` proves equal.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .base import LossOfParts, SegmentationLoss, in_range, one_of, ratio, weighted_cost
from .cross_entropy import VoxelLoss, entropy_summands
from .engine import IGNORED, HandSlopes, Sums, Voxels, all_counted, compact_labels, compute_dtype, flatten_pair, slopes

Kernel = Literal["mean", "gaussian"]
Padding = Literal["replicate", "zero"]
Distance = Literal["l1", "l2"]


def window_weights(kernel: str, size: int, sigma: float, spatial_dims: int) -> tuple[list[float], float]:
    """Weights along one axis of a separable window, and an extra weight of the centre; all weights sum to 1.

    ``mean`` weighs all voxels alike. ``gaussian`` is the kernel of SVLS: a Gaussian whose centre is raised to the sum
    of all others, so that a voxel's own label has half the weight whatever ``sigma``.
    """
    if kernel == "mean":
        return [1 / size] * size, 0.0
    axis = [math.exp(-((offset - size // 2) ** 2) / (2 * sigma**2)) for offset in range(size)]
    others = sum(axis) ** spatial_dims - 1
    scale = (2 * others) ** (-1 / spatial_dims) if others else 0.0
    return [weight * scale for weight in axis], (others - 1) / (2 * others) if others else 1.0


def neighbour_shares(
    target: Tensor, logits: Tensor, ignore_index: int | None, weights: tuple[list[float], float], padding: str
) -> Tensor:
    """Weighted share of each class in the window around each voxel.

    Args:
        target: ``(B, *S)`` labels or ``(B, K, *S)`` soft labels; ignored neighbours are left out, the rest weigh more.
        logits: ``(B, K, *S)``, for the number of classes and the precision.
        ignore_index: Label that does not count.
        weights: From :func:`window_weights`.
        padding: ``replicate`` the border, or ``zero``: beyond it lies class 0.

    Returns:
        ``(B, K, *S)``; 0 at ignored voxels.
    """
    flatten_pair(logits, target)  # for its checks
    classes, dtype = max(logits.shape[1], 2), compute_dtype(logits)
    soft = target.is_floating_point()
    labels = target if soft else compact_labels(target, classes, ignore_index)
    counted = labels.sum(1) > 0 if soft else labels != IGNORED
    whole = not soft and all_counted(labels, classes)
    beyond = 1.0 if padding == "zero" else 0.0
    shares = torch.empty((len(labels), classes, *counted.shape[1:]), dtype=dtype, device=labels.device)
    for item, mask, row in zip(labels, counted, shares, strict=True):
        # Where every voxel counts, the first class is what the others leave.
        for k in range(1 if whole else 0, classes):
            own = item[k].to(dtype) if soft else (item == k).to(dtype)
            row[k] = _window_sum(own, weights, padding, beyond if k == 0 else 0.0)
        if whole:
            torch.sum(row[1:], dim=0, out=row[0]).neg_().add_(1).clamp_min_(0)
        else:
            row /= _window_sum(mask.to(dtype), weights, padding, beyond).clamp_min(torch.finfo(dtype).tiny)
            row *= mask
    return shares


def _window_sum(values: Tensor, weights: tuple[list[float], float], padding: str, outside: float) -> Tensor:
    """Sum a window around each voxel of one item, an axis at a time."""
    axis_weights, centre = weights
    total = values
    for axis in range(values.ndim):
        total = _window_axis(total, axis, axis_weights, padding, outside)
        outside *= sum(axis_weights)
    return total.add_(values, alpha=centre) if centre else total


def _window_axis(values: Tensor, axis: int, weights: list[float], padding: str, outside: float) -> Tensor:
    """Weighted sum of shifted copies along one axis."""
    size, radius = values.shape[axis], len(weights) // 2
    total = values * weights[radius]
    for offset, weight in enumerate(weights, start=-radius):
        reach = min(abs(offset), size)
        if not reach:
            continue
        # Shifted forwards or backwards by the offset; what reaches beyond the border is padding.
        source, inside, border = (reach, 0, size - reach) if offset > 0 else (0, reach, 0)
        total.narrow(axis, inside, size - reach).add_(values.narrow(axis, source, size - reach), alpha=weight)
        edge = total.narrow(axis, border, reach)
        if padding == "replicate":
            edge.add_(values.narrow(axis, size - 1 if offset > 0 else 0, 1), alpha=weight)
        elif outside:
            edge.add_(outside * weight)
    return total


class NeighbourLoss(SegmentationLoss):
    """A loss with a window of labels around each voxel: what SVLS and NACL share.

    Args:
        kernel: Weights of the window: all alike, or the Gaussian of SVLS with half of the weight at the centre.
        kernel_size: Odd width of the window in voxels.
        sigma: Width of the Gaussian in voxels.
        padding: What lies beyond the border: a copy of it, or class 0.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.
    """

    def __init__(
        self, kernel: Kernel, kernel_size: int, sigma: float, padding: Padding, class_weights: Sequence[float] | None,
        ignore_index: int | None
    ) -> None:  # fmt: skip
        super().__init__(class_weights, ignore_index)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
        self.kernel = one_of("kernel", kernel, Kernel)
        self.kernel_size = kernel_size
        self.sigma = in_range("sigma", sigma, 0, open_low=True)
        self.padding = one_of("padding", padding, Padding)

    def shares(self, logits: Tensor, target: Tensor) -> Tensor:
        """Share of each class around each voxel, ``(B, K, *S)``."""
        weights = window_weights(self.kernel, self.kernel_size, self.sigma, logits.ndim - 2)
        return neighbour_shares(target, logits, self.ignore_index, weights, self.padding)


class SpatiallyVaryingLabelSmoothingLoss(NeighbourLoss, VoxelLoss):
    r"""Cross entropy against labels smoothed by their neighbours (SVLS).

    The soft label is the weighted share of each class in a window whose centre has half the weight: hard inside an
    object, about 3/4 at a flat boundary. Islam and Glocker, IPMI 2021 (arXiv 2104.05788).

    Args:
        sigma: Width of the Gaussian in voxels.
        kernel_size: Odd width of the window in voxels.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.SpatiallyVaryingLabelSmoothingLoss()(logits, labels)
        tensor(1.6678)
    """

    def __init__(
        self, sigma: float = 1.0, kernel_size: int = 3, *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        super().__init__("gaussian", kernel_size, sigma, "replicate", class_weights, ignore_index)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give smoothed labels and the cross entropy against them."""
        soft = voxels.extra[0].to(voxels.logits.dtype)
        return {"volume": soft, "cost": -soft * voxels.log_probs}

    def extra(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Give the smoothed labels."""
        return [self.shares(logits, target)]


class NeighborAwareCalibrationLoss(LossOfParts, NeighbourLoss):
    r"""Cross entropy plus ``alpha`` times the mean distance of logits from the shares of the classes around (NACL).

    :math:`CE + \alpha \, \mathrm{mean}_{ik} |\tau_{ik} - z_{ik}|`, with the raw logits.
    Murugesan et al., MICCAI 2023 (arXiv 2303.06268).

    Args:
        alpha: Weight of the penalty; may be scheduled.
        kernel: Weights of the window: all alike, or the Gaussian of SVLS.
        distance: Absolute or squared distance.
        kernel_size: Odd width of the window in voxels.
        sigma: Width of the Gaussian in voxels.
        padding: What lies beyond the border: class 0, or a copy of it; left out, class 0 for ``mean`` and a copy for
            ``gaussian``, as published.
        class_weights: One weight for each class, background first; they weigh the cross entropy.
        ignore_index: Label of voxels that do not count.

    Example:
        >>> import torch, losses
        >>> logits, labels = torch.linspace(-2, 2, 32).view(1, 2, 4, 4), torch.eye(4).long()[None]
        >>> losses.NeighborAwareCalibrationLoss()(logits, labels)
        tensor(1.8042)
    """

    def __init__(
        self, alpha: float = 0.1, kernel: Kernel = "mean", distance: Distance = "l1", kernel_size: int = 3,
        sigma: float = 1.0, padding: Padding | None = None, *, class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED
    ) -> None:  # fmt: skip
        published: Padding = "replicate" if kernel == "gaussian" else "zero"
        super().__init__(kernel, kernel_size, sigma, padding or published, class_weights, ignore_index)
        self.alpha = in_range("alpha", alpha, 0)
        self.distance = one_of("distance", distance, Distance)

    def summands(self, voxels: Voxels) -> dict[str, Tensor]:
        """Give labels, cross entropy and penalty."""
        gap = (voxels.extra[0].to(voxels.logits.dtype) - voxels.logits) * voxels.counted
        return entropy_summands(voxels) | {"neighbours": gap.abs() if self.distance == "l1" else gap.square()}

    def extra(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Give the share of each class around each voxel."""
        return [self.shares(logits, target)]

    def fast(self) -> HandSlopes:
        """Give the slopes by hand."""
        return lambda voxels, weights: slopes.neighbours(voxels, weights, self.distance)

    def parts(self, sums: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted penalty."""
        penalty = ratio(sums.neighbours.sum(0).mean(), sums.volume.sum())
        return {"cross_entropy": weighted_cost(sums.cost, sums.volume, weights), "neighbours": penalty}

    def part_weights(self) -> dict[str, float]:
        """Give the weights of the parts."""
        return {"neighbours": self.alpha}
