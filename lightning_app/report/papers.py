"""Tables in the papers' own layout, with the published number beside ours where one is known."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_

import numpy as np

from lightning_app.report import gdl
from lightning_app.report.compare import Comparison
from lightning_app.report.tables import Table, cell_record, number, title_of
from metrics import statistics
from metrics.catalogue import higher_is_better

# Murugesan et al. (MbLS-MedIA): the authors' numbers behind the radar plot, per volume; CE, FL, ECP, LS, SVLS, MbLS.
MBLS_METHODS = ("CE", "Focal", "ECP", "LS", "SVLS", "MbLS", "CE+DSC")
MBLS_PUBLISHED = {
    ("ACDC", "dice"): (0.8413, 0.7649, 0.7820, 0.8358, 0.7007, 0.8753),
    ("ACDC", "ece"): (0.086, 0.099, 0.109, 0.075, 0.188, 0.049),
    ("FLARE", "dice"): (0.8648, 0.8620, 0.8691, 0.8695, 0.8665, 0.8710),
    ("FLARE", "ece"): (0.045, 0.034, 0.037, 0.059, 0.039, 0.037),
    ("MRBrainS", "dice"): (0.7875, 0.7898, 0.8019, 0.7476, 0.7439, 0.8125),
    ("MRBrainS", "ece"): (0.089, 0.020, 0.048, 0.036, 0.060, 0.050),
    ("BraTS", "dice"): (0.6973, 0.7045, 0.7051, 0.6906, 0.6995, 0.7088),
    ("BraTS", "ece"): (0.128, 0.139, 0.107, 0.125, 0.128, 0.116),
    ("PROMISE", "dice"): (0.4980, 0.5456, 0.5401, 0.5320, 0.5814, 0.5835),
    ("PROMISE", "ece"): (0.3435, 0.1691, 0.2446, 0.2022, 0.2948, 0.1853),
}

MBLS_RANK_SUMS = {"dice": (24, 22, 18, 24, 25, 6, 21), "ece": (24, 13, 15, 17, 25, 11, 33)}  # over the five


def paper_tables(comparison: Comparison) -> list[Table]:
    """The layouts that the runs can fill."""
    candidates = [
        dscpp_table(comparison),
        *gdl.grid_tables(comparison),
        gdl.collapse_table(comparison),
        mbls_table(comparison),
    ]
    return [table for table in candidates if table]


def dscpp_table(comparison: Comparison) -> Table | None:
    """DSC++ paper: data set by loss, with NLL, Brier, Dice, IoU, precision, recall as mean and half interval."""
    if "DSC++" not in {run.loss for run in comparison.runs}:
        return None
    metrics = [m for m in ("nll", "brier", "dice", "iou", "precision", "recall") if m in comparison.metrics()]
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    records: list[dict[str, float | str]] = []
    for data in comparison.data:
        for method in comparison.methods:
            cells = [comparison.cell(data, method, metric) for metric in metrics]
            if any(cells):
                texts = [f"{number(c.mean)} ± {number((c.high - c.low) / 2)}" if c else "" for c in cells]
                rows.append([data, method, *texts])
                keys.append([data, method, *(c.mean if c else np.nan for c in cells)])
                numbers = [cell_record(metric, cell) for metric, cell in zip(metrics, cells, strict=True)]
                records.append(reduce(or_, numbers, {"data": data, "method": method}))
    caption = "Layout of the DSC++ paper: mean ± half of the 95 % interval over cases (its own numbers are not at hand)"
    return Table("dscpp_layout", caption, ["Data", "Method", *map(title_of, metrics)], rows, keys, records, fixed=2)


def _mbls_published(names: Sequence[str]) -> Iterator[tuple[str, str, list[float], int]]:
    """Data, metric, a value a method and its digits; mean ranks come last."""
    for (data, metric), values in MBLS_PUBLISHED.items():
        by_loss = dict(zip(MBLS_METHODS, values, strict=False))
        yield data, metric, [by_loss.get(name, np.nan) for name in names], 4
    for metric, sums in MBLS_RANK_SUMS.items():
        ranks = {name: total / 5 for name, total in zip(MBLS_METHODS, sums, strict=True)}
        yield "mean rank", metric, [ranks.get(name, np.nan) for name in names], 2


def mbls_table(comparison: Comparison) -> Table | None:
    """MbLS, Dice and ECE of each method on each data set and the mean rank over them, then the published rows."""
    losses = {run.loss for run in comparison.runs}
    if "MbLS" not in losses:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []

    def add(data: str, source: str, metric: str, values: Sequence[float], digits: int = 4) -> None:
        rows.append([data, source, title_of(metric), *(number(float(value), digits) for value in values)])
        keys.append([data, source, metric, *map(float, values)])

    for data in comparison.data:
        for metric in ("dice", "ece"):
            cells = [comparison.cell(data, method, metric) for method in comparison.methods]
            add(data, "ours", metric, [c.mean if c else np.nan for c in cells])
    for metric in ("dice", "ece"):
        own = np.array([key[3:] for key in keys if key[2] == metric], dtype=float)
        if np.isfinite(own).all():
            ranks = statistics.rank_methods(own, higher_is_better(metric))
            add("mean rank", "ours", metric, ranks.mean(axis=0), 2)
    for data, metric, values, digits in _mbls_published([method.split()[0] for method in comparison.methods]):
        add(data, "published", metric, values, digits)
    caption = (
        "MbLS: Dice and ECE by method, and mean ranks over the data sets; published: the authors' numbers behind their "
        "radar plot and rank map, other data sets"
    )
    return Table("mbls_layout", caption, ["Data set", "Source", "Metric", *comparison.methods], rows, keys, fixed=3)
