"""Calibration against several raters and their agreement, against brute force in float64 over the voxels."""

import numpy as np
import pytest
import torch

import metrics
from metrics import errors

CASES = [(shape, classes) for shape in ((9, 11), (4, 5, 6)) for classes in (2, 4)]
VIEWS = ["top_label", "classwise", "foreground"]


def case(shape, classes, raters=3, seed=0):
    """Probabilities (K, *S), labels (R, *S) of raters that differ, with gaps, and the voxels that count."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.6] * classes, shape).astype(np.float32)
    cumulated = probs.cumsum(-1)[..., :-1]
    labels = np.stack([(rng.random((*shape, 1)) > cumulated).sum(-1) for _ in range(raters)])
    labels[0, 0, 0] = 255
    valid = rng.random(shape) > 0.2
    return torch.from_numpy(np.moveaxis(probs, -1, 0).copy()), torch.from_numpy(labels), torch.from_numpy(valid)


def channels(p, y, view):
    """Pairs of confidence and hit, each (n,) float64, of probabilities (K, n) and one rater's labels (n,)."""
    if view == "foreground":
        return [(1 - p[0], (y != 0) * 1.0)]
    if view == "classwise":
        return [(p[k], (y == k) * 1.0) for k in range(len(p))]
    return [(p.max(0), (p.argmax(0) == y) * 1.0)]


def sums_by_voxel(probs, labels, valid, view, num_bins):
    """Sums (R, C, B) of count, confidence and hits of each rater, a voxel at a time."""
    y = labels.numpy().reshape(len(labels), -1)
    keep = valid.numpy().reshape(-1) & (y != 255).all(0)
    p = probs.double().numpy().reshape(len(probs), -1)[:, keep]
    result = []
    for one in y[:, keep]:
        rows = []
        for confidence, hit in channels(p, one, view):
            table = np.zeros((3, num_bins))
            for c, h in zip(confidence, hit, strict=True):
                table[:, min(int(c * num_bins), num_bins - 1)] += (1, c, h)
            rows.append(table)
        result.append(rows)
    return np.array(result).transpose(2, 0, 1, 3)


def brute_ece(count, confidence, hits):
    return (np.abs(confidence - hits).sum(-1) / count.sum(-1)).mean(-1)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("shape", "classes"), CASES)
def test_bins_and_errors_equal_brute_force(shape, classes, view):
    probs, labels, valid = case(shape, classes)
    count, confidence, hits = sums_by_voxel(probs, labels, valid, view, 15)
    bins = metrics.rater_bins(probs, labels, view, 15, valid)
    assert np.array_equal(bins.count.numpy(), count[0])
    assert np.allclose(bins.confidence.numpy(), confidence[0], rtol=0, atol=1e-9)
    assert np.allclose(bins.correct.numpy(), hits.mean(0), rtol=0, atol=1e-9)  # so the gap is the mean of the gaps
    by_rater = metrics.ece_by_rater(probs, labels, view, 15, valid)
    assert np.allclose(by_rater.numpy(), brute_ece(count, confidence, hits), rtol=0, atol=1e-12)
    soft = errors.expected_calibration_error(bins).mean()
    assert soft.item() == pytest.approx(brute_ece(count[0], confidence[0], hits.mean(0)), abs=1e-12)
    assert soft < by_rater.mean()
    fine = metrics.rater_bins(probs, labels, view, valid=valid)
    assert torch.equal(metrics.rebin(fine, 15).count, bins.count)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("raters", [1, 2])
@pytest.mark.parametrize(("shape", "classes"), CASES)
def test_one_rater_and_equal_raters_give_the_hard_error(shape, classes, raters, view):
    probs, labels, valid = case(shape, classes, raters=1, seed=1)
    metric = metrics.ExpectedCalibrationError(num_classes=classes, view=view)
    metric.update(probs[None], labels, valid[None])
    hard = metric.compute().item()
    labels = labels.expand(raters, *shape)
    bins = metrics.rater_bins(probs, labels, view, valid=valid)
    assert errors.expected_calibration_error(bins, 15).mean().item() == pytest.approx(hard, abs=1e-12)
    assert torch.equal(bins.correct, metric.bins.correct)
    assert metrics.ece_by_rater(probs, labels, view, valid=valid).tolist() == pytest.approx([hard] * raters, abs=1e-12)


@pytest.mark.parametrize(("shape", "classes"), CASES)
def test_inter_rater_dice_is_the_mean_over_pairs(shape, classes):
    _, labels, valid = case(shape, classes, raters=4, seed=2)
    labels[labels == classes - 1] = 0  # nobody has the last class ...
    if classes > 2:
        labels[0][labels[0] == 1] = 0  # ... and one rater not the first
    keep = valid.numpy() & (labels.numpy() != 255).all(0)
    maps = [one[keep] for one in labels.numpy()]
    pairs = [(a, b) for i, a in enumerate(maps) for b in maps[:i]]
    found = metrics.inter_rater_dice(labels, classes, valid)
    for k in range(classes - 1):
        dice = [2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum()) for a, b in pairs]
        assert found[k].item() == pytest.approx(np.mean(dice), abs=1e-12)
    assert found[-1].isnan()
    same = labels[1:2].expand(3, *shape)
    assert metrics.inter_rater_dice(same, classes, valid)[0] == 1


def test_what_cannot_be_meant_is_refused():
    probs, labels, valid = case((4, 5), 2)
    with pytest.raises(ValueError, match="two raters or more"):
        metrics.inter_rater_dice(labels[:1], 2)
    with pytest.raises(ValueError, match=r"target must have the shape"):
        metrics.rater_bins(probs, labels[:, :3])
    with pytest.raises(ValueError, match="apply softmax"):
        metrics.ece_by_rater(probs * 3, labels)
    with pytest.raises(ValueError, match="labels outside"):
        metrics.inter_rater_dice(labels + 1, 2)
    with pytest.raises(ValueError, match="no rater"):
        metrics.rater_bins(probs, labels[:0])
    with pytest.raises(ValueError, match="valid must be bool"):
        metrics.inter_rater_dice(labels, 2, valid[:2])


def brute_dice(one, other, k):
    return 2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum())


@pytest.mark.parametrize(("shape", "classes"), CASES)
def test_numbers_of_a_case_are_those_of_brute_force_and_pooled_of_all(shape, classes):
    scorer, ece, dice, between, sums = metrics.Scorer(classes), [], [], [], []
    for seed in range(3):
        probs, labels, _ = case(shape, classes, seed=seed)
        scorer.update(probs[None], labels[1][None], names=[str(seed)], raters=labels[None])
        keep = (labels != 255).all(0).numpy()
        own, mask = labels.numpy()[:, keep], probs.argmax(0).numpy()[keep]
        foreground = range(1, classes)
        dice.append([[brute_dice(mask, one, k) for k in foreground] for one in own])
        pairs = [(0, 1), (0, 2), (1, 2)]
        between.append([[brute_dice(own[a], own[b], k) for k in foreground] for a, b in pairs])
        parts = sums_by_voxel(probs, labels, torch.ones(shape, dtype=torch.bool), "top_label", 15)
        sums.append(parts.mean(1, keepdims=True))
        ece.append(brute_ece(*parts))
    found = {key: float(value) for key, value in scorer.compute().items()}
    assert found["dice_raters"] == pytest.approx(np.mean(dice), abs=1e-12)
    assert found["dice_inter_rater"] == pytest.approx(np.mean(between), abs=1e-12)
    assert found["ece_rater_mean"] == pytest.approx(np.mean(ece), abs=1e-7)
    assert found["ece_raters"] == pytest.approx(np.mean([brute_ece(*part) for part in sums]), abs=1e-7)
    assert found["ece_raters_pooled"] == pytest.approx(float(brute_ece(*sum(sums))[0]), abs=1e-7)
    name, kept = scorer.records[-1]
    assert (name, kept.beside["by_rater"].shape) == ("2", (3, 1 + classes))
    assert kept.beside["by_rater"][:, 0].numpy() == pytest.approx(ece[-1], abs=1e-7)
    assert kept.beside["by_rater"][:, 2:].numpy() == pytest.approx(np.array(dice[-1]), abs=1e-12)


def test_without_raters_there_are_no_numbers_of_raters_and_regions_refuse_them():
    probs, labels, _ = case((9, 11), 2)
    scorer = metrics.Scorer(2)
    scorer.update(probs[None], labels[1][None])
    assert not [key for key in scorer.compute() if "rater" in key]
    with pytest.raises(ValueError, match="leave raters out"):
        metrics.score_case(probs[None], labels[:1], multilabel=True, raters=labels)
