"""Calls that a type checker has to find: the lines that end in ``# wrong``. Read by ``test_types.py``, never run."""

import torch

import losses

logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)

losses.DicePlusPlusLoss(gamma=2.0, smooth=1.0, pool="batch", absent="skip", class_weights=[0.5, 0.5], ignore_index=None)
losses.DicePlusPlusLoss(smoth=1.0)  # wrong
losses.DiceLoss(pool="bacth")  # wrong
losses.TverskyLoss(absent="none")  # wrong
losses.DicePlusPlusLoss(soft="semi")  # wrong
losses.FocalTverskyPlusPlusLoss(include_background="no")  # wrong
losses.ComboLoss(overlap_wieght=2.0)  # wrong
losses.MarginDiceLoss(clip="1e-7")  # wrong
losses.UnifiedFocalLoss(class_weights=0.5)  # wrong
losses.CrossEntropyLoss(ignore_index="255")  # wrong
losses.FocalLoss(gama=2.0)  # wrong
losses.LabelSmoothingLoss(variant="rest")  # wrong
losses.EntropyPenaltyLoss(scaling="mean")  # wrong
losses.GeneralizedDiceLoss(weighting="cubic")  # wrong
losses.WeightedCrossEntropyLoss(weight_from="labels")  # wrong
losses.SensitivitySpecificityLoss(channels="background")  # wrong
losses.TwoClassDiceLoss(class_weights=[1.0, 1.0])  # wrong
losses.MarginLabelSmoothingLoss(penalty="l2")  # wrong
losses.NeighborAwareCalibrationLoss(kernel="box")  # wrong
losses.NeighborAwareCalibrationLoss(padding="reflect")  # wrong
losses.SpatiallyVaryingLabelSmoothingLoss(sigma=[1.0, 1.0])  # wrong
losses.AverageCalibrationLoss(binning="adaptive")  # wrong
losses.ConfidenceAccuracyLoss(beta=1.0)  # wrong
losses.ClasswiseConfidenceAccuracyLoss(alpha="auto")  # wrong
losses.ClassAdaptiveMarginLoss(normalize="maximum")  # wrong
losses.ClassAdaptiveHingeLoss(penalty="phr")  # wrong
losses.ConstrainedRegionLoss(penalty="p4")  # wrong
losses.WeightedSumLoss([losses.DiceLoss()])  # wrong
losses.DeepSupervisionLoss("losses.DiceLoss")  # wrong
losses.DiceLoss()(logits)  # wrong
losses.DiceLoss()(logits, [[0, 1]])  # wrong
