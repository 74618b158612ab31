"""Tables of what `benchmarks.posthoc` wrote: calibrators on one set, and over all sets against no calibrator."""

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_app.names import short_name

COLUMNS = {
    "dice": "Dice",
    "ece_pooled": "ECE, pooled",
    "ece_classwise_pooled": "class-wise ECE, pooled",
    "nll_pooled": "NLL, pooled",
}
FITTED = {"validation": "validation", "cross": "other half"}
Row = Mapping[str, str]


def calibrators_on(rows: Sequence[Row]) -> str:
    """A row a calibrator and way of fitting, the losses side by side, of one data set."""
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    heads = [
        "calibrator",
        "fitted on",
        *(f"{short_name(loss)}: {label}" for loss in losses for label in COLUMNS.values()),
    ]
    lines = []
    for method, fitted in dict.fromkeys((row["method"], row["fitted"]) for row in rows):
        by_loss = {row["loss"]: row for row in rows if (row["method"], row["fitted"]) == (method, fitted)}
        values = [
            f"{float(by_loss[loss][column]):.4f}" if loss in by_loss else "" for loss in losses for column in COLUMNS
        ]
        lines.append([method.replace("_", " "), FITTED[fitted], *values])
    return markdown(heads, lines)


def calibrators_over(rows: Sequence[Row]) -> str:
    """What calibrators change over all data sets.

    A row a calibrator and way of fitting: for each loss the mean change of Dice, and of ECE and NLL the geometric mean
    of their ratios to no calibrator, with the number of sets on which they fall.
    """
    losses = list(dict.fromkeys(row["loss"] for row in rows))
    columns = ("ece_pooled", "nll_pooled")
    titles = ["Dice", *(f"{COLUMNS[column].partition(',')[0]}, ratio (sets lower)" for column in columns)]
    heads = ["calibrator", "fitted on", *(f"{short_name(loss)}: {title}" for loss in losses for title in titles)]
    base = {(row["data"], row["loss"], row["fitted"]): row for row in rows if row["method"] == "none"}
    lines = []
    for method, fitted in dict.fromkeys((row["method"], row["fitted"]) for row in rows if row["method"] != "none"):
        cells = []
        for loss in losses:
            own = [row for row in rows if (row["method"], row["fitted"], row["loss"]) == (method, fitted, loss)]
            before = [base[row["data"], loss, fitted] for row in own]
            cells.append(f"{np.mean(_values(own, 'dice') - _values(before, 'dice')):+.4f}")
            cells += [_ratio(own, before, column) for column in columns]
        lines.append([method.replace("_", " "), FITTED[fitted], *cells])
    return markdown(heads, lines)


def calibrators_kept(rows: Sequence[Row]) -> str:
    """A row a loss and calibrator: ECE and NLL against no calibrator, on own test cases and on the other sets.

    Geometric means of the ratios over the data sets, with the number of sets on which they fall.
    """
    base = {(row["data"], row["loss"], row["tested"]): row for row in rows if row["method"] == "none"}
    heads = ["loss", "calibrator"]
    heads += [f"{word}, {place}" for word in ("ECE", "NLL") for place in ("own cases", "other set")]
    lines = []
    for loss, method in dict.fromkeys((row["loss"], row["method"]) for row in rows if row["method"] != "none"):
        own = [row for row in rows if (row["loss"], row["method"]) == (loss, method)]
        cells = []
        for column in ("ece_pooled", "nll_pooled"):
            for here in (True, False):
                found = [row for row in own if (row["tested"] == "own") == here]
                cells.append(_ratio(found, [base[row["data"], loss, row["tested"]] for row in found], column))
        lines.append([short_name(loss), method.replace("_", " "), *cells])
    return markdown(heads, lines)


def calibrators_shifted(rows: Sequence[Row]) -> str:
    """A row a data set, loss and calibrator: ECE and NLL of the run's own test cases and of the other set."""
    heads = ["data", "other set", "loss", "calibrator"]
    heads += [f"{COLUMNS[column]}: {place}" for column in ("ece_pooled", "nll_pooled") for place in ("own", "other")]
    lines = []
    for data, loss, method in dict.fromkeys((row["data"], row["loss"], row["method"]) for row in rows):
        here = [row for row in rows if (row["data"], row["loss"], row["method"]) == (data, loss, method)]
        own, other = (next(row for row in here if (row["tested"] == "own") == wanted) for wanted in (True, False))
        values = [f"{float(row[column]):.4f}" for column in ("ece_pooled", "nll_pooled") for row in (own, other)]
        lines.append([data, other["tested"], short_name(loss), method.replace("_", " "), *values])
    return markdown(heads, lines)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))


def _values(rows: Sequence[Row], column: str) -> np.ndarray:
    return np.array([float(row[column]) for row in rows])


def _ratio(rows: Sequence[Row], before: Sequence[Row], column: str) -> str:
    """Geometric mean of the ratios of two columns, with the number of rows in which the first is lower."""
    ratio = _values(rows, column) / _values(before, column)
    return f"{np.exp(np.log(ratio).mean()):.2f} ({(ratio < 1).sum()} of {len(ratio)})"
