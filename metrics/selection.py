"""What labelled cases promise of cases to come: an interval of the volume, a least Dice, which pass without a look.

Both suppose that the cases and those to come are drawn alike; neither supposes that the probabilities are right, they
only cost more where they are not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_INSIDE = 0.001  # Dice whose logits are taken
_COPIES = (2, 3, 4, 6, 8, 12, 16)  # of the cases at hand that are tried where they are too few


@dataclass(frozen=True)
class VolumeInterval:
    """An interval of the true volume around the expected one, by split conformal prediction.

    With E the expected and V the true volume and a floor f, that keeps small ones apart from none, the residual of a
    case is |log((V + f) / (E + f))|. Its ceil((n + 1) * coverage)-th smallest, q, bounds that of a case to come with
    at least that probability (Vovk et al. 2005; Lei et al. 2018), whatever correlates the voxels.

    Attributes:
        coverage: Probability that an interval holds the true volume.
        reach: q.
        floor: f, a tenth of the median true volume.
        n: Cases that it rests on.

    Example:
        >>> found = VolumeInterval.of([10.0] * 9, [9, 10, 11, 10, 9, 12, 10, 10, 8], coverage=0.9)
        >>> [round(end, 2) for end in found.around(20.0)]
        [16.18, 24.67]
    """

    coverage: float
    reach: float
    floor: float
    n: int

    @classmethod
    def of(cls, expected: ArrayLike, true: ArrayLike, coverage: float = 0.9) -> "VolumeInterval":
        """From cases with a label.

        Args:
            expected: (n,) expected volumes.
            true: (n,) true ones.
            coverage: Between 0 and 1.

        Raises:
            ValueError: If the coverage is out of range, no case holds the class, or the cases are too few; it says
                how many would do.
        """
        given, sought = np.asarray(expected, float), np.asarray(true, float)
        _check_enough(len(given), coverage, "intervals of")
        if not sought.any():
            raise ValueError("no case holds the class")
        floor = float(np.median(sought[sought > 0])) / 10
        residuals = np.sort(np.abs(np.log((sought + floor) / (given + floor))))
        rank = math.ceil((len(given) + 1) * coverage - 1e-9)
        return cls(coverage, float(residuals[rank - 1]), floor, len(given))

    def around(self, expected: float) -> tuple[float, float]:
        """Lower and upper end of a case."""
        middle, factor = expected + self.floor, math.exp(self.reach)
        return max(0.0, middle / factor - self.floor), middle * factor - self.floor


@dataclass(frozen=True)
class DiceBound:
    """The Dice that a case likely has, and one that it has at least, from its expected one.

    With e the expected and d the true Dice, r = logit(d) - logit(e) is how far a case is better than expected.
    `likely` shifts e by the median of r. `low` shifts it by the floor((n + 1) * (1 - coverage))-th smallest r, which
    that of a case to come exceeds with at least the coverage (split conformal prediction, Vovk et al. 2005), however
    wrong the probabilities are. Logits are of Dice held inside 0.001 to 0.999.

    Attributes:
        coverage: Probability that the Dice is at least `low`.
        median: Shift of the likely Dice.
        least: Shift of the least.
        n: Cases that it rests on.

    Example:
        >>> found = DiceBound.of([0.95] * 9, [0.8, 0.82, 0.84, 0.85, 0.86, 0.87, 0.88, 0.9, 0.92])
        >>> [round(value, 2) for value in found.around(0.95)]
        [0.8, 0.86]
    """

    coverage: float
    median: float
    least: float
    n: int

    @classmethod
    def of(cls, expected: ArrayLike, actual: ArrayLike, coverage: float = 0.9) -> "DiceBound":
        """From cases with a label.

        Args:
            expected: (n,) expected Dice.
            actual: (n,) Dice.
            coverage: Between 0 and 1.

        Raises:
            ValueError: If the coverage is out of range or the cases are too few; it says how many would do.
        """
        better = np.sort(_logit(actual) - _logit(expected))
        _check_enough(len(better), coverage, "a least Dice at")
        rank = math.floor((len(better) + 1) * (1 - coverage) + 1e-9)
        return cls(coverage, float(np.median(better)), float(better[rank - 1]), len(better))

    def around(self, expected: float) -> tuple[float, float]:
        """The least and the likely Dice of a case."""
        from scipy.special import expit

        low, likely = expit(_logit(expected) + np.array([self.least, self.median]))
        return (float(low) if low > 1.001 * _INSIDE else 0.0), float(likely)


def _logit(dice: ArrayLike) -> np.ndarray:
    from scipy.special import logit

    return logit(np.clip(np.asarray(dice, float), _INSIDE, 1 - _INSIDE))


def fewest_cases(coverage: float) -> int:
    """The smallest n for which an interval of that coverage is finite.

    Raises:
        ValueError: If the coverage is not between 0 and 1.

    Example:
        >>> fewest_cases(0.9), fewest_cases(0.95)
        (9, 19)
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage={coverage} must be between 0 and 1")
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _check_enough(cases: int, coverage: float, what: str) -> None:
    """Refuse too few cases, with the number that would do."""
    if cases < (least := fewest_cases(coverage)):
        raise ValueError(f"{cases} cases are too few for {what} {coverage:.0%}: {least} would do")


@dataclass(frozen=True)
class Passing:
    """A least expected Dice, above which at most a share of the cases has a Dice below what is asked.

    The cuts are tested from high to low, each by the exact binomial test of "more than `share` of the cases that pass
    are bad", until one is not rejected (fixed-sequence testing, Angelopoulos et al. 2021, learn then test). The first
    is the highest that lets enough cases pass for the test to reject at all.

    Attributes:
        dice: Dice below which a case is bad.
        share: Largest share of bad cases among those that pass.
        confidence: Probability over the labelled cases that this holds.
        cut: The least expected Dice that passes.
        n: Cases that it rests on.
        passed: How many of them pass.
        bad: How many of these are bad.

    Example:
        >>> good, poor = [0.95] * 60, [0.5] * 20
        >>> found = Passing.of(good + poor, [0.9] * 60 + [0.4] * 20, dice=0.8)
        >>> found.cut, found.passed, found.bad
        (0.95, 60, 0)
    """

    dice: float
    share: float
    confidence: float
    cut: float
    n: int
    passed: int
    bad: int

    @classmethod
    def of(
        cls, expected: ArrayLike, actual: ArrayLike, dice: float = 0.8, share: float = 0.1, confidence: float = 0.9
    ) -> "Passing":
        """From cases with a label.

        Args:
            expected: (n,) expected Dice.
            actual: (n,) Dice.
            dice: Below it a case is bad.
            share: Between 0 and 1.
            confidence: Between 0 and 1.

        Raises:
            ValueError: If an argument is out of range, the cases are too few, or no cut can be promised; it says how
                many would do, if any number would.
        """
        least = fewest_passing(share, confidence)
        order = np.argsort(-np.asarray(expected, float), kind="stable")
        scores, bad = np.asarray(expected, float)[order], np.asarray(actual, float)[order] < dice
        if len(scores) < least:
            raise ValueError(
                f"{len(scores)} cases are too few to promise {share:.0%} at {confidence:.0%}: at least {least} would do"
            )
        passed = _passed(scores, bad, least, share, confidence)
        if not passed:
            copies = (k for k in _COPIES if _passed(scores.repeat(k), bad.repeat(k), least, share, confidence))
            k = next(copies, 0)
            cure = f"{k * len(scores):,} like these would do" if k else "nor would with more like these"
            told = f"no expected Dice lets cases pass of which at most {share:.0%} lie below {dice:g}"
            raise ValueError(f"{told}, of {len(scores)}; {cure}")
        return cls(dice, share, confidence, float(scores[passed - 1]), len(scores), passed, int(bad[:passed].sum()))


def fewest_passing(share: float, confidence: float) -> int:
    """The smallest number of cases, all good, of which it can be promised that they pass.

    Raises:
        ValueError: If an argument is not between 0 and 1.

    Example:
        >>> fewest_passing(0.1, 0.9)
        22
    """
    if not (0 < share < 1 and 0 < confidence < 1):
        raise ValueError(f"share={share} and confidence={confidence} must be between 0 and 1")
    return math.ceil(math.log(1 - confidence) / math.log(1 - share))


def _passed(scores: np.ndarray, bad: np.ndarray, least: int, share: float, confidence: float) -> int:
    """How many cases pass, of scores from high to low and which are bad; 0 where no cut can be promised."""
    from scipy.stats import binom

    passed = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) + 1  # ties pass together
    passed = passed[passed >= least]
    proven = binom.cdf(np.cumsum(bad)[passed - 1], passed, share) <= 1 - confidence
    before = int(np.argmin(np.append(proven, False)))  # the first that is not
    return int(passed[before - 1]) if before else 0
