"""The fine axis against sorted edges and against equal bins; the walk at numbers that are edges themselves."""

import numpy as np
import pytest
import torch

import metrics
from metrics import axis
from tests.metrics import reference
from tests.metrics.data import awkward, segmentation

AWKWARD = awkward()


def number(p):
    p = torch.as_tensor(p)
    return (axis.equal_index(p.double()) + axis.odds_index(p)).numpy()


def test_the_number_of_a_confidence_is_its_place_among_the_edges():
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.random(5000), 10.0 ** -rng.uniform(0, 9, 5000), 1 - 10.0 ** -rng.uniform(0, 7, 5000)])
    p = p.astype(np.float32)
    edges = metrics.axis_edges().numpy()
    assert len(edges) == metrics.AXIS_BINS + 1
    expected = np.searchsorted(edges, p.astype(np.float64), side="right") - 1
    wrong = number(p) != expected.clip(0, metrics.AXIS_BINS - 1)
    near = np.abs(edges[:, None] / p[wrong] - 1).min(0, initial=1)  # float32 logarithms round at an edge
    assert wrong.mean() < 1e-3
    assert (near < 2e-6).all()


def test_no_rounding_can_mix_the_two_kinds_of_edges():
    """Equal re-binning is exact because no edge in log-odds comes near an equal one: 1e-5, float32 rounds at 1e-6."""
    equal = np.arange(1, axis.EQUAL_BINS) / axis.EQUAL_BINS
    steps = np.log(equal / (1 - equal)) / axis.STEP + 0.5
    assert np.abs(steps - np.round(steps)).min() * axis.STEP > 1e-5


@pytest.mark.parametrize("p", [1e-6, 1e-4, 1 / 300, 0.03, 0.5, 0.9, 1 - 1e-4])
def test_a_cut_is_known_to_one_percent_of_its_odds(p):
    edges = metrics.axis_edges()
    index = int(number(torch.tensor([p]))[0])
    low, high = (float(edges[i] / (1 - edges[i])) for i in (index, index + 1))
    assert high / low < 1.0101
    assert low * 0.99999 <= p / (1 - p) <= high * 1.00001


@pytest.mark.parametrize("n", [10, 15, 20, 25, 50, 100, 300])
@pytest.mark.parametrize("name", AWKWARD)
def test_it_falls_into_equal_bins_exactly_in_every_view(name, n):
    probs, target = AWKWARD[name]
    for view in ("top_label", "classwise", "foreground"):
        found = metrics.rebin(metrics.sum_case(probs, target, regions=("all",)).bins[f"all.{view}"], n)
        for channel, (confidence, correct) in enumerate(reference.views(probs, target, view)):
            for field, expected in zip(found, reference.sums(confidence, correct, n), strict=True):
                np.testing.assert_allclose(field[channel].numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [20, 300])
def test_ties_of_the_foreground_in_a_region_too(n):
    """p_0 of 1/4, 1/2 and 3/4 are edges of 20 bins: 1 - p_0 belongs above them."""
    p = torch.tensor([0.25, 0.5, 0.75, 0.75, 0.5, 0.25, 0.1, 0.9] * 4)
    target = torch.tensor([0, 1, 1, 0] * 8)
    probs = torch.stack([p, 1 - p])
    bins = metrics.sum_case(probs, target, regions=("all", "reference_foreground")).bins
    for region, inside in (("all", target >= 0), ("reference_foreground", target != 0)):
        expected = reference.sums(1 - p[inside].double().numpy(), (target[inside] != 0).double().numpy(), n)
        for field, values in zip(metrics.rebin(bins[f"{region}.foreground"], n), expected, strict=True):
            np.testing.assert_allclose(field[0].numpy(), values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(40, 31), (9, 12, 8)])
def test_other_precisions_in_two_and_three_dimensions(dtype, shape):
    probs, target = segmentation(shape, classes=4, dtype=dtype)
    sums = metrics.sum_case(probs, target)
    for view in ("top_label", "classwise", "foreground"):
        for channel, (confidence, correct) in enumerate(reference.views(probs.double(), target, view)):
            expected = reference.sums(confidence, correct, 15)
            for field, values in zip(metrics.rebin(sums.bins[f"all.{view}"], 15), expected, strict=True):
                np.testing.assert_allclose(field[channel].numpy(), values, rtol=1e-12, atol=1e-12)


def test_the_best_cut_of_a_saturated_network_is_found():
    """Foreground at p = 0.0033, background at 0.0031: one of 300 equal bins, two of the fine axis."""
    p = torch.cat([torch.full((500,), 0.0033), torch.full((9500,), 0.0031), torch.full((500,), 0.999)])
    target = torch.cat([torch.ones(500), torch.zeros(9500), torch.ones(500)]).long()
    bins = metrics.sum_case(torch.stack([1 - p, p]), target, regions=("all",)).bins["all.foreground"]
    threshold, dice = metrics.curves.best_threshold(bins)
    assert 0.0031 < threshold.item() <= 0.0033
    assert dice.item() == 1
    assert metrics.curves.best_threshold(metrics.rebin(bins, 300))[1] < 0.7


def test_blocks_make_no_difference():
    size = metrics.binning.BLOCK + 1001
    probs, target = segmentation((size,), classes=2)
    whole = metrics.sum_case(probs, target)
    halves = [metrics.sum_case(probs[:, s], target[s], regions=("all",)) for s in (slice(0, 999), slice(999, None))]
    merged = metrics.merge_sums(halves)
    assert torch.equal(whole.confusion, merged.confusion)
    for key, bins in merged.bins.items():
        assert torch.equal(bins.count, whole.bins[key].count)
        torch.testing.assert_close(bins.confidence, whole.bins[key].confidence, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("classes", [2, 4])
def test_what_an_accelerator_does_gives_the_numbers_of_a_processor(classes, monkeypatch):
    probs, target = segmentation((80, 30, 31), classes)
    target[0] = 255

    def score():
        return metrics.score_case(probs, target, (3.0, 1.0, 1.0), expectations=True, cuts=[0.5] + [0.3] * (classes - 1))

    expected = score()
    for module in (metrics.binning, metrics.walk):
        monkeypatch.setattr(module, "wide", lambda device: True)
    found = score()
    assert torch.equal(found.confusion, expected.confusion)
    assert torch.allclose(found.nll, expected.nll, rtol=1e-12)
    for key, bins in expected.bins.items():
        assert torch.equal(found.bins[key].count, bins.count)
        for one, other in zip(found.bins[key], bins, strict=True):
            assert torch.allclose(one.double(), other.double(), rtol=1e-12, atol=1e-12)
