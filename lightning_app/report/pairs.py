"""Paired differences: each method against a reference, and losses with the exponent of DSC++ against those without."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lightning_app.report.compare import Comparison
from lightning_app.report.tables import Table, main_metrics, number, title_of
from lightning_app.report.verdicts import CONTRARY, MARGIN, MARGINS, NOT_WORSE, SLIGHTLY, Claim, Judged, judge
from metrics.catalogue import NUMBERS

SUFFIX = "++"


@lru_cache(maxsize=1)
def judged_pairs(comparison: Comparison, metrics: tuple[str, ...]) -> dict[Claim, Judged]:
    """Every pair on every data set by every number: X++ against X, or all against the first method."""
    compared = _pairs(comparison) or [(comparison.leading[0], other) for other in comparison.leading[1:]]
    claims = [
        Claim(data, metric, "all", method, against)
        for data in comparison.data
        for against, method in compared
        for metric in metrics
    ]
    return judge(comparison, claims)


def _metrics(comparison: Comparison) -> tuple[str, ...]:
    """The main numbers with a better side and a value a case."""
    return tuple(m for m in main_metrics(comparison) if NUMBERS[m].average == "case" and NUMBERS[m].better)


def pair_table(comparison: Comparison, metrics: tuple[str, ...] = ()) -> Table | None:
    """A row for each loss X that was run as X and as X++: counts of data sets where X++ is better.

    Args:
        comparison: The runs.
        metrics: Numbers with a value a case; by default the main ones.
    """
    metrics = metrics or _metrics(comparison)
    pairs, judged = _pairs(comparison), judged_pairs(comparison, metrics)
    if not pairs or not judged:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    records: list[dict[str, float | str]] = []
    for base, plus in pairs:
        own = [one for claim, one in judged.items() if (claim.against, claim.method) == (base, plus)]
        counts = {metric: _counts([one for one in own if one.evidence.claim.metric == metric]) for metric in metrics}
        rows.append([f"{base} to {plus}", *map(_count_text, counts.values())])
        keys.append([f"{base} to {plus}", *(float(count.get("gains", np.nan)) for count in counts.values())])
        plain = {f"{metric}_{name}": n for metric, count in counts.items() for name, n in count.items()}
        records.append({"pair": f"{base} to {plus}", **plain})
    caption = (
        "On how many data sets the mean is better with ++ than without; in brackets on how many that is told (better, "
        f"worse; Dice not worse by more than {MARGIN}), and on how many mean and test disagree: see the table of "
        "differences"
    )
    return Table("pairs", caption, ["Pair", *map(title_of, metrics)], rows, keys, records)


def _counts(own: Sequence[Judged]) -> dict[str, int]:
    """Numbers of data sets: all, those with the better mean, and those of each verdict."""
    if not own:
        return {}
    verdicts = [one.verdict for one in own]
    kinds = {"better": verdicts.count("better"), "worse": verdicts.count("worse") + verdicts.count(SLIGHTLY)}
    kinds["disagree"] = verdicts.count(CONTRARY)
    if own[0].evidence.claim.metric in MARGINS:
        kinds["not_worse"] = sum(verdicts.count(kind) for kind in ("better", NOT_WORSE, SLIGHTLY))
    gains = sum(one.evidence.sign * one.evidence.difference > 0 for one in own)
    return {"data_sets": len(own), "gains": gains, **kinds}


def _count_text(count: dict[str, int]) -> str:
    if not count:
        return ""
    told = f"{count['better']} better, {count['worse']} worse"
    told += f", {count['not_worse']} not worse" if "not_worse" in count else ""
    told += f", {count['disagree']} disagree" if count["disagree"] else ""
    return f"{count['gains']} of {count['data_sets']} ({told})"


def difference_table(comparison: Comparison) -> Table | None:
    """A row a data set, pair and metric: difference, interval, test, verdict."""
    judged = judged_pairs(comparison, _metrics(comparison))
    if not judged:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    records: list[dict[str, float | str]] = []
    for claim, one in judged.items():
        found, (low, high) = one.evidence, one.evidence.interval
        p = "< 0.0001" if one.p_value < 1e-4 else f"{one.p_value:.4f}"
        interval = "" if np.isnan(low) else f" [{_signed(low)}, {_signed(high)}]"
        start = [claim.data, claim.method, claim.against, title_of(claim.metric)]
        rows.append([*start, str(found.cases), f"{_signed(found.difference)}{interval}", p, one.verdict])
        keys.append([*start, float(found.cases), found.difference, one.p_value, one.verdict])
        names = {"data": claim.data, "method": claim.method, "against": claim.against, "metric": claim.metric}
        values = {"cases": found.cases, "difference": found.difference, "low": low, "high": high}
        tests = {"p_value": found.test.p_value, "p_holm": one.p_value, "ranks": found.test.direction}
        records.append({**names, **values, **tests, "verdict": one.verdict})
    caption = (
        "Paired differences, method less the other, over the cases that both have, with 95 % intervals over cases and "
        "seeds; p of Wilcoxon's two-sided signed-rank test over cases, Holm-corrected over this whole table. better, "
        f"worse: mean, test and interval point there; not worse by {MARGIN}, worse by less: by a one-sided test (Holm) "
        "and the interval, Dice has not fallen by more; mean and test disagree: outliers decide the mean"
    )
    titles = ["Data", "Method", "Against", "Metric", "Cases", "Difference", "p (Holm)", "Verdict"]
    return Table("differences", caption, titles, rows, keys, records, fixed=4)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """(X, X++) as methods; X++ with several exponents makes several pairs."""
    loss_of = {comparison.method(run): run.loss for run in comparison.runs}
    return [
        (base, plus)
        for plus in comparison.methods
        for base in comparison.methods
        if loss_of[plus] == loss_of[base] + SUFFIX
    ]
