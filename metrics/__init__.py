"""Calibration and overlap metrics for segmentation that stay exact at any number of voxels."""

from metrics import errors, plot, regions, statistics
from metrics.binning import CASE_BINS, FINE_BINS, Bins, bin_item, empty_bins, merge_bins, predict_labels, rebin
from metrics.calibration import (
    AdaptiveCalibrationError,
    AverageCalibrationError,
    DebiasedCalibrationError,
    ExpectedCalibrationError,
    MaximumCalibrationError,
    Overconfidence,
    ReliabilityBins,
    RootMeanSquareCalibrationError,
    ThresholdedCalibrationError,
    TrueCalibrationError,
    Underconfidence,
)
from metrics.collection import build
from metrics.evaluate import CaseSums, case_bins, evaluate_case, rows_from_sums, sum_case
from metrics.overlap import DiceScore, GeneralizedDiceScore, JaccardIndex, Precision, Recall
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
    "BrierScore",
    "CaseSums",
    "DebiasedCalibrationError",
    "DiceScore",
    "ExpectedCalibrationError",
    "GeneralizedDiceScore",
    "HausdorffDistance95",
    "JaccardIndex",
    "MaximumCalibrationError",
    "NegativeLogLikelihood",
    "NormalizedSurfaceDice",
    "Overconfidence",
    "Precision",
    "Recall",
    "ReliabilityBins",
    "RootMeanSquareCalibrationError",
    "ThresholdedCalibrationError",
    "TrueCalibrationError",
    "Underconfidence",
    "bin_item",
    "bootstrap_band",
    "bootstrap_bins",
    "bootstrap_interval",
    "build",
    "case_bins",
    "empty_bins",
    "errors",
    "evaluate_case",
    "lowest_scores",
    "merge_bins",
    "plot",
    "predict_labels",
    "rebin",
    "regions",
    "rows_from_sums",
    "statistics",
    "sum_case",
]
