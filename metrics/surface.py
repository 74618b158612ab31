"""Surface distances in mm, in 2D and 3D: HD95, average symmetric surface distance, normalised surface Dice.

The surface of a mask is its voxels with a neighbour (4 in 2D, 6 in 3D) outside it; what lies outside the image is
outside the mask. For NSD it is, as its authors define it, made of elements between the voxels, each with its length
or area. Work is done inside the smallest box around both masks. Distances come from a k-d tree of surface voxels, or
from a distance transform where these are many.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import StateOptions, VoxelMetric
from .binning import predict_labels
from .checks import check_choice

Mask = NDArray[np.bool_]
MANY_VOXELS = 150_000  # surface voxels from which on the distance transform of the box is the faster way
OneEmpty = Literal["diagonal", "skip"]
Elements = Literal["area", "voxels"]
ROUNDING = 1 + 1e-9  # 3 * 0.7 mm apart is within 2.1 mm
COLUMNS = ("hd95", "assd", "nsd")


class SurfaceDistances(NamedTuple):
    """Distances in mm of the surface voxels of two masks, each (number of surface voxels,).

    Attributes:
        forward: From the first mask's surface to the second's.
        backward: From the second's to the first's.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]


def find_box(mask: Mask) -> tuple[slice, ...]:
    """Smallest box that holds the mask (*S); of an empty mask an empty box."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        part = mask[tuple(box)]
        used = np.flatnonzero(part.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        if not len(used):
            return (slice(0, 0),) * mask.ndim
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)


def find_surface(mask: Mask) -> Mask:
    """Voxels (*S) of the mask with a direct neighbour outside it."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        out, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        out[1:] &= source[:-1]
        out[:-1] &= source[1:]
        out[[0, -1]] = False
    return mask & ~inner


def surface_distances(a: Mask, b: Mask, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks (*S) that are not empty.

    Args:
        a: First mask.
        b: Second mask.
        spacing: Voxel size in mm, one number an axis.
    """
    box = find_box(a | b)
    first, second = find_surface(a[box]), find_surface(b[box])
    return SurfaceDistances(_distances(first, second, spacing), _distances(second, first, spacing))


def _distances(source: Mask, goal: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance of every source voxel to the nearest goal voxel; those that are both are known to be at 0."""
    places = np.flatnonzero(source)
    apart = ~goal.ravel()[places]
    out = np.zeros(len(places))
    if not apart.any():
        return out
    if int(apart.sum()) + int(goal.sum()) > MANY_VOXELS:
        from scipy.ndimage import distance_transform_edt

        out[:] = distance_transform_edt(~goal, sampling=tuple(spacing)).ravel()[places]
        return out
    from scipy.spatial import KDTree

    # leaves of 20 suit points on a surface
    tree = KDTree(_points(np.flatnonzero(goal), goal.shape, spacing), 20, compact_nodes=False, balanced_tree=False)
    out[apart] = tree.query(_points(places[apart], source.shape, spacing))[0]
    return out


def _points(places: NDArray[np.int64], shape: Sequence[int], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Coordinates (n, axes) in mm of flat indices; much faster than `np.argwhere` where the mask is mostly empty."""
    return np.stack(np.unravel_index(places, shape), axis=1) * np.asarray(spacing)


def hausdorff95(distances: SurfaceDistances) -> float:
    """HD95 in mm: the larger of the two directed 95th percentiles (interpolated linearly)."""
    return float(max(np.percentile(d, 95) for d in distances))


def average_surface_distance(distances: SurfaceDistances) -> float:
    """ASSD in mm: the mean over the surface voxels of both masks."""
    return float(np.concatenate(distances).mean())


def surface_dice(a: Mask, b: Mask, spacing: Sequence[float], tolerance: float, elements: Elements = "area") -> float:
    """NSD: the share of both surfaces that lies within ``tolerance`` mm of the other one.

    Args:
        a: First mask (*S), not empty.
        b: Second mask (*S), not empty.
        spacing: Voxel size in mm, one number an axis.
        tolerance: In mm.
        elements: What a surface is made of. "area" (Nikolov et al. 2018): the corners between the voxels, 2 x 2 (x 2)
            voxels around each, weighted by the length (area) of the piece of surface that runs through them. "voxels"
            (MONAI's default): the surface voxels, all alike.

    Raises:
        ValueError: If elements is unknown.
    """
    check_choice("elements", elements, Elements)
    if elements == "voxels":
        near = np.concatenate(surface_distances(a, b, spacing)) <= tolerance * ROUNDING
        return float(near.mean())
    box = find_box(a | b)
    codes = [_corner_codes(mask[box]) for mask in (a, b)]
    edges: list[Mask] = [(code > 0) & (code < (1 << (1 << a.ndim)) - 1) for code in codes]
    areas = _code_areas(tuple(map(float, spacing)))
    near_area = whole = 0.0
    for code, own, other in ((codes[0], edges[0], edges[1]), (codes[1], edges[1], edges[0])):
        area = areas[code[own]]
        near_area += float(area[_distances(own, other, spacing) <= tolerance * ROUNDING].sum())
        whole += float(area.sum())
    return near_area / whole


def _corner_codes(mask: Mask) -> NDArray[np.uint8]:
    """For every corner between voxels, (n + 1 an axis), which of the voxels around it are in the mask, as bits."""
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    corners = list(product((0, 1), repeat=mask.ndim))
    for bit, corner in enumerate(reversed(corners)):
        part = tuple(slice(start, start + n) for start, n in zip(corner, codes.shape, strict=True))
        codes |= padded[part] << bit
    return codes


@lru_cache(maxsize=64)
def _code_areas(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Length or area in mm of the surface in 2 x 2 (x 2) voxels, by their code: MONAI's table, of marching cubes."""
    from monai.metrics.utils import get_code_to_measure_table

    return get_code_to_measure_table(spacing)[0].double().numpy()


def measure_surfaces(
    prediction: Mask,
    target: Mask,
    spacing: Sequence[float],
    tolerance: float,
    one_empty: OneEmpty = "diagonal",
    elements: Elements = "area",
) -> dict[str, float]:
    """HD95 and ASSD in mm, and NSD, of two masks (*S).

    Both masks empty: NaN, to be left out of means. One empty: nsd 0, and the distances are the diagonal of the image
    ("diagonal"), so that a missed structure does not vanish from a mean, or NaN ("skip").

    Args:
        prediction: First mask.
        target: Second mask.
        spacing: Voxel size in mm, one number an axis.
        tolerance: Tolerance of NSD in mm.
        one_empty: "diagonal" or "skip".
        elements: What NSD counts, "area" or "voxels", as in `surface_dice`.

    Returns:
        ``hd95``, ``assd`` and ``nsd``.
    """
    check_choice("one_empty", one_empty, OneEmpty)
    present = bool(prediction.any()), bool(target.any())
    if all(present):
        distances = surface_distances(prediction, target, spacing)
        nsd = surface_dice(prediction, target, spacing, tolerance, elements)
        values = hausdorff95(distances), average_surface_distance(distances), nsd
        return dict(zip(COLUMNS, values, strict=True))
    if not any(present):
        return dict.fromkeys(COLUMNS, math.nan)
    far = math.hypot(*(n * s for n, s in zip(target.shape, spacing, strict=True)))
    far = far if one_empty == "diagonal" else math.nan
    return {"hd95": far, "assd": far, "nsd": 0.0}


def surface_rows(
    prediction: Tensor,
    target: Tensor,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    valid: Tensor | None = None,
    tolerance: float | None = None,
) -> list[dict[str, Any]]:
    """Surface columns of the table of cases: a row per foreground class, and one of their means.

    Args:
        prediction: (*S) labels.
        target: (*S) labels.
        num_classes: Number of classes K.
        spacing: Voxel size in mm; 1 each if None.
        valid: (*S) bool; what is not valid belongs to no class. All if None.
        tolerance: Tolerance of NSD in mm; twice the smallest voxel side if None.

    Returns:
        K dicts of hd95, assd and nsd; classes that are in neither label map are NaN, and left out of the last row.

    Raises:
        ValueError: If the spacing does not fit the shape.
    """
    sides = _check_spacing(spacing, target.ndim)
    limit = 2 * min(sides) if tolerance is None else tolerance
    keep = None if valid is None or bool(valid.all()) else valid.cpu().numpy()
    labels = [_labels(t, keep) for t in (prediction, target)]
    rows = [measure_surfaces(labels[0] == k, labels[1] == k, sides, limit) for k in range(1, num_classes)]
    return [*rows, {name: _mean([row[name] for row in rows]) for name in COLUMNS}]


def _labels(labels: Tensor, keep: Mask | None) -> NDArray[np.uint8]:
    """Label map (*S) with background wherever a voxel does not count."""
    array = labels.detach().cpu().to(torch.uint8).numpy()
    return array if keep is None else np.where(keep, array, np.uint8(0))


def _mean(values: Sequence[float]) -> float:
    """Mean of what is not NaN; NaN of nothing."""
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def _check_spacing(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """The spacing as floats, 1 each if None.

    Raises:
        ValueError: If there is not one positive number an axis.
    """
    sides = (1.0,) * axes if spacing is None else tuple(float(s) for s in spacing)
    if len(sides) != axes or min(sides, default=1.0) <= 0:
        raise ValueError(f"spacing={spacing} must hold {axes} positive numbers, one an axis")
    return sides


class SurfaceMetric(VoxelMetric):
    """State shared by the surface metrics: sums of case values by class. Runs on the CPU.

    `update` takes probabilities (B, K, *S), labels (B, *S) and the voxel size in mm. A case's class that is in neither
    label map is left out. `compute` gives the mean over the foreground classes of the means over the cases.

    Args:
        num_classes: Number of classes K.
        tolerance: Tolerance of NSD in mm; twice the smallest voxel side if None.
        one_empty: Distances where only one of the masks is empty: "diagonal" takes the image's diagonal, "skip" leaves
            the case out. NSD is 0 there.
        elements: What NSD counts: "area" (Nikolov et al. 2018) or "voxels" (MONAI's default), as in `surface_dice`.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    measure = "hd95"

    def __init__(
        self,
        num_classes: int,
        tolerance: float | None = None,
        one_empty: OneEmpty = "diagonal",
        elements: Elements = "area",
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, "all", "per_case", ignore_index, validate, **state)
        check_choice("one_empty", one_empty, OneEmpty)
        check_choice("elements", elements, Elements)
        self.tolerance, self.one_empty, self.elements = tolerance, one_empty, elements
        shape = (len(COLUMNS), num_classes)
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("case_sum", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, spacing: Sequence[float] | None = None) -> None:
        """Add a batch of cases of one voxel size."""
        sides = _check_spacing(spacing, target.ndim - 1)
        limit = 2 * min(sides) if self.tolerance is None else self.tolerance
        for item, truth, keep in self.items(probs, target, None):
            kept = None if keep is None else keep.cpu().numpy()
            predicted, true = _labels(predict_labels(item), kept), _labels(truth, kept)
            for k in range(1, self.num_classes):
                row = measure_surfaces(predicted == k, true == k, sides, limit, self.one_empty, self.elements)
                values = self.case_sum.new_tensor([row[name] for name in COLUMNS])
                self.case_sum[:, k] += values.nan_to_num(0.0)
                self.cases[:, k] += ~values.isnan()

    def per_class(self) -> Tensor:
        """Mean of each class (K,) over the cases; NaN for the background and for a class that never occurred."""
        index = COLUMNS.index(self.measure)
        return self.case_sum[index] / self.cases[index]

    def compute(self) -> Tensor:
        """The mean over the foreground classes, scalar float64."""
        self.raise_noted()
        return self.per_class()[1:].nanmean()


class HausdorffDistance95(SurfaceMetric):
    """HD95 in mm; arguments as for `SurfaceMetric`.

    Example:
        >>> image = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> image[:, 2:6, 2:6] = 1
        >>> moved = image.roll(1, 2)
        >>> probs = torch.stack([1.0 - moved, 1.0 * moved], 1)
        >>> metric = HausdorffDistance95(num_classes=2)
        >>> metric.update(probs, image)
        >>> round(float(metric.compute()), 2)
        1.0
    """


class AverageSurfaceDistance(SurfaceMetric):
    """Average symmetric surface distance in mm; arguments as for `SurfaceMetric`.

    Example:
        >>> image = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> image[:, 2:6, 2:6] = 1
        >>> moved = image.roll(1, 2)
        >>> probs = torch.stack([1.0 - moved, 1.0 * moved], 1)
        >>> metric = AverageSurfaceDistance(num_classes=2)
        >>> metric.update(probs, image)
        >>> round(float(metric.compute()), 2)
        0.5
    """

    measure = "assd"


class NormalizedSurfaceDice(SurfaceMetric):
    """Normalised surface Dice (Nikolov et al. 2018); arguments as for `SurfaceMetric`.

    Example:
        >>> image = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> image[:, 2:6, 2:6] = 1
        >>> moved = image.roll(1, 2)
        >>> probs = torch.stack([1.0 - moved, 1.0 * moved], 1)
        >>> metric = NormalizedSurfaceDice(num_classes=2)
        >>> metric.update(probs, image)
        >>> round(float(metric.compute()), 2)
        1.0
    """

    higher_is_better = True
    plot_upper_bound = 1.0
    measure = "nsd"
