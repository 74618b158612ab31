"""Exact fine bins of confidence: the one state that every calibration figure is computed from.

A bin holds the number of voxels, and the sums of confidence, of correctness and of squared error, in int64 and
float64. A voxel of confidence p lies in bin ``min(floor(n p), n - 1)``, formed in float64, where the product of a
float32 and a bin count is exact. 3,000 bins (300 for one case) re-bin exactly to 10, 15, 20, 25, 50 and 100. Voxels
are taken in blocks that stay in the processor's cache, so that no temporary grows with the input.

Shape letters: C channels (1, or a class each), B bins, n voxels of a block, N voxels, K classes.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .axis import AXIS_BINS, axis_edges, to_equal

View = Literal["top_label", "classwise", "foreground"]
FINE_BINS = 3000
CASE_BINS = 300
# Voxels of a block: large enough to hide the calls, small enough for its temporaries (half a MiB each) to stay in cache
BLOCK = 1 << 16
# The same on an accelerator, where a block only bounds the memory
WIDE_BLOCK = 1 << 22
# Tables that neighbouring voxels take in turn: an image is mostly one bin, and an addition to an entry waits for the
# one before it; on an accelerator thousands wait
LANES = 4
WIDE_LANES = 16


class Bins(NamedTuple):
    """Sums per bin; every field has the shape (C, B).

    Attributes:
        count: Number of voxels, int64.
        confidence: Sum of the confidences, float64.
        correct: Sum of the correctness (0 or 1, or a true probability), float64.
        squared_error: Sum of (confidence - correctness) squared, float64.

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
        >>> bins = bin_item(probs, torch.tensor([0, 0]), "foreground", num_bins=4)
        >>> bins.count.tolist(), bins.confidence.tolist(), bins.correct.tolist()
        ([[0, 1, 0, 1]], [[0.0, 0.25, 0.0, 0.75]], [[0.0, 0.0, 0.0, 0.0]])
    """

    count: Tensor  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    confidence: Tensor
    correct: Tensor
    squared_error: Tensor

    @property
    def num_bins(self) -> int:
        """Number of bins B."""
        return self.count.shape[-1]


def empty_bins(channels: int, num_bins: int, device: torch.device | str = "cpu") -> Bins:
    """Bins of no voxel, each field (channels, num_bins).

    Example:
        >>> empty_bins(channels=1, num_bins=3).count.tolist()
        [[0, 0, 0]]
    """
    count = torch.zeros(channels, num_bins, dtype=torch.int64, device=device)
    sums = [torch.zeros(channels, num_bins, dtype=torch.float64, device=device) for _ in range(3)]
    return Bins(count, *sums)


def merge_bins(*parts: Bins) -> Bins:
    """Sum of several bins of one shape: what one pass over all their voxels would have given.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> merge_bins(bins, bins).count.sum().item()
        4
    """
    return Bins(*(torch.stack(fields).sum(0) for fields in zip(*parts, strict=True)))


def rebin(bins: Bins, num_bins: int) -> Bins:
    """Coarser bins, exactly: floor(m p) = floor(floor(n p) m / n) where m divides n.

    Args:
        bins: Fields (..., C, n), n equal bins or the `AXIS_BINS` of the scorer's fine axis, which fall into 300.
        num_bins: m, a divisor of n.

    Raises:
        ValueError: If ``num_bins`` does not divide the number of bins.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> rebin(bins, 4).count.tolist()
        [[0, 0, 0, 2]]
    """
    if bins.num_bins == AXIS_BINS:
        bins = Bins(*map(to_equal, bins))
    fine = bins.num_bins
    if num_bins < 1 or fine % num_bins:
        raise ValueError(
            f"num_bins={num_bins} does not divide the {fine} bins that were kept: choose a divisor of {fine}"
        )
    return Bins(*(field.reshape(*field.shape[:-1], num_bins, fine // num_bins).sum(-1) for field in bins))


def bin_edges(num_bins: int, device: torch.device | str = "cpu") -> Tensor:
    """Edges (B + 1,) float64 of so many bins: of the scorer's fine axis, or equal ones."""
    if num_bins == AXIS_BINS:
        return axis_edges().to(device)
    return torch.arange(num_bins + 1, dtype=torch.float64, device=device) / num_bins


def bin_index(confidence: Tensor, num_bins: int) -> Tensor:
    """Bin of each confidence: min(floor(n p), n - 1) as int32, the product formed in float64."""
    return (confidence.double() * num_bins).to(torch.int32).clamp_(max=num_bins - 1)


class BinAccumulator:
    """Sums of several channels over several cells (parts of the image that share no voxel).

    Each voxel adds to the joint entry (cell, bin, was it right): the number, the residual d = confidence -
    correctness, and its square. Confidence and correctness follow from these without cancellation.

    Args:
        channels: Number of channels.
        cells: Number of cells. Cell number ``cells`` takes the voxels that do not count.
        num_bins: Number of bins.
        device: Where the sums live.
    """

    def __init__(self, channels: int, cells: int, num_bins: int, device: torch.device | str = "cpu") -> None:
        shape = (channels, (cells + 1) * 2 * num_bins)
        self.cells, self.num_bins = cells, num_bins
        self.count = torch.zeros(shape, dtype=torch.int64, device=device)
        self.residual = torch.zeros(shape, dtype=torch.float64, device=device)
        self.squared = torch.zeros(shape, dtype=torch.float64, device=device)

    def cell_offset(self, cell: Tensor | None) -> Tensor | None:
        """Offset (n,) int32 of each voxel's cell in the joint table; cell (n,) of any integer type."""
        return None if cell is None else cell.to(torch.int32).mul_(2 * self.num_bins)

    def add(self, channel: int, confidence: Tensor, correct: Tensor, offset: Tensor | None) -> Tensor:
        """Add a block: confidence (n,) float64, correct (n,) bool, offset from `cell_offset`.

        Returns the residual (n,).
        """
        right = correct.view(torch.uint8)
        index = bin_index(confidence, self.num_bins).add_(right, alpha=self.num_bins)
        if offset is not None:
            index += offset
        residual = confidence - right
        width = 2 * self.num_bins * (1 if offset is None else self.cells + 1)
        for table, weights in ((self.count, None), (self.residual, residual), (self.squared, residual * residual)):
            add_by_index(table[channel, :width], index, weights)
        return residual

    def bins(self) -> list[Bins]:
        """The bins of each cell, fields (channels, num_bins)."""
        shape = (-1, self.cells + 1, 2, self.num_bins)
        count, residual, squared = (sums.reshape(shape) for sums in (self.count, self.residual, self.squared))
        wrong, right = count.unbind(2)
        correct = right.double()
        fields = (wrong + right, residual.sum(2) + correct, correct, squared.sum(2))
        return [Bins(*(field[:, cell] for field in fields)) for cell in range(self.cells)]


def wide(device: torch.device) -> bool:
    """Whether the calls are what costs, as on an accelerator, and not what they do."""
    return device.type != "cpu"


def lanes_of(device: torch.device) -> int:
    """Number of tables that neighbouring voxels take in turn."""
    return WIDE_LANES if wide(device) else LANES


@lru_cache(maxsize=8)
def _kept_offsets(width: int, number: int, lanes: int) -> Tensor:
    return (torch.arange(number) % lanes).mul_(width)


def lane_offsets(width: int, number: int, device: torch.device) -> Tensor:
    """Where the table of each of so many voxels begins, (number,) int64, if they take the tables of a width in turn."""
    if wide(device):
        return (torch.arange(number, device=device) % WIDE_LANES).mul_(width)
    return _kept_offsets(width, max(number, BLOCK), LANES)[:number]


def add_by_index(sums: Tensor, index: Tensor, weights: Tensor | None = None) -> None:
    """Add weights (n,), ones if None, to sums (m,) at index (n,), in place; no wait for the device anywhere."""
    lanes, device = lanes_of(sums.device), sums.device
    where = lane_offsets(len(sums), len(index), device) + index
    spread = (scattered if wide(device) else counted)(where, weights, lanes * len(sums))
    sums += spread.view(lanes, -1).sum(0)


def counted(index: Tensor, weights: Tensor | None, size: int) -> Tensor:
    """Sums (size,) of weights at index, the fast way on a CPU; an accelerator would wait for it."""
    return torch.bincount(index, weights=weights, minlength=size)


def scattered(index: Tensor, weights: Tensor | None, size: int) -> Tensor:
    """The same on an accelerator."""
    weights = torch.ones_like(index) if weights is None else weights
    return weights.new_zeros(size).scatter_add_(0, index, weights)


def bin_soft(confidence: Tensor, truth: Tensor, num_bins: int, keep: Tensor | None = None) -> Bins:
    """Bins of a block whose correctness is a probability.

    Args:
        confidence: (n,).
        truth: (n,), the probability that the prediction is right.
        num_bins: Number of bins.
        keep: (n,) bool, the voxels that count; all if None.

    Returns:
        Fields (1, num_bins).
    """
    confidence, truth = confidence.double(), truth.double()
    index = bin_index(confidence, num_bins)
    if keep is not None:
        index = torch.where(keep, index, num_bins)
    bins = empty_bins(1, num_bins + 1, confidence.device)
    weights = (None, confidence, truth, (confidence - truth).square())
    for field, weight in zip(bins, weights, strict=True):
        add_by_index(field[0], index, weight)
    return Bins(*(field[:, :num_bins] for field in bins))


def top_label(probs: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability (n,) and its class (n,) uint8 of probs (K, n).

    Of equal probabilities the first class wins.
    """
    confidence, prediction = probs[0], torch.zeros(probs.shape[1:], dtype=torch.uint8, device=probs.device)
    if len(probs) == 2:
        return torch.maximum(probs[0], probs[1]), (probs[1] > probs[0]).view(torch.uint8)
    for k in range(1, len(probs)):  # the last class that beats all before it
        torch.maximum(prediction, (probs[k] > confidence).view(torch.uint8).mul(k), out=prediction)
        confidence = torch.maximum(confidence, probs[k])
    return confidence, prediction


def predict_labels(probs: Tensor) -> Tensor:
    """Label map (*S) uint8 of probs (K, *S): the class of largest probability, the first of equals.

    Example:
        >>> predict_labels(torch.tensor([[0.75, 0.25], [0.25, 0.75]])).tolist()
        [0, 1]
    """
    flat = probs.reshape(len(probs), -1)
    labels = torch.empty(flat.shape[1], dtype=torch.uint8, device=probs.device)
    for block, out in iter_blocks(flat, labels):
        out.copy_(top_label(block)[1])
    return labels.reshape(probs.shape[1:])


def iter_blocks(first: Tensor, *others: Tensor | None) -> Iterator[tuple]:
    """Matching blocks along the last axis of flat tensors of one length; None stays None."""
    block = WIDE_BLOCK if wide(first.device) else BLOCK
    for start in range(0, first.shape[-1], block):
        yield tuple(None if t is None else t[..., start : start + block] for t in (first, *others))


def view_channels(num_classes: int, view: str) -> int:
    """Number of channels of a view: a channel per class if class-wise, else one."""
    return num_classes if view in ("classwise", "object") else 1


def add_view(sums: BinAccumulator, view: str, probs: Tensor, target: Tensor, offset: Tensor | None) -> None:
    """Add a block to the sums of one view.

    Args:
        sums: Where to add.
        view: ``top_label`` bins max p against "argmax is right", ``classwise`` each p_k against "label is k",
            ``foreground`` 1 - p_0 against "label is not 0".
        probs: (K, n), of any precision.
        target: (n,) labels.
        offset: From `BinAccumulator.cell_offset`.
    """
    if view == "top_label":
        confidence, prediction = top_label(probs)
        sums.add(0, confidence.double(), prediction == target, offset)
    elif view == "foreground":
        sums.add(0, 1.0 - probs[0].double(), target != 0, offset)
    else:
        for k in range(len(probs)):
            sums.add(k, probs[k].double(), target == k, offset)


def bin_item(probs: Tensor, target: Tensor, view: View, num_bins: int = FINE_BINS, keep: Tensor | None = None) -> Bins:
    """Bins of one image or volume.

    Args:
        probs: (K, *S).
        target: (*S) labels.
        view: As in `add_view`.
        num_bins: Number of bins.
        keep: (*S) bool, the voxels that count; if None, all but those labelled 255.

    Returns:
        Fields (C, num_bins), C = K for the class-wise view, else 1.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> [round(float(field.sum()), 4) for field in (bins.count, bins.confidence, bins.correct)]
        [2.0, 1.5, 1.0]
    """
    sums = BinAccumulator(view_channels(len(probs), view), 1, num_bins, probs.device)
    dropped = (target == 255 if keep is None else ~keep).reshape(-1)
    for p, y, drop in iter_blocks(probs.reshape(len(probs), -1), target.reshape(-1), dropped):
        add_view(sums, view, p, y, sums.cell_offset(drop))
    return sums.bins()[0]
