"""Calls that a type checker has to find: the lines that end in ``# wrong``. Read by ``test_types.py``, never run."""

import torch

import metrics

probs, labels = torch.full((1, 2, 4, 4), 0.5), torch.zeros(1, 4, 4, dtype=torch.long)

metrics.ReliabilityBins(2, 15, "classwise", metrics.regions.Boundary(3.0), "per_case", True, None, False)
metrics.ReliabilityBins(2, region="boundary", ignore_index=None, validate=False, sync_on_compute=False)
metrics.ReliabilityBins(num_class=2)  # wrong
metrics.ExpectedCalibrationError(2, view="classwse")  # wrong
metrics.ExpectedCalibrationError(2, num_bin=15)  # wrong
metrics.AverageCalibrationError(2, average="per-case")  # wrong
metrics.MaximumCalibrationError(2, min_counts=100)  # wrong
metrics.RootMeanSquareCalibrationError(2, region="edge")  # wrong
metrics.DebiasedCalibrationError(2, include_background="no")  # wrong
metrics.ThresholdedCalibrationError(2, threshold=0.01)  # wrong
metrics.AdaptiveCalibrationError(2, validate="yes")  # wrong
metrics.Overconfidence(2, ignore_index="255")  # wrong
metrics.Underconfidence(2, compute_on_gpu=True)  # wrong
metrics.SoftVolumeBias(2, view="top_label")  # wrong
metrics.TrueCalibrationError(2, averge="pooled")  # wrong
metrics.TrueCalibrationError(2).update(probs, true_prob=probs)  # wrong
metrics.NegativeLogLikelihood(2, epsilon=1e-6)  # wrong
metrics.BrierScore(2, region="everything")  # wrong
metrics.DiceScore(2, absent="max")  # wrong
metrics.JaccardIndex(2, class_names="organ", backgrounds=True)  # wrong
metrics.Precision("2")  # wrong
metrics.Recall(2, average="macro")  # wrong
metrics.GeneralizedDiceScore(2, absent="skip")  # wrong
metrics.BoundaryIoU(2, region="boundary")  # wrong
metrics.HausdorffDistance95(2, one_empty="zero")  # wrong
metrics.AverageSurfaceDistance(2, element="area")  # wrong
metrics.NormalizedSurfaceDice(2, elements="faces")  # wrong
metrics.Scorer(2, surfaces=True)  # wrong
metrics.preset("crac", 2)  # wrong
metrics.preset("mbls", 2, raw_label=True)  # wrong
metrics.presets.Barfoot(2, average="pooled")  # wrong
metrics.presets.DSCPlusPlus(2, raw_labels="yes")  # wrong
metrics.bin_item(probs[0], labels[0], "top")  # wrong
metrics.distance_bins(probs[0], labels[0], view="true")  # wrong
metrics.catalogue.Number("x", "X", "smaller", metrics.catalogue.nll)  # wrong
metrics.DiceScore(2).update(probs)  # wrong
