"""Losses with and without the exponent of DSC++: on how many data sets the claim holds, metric by metric."""

import numpy as np

from lightning_app.report.compare import LEVEL, Comparison
from lightning_app.report.tables import Table, main_metrics, title_of
from metrics.catalogue import NUMBERS, higher_is_better

SUFFIX = "++"


def pair_table(comparison: Comparison) -> Table | None:
    """A row for each loss X that was run as X and as X++: counts of data sets where X++ is better.

    In brackets on how many of them the paired Wilcoxon test over cases says so (Holm-corrected over the data sets,
    p < 0.05), and behind a minus how many it finds worse.
    """
    pairs = _pairs(comparison)
    metrics = [metric for metric in main_metrics(comparison) if NUMBERS[metric].average == "case"]
    if not pairs:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for base, plus in pairs:
        counts = [_count(comparison, base, plus, metric) for metric in metrics]
        rows.append([f"{base} to {plus}", *(text for text, _ in counts)])
        keys.append([f"{base} to {plus}", *(wins for _, wins in counts)])
    caption = (
        "On how many data sets the mean is better with ++ than without; in brackets, where a paired Wilcoxon test over "
        "cases says better, and worse (Holm-corrected over the data sets, p < 0.05)"
    )
    return Table("pairs", caption, ["Pair", *map(title_of, metrics)], rows, keys)


def _pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """(X, X++) as methods; X++ with several exponents makes several pairs."""
    loss_of = {comparison.method(run): run.loss for run in comparison.runs}
    return [
        (base, plus)
        for plus in comparison.methods
        for base in comparison.methods
        if loss_of[plus] == loss_of[base] + SUFFIX
    ]


def _count(comparison: Comparison, base: str, plus: str, metric: str) -> tuple[str, float]:
    """The cell's text, and the number of data sets where ++ has the better mean."""
    from metrics import statistics

    sign = 1 if higher_is_better(metric) else -1
    gains: dict[str, float] = {}
    p_values: list[float] = []
    for data in comparison.data:
        cells = [comparison.cell(data, method, metric) for method in (base, plus)]
        if cells[0] and cells[1]:
            gains[data] = sign * (cells[1].mean - cells[0].mean)
            p_values.append(comparison.p_values(data, base, [plus], metric)[plus])
    if not gains:
        return "", np.nan
    told = np.asarray(statistics.holm(p_values)) < LEVEL
    gain = np.array(list(gains.values()))
    wins = int((gain > 0).sum())
    return f"{wins} of {len(gain)} ({(told & (gain > 0)).sum()} better, {(told & (gain < 0)).sum()} worse)", wins
