"""Cuts with a promise: the share of missed or of falsely claimed voxels stays below a level on cases yet to come.

A cut c claims the voxels whose bin on the fine axis is c or higher, from all (0) to none (AXIS_BINS). Each case of a
calibration set gives a loss in [0, 1] at every cut. What is promised supposes that these cases and those to come are
drawn alike (exchangeable), and that nothing that made the probabilities has seen them.

Without a confidence, `conformal_cut` bounds the expected risk over cases to come and calibration sets (Angelopoulos et
al. 2022, conformal risk control), with losses that only rise along the sequence of cuts. With a confidence,
`tested_cut` bounds the risk over cases to come with that probability over calibration sets (Bates et al. 2021; and
Angelopoulos et al. 2021, learn then test): the cuts are tested one after the other, by the p-value of Hoeffding and
Bentkus, until one fails. That needs no rising losses, so it serves precision too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .axis import AXIS_BINS, axis_edges

Risk = Literal["fnr", "fdr", "precision"]
Unit = Literal["case", "voxel"]
STARTS = (0.5, 0.9, 0.99)  # probabilities at which tests of precision begin, each with its share of the error
MOST_CASES = 10**6


@dataclass(frozen=True)
class Promise:
    """A cut of one class and what is promised of it.

    Attributes:
        risk: "fnr", missed over true voxels; "fdr", false over claimed voxels, 0 where none is claimed; "precision",
            the same but 1 where none is claimed of a class that is there.
        level: The largest risk: 0.1 promises a recall or precision of 0.9 on average.
        confidence: Probability over calibration sets that the promise holds; None if the bound is in expectation.
        by: Whether the risk is the mean over cases, or that of all voxels together.
        cut: The first bin of the fine axis that is claimed.
        n: Cases that it rests on.
        seen: Their own risk at the cut.

    Example:
        >>> odds = torch.zeros(20, 2, AXIS_BINS)  # 20 cases: ten voxels in a low bin, ten true ones in a high bin
        >>> odds[:, 0, [1000, 2500]] = odds[:, 1, 2500:2501] = 10
        >>> promise(odds, "fnr", level=0.1)
        Promise(risk='fnr', level=0.1, confidence=None, by='case', cut=2500, n=20, seen=0.0)
    """

    risk: Risk
    level: float
    confidence: float | None
    by: Unit
    cut: int
    n: int
    seen: float

    @property
    def threshold(self) -> float:
        """The cut as a probability: the lower edge of its bin."""
        return float(axis_edges()[self.cut])


def promise(odds: Tensor, risk: Risk, level: float, confidence: float | None = None, by: Unit = "case") -> Promise:
    """The most useful cut that keeps a risk: the highest for fnr, the lowest for fdr and precision.

    Args:
        odds: (n, 2, AXIS_BINS), of each case the voxels of p_k on the fine axis and those that are of class k.
        risk: See `Promise`. Cases without the class have no fnr and are left out of it.
        level: Between 0 and 1.
        confidence: Between 0 and 1; precision needs one, and fdr by voxel.
        by: "voxel" supposes that no case to come has a larger denominator than the largest of the n.

    Raises:
        ValueError: If an argument is out of range, the cases are too few for the level (it says how many would do), or
            no cut keeps the risk.

    Example:
        >>> odds = torch.zeros(50, 2, AXIS_BINS)  # 50 cases: ten voxels in a low bin, ten true ones in a high bin
        >>> odds[:, 0, [1000, 2500]] = odds[:, 1, 2500:2501] = 10
        >>> found = promise(odds, "fnr", level=0.1, confidence=0.9)
        >>> found.cut, round(found.threshold, 3)
        (2500, 0.998)
    """
    _check(odds, risk, level, confidence, by)
    losses = case_losses(odds, risk, level, by)
    cut = conformal_cut(losses, level, risk) if confidence is None else tested_cut(losses, level, confidence, risk)
    if not odds[:, 0, cut:].any():
        raise ValueError(f"only the empty mask keeps {risk} below {level:g}: the probabilities do not tell the class")
    return Promise(risk, level, confidence, by, cut, len(losses), risk_at(odds, risk, by, cut))


def _check(odds: Tensor, risk: str, level: float, confidence: float | None, by: str) -> None:
    if odds.dim() != 3 or odds.shape[1:] != (2, AXIS_BINS):
        raise ValueError(f"odds must be (n, 2, {AXIS_BINS}), got {tuple(odds.shape)}")
    if risk not in ("fnr", "fdr", "precision") or by not in ("case", "voxel"):
        raise ValueError(f"risk={risk!r} must be fnr, fdr or precision, by={by!r} case or voxel")
    if not 0 < level < 1 or not 0 < (0.5 if confidence is None else confidence) < 1:
        raise ValueError(f"level={level} and confidence={confidence} must be between 0 and 1")
    if confidence is None and (risk == "precision" or (risk == "fdr" and by == "voxel")):
        raise ValueError(f"{risk} by {by} does not only rise along the cuts: give a confidence, as 0.9")


def counts_above(odds: Tensor) -> tuple[Tensor, Tensor]:
    """Voxels claimed at each cut, and those of them that are true; (n, bins + 1) float64, from all to none.

    Example:
        >>> odds = torch.zeros(1, 2, 4)
        >>> odds[0, 0], odds[0, 1] = torch.tensor([3, 0, 1, 2]), torch.tensor([0, 0, 1, 2])
        >>> [part.tolist() for part in counts_above(odds)]
        [[[6.0, 3.0, 3.0, 2.0, 0.0]], [[3.0, 3.0, 3.0, 2.0, 0.0]]]
    """
    above = odds.double().flip(-1).cumsum(-1).flip(-1)
    claimed, hits = torch.cat([above, above.new_zeros(*above.shape[:-1], 1)], -1).unbind(1)
    return claimed, hits


def _parts(odds: Tensor, risk: str) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of the risk of each case at each cut; for precision see `Promise`."""
    claimed, hits = counts_above(odds)
    if risk == "fnr":
        return hits[:, :1] - hits, hits[:, :1].expand_as(hits)
    empty_miss = (claimed == 0) & (hits[:, :1] > 0) & (risk == "precision")
    return claimed - hits + empty_miss, claimed + empty_miss


def case_losses(odds: Tensor, risk: Risk, level: float, by: Unit = "case") -> Tensor:
    """Loss in [0, 1] of each case at each cut, (n, bins + 1); its mean is at most the level just where the risk is.

    By voxel: level + (numerator - level * denominator) / M, M the largest denominator.

    Example:
        >>> odds = torch.zeros(1, 2, 4)
        >>> odds[0, 0], odds[0, 1] = torch.tensor([3, 0, 1, 3]), torch.tensor([1, 0, 1, 2])
        >>> case_losses(odds, "fnr", level=0.1).tolist()
        [[0.0, 0.25, 0.25, 0.5, 1.0]]
    """
    above, below = _parts(odds, risk)
    if risk == "fnr":
        known = below[:, 0] > 0
        above, below = above[known], below[known]
    if by == "case":
        return above / below.clamp_min(1)
    largest = below.amax(0, keepdim=True).clamp_min(1) if len(below) else below.sum(0, keepdim=True) + 1
    return level + (above - level * below) / largest


def risk_at(odds: Tensor, risk: Risk, by: Unit, cut: int) -> float:
    """The risk of cases at a cut; NaN where no case has one.

    Example:
        >>> odds = torch.zeros(1, 2, 4)
        >>> odds[0, 0], odds[0, 1] = torch.tensor([3, 0, 1, 3]), torch.tensor([1, 0, 1, 2])
        >>> risk_at(odds, "fnr", "case", cut=2)
        0.25
    """
    above, below = (part[:, cut] for part in _parts(odds, risk))
    if risk == "fnr":
        above, below = above[below > 0], below[below > 0]
    if by == "case":
        return float((above / below.clamp_min(1)).mean())
    return float(above.sum() / below.sum()) if len(below) and (risk == "fnr" or below.sum() > 0) else 0.0


def relative_size(odds: Tensor, cut: int) -> float:
    """The price: voxels claimed at a cut over true ones, of all cases together.

    Example:
        >>> odds = torch.zeros(1, 2, 4)
        >>> odds[0, 0], odds[0, 1] = torch.tensor([3, 0, 1, 3]), torch.tensor([1, 0, 1, 2])
        >>> relative_size(odds, cut=0), relative_size(odds, cut=2)
        (1.75, 1.0)
    """
    claimed, hits = counts_above(odds)
    return float(claimed[:, cut].sum() / hits[:, 0].sum())


def conformal_cut(losses: Tensor, level: float, risk: str) -> int:
    """The cut of conformal risk control: (sum of the losses + 1) / (n + 1) <= level.

    The losses of fdr are first made to rise: at each cut the largest at it or at any higher one, which bounds the risk
    from above.

    Raises:
        ValueError: If no cut does.

    Example:
        >>> conformal_cut(torch.tensor([[0.0, 0.0, 0.5, 1.0]] * 20), level=0.1, risk="fnr")
        1
    """
    n = len(losses)
    safest = losses[:, 0] if risk == "fnr" else losses[:, -1]
    _enough(n, math.ceil((1 - level) / max(level - float(safest.mean()), 1e-12) - 1e-9) if n else 1, level, None)
    rising = losses if risk == "fnr" else losses.flip(1).cummax(1).values
    kept = (rising.sum(0) + 1) / (n + 1) <= level + 1e-12
    steps = int(kept.long().cumprod(0).sum()) - 1
    return steps if risk == "fnr" else losses.shape[1] - 1 - steps


def tested_cut(losses: Tensor, level: float, confidence: float, risk: str) -> int:
    """The cut of fixed-sequence tests: for fnr from the lowest cut up, else from each of `STARTS` down.

    Raises:
        ValueError: If no cut passes.

    Example:
        >>> losses = torch.zeros(50, AXIS_BINS + 1)  # of 50 cases: everything is missed from cut 2500 on
        >>> losses[:, 2500:] = 1
        >>> tested_cut(losses, level=0.1, confidence=0.9, risk="fnr")
        2499
    """
    n, error = len(losses), 1 - confidence
    sequences = _sequences(risk)
    share = error / len(sequences)
    _enough(n, cases_needed(0.0, level, share), level, confidence)
    p = hoeffding_bentkus(losses.mean(0), n, level)
    passed = [s[: int((p[s] <= share).long().cumprod(0).sum())] for s in sequences]
    found = [int(s[-1]) for s in passed if len(s)]
    if not found:
        least = float(torch.stack([losses.mean(0)[s].min() for s in sequences]).min())
        more = (
            f"; at the lowest seen, {least:.3g}, {cases_needed(least, level, share)} would do" if least < level else ""
        )
        raise ValueError(
            f"{n} cases show no cut that keeps {risk} below {level:g} with confidence {confidence:g}{more}"
        )
    return max(found) if risk == "fnr" else min(found)


def _sequences(risk: str) -> list[Tensor]:
    if risk == "fnr":
        return [torch.arange(AXIS_BINS + 1)]
    starts = torch.searchsorted(axis_edges(), torch.tensor(STARTS, dtype=torch.float64))
    return [torch.arange(start, -1, -1) for start in starts.tolist()]


def _enough(n: int, needed: int, level: float, confidence: float | None) -> None:
    if n < needed:
        sure = "" if confidence is None else f" with confidence {confidence:g}"
        raise ValueError(f"{n} cases cannot promise a level of {level:g}{sure}: {needed} would do")


def hoeffding_bentkus(mean: Tensor, n: int, level: float) -> Tensor:
    """P-values (...) of "the risk is above the level" from means (...) of n losses in [0, 1].

    min(exp(-n kl(min(mean, level), level)), e P[Bin(n, level) <= ceil(n mean)]) (Bates et al. 2021, section 3.1).

    Example:
        >>> hoeffding_bentkus(torch.tensor([0.0, 0.05, 0.1]), n=50, level=0.1).round(decimals=3)
        tensor([0.0050, 0.4340, 1.0000], dtype=torch.float64)
    """
    from scipy.special import bdtr

    low = mean.double().clamp(0, level)
    kl = torch.special.xlogy(low, low / level) + torch.special.xlogy(1 - low, (1 - low) / (1 - level))
    hits = torch.ceil(n * mean.double() - 1e-9).clamp(0, n)
    bentkus = math.e * torch.as_tensor(bdtr(hits.numpy(), n, level), dtype=torch.float64)
    return torch.minimum(torch.exp(-n * kl), bentkus).clamp(max=1.0)


def cases_needed(mean: float, level: float, error: float) -> int:
    """The least number of cases whose mean loss of `mean` would pass the test at an error, up to a million.

    Example:
        >>> cases_needed(mean=0.0, level=0.1, error=0.1)
        22
    """
    value, low, high = torch.tensor(mean), 0, 1
    while high < MOST_CASES and float(hoeffding_bentkus(value, high, level)) > error:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if float(hoeffding_bentkus(value, middle, level)) > error else (low, middle)
    return high


def sets_of(index: Tensor, labels: Tensor, cuts: Sequence[int | None]) -> Tensor:
    """What is claimed for each foreground class, (K - 1, *S) bool; classes may overlap.

    Args:
        index: (K, *S) bins of the probabilities on the fine axis.
        labels: (*S), the classes of largest probability: what is claimed for a class without a cut.
        cuts: K - 1 cuts.

    Example:
        >>> index = torch.tensor([[3400, 100], [100, 1700]])  # bins of p_0 and p_1 of two voxels
        >>> sets_of(index, torch.tensor([0, 0]), cuts=[1600]).tolist()
        [[False, True]]
    """
    found = [labels == k if cut is None else index[k] >= cut for k, cut in enumerate(cuts, 1)]
    return torch.stack(found)
