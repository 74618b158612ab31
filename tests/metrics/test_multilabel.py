"""Regions that may overlap: the scorer against itself on each region alone, as the two-class problem that it is."""

import math

import pytest
import torch

import metrics
from metrics import catalogue
from tests.metrics.data import segmentation

NAMES = ["background", "whole", "core", "enhancing"]
UNITED = ([1, 2, 3], [1, 3], [3])
RULE = metrics.ObjectRule(iou=0.2)


def regions(shape, seed=0):
    """Pairs (R, 2, *S) and labels (R, *S) of nested regions of one label map, whose probabilities differ."""
    classes, labels = segmentation(shape, classes=4, seed=seed)
    labels[0] = 255
    inside = torch.stack([classes[united].sum(0).clamp(0, 1) ** (1 + k) for k, united in enumerate(UNITED)])
    target = torch.stack([sum((labels == value).long() for value in united) for united in UNITED])
    target[:, labels == 255] = 255
    return torch.stack([1 - inside, inside], 1), target


def scored(cases, spacing, **options):
    """The scorer of all regions, and one of each region alone, over the same cases."""
    together = metrics.Scorer(4, NAMES, objects=RULE, multilabel=True, **options)
    alone = [metrics.Scorer(2, ["background", name], objects=RULE, **options) for name in NAMES[1:]]
    for number, (probs, target) in enumerate(cases):
        together.update(probs[None], target[None], spacing, names=[f"case {number}"])
        for region, scorer in enumerate(alone):
            scorer.update(probs[region][None], target[region][None], spacing, names=[f"case {number}"])
    return together, alone


@pytest.mark.parametrize(("shape", "spacing"), [((19, 23), (1.0, 1.0)), ((6, 9, 8), (3.0, 1.0, 1.0))], ids=["2d", "3d"])
def test_a_regions_numbers_are_those_of_its_two_class_problem(shape, spacing):
    cases = [regions(shape, seed) for seed in range(3)]
    together, alone = scored(cases, spacing, surface=True)
    rows = [metrics.rows_from_sums(sums, NAMES) for _, sums in together.records]
    for region, scorer in enumerate(alone):
        for number, (_, sums) in enumerate(scorer.records):
            expected = metrics.rows_from_sums(sums, ["background", "region"])[-1]
            found = rows[number][region]
            assert found["class"] == NAMES[1 + region]
            for row in catalogue.of_average("case"):
                if row.key in expected:
                    assert found[row.key] == pytest.approx(expected[row.key], abs=0, nan_ok=True), row.key
    voxels = [int((labels == 1).sum()) for labels in cases[0][1]]
    assert [row["voxels"] for row in rows[0]] == [*voxels, int((cases[0][1][0] != 255).sum())]


def test_all_is_the_mean_over_the_regions_that_have_a_value():
    cases = [regions((15, 17), seed) for seed in range(3)]
    cases[0][1][2][cases[0][1][2] == 1] = 0  # no core in this case, and none claimed
    cases[0][0][2] = torch.tensor([1.0, 0.0])[:, None, None]
    together, alone = scored(cases, (1.0, 1.0))
    rows = [metrics.rows_from_sums(sums, NAMES) for _, sums in together.records]
    assert math.isnan(rows[0][2]["dice"])
    assert rows[0][-1]["dice"] == pytest.approx((rows[0][0]["dice"] + rows[0][1]["dice"]) / 2)
    values, each = together.compute(), [scorer.compute() for scorer in alone]
    for key in ("ece", "nll", "brier", "dice_pooled", "ece_pooled", "ece_classwise_pooled"):
        assert values[key].item() == pytest.approx(math.fsum(own[key].item() for own in each) / 3, abs=1e-12), key
    for name, own in zip(NAMES[1:], each, strict=True):
        assert values[f"dice/{name}"].item() == own["dice"].item()
        assert values[f"dice_pooled/{name}"].item() == own["dice_pooled"].item()


def test_bins_and_odds_of_a_region_are_its_own():
    cases = [regions((15, 17), seed) for seed in range(2)]
    together, alone = scored(cases, (1.0, 1.0))
    over_all = together.over_all()
    for region, scorer in enumerate(alone):
        own = scorer.over_all()
        for key, bins in own.bins.items():
            for found, expected in zip(over_all.bins[key], bins, strict=True):
                torch.testing.assert_close(found[region], expected, rtol=0, atol=0)
        for (_, sums), (_, expected) in zip(together.records, scorer.records, strict=True):
            torch.testing.assert_close(sums.odds[:, 1 + region], expected.odds[:, 1], rtol=0, atol=0)
            assert int(sums.odds[:, 0].sum()) == 0


def test_pooled_intervals_of_a_region_are_its_own():
    cases = [regions((15, 17), seed) for seed in range(5)]
    together, alone = scored(cases, (1.0, 1.0))
    rows = [catalogue.NUMBERS[key] for key in ("dice_pooled", "ece_pooled", "nll_pooled")]
    ends = metrics.pooled_intervals([[sums for _, sums in together.records]], rows)
    for region, scorer in enumerate(alone):
        expected = metrics.pooled_intervals([[sums for _, sums in scorer.records]], rows)
        for found, end in zip(ends, expected, strict=True):
            assert found[:, 1 + region] == pytest.approx(end[:, 0], abs=1e-12)


def test_one_region_is_the_two_class_problem():
    probs, target = regions((15, 17))
    one, two = metrics.Scorer(2, multilabel=True), metrics.Scorer(2)
    one.update(probs[None, :1], target[None, :1])
    two.update(probs[:1], target[:1])
    found, expected = one.compute(), two.compute()
    assert found.keys() == expected.keys()
    assert [found[key].item() for key in expected] == [value.item() for value in expected.values()]


def test_a_number_that_somebody_adds_is_right_for_regions_too():
    def accuracy(sums, row):
        return sums.confusion.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) / sums.voxels.unsqueeze(-1)

    catalogue.add(catalogue.Number("accuracy", "Accuracy", "higher", accuracy))
    try:
        probs, target = regions((15, 17))
        together, alone = scored([(probs, target)], (1.0, 1.0))
        expected = [scorer.compute()["accuracy"].item() for scorer in alone]
        assert together.compute()["accuracy"].item() == pytest.approx(math.fsum(expected) / 3)
    finally:
        catalogue.remove("accuracy")


def test_shapes_that_do_not_fit_are_told():
    scorer = metrics.Scorer(4, NAMES, multilabel=True)
    probs, target = regions((15, 17))
    with pytest.raises(ValueError, match=r"torch.stack\(\(1 - p, p\), 2\)"):
        scorer.update(probs[None, :, 1], target[None])
    with pytest.raises(ValueError, match="target must have the shape"):
        scorer.update(probs[None], target[None, 0])


def test_a_cut_is_that_of_its_region():
    probs, target = regions((15, 17))
    found = metrics.rows_from_sums(metrics.score_case(probs, target, cuts=(0.5, 0.3, 0.2, 0.7), multilabel=True), NAMES)
    for region, cut in enumerate((0.3, 0.2, 0.7)):
        alone = metrics.score_case(probs[region], target[region], cuts=(0.5, cut))
        assert found[region]["dice"] == metrics.rows_from_sums(alone, ["background", "region"])[-1]["dice"]


def test_the_channels_of_files_give_the_sums_of_regions_back():
    """What lies outside is the mirror image of what lies inside; of objects there is nothing outside."""
    cases = [metrics.score_case(*regions((15, 17), seed), objects=RULE, multilabel=True) for seed in range(3)]
    stacked = metrics.stack_sums([case.coarse(300) for case in cases])
    back = metrics.sums.from_channels(stacked.channels, stacked.confusion, stacked.nll, stacked.tallies)
    assert back.multilabel
    assert back.bins.keys() == stacked.bins.keys()
    for key, bins in stacked.bins.items():
        first = key.endswith(".object")
        for found, field in zip(back.bins[key], bins, strict=True):
            torch.testing.assert_close(found[..., first:, :], field[..., first:, :], rtol=1e-9, atol=1e-5)
    for case, alone in zip(cases, metrics.sums.unstack(back), strict=True):
        assert torch.equal(alone.confusion, case.confusion)
        assert torch.equal(alone.nll, case.nll)
        assert torch.equal(alone.tallies["objects"], case.tallies["objects"])
