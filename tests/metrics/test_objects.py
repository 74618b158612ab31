"""Objects against panoptica's counts, brute force over components, and hand-made masks."""

import itertools

import numpy as np
import pytest
import torch

import metrics
from metrics import catalogue, objects


def masks(shape, seed=1):
    """Two label maps of blobs of which some agree, some are moved, some are missing."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    true, claimed = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for number in range(24):
        centre, radius = rng.uniform(0, shape), rng.uniform(2, 5)
        moved = centre + rng.normal(0, 1.2, len(shape))
        kind = number % 6
        if kind != 0:
            true[radius**2 > ((grid.T - centre) ** 2).sum(-1).T] = 1 + number % 2
        if kind != 1:
            claimed[(radius * rng.uniform(0.8, 1.2)) ** 2 > ((grid.T - moved) ** 2).sum(-1).T] = 1 + number % 2
    return torch.from_numpy(claimed), torch.from_numpy(true)


def probabilities(claimed, classes=3):
    """Probabilities whose largest is at the claimed label, with one value a voxel."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(classes, *claimed.shape, generator=generator) * 0.4
    probs.scatter_(0, claimed.long()[None], 1.0)
    return probs / probs.sum(0)


# panoptica 2.1.7, semantic input, NaiveThresholdMatching at the threshold, components of its default backends:
# true, claimed and matched objects, RQ, SQ, PQ, SQ by Dice
PANOPTICA = {
    ((80, 90), 0.5, 1): (8, 12, 6, 0.600000, 0.731035, 0.438621, 0.836794),
    ((80, 90), 0.5, 2): (12, 8, 5, 0.500000, 0.679210, 0.339605, 0.802111),
    ((80, 90), 0.25, 1): (8, 12, 8, 0.800000, 0.632602, 0.506082, 0.753151),
    ((80, 90), 0.25, 2): (12, 8, 7, 0.700000, 0.602575, 0.421802, 0.738923),
    ((30, 40, 36), 0.5, 1): (5, 6, 1, 0.181818, 0.633880, 0.115251, 0.775920),
    ((30, 40, 36), 0.5, 2): (9, 6, 3, 0.400000, 0.669628, 0.267851, 0.797191),
    ((30, 40, 36), 0.25, 1): (5, 6, 3, 0.545455, 0.485970, 0.265074, 0.647525),
    ((30, 40, 36), 0.25, 2): (9, 6, 5, 0.666667, 0.536732, 0.357821, 0.678767),
}


@pytest.mark.parametrize("shape", [(80, 90), (30, 40, 36)])
@pytest.mark.parametrize("least", [0.5, 0.25])
def test_counts_and_scores_equal_panoptica(shape, least):
    claimed, true = masks(shape)
    _, tally = objects.object_sums(claimed, true, probabilities(claimed), objects.ObjectRule(least))
    for k in (1, 2):
        scores = ("true", "claimed", "matched", "f1", "sq", "pq", "dice")
        found = [objects.object_score(tally, score)[k].item() for score in scores]
        assert found == pytest.approx(PANOPTICA[shape, least, k], abs=1e-6)


def test_matches_are_one_to_one_and_the_best_first():
    """Two claimed halves of one object: the larger is its match, at a threshold at which both would do."""
    true, claimed = torch.zeros(2, 20), torch.zeros(2, 20)
    true[:, :12] = claimed[:, :5] = claimed[:, 6:12] = 1
    found = metrics.match_objects(claimed, true, metrics.ObjectRule(iou=0.3))
    assert (found.pairs.tolist(), found.iou.tolist()) == ([[2, 1]], [0.5])
    assert len(metrics.match_objects(claimed, true, metrics.ObjectRule(iou=0.51)).pairs) == 0


@pytest.mark.parametrize(("dims", "joined"), [(2, [2, 1]), (3, [2, 2, 1])])
def test_connectivity(dims, joined):
    """Two voxels that share a corner alone: one object only where corners join; panoptica joins them in 3D."""
    mask = torch.zeros(*[4] * dims)
    mask[(1,) * dims] = mask[(2,) * dims] = 1
    found = [
        len(metrics.match_objects(mask, mask, metrics.ObjectRule(connectivity=c + 1)).sizes[0]) for c in range(dims)
    ]
    assert found == joined
    assert len(metrics.match_objects(mask, mask).sizes[0]) == {2: 2, 3: 1}[dims]


def test_confidence_of_an_object_is_its_mean_probability():
    """By hand: a right object of mean p 0.81 and a false one of 0.61; voxels that do not count take no part."""
    target = torch.zeros(1, 9, dtype=torch.long)
    target[0, :3], target[0, 7] = 1, 255
    p = torch.tensor([[0.91, 0.71, 0.81, 0.1, 0.1, 0.61, 0.61, 0.9, 0.1]])
    sums = metrics.score_case(torch.stack([1 - p, p]), target, objects=metrics.ObjectRule())
    bins = sums.bins["all.object"]
    assert bins.count[0].sum() == 0
    assert bins.count[1].nonzero()[:, 0].tolist() == [183, 243]
    assert bins.confidence[1, [183, 243]].tolist() == pytest.approx([0.61, 0.81])
    assert bins.correct[1, [183, 243]].tolist() == [0, 1]
    row = catalogue.NUMBERS["object_ece"]
    assert row.value(sums)[1].item() == pytest.approx((0.61 + 0.19) / 2)


@pytest.mark.parametrize("shape", [(60, 70), (24, 30, 28)])
def test_a_simulation_that_is_calibrated_by_object(shape):
    """Squares that are there with the probability that they are claimed with: an object-level ECE near 0."""
    rng, scorer = np.random.default_rng(0), metrics.Scorer(2, objects=metrics.ObjectRule())
    for _ in range(60):
        p, target = torch.full(shape, 0.01), torch.zeros(shape, dtype=torch.uint8)
        for corner in itertools.product(*(range(1, n - 4, 5) for n in shape)):
            place = tuple(slice(c, c + 3) for c in corner)
            p[place] = rng.choice([0.6, 0.75, 0.95])
            target[place] = int(rng.random() < p[corner])
        scorer.update(torch.stack([1 - p, p])[None], target[None])
    values = scorer.compute()
    assert values["object_ece_pooled"] < 0.02  # of 6,000 squares or more: standard error 0.005
    assert values["object_precision_pooled"].item() == pytest.approx((0.6 + 0.75 + 0.95) / 3, abs=0.02)
    assert values["object_recall_pooled"] == values["object_sq_pooled"] == 1


def brute_lesion_dice(claimed, true, dilation=3, smallest=50):
    """BraTS 2023's rule lesion by lesion, on whole arrays."""
    from scipy import ndimage

    corners = np.ones([3] * claimed.ndim)
    reach = ndimage.generate_binary_structure(claimed.ndim, 2)
    parts, number = ndimage.label(claimed, corners)
    grown, count = ndimage.label(ndimage.binary_dilation(true, reach, dilation), corners)
    scores, met = [], set()
    for index in range(1, count + 1):
        lesion = true & (grown == index)
        near = set(np.unique(parts[ndimage.binary_dilation(lesion, reach, dilation)])) - {0}
        met |= near
        whole = np.isin(parts, list(near))
        if lesion.sum() > smallest:
            scores.append(2 * (whole & lesion).sum() / (whole.sum() + lesion.sum()))
    return sum(scores), len(scores) + number - len(met)


@pytest.mark.parametrize("shape", [(80, 90), (30, 40, 36)])
@pytest.mark.parametrize("seed", range(4))
def test_lesion_wise_dice_is_that_of_brats(shape, seed):
    claimed, true = ((labels == 1) for labels in masks(shape, seed))
    total, number = metrics.lesion_wise_dice(claimed, true)
    expected = brute_lesion_dice(claimed.numpy(), true.numpy())
    assert number == expected[1]
    assert total == pytest.approx(expected[0], abs=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_empty(dims):
    """Nothing there, nothing claimed: undefined. One of both: 0, but quality of matches stays undefined."""
    nothing, something = torch.zeros(*[9] * dims, dtype=torch.uint8), torch.ones(*[9] * dims, dtype=torch.uint8)

    def scores(claimed, true):
        probs = torch.stack([1 - claimed.float(), claimed.float()])
        sums = metrics.score_case(probs, true, objects=metrics.ObjectRule())
        rows = [row for row in catalogue.of_average("case") if row.reads == "tallies.objects"]
        return {row.key: row.value(sums)[0].item() for row in rows}

    empty = scores(nothing, nothing)
    assert empty.pop("objects_true") == empty.pop("objects_claimed") == empty.pop("objects_matched") == 0
    assert all(np.isnan(value) for value in empty.values())
    for claimed, true in ((something, nothing), (nothing, something)):
        found = scores(claimed, true)
        assert found["object_f1"] == found["object_precision"] == found["object_recall"] == found["object_pq"] == 0
        assert found["lesion_dice"] == 0
        assert np.isnan(found["object_sq"])
        assert np.isnan(found["object_dice"])
    assert scores(something, something)["object_pq"] == 1


def test_pooled_scores_are_of_the_counts_of_all_cases():
    cases = [masks((40, 44), seed) for seed in range(3)]
    sums = [metrics.score_case(probabilities(claimed), true, objects=metrics.ObjectRule()) for claimed, true in cases]
    total = metrics.merge_sums(sums)
    counts = torch.stack([one.tallies["objects"] for one in sums]).sum(0)
    found = catalogue.NUMBERS["object_f1_pooled"].value(total)
    expected = (2 * counts[1:, 2] / (counts[1:, 0] + counts[1:, 1])).tolist()
    assert found.tolist() == pytest.approx([np.mean(expected), *expected])
    rows = [catalogue.NUMBERS[key] for key in ("object_f1_pooled", "object_ece_pooled", "lesion_dice_pooled")]
    low, high = metrics.pooled_intervals([sums], rows)
    middle = np.stack([row.value(total).numpy() for row in rows])
    assert ((low <= middle) & (middle <= high)).all()


@pytest.mark.parametrize(("name", "value"), [("iou", 0.0), ("iou", 1.5), ("connectivity", 4)])
def test_a_rule_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        metrics.ObjectRule(**{name: value})
