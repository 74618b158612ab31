"""Plots of calibration and overlap: functions that take numbers and return (figure, axes).

Figures are made without pyplot, so that they need no display and nothing has to be closed. matplotlib is imported
when the first is drawn.
"""

from metrics.plot.maps import overlay
from metrics.plot.reliability import reliability_diagram

__all__ = ["overlay", "reliability_diagram"]
