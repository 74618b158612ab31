"""Calibration and overlap metrics for segmentation that stay exact at any number of voxels."""

from metrics import curves, errors, plot, presets, regions, statistics
from metrics.binning import CASE_BINS, FINE_BINS, Bins, bin_item, empty_bins, merge_bins, predict_labels, rebin
from metrics.boundary import BoundaryIoU, distance_bins
from metrics.calibration import (
    AdaptiveCalibrationError,
    AverageCalibrationError,
    DebiasedCalibrationError,
    ExpectedCalibrationError,
    MaximumCalibrationError,
    Overconfidence,
    ReliabilityBins,
    RootMeanSquareCalibrationError,
    SoftVolumeBias,
    ThresholdedCalibrationError,
    TrueCalibrationError,
    Underconfidence,
)
from metrics.collection import build
from metrics.evaluate import CaseSums, case_bins, evaluate_case, rows_from_sums, sum_case
from metrics.margins import MarginCounts, count_margins
from metrics.overlap import DiceScore, GeneralizedDiceScore, JaccardIndex, Precision, Recall
from metrics.presets import preset
from metrics.scores import BrierScore, NegativeLogLikelihood, lowest_scores
from metrics.statistics import bootstrap_band, bootstrap_bins, bootstrap_interval
from metrics.surface import AverageSurfaceDistance, HausdorffDistance95, NormalizedSurfaceDice

__all__ = [
    "CASE_BINS",
    "FINE_BINS",
    "AdaptiveCalibrationError",
    "AverageCalibrationError",
    "AverageSurfaceDistance",
    "Bins",
    "BoundaryIoU",
    "BrierScore",
    "CaseSums",
    "DebiasedCalibrationError",
    "DiceScore",
    "ExpectedCalibrationError",
    "GeneralizedDiceScore",
    "HausdorffDistance95",
    "JaccardIndex",
    "MarginCounts",
    "MaximumCalibrationError",
    "NegativeLogLikelihood",
    "NormalizedSurfaceDice",
    "Overconfidence",
    "Precision",
    "Recall",
    "ReliabilityBins",
    "RootMeanSquareCalibrationError",
    "SoftVolumeBias",
    "ThresholdedCalibrationError",
    "TrueCalibrationError",
    "Underconfidence",
    "bin_item",
    "bootstrap_band",
    "bootstrap_bins",
    "bootstrap_interval",
    "build",
    "case_bins",
    "count_margins",
    "curves",
    "distance_bins",
    "empty_bins",
    "errors",
    "evaluate_case",
    "lowest_scores",
    "merge_bins",
    "plot",
    "predict_labels",
    "preset",
    "presets",
    "rebin",
    "regions",
    "rows_from_sums",
    "statistics",
    "sum_case",
]
