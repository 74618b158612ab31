r"""Per-class sums behind every overlap loss, formed in one pass over the voxels.

With probabilities :math:`p`, one-hot or soft labels :math:`y` and an exponent :math:`\gamma`, per item and class:

.. math::
    V = \sum y \quad S = \sum p \quad T = \sum y p \quad
    N = \sum [y (1 - p)]^\gamma \quad P = \sum [(1 - y) p]^\gamma

The exponent acts on each voxel's product, inside the sum. Dice, DSC++, Tversky and their kin are small pure functions
of these five numbers, see :mod:`losses.overlap`.

The fast path (integer labels, exponent 1 or 2) works on the residual :math:`e = p - y`: every sum above follows from
:math:`\sum e, \sum y e, \sum e^2, \sum (y e)^2`. With two classes one sigmoid carries everything, because the second
class's residual is the first one's with the other sign.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from losses.chunks import ChunkKernel, chunked_sums
from losses.inputs import IGNORED, all_counted, compact_labels, flatten_pair
from losses.voxelwise import VoxelKernel, Voxels, class_rows, one_hot, safe_power


class OverlapStatistics(NamedTuple):
    """Sums over the counted voxels, each ``(B, K)`` in double precision."""

    voxels: Tensor
    volume: Tensor
    predicted: Tensor
    overlap: Tensor
    missed: Tensor
    spurious: Tensor


def overlap_statistics(
    logits: Tensor,
    target: Tensor,
    gamma: float = 1.0,
    ignore_index: int | None = IGNORED,
    clip: float = 0.0,
    clip_labels: bool = True,
) -> OverlapStatistics:
    """Form the sums of all classes, differentiable with respect to the logits.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` labels or ``(B, K, *S)`` soft labels.
        gamma: Exponent of the missed and the spurious part.
        ignore_index: Label that does not count; soft labels are ignored where their channels sum to 0.
        clip: Probabilities, and labels too if ``clip_labels``, are held within ``[clip, 1 - clip]``, as the original
            DSC++ does: a class that is absent then has a floor under its overlap.
        clip_labels: Whether labels are held within the same bounds.

    Returns:
        The sums; ``volume`` is never clipped.
    """
    flat, labels = flatten_pair(logits, target)
    if labels.is_floating_point() or gamma not in (1.0, 2.0):
        formula = partial(overlap_rows, gamma=gamma, clip=clip, clip_labels=clip_labels)
        rows = chunked_sums(VoxelKernel([formula], max(flat.shape[1], 2), ignore_index), flat, labels)
        return statistics_of(rows, gamma, clip, clip_labels, labels.is_floating_point())
    classes = max(flat.shape[1], 2)
    rows = chunked_sums(ResidualKernel(classes, gamma, ignore_index, clip), flat, labels)
    statistics = _from_residuals(rows, gamma, two_class=classes == 2)
    if not (clip and clip_labels):
        return statistics
    return _with_clipped_labels(statistics, gamma, clip, *_leaks(statistics, gamma))


#: Rows that :func:`overlap_rows` sums.
OVERLAP_ROWS = 8


def overlap_rows(voxels: Voxels, gamma: float, clip: float, clip_labels: bool) -> Tensor:
    """Sum the statistics of a chunk for any exponent and any labels, then the two sums that clipped labels leak to."""
    probs = voxels.probs.clamp(clip, 1 - clip) if clip else voxels.probs
    if voxels.soft:
        labels = voxels.labels.clamp(clip, 1 - clip) if clip and clip_labels else voxels.labels
        missed, spurious = safe_power(labels * (1 - probs), gamma), safe_power((1 - labels) * probs, gamma)
        parts = [part * voxels.counted for part in (probs, labels * probs, missed, spurious)]
        return class_rows(voxels.counted, voxels.labels, *parts, *parts[-2:])
    labels, other = voxels.labels, voxels.counted - voxels.labels
    # 1 - p of a voxel's own class as the sum of the others: exact where p is next to 1.
    rest = (voxels.probs * other).sum(1, keepdim=True)
    rest = rest.clamp(clip, 1 - clip) if clip else rest
    wrong, miss = safe_power(probs, gamma), safe_power(rest, gamma)
    parts = [voxels.counted, labels, probs * voxels.counted, probs * labels, miss * labels, wrong * other]
    leaks = [safe_power(1 - probs, gamma) * other, wrong * labels] if clip and clip_labels else [labels, labels]
    return class_rows(*parts, *leaks)


def statistics_of(rows: Tensor, gamma: float, clip: float, clip_labels: bool, soft: bool) -> OverlapStatistics:
    """Read the statistics from the rows of :func:`overlap_rows`, ``(B, R, K)``."""
    statistics = OverlapStatistics(*rows[:, :6].unbind(1))
    if soft or not (clip and clip_labels):
        return statistics
    return _with_clipped_labels(statistics, gamma, clip, rows[:, 6], rows[:, 7])


def _from_residuals(rows: Tensor, gamma: float, two_class: bool) -> OverlapStatistics:
    """Turn the sums of :class:`ResidualKernel` into the statistics; with two classes, mirror the background."""
    voxels, volume, residual, own, *squares = rows.unbind(1)
    missed, both = (squares[1], squares[0]) if gamma == 2.0 else (-own, residual - 2 * own)
    spurious = both - missed
    predicted, overlap = volume + residual, volume + own
    if two_class:
        background = voxels - volume
        volume = torch.cat([background, volume], dim=1)
        predicted = torch.cat([background - residual, predicted], dim=1)
        overlap = torch.cat([background - (residual - own), overlap], dim=1)
        missed, spurious = torch.cat([spurious, missed], dim=1), torch.cat([missed, spurious], dim=1)
        voxels = voxels.expand_as(volume)
    return OverlapStatistics(voxels, volume, predicted, overlap, missed, spurious)


def _leaks(s: OverlapStatistics, gamma: float) -> tuple[Tensor, Tensor]:
    """Sums over the other side of each label, for exponent 1 or 2: of (1 - p)^gamma, and of p^gamma."""
    outside = (s.voxels - s.volume) - gamma * (s.predicted - s.overlap)
    inside = s.volume - gamma * (s.volume - s.overlap)
    return (outside + s.spurious, inside + s.missed) if gamma == 2.0 else (outside, inside)


def _with_clipped_labels(
    s: OverlapStatistics, gamma: float, clip: float, outside: Tensor, inside: Tensor
) -> OverlapStatistics:
    """Hold hard labels within ``[clip, 1 - clip]``: a small share of each voxel leaks to the other side."""
    keep, leak = (1 - clip) ** gamma, clip**gamma
    return s._replace(
        overlap=(1 - clip) * s.overlap + clip * (s.predicted - s.overlap),
        missed=keep * s.missed + leak * outside,
        spurious=keep * s.spurious + leak * inside,
    )


class ResidualKernel(ChunkKernel):
    """Sums of the residual p - y for integer labels: voxels, volume, e, y e and, for exponent 2, e^2, (y e)^2.

    Args:
        num_classes: Classes K; with two, only the foreground's residual is formed, by one sigmoid.
        gamma: 1 or 2.
        ignore_index: Label that does not count.
        clip: Bound of the probabilities.
    """

    def __init__(self, num_classes: int, gamma: float, ignore_index: int | None, clip: float) -> None:
        self.num_classes = num_classes
        self.squared = gamma == 2.0
        self.ignore_index = ignore_index
        self.clip = clip

    def _prepare(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Form probabilities and one-hot labels of the classes that are tracked, and the mask if it is needed."""
        labels = compact_labels(target, self.num_classes, self.ignore_index)
        mask = None if all_counted(labels, self.num_classes) else (labels != IGNORED).to(logits.dtype).unsqueeze(1)
        if self.num_classes == 2:
            score = logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]
            return torch.sigmoid(score), (labels == 1).to(logits.dtype).unsqueeze(1), mask, labels
        return torch.softmax(logits, dim=1), one_hot(labels, self.num_classes, logits.dtype), mask, labels

    def sums(self, logits: Tensor, *targets: Tensor) -> Tensor:
        """Sum the residuals, see the class."""
        probs, hot, mask, labels = self._prepare(logits, targets[0])
        if self.clip:
            probs = probs.clamp(self.clip, 1 - self.clip)
        residual = probs - hot
        if mask is not None:
            residual = residual * mask
        own = hot * residual
        volume = hot.sum(-1)
        voxels = torch.full_like(volume, labels.shape[-1]) if mask is None else mask.sum(-1).expand_as(volume)
        rows = [voxels, volume, residual.sum(-1), own.sum(-1)]
        if self.squared:
            rows += [residual.square().sum(-1), own.square().sum(-1)]
        return torch.stack(rows, dim=1)

    def gradient(self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor) -> None:
        """Write the hand-derived gradient; a voxel held by ``clip`` has a slope below ``clip``, which is kept."""
        probs, hot, mask, _ = self._prepare(logits, targets[0])
        columns = weight.unsqueeze(-1).unbind(1)
        slope = (hot * columns[3]).add_(columns[2])
        if self.squared:
            residual = probs - hot
            slope.addcmul_(residual, 2 * columns[4])
            slope.add_(residual.mul_(hot).mul_(2 * columns[5]))
        if self.num_classes == 2:
            slope.mul_(probs).addcmul_(slope, probs, value=-1)
        else:
            slope = torch._softmax_backward_data(slope, probs, 1, probs.dtype)
        if mask is not None:
            slope.mul_(mask)
        if self.num_classes == 2:
            out[:, -1:].copy_(slope)
            if out.shape[1] == 2:
                out[:, :1].copy_(slope.neg_())
        else:
            out.copy_(slope)
