"""Curves read off the bins: choice of a threshold, and selective prediction (what if the doubtful voxels go unread).

Channels C, fine bins B. Voxels of one fine bin count as tied, so that what comes out is exact for confidences rounded
to their bin: 1/B, or 1 % of the odds on the scorer's fine axis.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .binning import Bins, bin_edges, rebin


class ThresholdCurves(NamedTuple):
    """Overlap against the threshold t where "claimed" is p >= t; `threshold` is (P,), the others (C, P).

    Attributes:
        threshold: The lower edges of the P bins: t = i / P, or the edges of the fine axis.
        recall: Share of the true voxels that are claimed; NaN where there is none.
        precision: Share of the claimed voxels that are true; NaN where none is claimed.
        dice: 2 hits / (claimed + true).

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]])
        >>> curves = threshold_curves(bin_item(probs, torch.tensor([0, 1, 1]), "foreground"), points=4)
        >>> curves.threshold.tolist(), curves.recall.tolist()
        ([0.0, 0.25, 0.5, 0.75], [[1.0, 1.0, 0.5, 0.5]])
    """

    threshold: Tensor
    recall: Tensor
    precision: Tensor
    dice: Tensor


def threshold_curves(bins: Bins, points: int | None = None) -> ThresholdCurves:
    """Recall, precision and Dice at every threshold, from bins of the view "foreground" or "classwise".

    Args:
        bins: Fields (C, B).
        points: Number of thresholds P, a divisor of B; B if None.

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]])
        >>> bins = bin_item(probs, torch.tensor([0, 1, 1]), "foreground")
        >>> threshold_curves(bins, points=4).precision.round(decimals=2).tolist()
        [[0.67, 1.0, 1.0, 1.0]]
    """
    coarse = bins if points is None else rebin(bins, points)
    claimed = coarse.count.flip(-1).cumsum(-1).flip(-1).double()
    hit = coarse.correct.flip(-1).cumsum(-1).flip(-1)
    true = hit[..., :1]
    threshold = bin_edges(coarse.num_bins, claimed.device)[:-1]
    return ThresholdCurves(threshold, hit / true, hit / claimed, 2 * hit / (claimed + true))


def best_threshold(bins: Bins, points: int | None = None) -> tuple[Tensor, Tensor]:
    """Threshold of highest Dice (C,) and that Dice (C,); of equals the lowest threshold.

    Args:
        bins: Fields (C, B).
        points: Number of thresholds, a divisor of B; B if None.

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]])
        >>> bins = bin_item(probs, torch.tensor([0, 1, 1]), "foreground")
        >>> [round(part.item(), 2) for part in best_threshold(bins, 10)]
        [0.2, 1.0]
    """
    curves = threshold_curves(bins, points)
    dice, index = curves.dice.nan_to_num(-1.0).max(-1)
    return curves.threshold[index], dice.masked_fill(dice < 0, torch.nan)


class RiskCoverage(NamedTuple):
    """Risk when only the most confident voxels are kept, from none to all; fields (..., B).

    Attributes:
        coverage: Share of the voxels kept.
        risk: Share of errors among those kept; NaN where none is.
        generalised_risk: Errors kept over all voxels (Traub et al. 2024).

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.9], [0.25, 0.1]])
        >>> curve = risk_coverage(bin_item(probs, torch.tensor([1, 0]), "top_label"))
        >>> curve.coverage[0, -1].item(), curve.risk[0, -1].item()
        (1.0, 0.5)
    """

    coverage: Tensor
    risk: Tensor
    generalised_risk: Tensor


def _kept(bins: Bins) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each fine bin, most confident first: voxels, errors, and both summed over the bins before; (..., B)."""
    count = bins.count.flip(-1).double()
    wrong = (bins.count - bins.correct).flip(-1)
    return count, wrong, count.cumsum(-1) - count, wrong.cumsum(-1) - wrong


def risk_coverage(bins: Bins) -> RiskCoverage:
    """Risk-coverage curve of the top-label bins, fields (..., B).

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.9], [0.25, 0.1]])
        >>> curve = risk_coverage(bin_item(probs, torch.tensor([1, 0]), "top_label", num_bins=10))
        >>> curve.coverage.tolist()
        [[0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    count, wrong, before, wrong_before = _kept(bins)
    kept, errors, total = before + count, wrong_before + wrong, count.sum(-1, keepdim=True)
    return RiskCoverage(kept / total, errors / kept, errors / total)


def area_under_risk_coverage(bins: Bins) -> Tensor:
    """AURC = (1/N) sum_i (errors among the i most confident) / i (Geifman and El-Yaniv 2017), (...,).

    Ties are in random order: the value is the mean over all orders. In a bin of n voxels and e errors after N0 and E0,
    sum_j (E0 + j e/n) / (N0 + j) = e + (E0 - N0 e/n) (H(N0 + n) - H(N0)), H the harmonic numbers.

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> area_under_risk_coverage(bins).tolist()
        [0.5]
    """
    count, wrong, before, wrong_before = _kept(bins)
    rate = wrong / count.clamp(min=1)
    harmonic = torch.special.digamma(before + count + 1) - torch.special.digamma(before + 1)
    return (wrong + (wrong_before - rate * before) * harmonic).sum(-1) / count.sum(-1)


def excess_area_under_risk_coverage(bins: Bins) -> Tensor:
    """E-AURC: AURC minus that of an oracle that ranks every error last (Geifman et al. 2019), (...,).

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.9], [0.25, 0.1]])  # the doubtful one is wrong: no oracle ranks better
        >>> excess_area_under_risk_coverage(bin_item(probs, torch.tensor([1, 0]), "top_label")).tolist()
        [0.0]
    """
    total = bins.count.sum(-1).double()
    wrong = total - bins.correct.sum(-1)
    right = total - wrong
    harmonic = torch.special.digamma(total + 1) - torch.special.digamma(right + 1)
    return area_under_risk_coverage(bins) - (wrong - right * harmonic) / total


def area_under_generalised_risk_coverage(bins: Bins) -> Tensor:
    """AUGRC: area under the generalised risk against coverage (Traub et al. 2024), (...,), between 0 and 1/2.

    It equals (1 - AUROC) a (1 - a) + (1 - a)^2 / 2 for accuracy a, AUROC of telling right from wrong by confidence.

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.9], [0.25, 0.1]])
        >>> area_under_generalised_risk_coverage(bin_item(probs, torch.tensor([1, 0]), "top_label")).tolist()
        [0.125]
    """
    count, wrong, _, wrong_before = _kept(bins)
    return (count * (wrong_before + wrong / 2)).sum(-1) / count.sum(-1).square()


def risk_at_coverage(bins: Bins, coverage: float = 0.8) -> Tensor:
    """Risk of the smallest set of most confident voxels that covers at least ``coverage``, (...,).

    Raises:
        ValueError: If coverage is not in (0, 1].

    Example:
        >>> from metrics import bin_item
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])  # of class 0, to three quarters; right in one of two
        >>> bins = bin_item(sure, torch.tensor([0, 1]), "top_label")
        >>> risk_at_coverage(bins, 1.0).tolist()
        [0.5]
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage={coverage} must be above 0 and at most 1")
    curve = risk_coverage(bins)
    index = (curve.coverage < coverage - 1e-12).sum(-1, keepdim=True).clamp(max=bins.num_bins - 1)
    return curve.risk.gather(-1, index).squeeze(-1)


def coverage_at_risk(bins: Bins, risk: float = 0.05) -> Tensor:
    """Largest coverage whose risk is at most ``risk``, (...,); 0 where there is none.

    Example:
        >>> from metrics import bin_item
        >>> probs = torch.tensor([[0.75, 0.9], [0.25, 0.1]])
        >>> coverage_at_risk(bin_item(probs, torch.tensor([1, 0]), "top_label"), risk=0.05).tolist()
        [0.5]
    """
    curve = risk_coverage(bins)
    return torch.where(curve.risk <= risk, curve.coverage, 0.0).amax(-1)


def case_risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same over cases, say for risk = 1 - Dice: coverage and mean risk of the most confident cases, each (n,).

    Args:
        confidence: (n,), one number a case.
        risk: (n,).

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> coverage, risk = case_risk_coverage(confidence=[0.9, 0.7], risk=[0.0, 0.5])
        >>> coverage.tolist(), risk.tolist()
        ([0.5, 1.0], [0.0, 0.25])
    """
    order, values = np.asarray(confidence, dtype=np.float64), np.asarray(risk, dtype=np.float64)
    if order.shape != values.shape or order.ndim != 1:
        raise ValueError(f"confidence and risk must be (n,) of one length, got {order.shape} and {values.shape}")
    sums = values[np.argsort(-order, kind="stable")].cumsum()
    number = np.arange(1, len(values) + 1)
    return number / len(values), sums / number
