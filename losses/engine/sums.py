"""The door of the engine: from a formula, and what runs it fast, to sums by name."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .chunks import chunked_sums
from .fast import Terms
from .inputs import flatten_pair
from .many_classes import SoftmaxKernel
from .rows import Sums
from .two_classes import SigmoidKernel, both_classes
from .voxels import Formula, FormulaKernel, HandSlopes


def voxel_sums(
    logits: Tensor,
    target: Tensor,
    ignore_index: int | None,
    formula: Formula,
    fast: Terms | HandSlopes | None = None,
    extra: Sequence[Tensor] = (),
) -> Sums:
    """Sum a formula over the voxels of each item.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` labels or ``(B, K, *S)`` soft labels.
        ignore_index: Label that does not count.
        formula: Summands by name.
        fast: The terms of the fast path that are the same, or the formula's slopes by hand, or none.
        extra: What else the formula knows of each voxel, ``(B, ..., *S)``.
    """
    flat, labels = flatten_pair(logits, target)
    classes = max(flat.shape[1], 2)
    terms = fast if isinstance(fast, Terms) else None
    if terms and not (labels.is_floating_point() or 0 < terms.gamma < 1 or torch.compiler.is_compiling()):
        return terms_sums(terms, flat, labels, classes, ignore_index)
    kernel = FormulaKernel(formula, classes, ignore_index, None if isinstance(fast, Terms) else fast)
    return chunked_sums(kernel, flat, labels, *(part.flatten(2 - logits.ndim + part.ndim) for part in extra))


def terms_sums(terms: Terms, logits: Tensor, labels: Tensor, classes: int, ignore_index: int | None) -> Sums:
    """Sum terms on the fast path, under the names that formulas have."""
    kernel = (SigmoidKernel if classes == 2 else SoftmaxKernel)(terms, classes, ignore_index)
    sums = chunked_sums(kernel, logits, labels)
    if classes == 2:
        sums = both_classes(sums)
    return name_overlap(sums, terms) if terms.gamma else sums


def name_overlap(s: Sums, terms: Terms) -> Sums:
    """Statistics of the overlap from the errors outside and inside of each class."""
    outside, inside = s.wrong_outside, s.wrong_inside
    found = vars(s) | {"predicted": s.volume - inside + outside, "overlap": s.volume - inside}
    if terms.gamma == 1:
        found |= {"spurious": outside, "missed": inside}
    s = Sums(**found)
    return clip_labels(s, terms.gamma, terms.clip) if terms.clip and terms.clip_labels else s


def clip_labels(s: Sums, gamma: float, clip: float) -> Sums:
    """Hold labels within ``[clip, 1 - clip]``: a small share of each voxel leaks to the other side.

    What leaks is the sum of (1 - p)^gamma outside, and of p^gamma inside. Exact for exponent 1 and 2; above 1 the first
    two terms of the series are enough, as it weighs clip^gamma.
    """
    outside = s.voxels - s.volume - gamma * s.wrong_outside
    inside = s.volume - gamma * s.wrong_inside
    if gamma == 2.0:
        outside, inside = outside + s.spurious, inside + s.missed
    keep, leak = (1 - clip) ** gamma, clip**gamma
    overlap = (1 - clip) * s.overlap + clip * s.wrong_outside
    missed, spurious = keep * s.missed + leak * outside, keep * s.spurious + leak * inside
    return Sums(**vars(s) | {"overlap": overlap, "missed": missed, "spurious": spurious})
