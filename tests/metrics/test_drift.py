"""Whether cases look unlike known ones: error by simulation, power, one case, ties, constants, what is missing."""

import itertools

import numpy as np
import pytest
import torch

from metrics import case_traits, expected_dice, uncertain_share, unlike
from metrics.drift import ERROR, TRAITS, fewest_new

KEYS = ("a", "b", "c", "d")


def draw(rng, cases, shift=0.0, spread=1.0):
    """Four numbers of cases that go together, as real ones do; the first two are shifted."""
    common = rng.normal(size=cases)
    return {key: common + spread * rng.normal(size=cases) + shift * (number < 2) for number, key in enumerate(KEYS)}


def rate(known, new, draws, **options):
    """Share of sets of new cases that are called unlike."""
    rng = np.random.default_rng(0)
    return np.mean([bool(unlike(draw(rng, known), draw(rng, new, **options))) for _ in range(draws)])


def exact_p(known, new):
    """The share of all ways to choose the new cases among all whose distance is as large: the permutation test."""
    pool = np.concatenate([known, new])
    steps = np.unique(pool)

    def distance(chosen):
        others = np.delete(pool, chosen)
        cdf = [(part[:, None] <= steps).mean(0) for part in (pool[list(chosen)], others)]
        return np.abs(cdf[0] - cdf[1]).max()

    seen = distance(range(len(known), len(pool)))
    ways = [distance(chosen) for chosen in itertools.combinations(range(len(pool)), len(new))]
    return np.mean(np.array(ways) >= seen - 1e-12)


@pytest.mark.parametrize(("known", "new"), [(10, 5), (30, 3), (40, 20), (100, 200)])
def test_cases_drawn_alike_are_called_unlike_at_most_once_in_a_hundred(known, new):
    """Of 1,000 sets 10 may be; 20 of them would be three standard deviations more."""
    assert rate(known, new, 1000) <= ERROR + 3 * (ERROR * (1 - ERROR) / 1000) ** 0.5


def test_the_error_is_used_where_a_single_number_is_compared():
    """The test is not merely careful: 1 % of 4,000 sets, within simulation error and the steps of its p-value."""
    rng = np.random.default_rng(1)
    told = [bool(unlike({"a": rng.random(40)}, {"a": rng.random(41)})) for _ in range(4000)]
    assert 0.005 < np.mean(told) < ERROR + 3 * (ERROR / 4000) ** 0.5


@pytest.mark.parametrize(("new", "least"), [(5, 0.3), (10, 0.8), (30, 0.99)])
def test_shifted_cases_are_called_unlike(new, least):
    """By two standard deviations of the number; ten do in most draws, thirty in nearly all."""
    assert rate(40, new, 200, shift=2 * 2**0.5) >= least


def test_a_wider_spread_is_seen_though_the_median_stays():
    assert rate(100, 100, 50, spread=4.0) > 0.95


def test_p_values_are_those_of_all_permutations_and_ties_are_careful():
    rng = np.random.default_rng(2)
    known, new = rng.random(6), rng.random(4) + 0.6
    (found,) = unlike({"a": known}, {"a": new}, error=0.5)
    assert found.p_value == pytest.approx(exact_p(known.round(3), new.round(3)), rel=1e-9)
    assert (found.known, found.new) == (
        pytest.approx(np.median(known), rel=1e-2),
        pytest.approx(np.median(new), rel=1e-2),
    )
    tied = unlike({"a": [0, 0, 1, 1, 1, 2, 2]}, {"a": [2, 3, 2, 3]}, error=0.9)[0]
    assert tied.p_value > 1.05 * exact_p(np.array([0, 0, 1, 1, 1, 2.0, 2]), np.array([2, 3, 2, 3.0]))


@pytest.mark.parametrize("known", [3, 10, 40, 113, 799, 800])
def test_the_fewest_new_cases_are_the_first_that_can_be_told_apart(known):
    least = fewest_new(known, len(KEYS))
    old = {key: np.arange(known) for key in KEYS}
    assert unlike(old, {key: 5000.0 + np.arange(least) for key in KEYS})
    assert least == 1 or not unlike(old, {key: 5000.0 + np.arange(least - 1) for key in KEYS})


def test_one_new_case_is_never_told_apart_from_fewer_than_799():
    assert unlike({key: np.arange(798) for key in KEYS}, {key: [1e9] for key in KEYS}) == []


def test_constants_tell_nothing_unless_they_differ_by_more_than_another_machine_makes_them():
    same = np.full(50, 0.73456)
    assert unlike({"a": same}, {"a": same}) == []
    assert unlike({"a": same}, {"a": same + 1e-7}) == []
    assert [one.key for one in unlike({"a": same}, {"a": same + 0.01})] == ["a"]


def test_what_is_missing_is_left_out_and_still_counts_as_compared():
    rng = np.random.default_rng(3)
    old, new = rng.normal(size=40), np.concatenate([rng.normal(9, 1, 10), np.full(30, np.nan)])
    nothing = np.full(40, np.nan)
    alone = unlike({"a": old}, {"a": new})[0]
    beside = unlike({"a": old, "b": old, "c": old}, {"a": new, "b": nothing, "other": old})[0]
    assert beside.p_value == pytest.approx(2 * alone.p_value)  # of "a" and "b", on which both sides speak
    assert unlike({"a": nothing}, {"a": new}) == []
    assert unlike({"a": old}, {"a": []}) == []


def test_the_surest_number_comes_first():
    rng = np.random.default_rng(4)
    old = {key: rng.normal(size=40) for key in "ab"}
    found = unlike(old, {"a": rng.normal(2, 1, 30), "b": rng.normal(9, 1, 30)})
    assert [one.key for one in found] == ["b", "a"]


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_an_error_out_of_range_is_refused(error):
    with pytest.raises(ValueError, match="error"):
        unlike({}, {}, error)
    with pytest.raises(ValueError, match="error"):
        fewest_new(10, 4, error)
    with pytest.raises(ValueError, match="known=0 must be"):
        fewest_new(0, 4)


@pytest.mark.parametrize("shape", [(9, 7), (5, 4, 3)], ids=["2d", "3d"])
@pytest.mark.parametrize("classes", [2, 4])
def test_traits_are_those_of_float64(shape, classes):
    probs = torch.softmax(3 * torch.randn(classes, *shape, generator=torch.manual_seed(5)), 0)
    found, p = case_traits(probs), probs.double().numpy()[1:].reshape(classes - 1, -1)
    assert list(found) == list(TRAITS)
    np.testing.assert_allclose(found["share"], p.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p) + (1 - p) * np.log1p(-p)).mean(1), rtol=1e-5)
    np.testing.assert_allclose(found["expected_dice"], expected_dice(probs, probs.argmax(0))[1:])
    np.testing.assert_allclose(found["uncertain_share"], uncertain_share(probs)[1:])


def test_traits_of_certain_maps_are_finite_where_they_are_defined():
    probs = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    found = {key: float(value) for key, value in case_traits(probs).items()}
    assert (found["share"], found["entropy"]) == (0.0, 0.0)
    assert np.isnan(found["expected_dice"])
    assert np.isnan(found["uncertain_share"])
