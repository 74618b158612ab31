"""Losses that look at the labels around a voxel: SVLS smooths labels near boundaries, NACL steers the logits."""

from typing import Any, Literal

import torch
from torch import Tensor

from losses.base import SegmentationLoss, in_range, one_of, result
from losses.cross_entropy import cross_entropy_rows
from losses.inputs import IGNORED, compact_labels, compute_dtype
from losses.voxelwise import Voxels, class_rows, ratio, voxel_sums

Kernel = Literal["mean", "gaussian"]


def window_weights(kernel: str, size: int, sigma: float, spatial_dims: int) -> tuple[Tensor, float]:
    """Weights along one axis of a separable window, and an extra weight of the centre; all weights sum to 1.

    ``mean`` weighs all voxels alike. ``gaussian`` is the kernel of SVLS: a Gaussian whose centre is raised to the sum
    of all others, so that a voxel's own label has half the weight whatever ``sigma``.
    """
    if kernel == "mean":
        return torch.full((size,), 1 / size, dtype=torch.float64), 0.0
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    axis = torch.exp(-offsets.square() / (2 * sigma**2))
    others = float(axis.sum()) ** spatial_dims - 1
    return axis * (2 * others) ** (-1 / spatial_dims), (others - 1) / (2 * others)


def neighbour_shares(
    target: Tensor, logits: Tensor, ignore_index: int | None, weights: tuple[Tensor, float], padding: str
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
    classes, dtype = max(logits.shape[1], 2), compute_dtype(logits)
    soft = target.is_floating_point()
    labels = target if soft else compact_labels(target, classes, ignore_index)
    counted = labels.sum(1) > 0 if soft else labels != IGNORED
    beyond = 1.0 if padding == "zero" else 0.0
    shares = torch.empty((len(labels), classes, *counted.shape[1:]), dtype=dtype, device=labels.device)
    for item, mask, row in zip(labels, counted, shares, strict=True):
        for k in range(classes):
            own = item[k].to(dtype) if soft else (item == k).to(dtype)
            row[k] = _window_sum(own, weights, padding, beyond if k == 0 else 0.0)
        row /= _window_sum(mask.to(dtype), weights, padding, beyond).clamp_min(torch.finfo(dtype).tiny)
        row *= mask
    return shares


def _window_sum(values: Tensor, weights: tuple[Tensor, float], padding: str, outside: float) -> Tensor:
    """Sum a window around each voxel of one item, an axis at a time."""
    axis_weights, centre = weights
    radius = len(axis_weights) // 2
    total = values
    for axis in range(values.ndim):
        total = _window_axis(total, axis, radius, axis_weights, padding, outside)
        outside *= float(axis_weights.sum())
    return total.add(values, alpha=centre) if centre else total


def _window_axis(values: Tensor, axis: int, radius: int, weights: Tensor, padding: str, outside: float) -> Tensor:
    """Weighted sum of shifted copies along one axis."""
    size = values.shape[axis]
    shape = list(values.shape)
    shape[axis] = radius
    if padding == "replicate":
        before, after = (values.narrow(axis, end, 1).expand(shape) for end in (0, size - 1))
    else:
        before = after = values.new_full(shape, outside)
    padded = torch.cat([before, values, after], dim=axis)
    total = padded.narrow(axis, 0, size) * float(weights[0])
    for offset, weight in enumerate(weights[1:].tolist(), start=1):
        total.add_(padded.narrow(axis, offset, size), alpha=weight)
    return total


class NeighbourLoss(SegmentationLoss):
    """A loss with a window of labels around each voxel: what SVLS and NACL share.

    Args:
        kernel: Weights of the window: all alike, or the Gaussian of SVLS with half of the weight at the centre.
        kernel_size: Odd width of the window in voxels.
        sigma: Width of the Gaussian in voxels.
        padding: What lies beyond the border: a copy of it, or class 0.
        **options: ``class_weights`` (of the cross entropy) and ``ignore_index``.
    """

    def __init__(self, kernel: Kernel, kernel_size: int, sigma: float, padding: str, **options: Any) -> None:
        super().__init__(**options)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
        self.kernel = one_of("kernel", kernel, ("mean", "gaussian"))
        self.kernel_size = kernel_size
        self.sigma = in_range("sigma", sigma, 0, open_low=True)
        self.padding = one_of("padding", padding, ("replicate", "zero"))

    def shares(self, logits: Tensor, target: Tensor) -> Tensor:
        """Share of each class around each voxel, ``(B, K, *S)``."""
        weights = window_weights(self.kernel, self.kernel_size, self.sigma, logits.ndim - 2)
        return neighbour_shares(target, logits, self.ignore_index, weights, self.padding)


class SpatiallyVaryingLabelSmoothingLoss(NeighbourLoss):
    r"""Cross entropy against labels smoothed by their neighbours (SVLS).

    The soft label is the weighted share of each class in a window whose centre has half the weight: hard inside an
    object, about 3/4 at a flat boundary. Islam and Glocker, IPMI 2021 (arXiv 2104.05788).

    Args:
        sigma: Width of the Gaussian in voxels.
        kernel_size: Odd width of the window in voxels.
        **options: ``class_weights`` and ``ignore_index`` of :class:`~losses.base.SegmentationLoss`.
    """

    def __init__(self, sigma: float = 1.0, kernel_size: int = 3, **options: Any) -> None:
        super().__init__("gaussian", kernel_size, sigma, "replicate", **options)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        soft = self.shares(logits, target)
        volume, entropy = voxel_sums(logits, soft, None, cross_entropy_rows).sum(0)
        weights = self.weights_for(logits)
        return result(ratio((weights * entropy).sum(), (weights * volume).sum()), logits)


class NeighborAwareCalibrationLoss(NeighbourLoss):
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
        **options: ``class_weights`` (of the cross entropy) and ``ignore_index``.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        kernel: Kernel = "mean",
        distance: Literal["l1", "l2"] = "l1",
        kernel_size: int = 3,
        sigma: float = 1.0,
        padding: Literal["zero", "replicate"] | None = None,
        **options: Any,
    ) -> None:
        published = "replicate" if kernel == "gaussian" else "zero"
        super().__init__(kernel, kernel_size, sigma, padding or published, **options)
        self.alpha = in_range("alpha", alpha, 0)
        self.distance = one_of("distance", distance, ("l1", "l2"))

    def rows(self, voxels: Voxels) -> Tensor:
        """Sum labels, cross entropy and penalty of a chunk: ``(G, 3, K)``."""
        gap = (voxels.extra[0].to(voxels.logits.dtype) - voxels.logits) * voxels.counted
        penalty = gap.abs() if self.distance == "l1" else gap.square()
        return torch.cat([cross_entropy_rows(voxels), class_rows(penalty)], dim=1)

    def components(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the cross entropy and the unweighted penalty."""
        extra = [self.shares(logits, target)]
        volume, entropy, penalty = voxel_sums(logits, target, self.ignore_index, self.rows, extra=extra).sum(0)
        weights = self.weights_for(logits)
        cross_entropy = ratio((weights * entropy).sum(), (weights * volume).sum())
        parts = {"cross_entropy": cross_entropy, "neighbours": ratio(penalty.mean(), volume.sum())}
        return {name: result(value, logits) for name, value in parts.items()}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        parts = self.components(logits, target)
        return parts["cross_entropy"] + self.alpha * parts["neighbours"]
