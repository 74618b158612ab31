"""Cuts with a promise: against brute force, MAPIE's numbers, and simulations of known risk."""

import math

import numpy as np
import pytest
import torch

from metrics import AXIS_BINS, axis_edges, axis_index, risk, sum_case


def simulate(cases, shape=None, seed=0):
    """Per-case counts (n, 2, AXIS_BINS) of cases of unequal sizes and difficulties; about a fifth is of the class."""
    rng = np.random.default_rng(seed)
    odds = np.zeros((cases, 2, AXIS_BINS), np.int32)
    for case in odds:
        size = math.prod(int(rng.integers(n // 2, 2 * n)) for n in (shape or (16, 16)))
        true = rng.uniform(size=size) < rng.uniform(0.05, 0.4)
        logit = np.where(true, rng.normal(1.5, 0.7), -2.5) + rng.normal(0, 1.5, size)
        place = axis_index(torch.sigmoid(torch.from_numpy(logit).float())).numpy()
        np.add.at(case[0], place, 1)
        np.add.at(case[1], place[true], 1)
    return torch.from_numpy(odds)


@pytest.fixture(scope="module", params=[(16, 16), (6, 6, 7)], ids=["2d", "3d"])
def pool(request):
    return simulate(400, request.param)


def brute_risk(case, name, cut):
    """The risk of one case by loops in float64."""
    claimed, hits, true = int(case[0, cut:].sum()), int(case[1, cut:].sum()), int(case[1].sum())
    if name == "fnr":
        return (true - hits) / true
    if claimed == 0:
        return float(name == "precision" and true > 0)
    return (claimed - hits) / claimed


@pytest.mark.parametrize("name", ["fnr", "fdr", "precision"])
def test_losses_of_cases_are_those_of_loops(pool, name):
    losses = risk.case_losses(pool[:4], name, 0.1)
    for cut in (0, 1, 700, 1750, 2500, 3400, AXIS_BINS):
        want = [brute_risk(case, name, cut) for case in pool[:4]]
        assert losses[:, cut].tolist() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("name", ["fnr", "fdr", "precision"])
def test_mean_loss_by_voxel_is_at_the_level_just_where_the_risk_is(pool, name):
    for cut in (900, 1750, 2000):
        above = sum(int(c[1, :cut].sum()) if name == "fnr" else int((c[0] - c[1])[cut:].sum()) for c in pool[:9])
        below = sum(int(c[1].sum()) if name == "fnr" else int(c[0, cut:].sum()) for c in pool[:9])
        ratio = above / below
        assert risk.risk_at(pool[:9], name, "voxel", cut) == pytest.approx(ratio)
        losses = risk.case_losses(pool[:9], name, ratio, "voxel")[:, cut]
        assert float(losses.mean()) == pytest.approx(ratio)
        assert 0 <= losses.min() <= losses.max() <= 1


def test_cut_of_conformal_control_is_the_highest_that_keeps_the_bound(pool):
    cases, level = pool[:40], 0.1
    kept = risk.promise(cases, "fnr", level)
    places = (0, 500, kept.cut, kept.cut + 1, AXIS_BINS)
    bounds = [(sum(brute_risk(case, "fnr", cut) for case in cases) + 1) / 41 for cut in places]
    assert bounds == sorted(bounds)
    assert bounds[2] <= level < bounds[3]
    assert kept.threshold == float(axis_edges()[kept.cut])
    assert kept.seen == pytest.approx(np.mean([brute_risk(case, "fnr", kept.cut) for case in cases]))


def test_p_values_are_those_of_mapie():
    """Values of mapie 1.6, `compute_hoeffding_bentkus_p_value`."""
    means = torch.tensor([0.0, 0.01, 0.05, 0.09, 0.2], dtype=torch.float64)
    got = risk.hoeffding_bentkus(means, 50, 0.1)
    assert got.tolist() == pytest.approx(MAPIE, rel=1e-9)


MAPIE = [0.0051537752073201, 0.028252838351505716, 0.4337334695745524, 0.971761158883502, 1.0]


@pytest.mark.parametrize(
    ("name", "confidence", "by", "needed"),
    [("fnr", None, "case", 9), ("fdr", None, "case", 9), ("fnr", 0.9, "case", 22), ("precision", 0.9, "case", 33)],
)
def test_too_few_cases_are_refused_with_the_number_that_would_do(name, confidence, by, needed):
    perfect = torch.zeros(needed, 2, AXIS_BINS, dtype=torch.int32)
    perfect[:, :, -1] = 10
    perfect[:, 0, 0] = 90
    with pytest.raises(ValueError, match=f"{needed - 1} cases cannot promise a level of 0.1.*: {needed} would do"):
        risk.promise(perfect[1:], name, 0.1, confidence, by)
    assert risk.promise(perfect, name, 0.1, confidence, by).seen == 0


def test_voxels_together_need_as_many_cases_as_the_largest_weighs(pool):
    with pytest.raises(ValueError, match=r"(\d+) would do") as refused:
        risk.promise(pool[:9], "fnr", 0.1, by="voxel")
    assert 9 < int(str(refused.value).split(": ")[1].split()[0]) < 60


def test_cases_without_the_class_have_no_recall_and_empty_masks_no_precision():
    odds = torch.zeros(2, 2, AXIS_BINS, dtype=torch.int32)
    odds[:, 0, 0] = 5
    odds[1, 1, 0] = 2
    assert risk.case_losses(odds, "fnr", 0.1).shape[0] == 1
    assert risk.case_losses(odds, "precision", 0.1)[:, 1].tolist() == [0, 1]
    assert risk.case_losses(odds, "fdr", 0.1)[:, 1].tolist() == [0, 0]
    assert risk.promise(torch.cat([odds[:1]] * 3 + [odds[1:]] * 9), "fnr", 0.2).n == 9


def splits(pool, name, confidence, by, cases=60, rounds=200):
    """Risks on the rest of the pool of cuts of random parts of it; how often a cut was refused."""
    rng, risks, refused = np.random.default_rng(1), [], 0
    losses = risk.case_losses(pool, name, 0.2, by)
    for _ in range(rounds):
        order = rng.permutation(len(pool))
        own, rest = losses[order[:cases]], order[cases:]
        try:
            if confidence is None:
                cut = risk.conformal_cut(own, 0.2, name)
            else:
                cut = risk.tested_cut(own, 0.2, confidence, name)
        except ValueError:
            refused += 1
            continue
        risks.append(float(losses[rest, cut].mean()))
    return np.array(risks), refused


@pytest.mark.parametrize(("name", "by"), [("fnr", "case"), ("fnr", "voxel"), ("fdr", "case")])
def test_risk_in_expectation_is_kept_on_other_cases(pool, name, by):
    risks, refused = splits(pool, name, None, by)
    error = risks.std() / math.sqrt(len(risks))
    assert refused == 0
    assert risks.mean() <= 0.2 + 3 * error
    if (name, by) == ("fnr", "case"):
        assert risks.mean() >= 0.2 - 2 / 61 - 3 * error  # the bound is tight: not kept by claiming all


@pytest.mark.parametrize(("name", "by"), [("fnr", "case"), ("precision", "case"), ("fdr", "case")])
def test_risk_is_kept_with_the_confidence(pool, name, by):
    risks, refused = splits(pool, name, 0.9, by)
    assert refused < 75
    assert (risks > 0.2).mean() <= 0.1 + 3 * math.sqrt(0.09 / len(risks))


def test_a_cut_one_step_of_odds_too_high_breaks_the_promise(pool):
    """The simulation can fail: one unit of log-odds too high, the risk is above the level."""
    rng, risks = np.random.default_rng(1), []
    losses = risk.case_losses(pool, "fnr", 0.2)
    for _ in range(200):
        order = rng.permutation(len(pool))
        cut = int((losses[order[:12]].mean(0) <= 0.2).sum()) + 100
        risks.append(float(losses[order[12:], cut].mean()))
    assert np.mean(risks) > 0.2 + 3 * np.std(risks) / math.sqrt(200)


def test_counts_of_a_case_give_the_mask_of_its_cut():
    torch.manual_seed(0)
    for shape in ((9, 7), (5, 4, 6)):
        probs = (4 * torch.randn(3, *shape)).softmax(0)
        target = torch.randint(0, 3, shape)
        fine = sum_case(probs, target, ("all",)).coarse(300).odds
        for cut in (100, 1700, 3000):
            sets = risk.sets_of(axis_index(probs), probs.argmax(0), [cut, None])
            claimed, hits = risk.counts_above(fine[None, :, 1])
            assert int(sets[0].sum()) == int(claimed[0, cut])
            assert int((sets[0] & (target == 1)).sum()) == int(hits[0, cut])
            assert torch.equal(sets[1], probs.argmax(0) == 2)


def test_what_cannot_be_promised_is_refused(pool):
    with pytest.raises(ValueError, match="give a confidence"):
        risk.promise(pool, "precision", 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        risk.promise(pool, "fnr", 1.5)
    with pytest.raises(ValueError, match="fnr, fdr or precision"):
        risk.promise(pool, "dice", 0.1)
    noise = pool.clone()
    noise[:, 1] = noise[:, 0] // 4
    with pytest.raises(ValueError, match=r"400 cases show no cut that keeps precision below 0\.05"):
        risk.promise(noise, "precision", 0.05, 0.9)


def test_price_is_the_size_over_the_true_size(pool):
    cut = 1600
    assert risk.relative_size(pool, cut) == pytest.approx(float(pool[:, 0, cut:].sum() / pool[:, 1].sum()), rel=1e-6)
