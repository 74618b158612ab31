"""What the cases say of one method against another: differences with intervals, tests in their direction, verdicts.

`better` takes three things at once: the mean of the paired differences, the ranks of the test (Wilcoxon's, two-sided,
Holm-corrected over everything that the table claims) and the interval of the difference all point to that side. Fewer
than eight cases make no verdict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lightning_app.report.compare import Comparison
from metrics import intervals, statistics
from metrics.catalogue import NUMBERS, POOLED

LEVEL = 0.05
MARGIN = 0.01  # a smaller loss of Dice counts as none
MARGINS = {"dice": MARGIN}
SLIGHTLY, NOT_WORSE = f"worse, by less than {MARGIN}", f"not worse by {MARGIN}"
CONTRARY, TOO_FEW, OPEN = "mean and test disagree", "too few cases", "not told apart"


class Claim(NamedTuple):
    """A method held against another on one data set, by one number of one class."""

    data: str
    metric: str
    label: str
    method: str
    against: str


@dataclass(frozen=True)
class Evidence:
    """What the cases that both methods have say about a claim; all differences are method less the other.

    Args:
        comparison: The runs.
        claim: What is compared.
    """

    comparison: Comparison
    claim: Claim

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (seeds, cases) of the method and of the other, on the cases that both have."""
        data, metric, label, *methods = self.claim
        one, other = (self.comparison.seeds(data, method, metric, label) for method in methods)
        common = sorted(one.cases.keys() & other.cases.keys())
        first, second = (t.values[:, [t.cases[name] for name in common]] for t in (one, other))
        return first, second

    @property
    def cases(self) -> int:
        """Number of cases that both have."""
        return self.tables[0].shape[1]

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (cases,) of both, the mean over the seeds."""
        first, second = (intervals.mean_of_known(table) for table in self.tables)
        return first, second

    @property
    def difference(self) -> float:
        """Mean difference; NaN without a common case."""
        return float(np.mean(self.means[0] - self.means[1])) if self.cases else np.nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean difference, over cases and the seeds of each method."""
        return intervals.difference_interval(*self.tables)

    @cached_property
    def test(self) -> statistics.PairedTest:
        """Wilcoxon's test over the cases, seeds averaged."""
        return statistics.paired_wilcoxon(*self.means)

    @property
    def sign(self) -> int:
        """1 where the larger value is better, else -1."""
        return 1 if NUMBERS[self.claim.metric].better == "higher" else -1

    @cached_property
    def not_worse(self) -> float:
        """One-sided p-value against "worse by the margin or more"; 1 where the number has none."""
        margin, (own, theirs) = MARGINS.get(self.claim.metric), self.means
        return statistics.not_worse(self.sign * own, self.sign * theirs, margin) if margin else 1.0

    def verdict(self, p_value: float, p_not_worse: float = 1.0) -> str:
        """`better`, `worse`, not worse by a margin, or why there is none, at corrected p-values."""
        if self.cases < intervals.ENOUGH_CASES:
            return TOO_FEW
        ends = sorted(self.sign * end for end in self.interval)
        gain = self.sign * self.difference
        if p_value < LEVEL and gain * self.sign * self.test.direction < 0:
            return CONTRARY
        if p_value < LEVEL and gain > 0 and ends[0] > 0:
            return "better"
        margin = MARGINS.get(self.claim.metric)
        within = margin is not None and p_not_worse < LEVEL and ends[0] > -margin
        if p_value < LEVEL and gain < 0 and ends[1] < 0:
            return SLIGHTLY if within else "worse"
        return NOT_WORSE if within else OPEN


@dataclass(frozen=True)
class Judged:
    """A claim with its evidence, its p-value corrected over the table, and the verdict."""

    evidence: Evidence
    p_value: float
    verdict: str


def judge(comparison: Comparison, claims: Iterable[Claim]) -> dict[Claim, Judged]:
    """The claims of one table, Holm-corrected over all of them; tests against margins by themselves."""
    found = {claim: Evidence(comparison, claim) for claim in dict.fromkeys(claims)}
    found = {claim: evidence for claim, evidence in found.items() if evidence.cases}
    p_values = _holm(found.values(), lambda evidence: evidence.test.p_value)
    bounded = [evidence for claim, evidence in found.items() if claim.metric in MARGINS]
    margins = dict(zip((e.claim for e in bounded), _holm(bounded, lambda e: e.not_worse), strict=True))
    return {
        claim: Judged(evidence, p, evidence.verdict(p, margins.get(claim, 1.0)))
        for (claim, evidence), p in zip(found.items(), p_values, strict=True)
    }


def _holm(evidence: Iterable[Evidence], p_of: Callable[[Evidence], float]) -> list[float]:
    return [float(p) for p in statistics.holm([p_of(one) for one in evidence])]


class Marks:
    """`best` and `tied` in a table of means.

    `best`: better than every other method there. `tied`: the method of the best mean where it is not, and each that is
    not told to be worse than it.

    Args:
        comparison: The runs.
        metrics: The table's numbers; those of all voxels together have no cases to test, hence no marks.
        labels: Its classes by data set; the case as a whole if None.
    """

    def __init__(
        self, comparison: Comparison, metrics: Sequence[str], labels: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._marks: dict[tuple[str, str, str], dict[str, str]] = {}
        leaders = {
            (data, metric, label): found
            for data in comparison.data
            for metric in metrics
            for label in (labels or {}).get(data, ()) or (("all",) if labels is None else ())
            if (found := _leader(comparison, data, metric, label))
        }
        claims = {place: [Claim(*place, best, other) for other in others] for place, (best, others) in leaders.items()}
        judged = judge(comparison, [claim for group in claims.values() for claim in group])
        for place, group in claims.items():
            told = {claim.against for claim in group if claim in judged and judged[claim].verdict == "better"}
            few = any(claim in judged and judged[claim].verdict == TOO_FEW for claim in group)
            best, others = leaders[place]
            tied = [best, *(other for other in others if other not in told)]
            self._marks[place] = {} if few else {best: "best"} if len(tied) == 1 else dict.fromkeys(tied, "tied")

    def of(self, data: str, metric: str, label: str = "all") -> dict[str, str]:
        """Method -> mark."""
        return self._marks.get((data, metric, label), {})


def _leader(comparison: Comparison, data: str, metric: str, label: str) -> tuple[str, list[str]] | None:
    """The method of the best mean and the others; None where there is nothing to compare."""
    row = NUMBERS.get(metric)
    if row is None or row.better not in ("higher", "lower") or metric.endswith(POOLED):
        return None
    cells = {m: cell.mean for m in comparison.methods if (cell := comparison.cell(data, m, metric, label))}
    if len(cells) < 2:
        return None
    best = (max if row.better == "higher" else min)(cells, key=lambda method: cells[method])
    return best, [method for method in cells if method != best]
