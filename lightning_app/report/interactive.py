"""The reliability diagram that a reader can turn about: data set, view, region and class by choice."""

import html
import json
from typing import Any

import metrics
from lightning_app.report import diagrams
from lightning_app.report.compare import Comparison
from metrics.plot import style

VIEWS = {
    "top_label": "confidence of the predicted label",
    "classwise": "probability of one class",
    "foreground": "probability of any foreground",
}


def reliability_chart(comparison: Comparison) -> str:
    """The chart's place in the page, with its numbers beside it as JSON; the page's script draws it."""
    found = {data: _diagrams(comparison, data) for data in comparison.data}
    found = {data: parts for data, parts in found.items() if parts}
    if not found:
        return ""
    colours = {method: style.COLOURS[i % len(style.COLOURS)] for i, method in enumerate(comparison.leading)}
    content = json.dumps({"bins": found, "views": VIEWS, "colours": colours}, separators=(",", ":"))
    safe = content.replace("<", "\\u003c")  # a name cannot end the script that holds it
    label = html.escape("Reliability diagram by data set, view, region and class")
    return (
        f'<div class="chart" role="group" aria-label="{label}"><script type="application/json">{safe}</script>'
        "<noscript>Needs JavaScript; the diagrams below show the same.</noscript></div>"
    )


def _diagrams(comparison: Comparison, data: str) -> dict[str, Any]:
    """`<region>.<view>` -> its channels and, by method, the (count, confidence, frequency) of each bin and channel."""
    parts: dict[str, Any] = {}
    for method in comparison.leading:
        runs = comparison.of(data, method)
        if not runs:
            continue
        sums = runs[0].reliability(comparison.stage)
        for name in (name for name in sums.names() if name.partition(".")[2] in VIEWS):
            bins = diagrams.pooled(comparison, data, method, name)
            if bins is not None:
                part = parts.setdefault(name, {"channels": _channels(sums, bins), "methods": {}})
                part["methods"][method] = _rounded(bins)
    return parts


def _channels(sums: Any, bins: "metrics.Bins") -> list[str]:
    """Names of the classes, or of regions that may overlap, where there is a channel for each, else one empty name."""
    names = [str(name) for name in sums.arrays.get("class_names", ())]
    return names[-len(bins.count) :] if 1 < len(bins.count) <= len(names) else [""] * len(bins.count)


def _rounded(bins: "metrics.Bins") -> list[list[list[float]]]:
    coarse = metrics.rebin(bins, diagrams.NUM_BINS)
    shown: list[list[list[float]]] = []
    for count, confidence, correct in zip(*(field.tolist() for field in coarse[:3]), strict=True):
        triples = zip(count, confidence, correct, strict=True)
        shown.append([[n, round(p / n, 4), round(c / n, 4)] if n else [0, 0, 0] for n, p, c in triples])
    return shown
