"""What happens at the boundary: boundary IoU, and calibration against the distance to it."""

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .base import StateOptions, VoxelMetric
from .binning import CASE_BINS, BinAccumulator, Bins, View, add_view, iter_blocks, predict_labels, view_channels
from .checks import check_choice
from .regions import box_filter, label_changes

DISTANCES = (-16.0, -8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0, 16.0)


def inner_band(mask: Tensor, width: int) -> Tensor:
    """Voxels (*S) bool of the mask within ``width`` voxels (chessboard distance) of its complement.

    What lies outside the image is outside the mask.
    """
    padded = functional.pad(mask.to(torch.uint8), (width, width) * mask.ndim)
    inside = box_filter(padded, width, torch.minimum)[tuple(slice(width, width + n) for n in mask.shape)]
    return mask & ~inside.bool()


def boundary_iou(prediction: Tensor, target: Tensor, width: int | None = None, keep: Tensor | None = None) -> Tensor:
    """IoU of the inner boundary bands of two masks (Cheng et al. 2021), scalar float64; NaN where both are empty.

    Args:
        prediction: (*S) bool.
        target: (*S) bool.
        width: Width of the band in voxels; 2 % of the image's diagonal, at least 1, if None.
        keep: (*S) bool, the voxels that count; all if None.
    """
    if width is None:
        width = max(1, round(0.02 * math.hypot(*target.shape)))
    a, b = inner_band(prediction, width), inner_band(target, width)
    if keep is not None:
        a, b = a & keep, b & keep
    return (a & b).sum().double() / (a | b).sum()


class BoundaryIoU(VoxelMetric):
    """Boundary IoU, mean over the foreground classes of means over cases; classes that are in neither map are left out.

    Args:
        num_classes: Number of classes K.
        width: Width of the band in voxels; 2 % of the image's diagonal if None.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> image = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> image[:, 2:6, 2:6] = 1
        >>> probs = torch.stack([1.0 - image, 1.0 * image], 1)
        >>> metric = BoundaryIoU(num_classes=2)
        >>> metric.update(probs, image)
        >>> float(metric.compute())
        1.0
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        width: int | None = None,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, "all", "per_case", ignore_index, validate, **state)
        if width is not None and width < 1:
            raise ValueError(f"width={width} must be at least 1 voxel")
        self.width = width
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("case_sum", torch.zeros(num_classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            predicted = predict_labels(item)
            for k in range(1, self.num_classes):
                value = boundary_iou(predicted == k, labels == k, self.width, keep)
                self.case_sum[k] += value.nan_to_num(0.0)
                self.cases[k] += ~value.isnan()

    def compute(self) -> Tensor:
        """The score, scalar float64."""
        self.raise_noted()
        return (self.case_sum / self.cases)[1:].nanmean()


def boundary_distance(target: Tensor, valid: Tensor | None = None, spacing: Sequence[float] | None = None) -> Tensor:
    """Signed distance (*S) float32 in mm to the nearest change of the label.

    Below 0 in the foreground, above 0 in the background; infinite where the labels never change.

    Args:
        target: (*S) labels.
        valid: (*S) bool; ignored voxels make no boundary.
        spacing: Voxel size in mm; 1 each if None.
    """
    from scipy.ndimage import distance_transform_edt

    everywhere = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
    edge = label_changes(target.to(torch.uint8), everywhere, 1).cpu().numpy()
    if not edge.any():
        distance = np.full(edge.shape, np.inf)
    else:
        sides = (1.0,) * target.ndim if spacing is None else tuple(spacing)
        distance = distance_transform_edt(~edge, sampling=sides) + min(sides) / 2
    signed = torch.from_numpy(distance.astype(np.float32)).to(target.device)
    return torch.where(target == 0, signed, -signed)


def distance_bins(
    probs: Tensor,
    target: Tensor,
    edges: Sequence[float] = DISTANCES,
    spacing: Sequence[float] | None = None,
    view: View = "top_label",
    ignore_index: int | None = 255,
) -> Bins:
    """Bins of the shells between distances to the boundary, for calibration against distance.

    Args:
        probs: (K, *S).
        target: (*S) labels.
        edges: Signed distances in mm, ascending; E of them make E + 1 shells.
        spacing: Voxel size in mm; 1 each if None.
        view: As for `ReliabilityBins`.
        ignore_index: Label of voxels that never count, or None.

    Returns:
        Fields (E + 1, C, 300), the deepest foreground first.

    Example:
        >>> image = torch.zeros(8, 8, dtype=torch.long)
        >>> image[2:6, 2:6] = 1
        >>> probs = torch.stack([1.0 - image, 1.0 * image])
        >>> shells = distance_bins(probs, image, edges=(-1.0, 0.0, 1.0))
        >>> shells.count.sum((1, 2)).tolist()
        [4, 12, 20, 28]
    """
    check_choice("view", view, View)
    valid = None if ignore_index is None else target != ignore_index
    shells = len(edges) + 1
    cell = torch.bucketize(boundary_distance(target, valid, spacing), torch.tensor(edges, device=target.device))
    cell = cell if valid is None else cell.masked_fill(~valid, shells)
    sums = BinAccumulator(view_channels(len(probs), view), shells, CASE_BINS, probs.device)
    for p, y, c in iter_blocks(probs.reshape(len(probs), -1), target.reshape(-1), cell.reshape(-1)):
        add_view(sums, view, p.double(), y, sums.cell_offset(c))
    return Bins(*(torch.stack(fields) for fields in zip(*sums.bins(), strict=True)))
