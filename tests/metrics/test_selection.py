"""What is promised of cases to come holds in simulations where the truth is known."""

import math
import re

import numpy as np
import pytest

from metrics.selection import DiceBound, Passing, VolumeInterval, fewest_cases


@pytest.mark.parametrize(("n", "bias"), [(9, 0.0), (30, 0.0), (30, 0.7)])
def test_intervals_cover_however_wrong_the_expectation_is(n, bias):
    """True volumes log-normal around a biased expectation: coverage over 2,000 calibration sets and a new case each."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        true = rng.lognormal(3, 1, n + 1)
        expected = true * np.exp(rng.normal(bias, 0.4, n + 1))
        low, high = VolumeInterval.of(expected[:-1], true[:-1]).around(expected[-1])
        held.append(low <= true[-1] <= high)
    at_most = math.ceil((n + 1) * 0.9) / (n + 1)
    assert 0.9 - 0.02 <= np.mean(held) <= at_most + 0.02


def test_an_interval_by_hand():
    found = VolumeInterval.of([90.0] * 19, [90.0 * math.exp(k / 10) for k in range(-9, 10)], coverage=0.9)
    assert (found.n, found.floor) == (19, 9.0)
    assert found.reach == pytest.approx(math.log(99 / (90 * math.exp(-0.9) + 9)))  # the 18th of 19
    low, high = found.around(0.0)
    assert low == 0.0
    assert high > 0


@pytest.mark.parametrize(("n", "bias"), [(9, 0.0), (30, 0.0), (30, 2.5)])
def test_the_least_dice_holds_however_wrong_the_expectation_is(n, bias):
    """As above, with Dice of 0 and 1 among them; the likely Dice lies above and below the true one equally often."""
    rng = np.random.default_rng(0)
    held, above = [], []
    for _ in range(2000):
        z = rng.normal(1, 1.5, n + 1)
        dice = np.where(rng.random(n + 1) < 0.05, rng.integers(0, 2, n + 1), 1 / (1 + np.exp(-z)))
        expected = 1 / (1 + np.exp(-z - rng.normal(bias, 0.5, n + 1)))
        low, likely = DiceBound.of(expected[:-1], dice[:-1]).around(expected[-1])
        held.append(low <= dice[-1])
        above.append(likely > dice[-1])
    exactly = 1 - math.floor((n + 1) * 0.1 + 1e-9) / (n + 1)
    assert exactly - 0.02 <= np.mean(held) <= exactly + 0.02
    assert 0.46 <= np.mean(above) <= 0.54


def test_a_least_dice_by_hand():
    """Logits 1 below to 1 above the expected one in steps of 0.1: of 21 the second is 90 % of 22; a Dice of 0 is 0."""
    steps = np.linspace(-1, 1, 21)
    found = DiceBound.of(np.full(21, 0.5), 1 / (1 + np.exp(-steps)))
    assert (found.n, found.least, found.median) == (21, pytest.approx(-0.9), pytest.approx(0, abs=1e-12))
    assert found.around(0.5) == (pytest.approx(1 / (1 + math.exp(0.9))), pytest.approx(0.5))
    assert DiceBound.of([0.9] * 9, [0.0] * 9).around(0.9)[0] == 0.0
    with pytest.raises(ValueError, match="8 cases are too few for a least Dice at 90%: 9 would do"):
        DiceBound.of([0.9] * 8, [0.9] * 8)


@pytest.mark.parametrize(("coverage", "least"), [(0.8, 4), (0.9, 9), (0.95, 19)])
def test_too_few_cases_are_refused_with_the_number_that_would_do(coverage, least):
    assert fewest_cases(coverage) == least
    ones = [1.0] * (least - 1)
    with pytest.raises(ValueError, match=f"too few for intervals of {coverage:.0%}: {least} would do"):
        VolumeInterval.of(ones, ones, coverage)
    VolumeInterval.of([*ones, 1.0], [*ones, 1.0], coverage)


def population(rng, n):
    """Expected Dice in (0, 1); the chance of a bad case falls with it."""
    expected = rng.random(n)
    return expected, np.where(rng.random(n) < (1 - expected) ** 2, 0.5, 0.9)


def test_selection_keeps_its_share_with_its_confidence():
    """Of 600 calibration sets at most a tenth lets more than 10 % bad cases of the population pass, known exactly."""
    rng = np.random.default_rng(1)
    broken = 0
    passing = 0
    for _ in range(600):
        try:
            found = Passing.of(*population(rng, 120))
        except ValueError:
            continue
        passing += 1
        broken += (1 - found.cut) ** 2 / 3 > 0.1  # the mean of (1 - e)^2 over e above the cut
    assert passing > 400
    assert broken <= 0.1 * 600 + 2 * math.sqrt(600 * 0.09)


def test_selection_by_hand():
    """Twenty-two good ones are the fewest that prove 10 % at 90 %; ties pass together."""
    assert Passing.of([0.9] * 22, [0.85] * 22).passed == 22
    with pytest.raises(ValueError, match=r"21 cases are too few .* at least 22"):
        Passing.of([0.9] * 21, [0.85] * 21)
    with pytest.raises(ValueError, match="no expected Dice lets cases pass"):
        Passing.of([0.9] * 22, [0.85] * 20 + [0.1] * 2)
    found = Passing.of([0.9] * 40 + [0.7] * 10, [0.85] * 40 + [0.1] * 10)
    assert (found.cut, found.passed, found.bad) == (0.9, 40, 0)


def test_the_number_of_cases_that_would_do_does():
    expected, actual = np.linspace(1, 0, 40), np.full(40, 0.9)
    actual[[3, 11]] = 0.5  # of those most sure 5 % are bad: too near to 10 % for 40 cases
    with pytest.raises(ValueError, match=r"of 40; [\d,]+ like these would do") as caught:
        Passing.of(expected, actual)
    copies = int(re.search(r"; ([\d,]+) like", str(caught.value))[1]) // 40
    assert Passing.of(expected.repeat(copies), actual.repeat(copies)).n == 40 * copies
    with pytest.raises(ValueError, match="no expected Dice"):
        Passing.of(expected.repeat(copies - 1), actual.repeat(copies - 1))


def test_no_number_of_cases_mends_too_many_bad_ones():
    with pytest.raises(ValueError, match="of 40; nor would with more like these"):
        Passing.of(np.linspace(0, 1, 40), np.tile([0.5, 0.9], 20))


def test_the_rank_of_an_interval_is_not_off_by_a_rounding():
    """150 * (1 - 0.18) is 123.00000000000001 in floating point; the 123rd smallest residual is meant."""
    true = [100 * math.exp(k / 1000) for k in range(1, 150)]
    found = VolumeInterval.of([100.0] * 149, true, coverage=1 - 0.18)
    floor = true[74] / 10
    assert found.reach == pytest.approx(math.log((true[122] + floor) / (100 + floor)))
