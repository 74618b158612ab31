"""Calibration and overlap metrics for segmentation that stay exact at any number of voxels."""

from . import catalogue, curves, drift, errors, intervals, plot, presets, regions, risk, statistics
from .axis import AXIS_BINS, axis_edges, axis_index
from .base import VoxelMetric
from .binning import CASE_BINS, FINE_BINS, Bins, bin_item, empty_bins, merge_bins, predict_labels, rebin
from .boundary import BoundaryIoU, distance_bins
from .calibration import (
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
from .drift import case_traits, unlike
from .evaluate import add_objects, evaluate_case, rows_from_sums, score_case, sum_case
from .expectations import expected_dice, expected_volume, uncertain_share
from .intervals import bootstrap_interval, difference_interval, frequency_band, jackknife_interval
from .margins import MarginCounts, count_margins
from .objects import Matching, ObjectRule, lesion_wise_dice, match_objects, object_score, object_sums
from .overlap import DiceScore, GeneralizedDiceScore, JaccardIndex, Precision, Recall, threshold_labels
from .pooled import error_interval, pooled_intervals
from .presets import preset
from .raters import ece_by_rater, inter_rater_dice, rater_bins
from .scorer import Scorer
from .scores import BrierScore, NegativeLogLikelihood, lowest_scores
from .smooth import SmoothCurve, smooth_calibration_error, smooth_reliability_curve
from .sums import CaseSums, merge_sums, stack_sums
from .surface import AverageSurfaceDistance, HausdorffDistance95, NormalizedSurfaceDice

__all__ = [
    "AXIS_BINS",
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
    "Matching",
    "MaximumCalibrationError",
    "NegativeLogLikelihood",
    "NormalizedSurfaceDice",
    "ObjectRule",
    "Overconfidence",
    "Precision",
    "Recall",
    "ReliabilityBins",
    "RootMeanSquareCalibrationError",
    "Scorer",
    "SmoothCurve",
    "SoftVolumeBias",
    "ThresholdedCalibrationError",
    "TrueCalibrationError",
    "Underconfidence",
    "VoxelMetric",
    "add_objects",
    "axis_edges",
    "axis_index",
    "bin_item",
    "bootstrap_interval",
    "case_traits",
    "catalogue",
    "count_margins",
    "curves",
    "difference_interval",
    "distance_bins",
    "drift",
    "ece_by_rater",
    "empty_bins",
    "error_interval",
    "errors",
    "evaluate_case",
    "expected_dice",
    "expected_volume",
    "frequency_band",
    "inter_rater_dice",
    "intervals",
    "jackknife_interval",
    "lesion_wise_dice",
    "lowest_scores",
    "match_objects",
    "merge_bins",
    "merge_sums",
    "object_score",
    "object_sums",
    "plot",
    "pooled_intervals",
    "predict_labels",
    "preset",
    "presets",
    "rater_bins",
    "rebin",
    "regions",
    "risk",
    "rows_from_sums",
    "score_case",
    "smooth_calibration_error",
    "smooth_reliability_curve",
    "stack_sums",
    "statistics",
    "sum_case",
    "threshold_labels",
    "uncertain_share",
    "unlike",
]
