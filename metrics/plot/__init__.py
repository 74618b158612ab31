"""Plots of calibration and overlap: functions that take numbers and return (figure, axes).

Figures are made without pyplot, so that they need no display and nothing has to be closed. matplotlib is imported
when the first is drawn.
"""

from .compare import radar, rank_heat_map
from .curves import distance_calibration, parameter_curves, risk_coverage, threshold_curves
from .histograms import (
    box_plot,
    confidence_histogram,
    dataset_reliability_histogram,
    interval_plot,
    margin_histogram,
)
from .maps import overlay, probability_maps
from .ranks import critical_difference, volume_scatter
from .reliability import reliability_diagram
from .style import literal

__all__ = [
    "box_plot",
    "confidence_histogram",
    "critical_difference",
    "dataset_reliability_histogram",
    "distance_calibration",
    "interval_plot",
    "literal",
    "margin_histogram",
    "overlay",
    "parameter_curves",
    "probability_maps",
    "radar",
    "rank_heat_map",
    "reliability_diagram",
    "risk_coverage",
    "threshold_curves",
    "volume_scatter",
]
