import numpy as np
import pytest
import sklearn.metrics
import torch

import metrics
from metrics import curves
from metrics.binning import bin_index, top_label
from tests.metrics.data import segmentation

B = 300


def bins_and_voxels(seed=0):
    """Top-label bins, and the confidence (rounded to bins) and errors of every voxel."""
    probs, target = segmentation((31, 33), seed=seed)
    confidence, prediction = top_label(probs.reshape(3, -1))
    wrong = (prediction != target.reshape(-1)).numpy()
    return metrics.bin_item(probs, target, "top_label", B), bin_index(confidence, B).numpy(), wrong.astype(float)


@pytest.mark.parametrize("view", ["foreground", "classwise"])
def test_thresholds_equal_counting(view):
    probs, target = segmentation()
    result = curves.threshold_curves(metrics.bin_item(probs, target, view, B), 20)
    channels = (
        [(1 - probs[0].double(), target != 0)]
        if view == "foreground"
        else [(p.double(), target == k) for k, p in enumerate(probs)]
    )
    for c, (p, true) in enumerate(channels):
        for i, t in enumerate(result.threshold):
            claimed = bin_index(p, 20) >= i
            hit = (claimed & true).sum().item()
            assert result.recall[c, i] == hit / true.sum().item(), t
            assert result.dice[c, i] == 2 * hit / (claimed.sum() + true.sum()).item()
            if claimed.any():
                assert result.precision[c, i] == hit / claimed.sum().item()


def test_best_threshold():
    probs, target = segmentation(classes=2)
    bins = metrics.bin_item(probs, target, "foreground", B)
    threshold, dice = curves.best_threshold(bins, 100)
    every = curves.threshold_curves(bins, 100)
    assert dice == every.dice.max()
    assert every.dice[0, (threshold * 100).round().long()] == dice
    assert torch.isnan(curves.best_threshold(metrics.empty_bins(1, B))[1])


def test_aurc_is_the_mean_over_orders_of_ties():
    bins, index, wrong = bins_and_voxels()
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        order = np.lexsort((rng.random(len(index)), -index))
        values.append((wrong[order].cumsum() / np.arange(1, len(wrong) + 1)).mean())
    error = 4 * np.std(values) / np.sqrt(len(values))
    assert curves.area_under_risk_coverage(bins).item() == pytest.approx(np.mean(values), abs=error)


def test_aurc_without_ties_by_hand():
    bins = metrics.bin_item(
        torch.tensor([[0.95, 0.85, 0.75, 0.65], [0.05, 0.15, 0.25, 0.35]]), torch.tensor([0, 1, 0, 1]), "top_label", 10
    )
    assert curves.area_under_risk_coverage(bins).item() == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    oracle = (0 + 0 + 1 / 3 + 2 / 4) / 4
    assert curves.excess_area_under_risk_coverage(bins).item() == pytest.approx(
        (0 + 1 / 2 + 1 / 3 + 2 / 4) / 4 - oracle
    )


def test_augrc_is_a_function_of_auroc_and_accuracy():
    bins, index, wrong = bins_and_voxels()
    accuracy = 1 - wrong.mean()
    auroc = sklearn.metrics.roc_auc_score(1 - wrong, index)
    expected = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert curves.area_under_generalised_risk_coverage(bins).item() == pytest.approx(expected, abs=1e-12)


def test_risk_at_coverage_and_back():
    bins, index, wrong = bins_and_voxels()
    risk, coverage = curves.risk_at_coverage(bins, 0.7).item(), curves.coverage_at_risk(bins, 0.1).item()
    kept = [index >= b for b in range(B)]
    assert risk == pytest.approx(next(wrong[k].mean() for k in reversed(kept) if k.mean() >= 0.7))
    assert coverage == pytest.approx(max((k.mean() for k in kept if k.any() and wrong[k].mean() <= 0.1), default=0))
    assert curves.risk_at_coverage(bins, 1.0).item() == pytest.approx(wrong.mean())
    with pytest.raises(ValueError, match="coverage=0"):
        curves.risk_at_coverage(bins, 0)


def test_cases_by_confidence():
    coverage, risk = curves.case_risk_coverage([0.2, 0.9, 0.5], [0.6, 0.0, 0.3])
    assert coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk == pytest.approx([0, 0.15, 0.3])
    with pytest.raises(ValueError, match="one length"):
        curves.case_risk_coverage([1.0], [1.0, 2.0])
