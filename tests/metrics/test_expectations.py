"""What probabilities expect of a case, against exact expectations and counted voxels."""

import itertools
import math

import numpy as np
import pytest
import torch

import metrics


def enumerated(p, mask):
    """The exact expectation over every label that there can be."""
    found = 0.0
    for label in itertools.product((0, 1), repeat=len(p)):
        chance = math.prod(q if one else 1 - q for one, q in zip(label, p, strict=True))
        hits, true, claimed = sum(a and b for a, b in zip(label, mask, strict=True)), sum(label), sum(mask)
        found += chance * 2 * hits / (true + claimed)
    return found


def convolved(p, mask):
    """The same for many voxels: the distributions of hits and misses by convolution."""

    def distribution(chances):
        found = np.ones(1)
        for q in chances:
            found = np.convolve(found, [1 - q, q])
        return found

    hits, misses = distribution(p[mask]), distribution(p[~mask])
    t, f = np.arange(len(hits))[:, None], np.arange(len(misses))
    return float((hits[:, None] * misses * 2 * t / (mask.sum() + t + f)).sum())


def two_classes(p):
    p = torch.as_tensor(np.asarray(p))
    return torch.stack([1 - p, p])


@pytest.mark.parametrize(("voxels", "tolerance"), [(2, 0.05), (6, 0.02), (10, 0.005), (13, 0.005)])
def test_small_masks_are_near_the_enumerated_expectation(voxels, tolerance):
    rng = np.random.default_rng(0)
    for _ in range(5):
        p = rng.random(voxels)
        mask = p >= p.max() / 2
        found = metrics.expected_dice(two_classes(p), torch.from_numpy(mask).long())[1]
        assert float(found) == pytest.approx(enumerated(p.tolist(), mask.tolist()), abs=tolerance)


@pytest.mark.parametrize("size", [(20, 15), (7, 8, 6)])
@pytest.mark.parametrize("sharpness", [1.0, 6.0])
def test_larger_ones_are_exact_to_the_fourth_digit(size, sharpness):
    p = torch.sigmoid(
        sharpness * torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1
    )
    mask = p > 0.4  # not the mask of the largest probability
    found = metrics.expected_dice(two_classes(p), mask.long())[1]
    assert float(found) == pytest.approx(convolved(p.flatten().numpy(), mask.flatten().numpy()), abs=1e-4)


def test_drawn_labels_have_that_dice_on_average():
    """Three classes in 3D: the mean over 4,000 labels drawn from the probabilities, classes exclusive."""
    generator = torch.Generator().manual_seed(2)
    probs = torch.randn(3, 4, 5, 6, generator=generator).mul(2).softmax(0)
    mask = probs.argmax(0)
    drawn = torch.multinomial(probs.reshape(3, -1).T, 4000, True, generator=generator)
    expected = metrics.expected_dice(probs, mask)
    for k in range(3):
        ours, theirs = (mask == k).reshape(-1, 1), drawn == k
        dice = 2 * (ours & theirs).sum(0) / (ours.sum() + theirs.sum(0))
        assert float(expected[k]) == pytest.approx(float(dice.mean()), abs=3e-3)


def test_what_does_not_count_and_masks_that_are_empty():
    p = torch.tensor([0.9, 0.8, 0.3, 0.6])
    valid = torch.tensor([True, True, True, False])
    whole = metrics.expected_dice(two_classes(p[:3]), torch.tensor([1, 1, 0]))
    assert torch.equal(metrics.expected_dice(two_classes(p), torch.tensor([1, 1, 0, 1]), valid), whole)
    empty = torch.zeros(4, dtype=torch.long)
    assert metrics.expected_dice(two_classes(p), empty)[1] == 0
    assert metrics.expected_dice(two_classes(p / 100), empty)[1].isnan()
    assert metrics.uncertain_share(two_classes(p / 100))[1].isnan()


def test_volumes_are_in_units_of_the_spacing():
    probs = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    probs = probs / probs.sum(0)
    assert torch.allclose(metrics.expected_volume(probs, (0.5, 2.0, 3.0)), 3 * probs.double().sum((1, 2, 3)))


@pytest.mark.parametrize("multilabel", [False, True])
def test_rows_of_the_catalogue(multilabel):
    """Classes, and regions that overlap, by the scorer: expected Dice, its error, volumes; nothing unless asked."""
    generator = torch.Generator().manual_seed(0)
    names = ["background", "a", "b"]
    if multilabel:
        p = torch.rand(2, 6, 7, generator=generator)
        probs, target = torch.stack([1 - p, p], 1), (torch.rand(2, 6, 7, generator=generator) > 0.5).long()
        masks, truths, chances = [p > 0.5 for p in p], list(target == 1), list(p)
    else:
        probs = torch.rand(3, 6, 7, generator=generator).softmax(0)
        target = torch.randint(0, 3, (6, 7), generator=generator)
        masks, truths, chances = [[x == k for k in (1, 2)] for x in (probs.argmax(0), target)] + [list(probs[1:])]
    scorer = metrics.Scorer(3, names, multilabel=multilabel, expectations=True)
    scorer.update(probs[None], target[None], spacing=(2.0, 0.5), names=["case"])
    rows = {row["class"]: row for row in metrics.rows_from_sums(scorer.records[0][1], names)}
    for name, mask, truth, p in zip("ab", masks, truths, chances, strict=True):
        expected = metrics.expected_dice(two_classes(p), mask.long())[1]
        assert rows[name]["expected_dice"] == pytest.approx(float(expected))
        assert rows[name]["expected_dice_error"] == pytest.approx(abs(float(expected) - rows[name]["dice"]))
        assert rows[name]["expected_volume"] == pytest.approx(float(p.sum()), rel=1e-6)
        assert rows[name]["true_volume"] == float(truth.sum())
    assert rows["all"]["expected_dice"] == pytest.approx((rows["a"]["expected_dice"] + rows["b"]["expected_dice"]) / 2)
    silent = metrics.Scorer(3, names, multilabel=multilabel)
    silent.update(probs[None], target[None])
    assert "expected_dice" not in silent.compute()
