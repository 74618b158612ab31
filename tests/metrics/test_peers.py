"""Against other libraries where they are right; and what they give where they are not, so that we notice a change."""

import monai.metrics
import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
import torch
import torchmetrics.functional as peer
import torchmetrics.functional.segmentation as peer_segmentation

import metrics
from metrics import errors
from tests.metrics.data import segmentation


def make(classes=3, seed=0, shape=(40, 41)):
    probs, target = segmentation(shape, classes, seed)
    return probs, target, metrics.bin_item(probs, target, "top_label"), metrics.bin_item(probs, target, "classwise")


@pytest.mark.parametrize("num_bins", [10, 15, 20])
def test_torchmetrics_top_label_of_few_voxels(num_bins):
    """It turns all into float32: few voxels, so few roundings."""
    probs, target, top, _ = make()
    flat = probs.double().reshape(3, -1).T
    args = (flat, target.reshape(-1).long(), 3, num_bins)
    expected = peer.classification.multiclass_calibration_error(*args, norm="l1").item()
    assert errors.expected_calibration_error(top, num_bins).item() == pytest.approx(expected, abs=1e-6)
    expected = peer.classification.multiclass_calibration_error(*args, norm="max").item()
    assert errors.maximum_calibration_error(top, num_bins).item() == pytest.approx(expected, abs=1e-5)


def test_torchmetrics_binary_is_our_foreground_view():
    probs, target = segmentation((40, 41), 2)
    bins = metrics.bin_item(probs, target, "foreground")
    confidence = 1 - probs[0].double()  # as ours: what is not background
    expected = peer.classification.binary_calibration_error(confidence, target.long(), 15, norm="l1").item()
    assert errors.expected_calibration_error(bins, 15).item() == pytest.approx(expected, abs=1e-12)


def test_torchmetrics_puts_certainty_into_a_bin_that_does_not_exist():
    """100 voxels of p = 1 (80 right) and 100 of p = 0.95 (all right) share the last of 15 bins: 0.075, not 0.125."""
    confidence = torch.cat([torch.ones(100), torch.full((100,), 0.95)]).double()
    right = torch.ones(200, dtype=torch.uint8)
    right[:20] = 0
    bins = metrics.bin_item(torch.stack([1 - confidence, confidence]), right, "foreground")
    assert errors.expected_calibration_error(bins, 15).item() == pytest.approx(0.075, abs=1e-7)
    theirs = peer.classification.binary_calibration_error(confidence, right.long(), 15).item()
    assert theirs in (pytest.approx(0.125), pytest.approx(0.075))  # wrong in 1.9; right once repaired


@pytest.mark.parametrize("num_bins", [10, 20])
def test_sklearn_calibration_curve(num_bins):
    probs, target, _, classwise = make()
    coarse = metrics.rebin(classwise, num_bins)
    for k in range(3):
        frequency, confidence = sklearn.calibration.calibration_curve(
            (target == k).reshape(-1).numpy(), probs[k].double().reshape(-1).numpy(), n_bins=num_bins
        )
        full = coarse.count[k] > 0
        np.testing.assert_allclose((coarse.correct / coarse.count)[k, full], frequency, atol=1e-12)
        np.testing.assert_allclose((coarse.confidence / coarse.count)[k, full], confidence, atol=1e-12)


def test_sklearn_scores():
    probs, target = segmentation((40, 41), 2)
    y, p = target.reshape(-1).numpy(), probs[1].double().reshape(-1).numpy()
    row = metrics.evaluate_case(probs, target, ["background", "organ"])[0]
    assert row["brier"] == pytest.approx(sklearn.metrics.brier_score_loss(y, p), abs=1e-7)
    assert row["nll"] == pytest.approx(sklearn.metrics.log_loss(y, p), abs=1e-6)
    predicted = metrics.predict_labels(probs).reshape(-1).numpy()
    assert row["dice"] == pytest.approx(sklearn.metrics.f1_score(y, predicted), abs=1e-12)
    assert row["iou"] == pytest.approx(sklearn.metrics.jaccard_score(y, predicted), abs=1e-12)
    assert row["precision"] == pytest.approx(sklearn.metrics.precision_score(y, predicted), abs=1e-12)
    assert row["recall"] == pytest.approx(sklearn.metrics.recall_score(y, predicted), abs=1e-12)


@pytest.mark.parametrize("reduction", ["expected", "average", "maximum"])
def test_monai_classwise_of_one_item(reduction):
    probs, target, _, classwise = make()
    onehot = torch.nn.functional.one_hot(target.long(), 3).movedim(-1, 0)[None]
    metric = monai.metrics.CalibrationErrorMetric(num_bins=20, calibration_reduction=reduction)
    metric(probs[None].double(), onehot)
    ours = {
        "expected": errors.expected_calibration_error,
        "average": errors.average_calibration_error,
        "maximum": errors.maximum_calibration_error,
    }[reduction]
    assert ours(classwise, 20).mean().item() == pytest.approx(metric.aggregate().item(), abs=1e-6)


def test_monai_and_torchmetrics_dice():
    probs, target, _, _ = make()
    onehot = torch.nn.functional.one_hot(target.long(), 3).movedim(-1, 0)[None]
    predicted = torch.nn.functional.one_hot(probs.argmax(0), 3).movedim(-1, 0)[None]
    ours = [row["dice"] for row in metrics.evaluate_case(probs, target, list("abc"))[:2]]
    assert ours == pytest.approx(monai.metrics.compute_dice(predicted, onehot, include_background=False)[0].tolist())
    theirs = peer_segmentation.dice_score(predicted, onehot, 3, include_background=False, average="none")
    assert ours == pytest.approx(theirs[0].tolist())


@pytest.mark.filterwarnings("ignore")  # netcal warns about itself
def test_netcal():
    netcal = pytest.importorskip("netcal.metrics")
    probs, target, top, _ = make()
    flat = probs.double().reshape(3, -1).T.numpy()
    expected = netcal.ECE(15).measure(flat, target.reshape(-1).numpy())
    assert errors.expected_calibration_error(top, 15).item() == pytest.approx(expected, abs=1e-12)
    expected = netcal.MCE(15).measure(flat, target.reshape(-1).numpy())
    assert errors.maximum_calibration_error(top, 15).item() == pytest.approx(expected, abs=1e-12)


def test_eight_images_are_enough_to_mislead_float32():
    """A calibrated model on eight images of 512 x 512: float32 sums make its error many times too large."""
    generator = torch.Generator().manual_seed(0)
    metric, confidences, targets = metrics.ExpectedCalibrationError(2), [], []
    for _ in range(8):
        odds = torch.randn(512, 512, generator=generator) * 1.5 - 8
        odds[192:320, 192:320] += 13
        p = torch.sigmoid(odds)
        target = (torch.rand(512, 512, generator=generator) < p).to(torch.uint8)
        probs = torch.stack([1 - p, p])
        metric.update(probs[None], target[None])
        confidences.append(probs), targets.append(target)
    flat = torch.cat([c.reshape(2, -1).T for c in confidences])
    labels = torch.cat([t.reshape(-1) for t in targets]).long()
    top, right = flat.double().max(1).values.numpy(), (flat.argmax(1) == labels).numpy()
    index = np.minimum(np.floor(top * 15), 14).astype(int)
    gap = np.bincount(index, weights=top, minlength=15) - np.bincount(index, weights=right, minlength=15)
    exact = np.abs(gap).sum() / len(top)
    assert metric.compute().item() == pytest.approx(exact, abs=1e-12)
    rounded = peer.classification.multiclass_calibration_error(flat, labels, 2, 15).item()
    assert rounded == pytest.approx(exact, abs=1e-6) or rounded > 10 * exact  # repaired, or wrong as in 1.9
