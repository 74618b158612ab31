"""The smooth calibration error against brute force over the voxels themselves, closed forms and relplot's values."""

import numpy as np
import pytest
import torch

import metrics
from metrics import errors, smooth


def voxels(steepness=0.6, centre=-3.0, number=4000, spread=4.0, seed=0):
    """Confidences (n,) of a network and whether it was right, logits off by a factor."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(centre, spread, number)
    p, truth = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-steepness * logits))
    return p, (rng.random(number) < truth).astype(np.int64)


def fine_bins(p, y):
    """Bins on the scorer's fine axis, one channel."""
    probs = torch.stack([1 - torch.as_tensor(p), torch.as_tensor(p)])
    return metrics.sum_case(probs, torch.as_tensor(y), ("all",)).bins["all.foreground"]


def brute_force(p, y, cells=4000):
    """The error of the paper's definition: every voxel with its own kernel and its mirror images, no bin."""
    middle = (np.arange(cells) + 0.5) / cells

    def error(width):
        total = np.zeros(cells)
        for shift in range(-2, 3):  # the ends reflect: images at 2k + p and 2k - p
            for images in (2 * shift + p, 2 * shift - p):
                for start in range(0, len(p), 500):
                    part = slice(start, start + 500)
                    z = (middle[:, None] - images[part]) / width
                    total += np.exp(-0.5 * z**2) @ (p - y)[part]
        return np.abs(total).mean() / len(p) / width / np.sqrt(2 * np.pi)

    low, high = 1e-4, 1.0
    for _ in range(12):
        width = (low + high) / 2
        low, high = (width, high) if error(width) > width else (low, width)
    return (low + high) / 2


def test_equals_the_definition_over_the_voxels_themselves():
    p, y = voxels(number=500)
    assert smooth.smooth_calibration_error(fine_bins(p, y)).item() == pytest.approx(brute_force(p, y), abs=3e-4)


# relplot 1.0.3, smECE(p, y) with a mesh of 20,001 points; its search for the width ends at 1/1024. Voxels within half a
# cell of 0 or 1 it reflects once too few, so none of these is saturated.
RELPLOT = {
    (0.5, 0.0, 20000, 1.0): 0.075657,
    (0.7, -2.0, 20000, 1.0): 0.065771,
    (1.0, 0.0, 20000, 1.0): 0.012381,
    (2.0, 0.0, 5000, 0.8): 0.086524,
    (0.6, -1.0, 500, 1.0): 0.054049,
}


@pytest.mark.parametrize(("case", "value"), RELPLOT.items())
def test_equals_relplot(case, value):
    found = smooth.smooth_calibration_error(fine_bins(*voxels(*case)))
    assert found.item() == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("gap", [0.25, 0.02, -0.4])
def test_of_one_confidence_it_is_the_gap_itself(gap):
    """All residuals at one place: whatever the width, the integral over the reflected kernel is the mean residual."""
    bins = metrics.Bins(*(torch.tensor([[value]]) for value in (1000, 500.0, 500.0 - gap * 1000, 250.0)))
    assert smooth.smooth_calibration_error(bins).item() == pytest.approx(abs(gap), abs=1e-6)


def test_nothing_is_lost_at_the_ends():
    """A saturated network wrong in one of 50: the kernel reflects, so the error is not halved at 0 and 1."""
    p = np.full(5000, 1 - 1e-6)
    y = (np.arange(5000) % 50 > 0).astype(np.int64)
    assert smooth.smooth_calibration_error(fine_bins(p, y)).item() == pytest.approx(0.02, abs=1e-5)


def test_errors_of_both_signs_do_not_cancel_and_calibration_is_near_zero():
    p, y = voxels(0.5, 0.0, 200_000)
    apart, binned = smooth.smooth_calibration_error(fine_bins(p, y)), errors.expected_calibration_error(fine_bins(p, y))
    assert 0.5 * binned < apart < binned  # as large as the binned one, though the mean residual is near 0
    assert abs(errors.signed_calibration_error(fine_bins(p, y))) < 0.005
    assert smooth.smooth_calibration_error(fine_bins(*voxels(1.0, 0.0, 200_000))) < 0.005


@pytest.mark.parametrize("steepness", [0.4, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("centre", [-8.0, 0.0])
def test_binning_error(steepness, centre):
    """Fine axis, 300 equal bins, and 10 times as many: within 1e-4 of each other, and the proven bound holds."""
    p, y = voxels(steepness, centre, 50_000)
    fine = fine_bins(p, y)
    finest = smooth.smooth_calibration_error(_equal(p, y, 30_000)).item()
    for bins, width in ((fine, 0.0025), (metrics.rebin(fine, 300), 1 / 300)):
        found = smooth.smooth_calibration_error(bins).item()
        assert found == pytest.approx(finest, abs=1e-4)
        assert abs(found - finest) <= width * np.sqrt(2 / np.pi) * np.abs(p - y).mean() / finest


def _equal(p, y, number):
    place = np.minimum((p * number).astype(int), number - 1)
    fields = (np.bincount(place, weight, number) for weight in (None, p, y, (p - y) ** 2))
    return metrics.Bins(*(torch.as_tensor(field)[None] for field in fields))


def test_the_axis_is_as_fine_as_is_said():
    assert metrics.axis_edges().diff().max() <= 0.0025


@pytest.mark.parametrize("shape", [(40, 50), (12, 10, 9)])
def test_rows_of_the_catalogue(shape):
    """Each foreground class has the error of its own p_k; a case's row is what the scorer adds up; many stack."""
    generator = torch.Generator().manual_seed(0)
    probs = (3 * torch.randn(3, *shape, generator=generator)).softmax(0)
    target = torch.randint(0, 3, shape, generator=generator)
    rows = metrics.evaluate_case(probs, target, ["background", "a", "b"])
    for row, (p, right) in zip(
        [rows[-1], rows[0], rows[1]],
        [(probs.max(0).values, probs.argmax(0) == target), (probs[1], target == 1), (probs[2], target == 2)],
        strict=True,
    ):
        expected = smooth.smooth_calibration_error(fine_bins(p.reshape(-1), right.reshape(-1).long())).item()
        assert row["ece_smooth"] == pytest.approx(expected, abs=1e-4)
    scorer = metrics.Scorer(3)
    scorer.update(probs[None], target[None], names=["one"])
    assert scorer.compute()["ece_smooth"].item() == pytest.approx(rows[-1]["ece_smooth"], abs=1e-12)
    record = metrics.rows_from_sums(scorer.records[0][1], ["background", "a", "b"])[-1]
    assert record["ece_smooth"] == pytest.approx(rows[-1]["ece_smooth"], abs=1e-12)
    assert np.isnan(smooth.smooth_calibration_error(metrics.empty_bins(1, 300)).item())


def test_the_distance_of_the_curve_to_the_diagonal_is_the_error():
    bins = fine_bins(*voxels(0.5, 0.0, 300_000))
    curve = smooth.smooth_reliability_curve(bins)
    apart = ((curve.frequency - curve.place).abs() * curve.mass).sum() / curve.mass.sum()
    assert apart.item() == pytest.approx(smooth.smooth_calibration_error(bins).item(), abs=1e-6)
    inside = (curve.place > 0.2) & (curve.place < 0.8)
    truth = torch.sigmoid(0.5 * torch.logit(curve.place))
    assert (curve.frequency[0] - truth)[inside].abs().max() < 0.05
    flat = smooth.smooth_reliability_curve(fine_bins(np.full(800, 0.5), np.arange(800) % 4 // 3))
    assert flat.mass[0, 1024] == pytest.approx(800, rel=1e-3)
    assert flat.frequency[0, 1024].item() == pytest.approx(0.25, abs=1e-3)
