r"""Per-class sums behind every overlap loss and its compounds, formed in one pass over the voxels.

With probabilities :math:`p`, one-hot or soft labels :math:`y` and an exponent :math:`\gamma`, per item and class:

.. math::
    V = \sum y \quad S = \sum p \quad T = \sum y p \quad
    N = \sum [y (1 - p)]^\gamma \quad P = \sum [(1 - y) p]^\gamma

The exponent acts on each voxel's product, inside the sum. Dice, DSC++, Tversky and their kin are small pure functions
of these five numbers, see :mod:`losses.overlap`. Integer labels with exponents of 1 and above take
:mod:`losses.fast_path`, everything else the plain formulas of this module.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import chunked_sums
from .costs import OwnCost, power
from .fast_path import FastKernel
from .inputs import IGNORED, flatten_pair
from .many_classes import SoftmaxKernel
from .two_classes import SigmoidKernel
from .voxelwise import VoxelKernel, Voxels, class_rows


class OverlapStatistics(NamedTuple):
    """Sums over the counted voxels, each ``(B, K)`` in double precision."""

    voxels: Tensor
    volume: Tensor
    predicted: Tensor
    overlap: Tensor
    missed: Tensor
    spurious: Tensor


class Terms(NamedTuple):
    """What is summed in one pass.

    ``gamma`` is the exponent of the missed and the spurious part, 0 without overlap. Probabilities, and labels too if
    ``clip_labels``, are held within ``[clip, 1 - clip]``, as the original DSC++ does: a class that is absent then has a
    floor under its overlap. ``own`` is a cost of each voxel's own log probability, beside which ``lead`` sums how far
    its label's logit is above the mean of all; ``margin`` is that of a hinge on distances from the largest logit.
    """

    gamma: float = 0.0
    clip: float = 0.0
    clip_labels: bool = True
    own: OwnCost | None = None
    margin: float | None = None
    lead: bool = False


class JointSums(NamedTuple):
    """Sums of one pass, each ``(B, K)`` in double precision; without overlap its last four fields are 0."""

    statistics: OverlapStatistics
    cost: Tensor
    hinge: Tensor
    lead: Tensor


def joint_sums(logits: Tensor, target: Tensor, ignore_index: int | None, terms: Terms) -> JointSums:
    """Sum the terms for each item and class, differentiable with respect to the logits.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` labels or ``(B, K, *S)`` soft labels.
        ignore_index: Label that does not count; soft labels are ignored where their channels sum to 0.
        terms: What to sum.

    Returns:
        The sums. ``volume`` is never clipped; ``cost`` and ``lead`` are by the class of the label, ``hinge`` by that
        of the logit.
    """
    flat, labels = flatten_pair(logits, target)
    classes, soft = max(flat.shape[1], 2), labels.is_floating_point()
    if soft or 0 < terms.gamma < 1 or torch.compiler.is_compiling():
        kernel = VoxelKernel(lambda voxels: plain_rows(voxels, terms), classes, ignore_index)
        rows = chunked_sums(kernel, flat, labels).unbind(1)
        statistics, leaks, joint = OverlapStatistics(*rows[:6]), rows[6:8], list(rows[8:])
    else:
        fast = fast_kernel(classes, ignore_index, terms)
        rows = chunked_sums(fast, flat, labels).unbind(1)
        statistics, *joint = _from_residuals(rows, terms, two_class=classes == 2)
        leaks = _leaks(statistics, terms.gamma)
    if terms.clip and terms.clip_labels and not soft:
        statistics = _with_clipped_labels(statistics, terms.gamma, terms.clip, *leaks)
    return JointSums(statistics, *joint)


def fast_kernel(num_classes: int, ignore_index: int | None, terms: Terms) -> FastKernel:
    """Choose the kernel of the fast path for a number of classes."""
    kernel = SigmoidKernel if num_classes == 2 else SoftmaxKernel
    return kernel(num_classes, ignore_index, terms.gamma, terms.clip, terms.own, terms.margin, terms.lead)


def overlap_statistics(
    logits: Tensor, target: Tensor, gamma: float = 1.0, ignore_index: int | None = IGNORED
) -> OverlapStatistics:
    """Sum the overlap statistics alone, without clipping; see :func:`joint_sums`."""
    return joint_sums(logits, target, ignore_index, Terms(gamma)).statistics


def plain_rows(voxels: Voxels, terms: Terms) -> Tensor:
    """Sum a chunk by the plain formulas: statistics, the two sums that clipped labels leak to, cost, hinge, lead."""
    parts = _plain_overlap(voxels, terms) if terms.gamma else [voxels.counted, voxels.labels, *[voxels.labels * 0] * 6]
    cost = voxels.labels * (_plain_cost(voxels, terms.own) if terms.own else 0.0)
    hinge = (voxels.distances - terms.margin).relu() * voxels.counted if terms.margin is not None else cost * 0
    lead = voxels.labels * (voxels.logits - voxels.logits.mean(1, keepdim=True)) if terms.lead else cost * 0
    return class_rows(*parts, cost, hinge, lead)


def _plain_cost(voxels: Voxels, own: OwnCost) -> Tensor:
    """Cost of each class's negative log probability."""
    foreground = torch.ones_like(voxels.labels[:1, :, :1])
    foreground[:, 0] = 0
    return own.value(-voxels.log_probs, -torch.expm1(voxels.log_probs), foreground)


def _plain_overlap(voxels: Voxels, terms: Terms) -> list[Tensor]:
    """Summands of the statistics and, for integer labels that are clipped, of the two sums they leak to."""
    gamma, clip = terms.gamma, terms.clip
    probs = voxels.probs.clamp(clip, 1 - clip) if clip else voxels.probs
    if voxels.soft:
        labels = voxels.labels.clamp(clip, 1 - clip) if clip and terms.clip_labels else voxels.labels
        missed, spurious = power(labels * (1 - probs), gamma), power((1 - labels) * probs, gamma)
        parts = [part * voxels.counted for part in (probs, labels * probs, missed, spurious)]
        return [voxels.counted, voxels.labels, *parts, *parts[-2:]]
    labels, other = voxels.labels, voxels.counted - voxels.labels
    # 1 - p of a voxel's own class as the sum of the others: exact where p is next to 1.
    rest = (voxels.probs * other).sum(1, keepdim=True)
    rest = rest.clamp(clip, 1 - clip) if clip else rest
    wrong, miss = power(probs, gamma), power(rest, gamma)
    parts = [voxels.counted, labels, probs * voxels.counted, probs * labels, miss * labels, wrong * other]
    leaks = [power(1 - probs, gamma) * other, wrong * labels] if clip and terms.clip_labels else [labels, labels]
    return [*parts, *leaks]


def _from_residuals(
    rows: tuple[Tensor, ...], terms: Terms, two_class: bool
) -> tuple[OverlapStatistics, Tensor, Tensor, Tensor]:
    """Statistics, cost, hinge and lead from the rows of a fast kernel; with two classes, add the background's."""
    voxels, volume, *rest = rows
    nothing = torch.zeros_like(volume)
    residual, own, both, missed = nothing, nothing, nothing, nothing
    if terms.gamma:
        residual, own, *rest = rest
        both, missed = residual - 2 * own, -own
        if terms.gamma > 1:
            both, missed, *rest = rest
    cost, foreground_cost = nothing, nothing
    if terms.own:
        cost, *rest = rest
        if two_class:
            foreground_cost, *rest = rest
    lead, foreground_score = nothing, nothing
    if terms.lead:
        lead, *rest = rest
        if two_class:
            foreground_score, *rest = rest
    hinge = rest[0] if terms.margin is not None else nothing
    spurious, predicted, overlap = both - missed, volume + residual, volume + own
    if two_class:
        background = voxels - volume
        predicted = torch.cat([voxels - predicted, predicted], dim=1)
        overlap = torch.cat([background - (residual - own), overlap], dim=1)
        missed, spurious = torch.cat([spurious, missed], dim=1), torch.cat([missed, spurious], dim=1)
        volume = torch.cat([background, volume], dim=1)
        cost = torch.cat([cost - foreground_cost, foreground_cost], dim=1)
        # The score is twice the lead of the foreground, and of the background with the other sign.
        lead = torch.cat([foreground_score - lead, foreground_score], dim=1) / 2
        # Of the two distances one is 0: the other's hinge stands for the sum of both.
        hinge = torch.cat([torch.zeros_like(hinge), hinge], dim=1)
        voxels = voxels.expand_as(volume)
    return OverlapStatistics(voxels, volume, predicted, overlap, missed, spurious), cost, hinge, lead


def _leaks(s: OverlapStatistics, gamma: float) -> tuple[Tensor, Tensor]:
    """Sums over the other side of each label: of (1 - p)^gamma, and of p^gamma.

    Exact for exponent 1 and 2; above 1 the first two terms of the series are enough, as what leaks weighs clip^gamma.
    """
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
