"""The one walk over the voxels of a case: bins of every view and region, confusion and scores from a table a class.

Of each class k the walk keeps one table of p_k, over the joint entries (was k claimed, is the label k, bin). The views
are sums of entries: class-wise over "claimed", top label over the classes' claimed halves, foreground from class 0
mirrored. So no voxel is binned once more for a view. Regions are cut from the walk: their voxels, a small part, enter a
second table with equal bins and a cell an overlap of regions.

Shape letters: K classes, n voxels of a block, B bins, R regions.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .axis import AXIS_BINS, EQUAL_BINS, equal_index, odds_index
from .binning import BLOCK, Bins, add_by_index, lane_offsets, lanes_of, wide
from .scores import EPS

TIES = (0.25, 0.5, 0.75)  # the only numbers a float can hold that are edges of 300 equal bins
JOINT = 4  # claimed or not, right or not


class Table:
    """Sums of each class over the joint entries (cell, claimed, right, bin).

    Args:
        num_classes: K.
        cells: Number of cells.
        num_bins: B.
        lanes: Copies that neighbouring voxels take in turn, where many share a bin: as `lanes_of` says, or one.
        device: Where the sums live.
    """

    def __init__(self, num_classes: int, cells: int, num_bins: int, lanes: int, device: torch.device) -> None:
        self.cells, self.num_bins, self.lanes = cells, num_bins, lanes
        self.width = cells * JOINT * num_bins
        size = (num_classes, lanes * self.width)
        self.count = torch.zeros(size, dtype=torch.int64, device=device)
        self.residual = torch.zeros(size, dtype=torch.float64, device=device)
        self.squared = torch.zeros(size, dtype=torch.float64, device=device)

    def add(self, k: int, index: Tensor, residual: Tensor) -> None:
        """Add voxels (n,) of class k at their joint entries, int32."""
        where = index.long()
        if self.lanes > 1:
            where += lane_offsets(self.width, len(index), index.device)
        self.count[k].scatter_add_(0, where, _ones(len(index), index.device))
        self.residual[k].scatter_add_(0, where, residual)
        self.squared[k].scatter_add_(0, where, residual * residual)

    def views(self, members: Sequence[Sequence[int]]) -> dict[str, Bins]:
        """The views of R regions in main memory, bins (R, C, B): C = K for the class-wise view, else 1.

        Args:
            members: The cells of each region.
        """
        shape = (-1, self.cells, 2, 2, self.num_bins)  # class, cell, claimed, right, bin
        tables = [t.reshape(len(t), self.lanes, -1).sum(1).cpu() for t in (self.count, self.residual, self.squared)]
        fields = [t.double().reshape(shape) for t in tables]
        # region, class, claimed, right, bin; a sum of few in their order, which no number of threads can change
        fields = [torch.stack([field[:, cells].sum(1) for cells in members]) for field in fields]
        top = [field[:, :, 1].sum(1, keepdim=True) for field in fields]
        classwise = [field.sum(2) for field in fields]
        # 1 - p_0 against "label is not 0": bins and right swap ends, residuals their sign
        count, residual, squared = (field[:, :1].flip(-2, -1) for field in classwise)
        return {
            "top_label": _bins(*top),
            "classwise": _bins(*classwise),
            "foreground": _bins(count, -residual, squared),
        }


def _bins(count: Tensor, residual: Tensor, squared: Tensor) -> Bins:
    """Bins of float64 sums (..., right, B); counts are whole numbers."""
    correct = count[..., 1, :].clone()
    return Bins(count.sum(-2).long(), residual.sum(-2) + correct, correct, squared.sum(-2))


@lru_cache(maxsize=8)
def _kept_ones(number: int) -> Tensor:
    return torch.ones(number, dtype=torch.int64)


def _ones(number: int, device: torch.device) -> Tensor:
    if wide(device):
        return torch.ones(number, dtype=torch.int64, device=device)
    return _kept_ones(max(number, BLOCK))[:number]


def sum_of_logs(x: Tensor) -> Tensor:
    """Sum of log x of (n,) float64 in [1e-12, 1], by the logarithms of products of 16: a sixteenth of the cost."""
    whole = len(x) - len(x) % 16
    product = x[:whole]
    for _ in range(4):
        half = len(product) // 2
        product = product[:half] * product[half:]
    return product.log().sum() + x[whole:].log().sum()


class Walk:
    """Accumulators of one walk, a block at a time.

    Args:
        num_classes: K.
        cells: Number of overlaps of regions, 1 if there is none but the whole image.
        device: Where the sums live.
        drops: Whether some voxels do not count.
    """

    def __init__(self, num_classes: int, cells: int, device: torch.device, drops: bool) -> None:
        self.num_classes, self.cells, self.drops = num_classes, cells, drops
        lanes = lanes_of(device)
        self.whole = Table(num_classes, 1, AXIS_BINS, lanes, device)
        few = lanes if wide(device) else 1  # regions are small
        self.parts = Table(num_classes, cells, EQUAL_BINS, few, device) if cells > 1 else None
        self.ties = torch.zeros(cells, len(TIES), 2, dtype=torch.int64, device=device)
        self.confusion = torch.zeros(num_classes**2, dtype=torch.int64, device=device)
        self.nll = torch.zeros(1 + num_classes, dtype=torch.float64, device=device)

    def add(self, probs: Tensor, target: Tensor, prediction: Tensor, cell: Tensor | None) -> None:
        """Add a block.

        Args:
            probs: (K, n) of any precision.
            target: (n,) labels.
            prediction: (n,) uint8, the class of largest probability.
            cell: (n,) uint8, the overlap of regions that a voxel lies in, ``cells`` where it does not count.
        """
        if cell is not None and self.drops:
            kept = (cell != self.cells).nonzero()[:, 0]
            probs, target, prediction, cell = probs[:, kept], target[kept], prediction[kept], cell[kept]
        self._count(prediction, target)
        parts = None if cell is None or self.parts is None else cell.nonzero()[:, 0]
        of_label = torch.ones(len(target), dtype=torch.float64, device=probs.device)
        for k in range(self.num_classes):
            p, correct = probs[k].double(), target == k
            joint = correct.int().add_((prediction == k).int(), alpha=2)
            residual = p - correct.view(torch.uint8)
            equal = equal_index(p)
            self.whole.add(k, odds_index(probs[k]).add_(equal).add_(joint, alpha=AXIS_BINS), residual)
            if k == 0:
                self._find_ties(p, joint, cell)
            if parts is not None and cell is not None and len(parts):
                self._add_parts(k, joint.mul_(EQUAL_BINS).add_(equal), residual, cell, parts)
            off = residual.abs_().neg_().add_(1.0).clamp_(min=EPS)
            of_label = torch.where(correct, off, of_label)
            self.nll[1 + k] -= sum_of_logs(off)
        self.nll[0] -= sum_of_logs(of_label)

    def views(self, members: Sequence[Sequence[int] | None]) -> list[dict[str, Bins]]:
        """The views of each region: on the fine axis of the whole image, else in equal bins.

        Args:
            members: The cells of each region; None is the whole image.
        """
        given = [range(self.cells) if cells is None else cells for cells in members]
        whole, ties = self.whole.views([[0]]), self.ties.cpu()
        parts = whole if self.parts is None else self.parts.views(given)
        found = []
        for index, cells in enumerate(members):
            of, row = (whole, 0) if cells is None else (parts, index)
            views = {view: Bins(*(field[row] for field in bins)) for view, bins in of.items()}
            _move_ties(views["foreground"], ties[list(given[index])].sum(0))
            found.append(views)
        return found

    def _add_parts(self, k: int, index: Tensor, residual: Tensor, cell: Tensor, parts: Tensor) -> None:
        """Add the voxels of a block that lie in some region."""
        where = index.index_select(0, parts).add_(cell.index_select(0, parts).int(), alpha=JOINT * EQUAL_BINS)
        assert self.parts is not None
        self.parts.add(k, where, residual.index_select(0, parts))

    def _find_ties(self, p: Tensor, joint: Tensor, cell: Tensor | None) -> None:
        """Count the voxels whose p_0 is an edge itself: 1 - p_0 lies above it, its mirrored bin below."""
        far = (p - 0.5).abs_()
        found = (far * (far - 0.25) == 0).nonzero()[:, 0]  # 1/4, 1/2, 3/4
        if len(found):
            index = (p[found] * 4 - 1).long() * 2 + joint[found] % 2
            if cell is not None:
                index += cell[found].long() * self.ties[0].numel()
            self.ties += torch.bincount(index, minlength=self.ties.numel()).view_as(self.ties)

    def _count(self, prediction: Tensor, target: Tensor) -> None:
        """Add to the confusion counts."""
        index = prediction.to(torch.int32).add_(target.to(torch.int32), alpha=self.num_classes)
        add_by_index(self.confusion, index)


def _move_ties(bins: Bins, counts: Tensor) -> None:
    """Move the ties, (len(TIES), right) counts of p_0 and "label is 0", one bin up, where 1 - p_0 belongs."""
    for tie, (wrong, right) in zip(TIES, counts.tolist(), strict=True):
        if not wrong + right:
            continue
        p = torch.tensor([1 - tie], dtype=torch.float64)
        to = int(equal_index(p)) + (int(odds_index(p)) if bins.num_bins == AXIS_BINS else 0)
        sums = (wrong + right, (wrong + right) * (1 - tie), wrong, wrong * tie**2 + right * (1 - tie) ** 2)
        for field, value in zip(bins, sums, strict=True):
            field[0, to - 1] -= value
            field[0, to] += value
