"""Regions: which voxels of an image or volume count.

A region is an object called with (target (*S), prediction (*S), valid (*S) bool) that gives a (*S) bool mask; both
label maps are uint8, and one code serves 2D and 3D. Names stand for the default objects: ``all``, ``foreground``,
``boundary``, ``interior`` and ``dilated`` go by the predicted label, ``reference_foreground``, ``reference_boundary``
and ``reference_interior`` by the true one.

A region that goes by the true label selects voxels by the very thing that a probability is to foretell: a calibrated
network looks over- or under-confident inside, and flattened probabilities score better (docs/metrics.md). Those that
go by the prediction keep a calibrated network calibrated.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

MOST_RUNS = 128  # of shifted runs; more cost as much as a distance transform


def _slide(x: Tensor, axis: int, steps: int, op: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each voxel with its neighbours up to ``steps`` away along one axis."""
    for _ in range(steps):
        out, size = x.clone(), x.shape[axis] - 1
        out.narrow(axis, 0, size).copy_(op(out.narrow(axis, 0, size), x.narrow(axis, 1, size)))
        out.narrow(axis, 1, size).copy_(op(out.narrow(axis, 1, size), x.narrow(axis, 0, size)))
        x = out
    return x


def box_filter(x: Tensor, radius: int, op: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each voxel of (*S) with all voxels of the box of ``2 radius + 1`` around it, e.g. by `torch.maximum`.

    Example:
        >>> box_filter(torch.tensor([0, 0, 0, 1, 0, 0, 0]), 2, torch.maximum).tolist()
        [0, 1, 1, 1, 1, 1, 0]
    """
    for axis in range(x.ndim):
        x = _slide(x, axis, radius, op)
    return x


def label_changes(target: Tensor, valid: Tensor, radius: int) -> Tensor:
    """Voxels (*S) with another label within ``radius`` voxels along every axis (chessboard distance).

    Ignored voxels make no boundary.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> label_changes(labels, torch.ones_like(labels, dtype=torch.bool), radius=1).int().tolist()
        [0, 0, 1, 1, 0, 0]
    """
    high = box_filter(target.masked_fill(~valid, 0), radius, torch.maximum)
    low = box_filter(target.masked_fill(~valid, 254), radius, torch.minimum)
    return high > low


def within(mask: Tensor, limit: float, spacing: Sequence[float]) -> Tensor:
    """Voxels (*S) whose distance in mm to the nearest voxel of the mask is at most ``limit``.

    A narrow band is the mask shifted along every offset of an ellipsoid, run by run; a wide one is cut out of a
    distance transform.

    Example:
        >>> within(torch.tensor([0, 0, 0, 1, 0, 0, 0]).bool(), limit=1.0, spacing=[0.5]).int().tolist()
        [0, 1, 1, 1, 1, 1, 0]
    """
    sides = tuple(float(side) for side in spacing)
    reach = [int(limit / side + 1e-9) for side in sides]
    offsets = list(itertools.product(*(range(-steps, steps + 1) for steps in reach[:-1])))
    if len(offsets) > MOST_RUNS:
        return _within_far(mask, limit, sides)
    out = torch.zeros_like(mask)
    runs: dict[int, Tensor] = {}
    for offset in offsets:
        left = (limit + 1e-9) ** 2 - sum((step * side) ** 2 for step, side in zip(offset, sides, strict=False))
        if left < 0:
            continue
        steps = int(left**0.5 / sides[-1] + 1e-9)
        if steps not in runs:
            runs[steps] = _slide(mask, mask.ndim - 1, steps, torch.logical_or)
        to, of = _overlap(offset, mask.shape)
        out[to] |= runs[steps][of]
    return out


def _overlap(offset: Sequence[int], shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a picture shifted by an offset lies on itself: of the unshifted one, and of the shifted one."""
    pairs = list(zip(offset, shape, strict=False))
    to = tuple(slice(max(step, 0), size + min(step, 0)) for step, size in pairs)
    return to, tuple(slice(max(-step, 0), size + min(-step, 0)) for step, size in pairs)


def _within_far(mask: Tensor, limit: float, spacing: Sequence[float]) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return torch.zeros_like(mask)
    distance = distance_transform_edt(~mask.cpu().numpy(), sampling=spacing)
    return torch.from_numpy(distance <= limit + 1e-9).to(mask.device)


@dataclass(frozen=True)
class All:
    """Every voxel.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.uint8)
        >>> All()(labels, labels, labels < 2).int().tolist()
        [1, 1, 1, 1, 1, 1]
    """

    def __call__(self, target: Tensor, prediction: Tensor, valid: Tensor) -> Tensor:
        """Mask (*S)."""
        return torch.ones_like(valid)


@dataclass(frozen=True)
class Foreground:
    """Voxels whose label is not 0.

    Args:
        reference: Go by the true label, not by the predicted one.

    Example:
        >>> truth, predicted = torch.tensor([0, 0, 0, 1, 1, 1]).byte(), torch.tensor([0, 0, 1, 1, 1, 0]).byte()
        >>> Foreground()(truth, predicted, truth < 2).int().tolist()
        [0, 0, 1, 1, 1, 0]
        >>> Foreground(reference=True)(truth, predicted, truth < 2).int().tolist()
        [0, 0, 0, 1, 1, 1]
    """

    reference: bool = False

    def __call__(self, target: Tensor, prediction: Tensor, valid: Tensor) -> Tensor:
        """Mask (*S)."""
        return (target if self.reference else prediction) != 0


@dataclass(frozen=True)
class Boundary:
    """Band around every change of the label.

    Args:
        radius: Half width: in voxels (chessboard distance), or in mm where ``spacing`` is given (Euclidean distance
            to the nearest voxel at a change).
        spacing: Voxel size in mm, one number an axis.
        reference: Go by the true label, not by the predicted one.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.uint8)
        >>> Boundary(radius=2)(labels, labels, labels < 2).int().tolist()
        [0, 0, 1, 1, 1, 1, 0, 0]
        >>> Boundary(radius=1.0, spacing=(0.5,))(labels, labels, labels < 2).int().tolist()
        [0, 1, 1, 1, 1, 1, 1, 0]
    """

    radius: float = 2
    spacing: tuple[float, ...] | None = None
    reference: bool = False

    def __call__(self, target: Tensor, prediction: Tensor, valid: Tensor) -> Tensor:
        """Mask (*S)."""
        labels = target if self.reference else prediction
        if self.spacing is None:
            return label_changes(labels, valid, int(self.radius))
        return within(label_changes(labels, valid, 1), self.radius, self.spacing)


@dataclass(frozen=True)
class Interior:
    """Foreground outside the boundary band; arguments as for `Boundary`.

    Args:
        radius: Half width of the band that is left out.
        spacing: Voxel size in mm.
        reference: Go by the true label, not by the predicted one.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.uint8)
        >>> Interior(radius=2)(labels, labels, labels < 2).int().tolist()
        [0, 0, 0, 0, 0, 0, 1, 1]
    """

    radius: float = 2
    spacing: tuple[float, ...] | None = None
    reference: bool = False

    def __call__(self, target: Tensor, prediction: Tensor, valid: Tensor) -> Tensor:
        """Mask (*S)."""
        inside = Foreground(self.reference)(target, prediction, valid)
        return inside & ~Boundary(self.radius, self.spacing, self.reference)(target, prediction, valid)


@dataclass(frozen=True)
class Dilated:
    """Foreground grown by a radius.

    Args:
        radius: In voxels (steps to the 4 or 6 direct neighbours, as binary dilation with a cross), or in mm where
            ``spacing`` is given.
        spacing: Voxel size in mm.
        reference: Go by the true label, not by the predicted one.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.uint8)
        >>> Dilated(radius=2)(labels, labels, labels < 2).int().tolist()
        [0, 0, 1, 1, 1, 1, 1, 1]
    """

    radius: float = 2
    spacing: tuple[float, ...] | None = None
    reference: bool = False

    def __call__(self, target: Tensor, prediction: Tensor, valid: Tensor) -> Tensor:
        """Mask (*S)."""
        mask = Foreground(self.reference)(target, prediction, valid) & valid
        if self.spacing is not None:
            return within(mask, self.radius, self.spacing)
        for _ in range(int(self.radius)):
            grown = [_slide(mask, axis, 1, torch.logical_or) for axis in range(mask.ndim)]
            mask = torch.stack(grown).any(0)
        return mask


Region = Callable[[Tensor, Tensor, Tensor], Tensor]
RegionName = Literal[
    "all",
    "foreground",
    "boundary",
    "interior",
    "dilated",
    "reference_foreground",
    "reference_boundary",
    "reference_interior",
]
REGIONS: dict[str, Region] = {
    "all": All(),
    "foreground": Foreground(),
    "boundary": Boundary(),
    "interior": Interior(),
    "dilated": Dilated(),
    "reference_foreground": Foreground(reference=True),
    "reference_boundary": Boundary(reference=True),
    "reference_interior": Interior(reference=True),
}


def get_region(region: str | Region) -> Region:
    """The region of that name, or the object itself.

    Raises:
        ValueError: If there is no region of that name.

    Example:
        >>> get_region("boundary")
        Boundary(radius=2, spacing=None, reference=False)
    """
    if callable(region):
        return region
    if region not in REGIONS:
        raise ValueError(f"region={region!r} is unknown: choose one of {sorted(REGIONS)} or give a region object")
    return REGIONS[region]


def in_mm(region: Region, spacing: Sequence[float] | None) -> Region:
    """The region with its radius in mm where the voxels are no cubes: as many times the smallest side.

    Example:
        >>> in_mm(Boundary(radius=2), spacing=(3.0, 0.5, 0.5))
        Boundary(radius=1.0, spacing=(3.0, 0.5, 0.5), reference=False)
    """
    if spacing is None or len(set(spacing)) == 1 or not hasattr(region, "radius"):
        return region
    sides = tuple(float(side) for side in spacing)
    return replace(region, radius=region.radius * min(sides), spacing=sides)  # type: ignore[type-var]


def region_cells(masks: Sequence[Tensor | None], valid: Tensor | None) -> tuple[Tensor | None, list[list[int]], int]:
    """Split the voxels so that overlapping regions need one pass: a cell is a combination of regions.

    Args:
        masks: One (*S) bool mask a region; None is the region of all voxels.
        valid: (*S) bool, the voxels that count at all; None if all do.

    Returns:
        The cell (*S) uint8 of each voxel (None if there is only one), for each region its cells, and the number of
        cells. Voxels that do not count get the number of cells.

    Example:
        >>> inside = torch.tensor([0, 1, 1]).bool()
        >>> cell, members, number = region_cells([None, inside], valid=torch.tensor([1, 1, 0]).bool())
        >>> cell.tolist(), members, number
        ([0, 1, 2], [[0, 1], [1]], 2)
    """
    bits = [m for m in masks if m is not None]
    num_cells = 1 << len(bits)
    like = bits[0] if bits else valid
    if like is None:
        return None, [[0] for _ in masks], 1
    cell = torch.zeros_like(like, dtype=torch.uint8)
    for bit, inside in enumerate(bits):
        cell |= inside.view(torch.uint8) << bit
    if valid is not None:
        cell.masked_fill_(~valid, num_cells)
    members, bit = [], 0
    for mask in masks:
        members.append([c for c in range(num_cells) if mask is None or c >> bit & 1])
        bit += mask is not None
    return cell, members, num_cells
