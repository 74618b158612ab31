import math

import numpy as np
import pytest
import torch

import metrics
from metrics.overlap import generalized_dice, overlap_from_confusion
from tests.metrics import reference
from tests.metrics.data import segmentation

CLASSES = [metrics.DiceScore, metrics.JaccardIndex, metrics.Precision, metrics.Recall]


def onehot(labels, classes):
    return torch.nn.functional.one_hot(torch.as_tensor(labels).long(), classes).movedim(-1, 0)[None].float()


@pytest.mark.parametrize("metric", CLASSES)
@pytest.mark.parametrize("shape", [(15, 16), (6, 7, 8)])
def test_pooled_and_per_case_equal_sets(metric, shape):
    pooled, per_case = metric(3, average="pooled"), metric(3)
    cases = [segmentation(shape, seed=seed) for seed in range(3)]
    for probs, target in cases:
        pooled.update(probs[None], target[None])
        per_case.update(probs[None], target[None])
    pairs = [(p.argmax(0).numpy(), y.numpy()) for p, y in cases]
    by_case = [[reference.overlap(p, y, k)[metric.measure] for k in (1, 2)] for p, y in pairs]
    whole = [np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1)]
    assert per_case.compute().item() == pytest.approx(np.mean(by_case), abs=1e-12)
    expected = np.mean([reference.overlap(*whole, k)[metric.measure] for k in (1, 2)])
    assert pooled.compute().item() == pytest.approx(expected, abs=1e-12)


# true labels, predicted labels, then dice, iou, precision and recall of class 1
CORNERS = {
    "absent from both": ([0, 0], [0, 0], (math.nan,) * 4),
    "missed": ([1, 0], [0, 0], (0, 0, 0, 0)),
    "claimed": ([0, 0], [1, 0], (0, 0, 0, 0)),
    "perfect": ([1, 0], [1, 0], (1, 1, 1, 1)),
    "half": ([1, 1], [1, 0], (2 / 3, 1 / 2, 1, 1 / 2)),
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name):
    true, predicted, expected = CORNERS[name]
    for metric, value in zip(CLASSES, expected, strict=True):
        instance = metric(2)
        instance.update(onehot(predicted, 2), torch.tensor(true)[None])
        assert instance.compute().item() == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(("absent", "mean"), [("skip", 1.0), ("one", 1.0), ("zero", 0.5)])
def test_policy_for_absent_classes(absent, mean):
    metric = metrics.DiceScore(3, absent=absent)
    metric.update(onehot([0, 1], 3), torch.tensor([[0, 1]]))
    assert metric.compute().item() == mean


def test_a_class_that_some_cases_lack_is_averaged_over_the_others():
    metric = metrics.DiceScore(3, class_names=["background", "a", "b"])
    metric.update(onehot([0, 1], 3), torch.tensor([[0, 1]]))
    metric.update(onehot([2, 1, 0, 0], 3), torch.tensor([[2, 0, 0, 0]]))
    values = metric.compute()
    assert values["dice/a"].item() == 0.5
    assert values["dice/b"].item() == 1.0
    assert values["dice"].item() == 0.75


def test_a_case_that_is_ignored_throughout_does_not_count():
    metric = metrics.DiceScore(2, absent="zero")
    metric.update(onehot([0, 1], 2), torch.tensor([[0, 1]]))
    metric.update(onehot([0, 1], 2), torch.full((1, 2), 255))
    assert metric.compute() == 1.0


@pytest.mark.parametrize("absent", ["max", "zero"])
def test_generalised_dice_by_the_formula(absent):
    probs, target = segmentation(classes=3)
    counts = torch.zeros(4, 4, dtype=torch.int64)
    p, y = probs.argmax(0), target.long()
    for i in range(3):
        for j in range(3):
            counts[i, j] = ((y == i) & (p == j)).sum()
    counts[0, 3] = 5  # a class that is predicted, and never true
    true, size = counts.sum(1).tolist(), (counts.sum(1) + counts.sum(0)).tolist()
    weight = [1 / t**2 if t else 0.0 for t in true]
    weight[3] = max(weight) if absent == "max" else 0.0
    expected = 2 * sum(w * counts[k, k].item() for k, w in enumerate(weight))
    expected /= sum(w * n for w, n in zip(weight, size, strict=True))
    assert generalized_dice(counts, absent).item() == pytest.approx(expected, abs=1e-12)


def test_generalised_dice_metric():
    probs, target = segmentation()
    for average in ("pooled", "per_case"):
        metric = metrics.GeneralizedDiceScore(3, average=average)
        metric.update(onehot(target, 3), target[None])
        assert metric.compute().item() == pytest.approx(1)
        metric.update(probs[None], target[None])
        assert 0 < metric.compute() < 1


@pytest.mark.parametrize("average", ["pooled", "per_case"])
def test_generalised_dice_of_a_case_without_foreground(average):
    """What is claimed there is wrong, as for Dice; where nothing is claimed there is nothing to score."""
    metric = metrics.GeneralizedDiceScore(3, include_background=False, average=average)
    metric.update(onehot([0, 0, 0], 3), torch.tensor([[0, 0, 0]]))
    assert metric.compute().isnan()
    metric.update(onehot([0, 2, 1], 3), torch.tensor([[0, 0, 0]]))
    assert metric.compute() == 0
    counts = torch.tensor([[5, 3], [0, 0]])
    assert generalized_dice(counts, "max", include_background=False) == 0
    assert generalized_dice(counts, "zero", include_background=False).isnan()


def test_overlap_of_nothing_is_nan():
    assert overlap_from_confusion(torch.zeros(2, 2, dtype=torch.int64), "dice").isnan().all()
    with pytest.raises(ValueError, match="absent='x'"):
        metrics.DiceScore(2, absent="x")
    with pytest.raises(ValueError, match="class_names"):
        metrics.DiceScore(2, class_names=["a"])


@pytest.mark.parametrize("name", ["DiceScore", "GeneralizedDiceScore", "ExpectedCalibrationError", "BrierScore"])
def test_an_empty_batch_changes_nothing_and_an_empty_image_is_refused(name):
    metric = getattr(metrics, name)(2)
    metric.update(torch.zeros(0, 2, 4, 4), torch.zeros(0, 4, 4, dtype=torch.long))
    assert metric.compute().isnan()
    with pytest.raises(ValueError, match=r"probs holds images without a voxel: its shape is \(1, 2, 0, 4\)"):
        metric.update(torch.zeros(1, 2, 0, 4), torch.zeros(1, 0, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="probs holds NaN"):
        metric.update(torch.full((1, 2, 2, 2), torch.nan), torch.zeros(1, 2, 2, dtype=torch.long))
