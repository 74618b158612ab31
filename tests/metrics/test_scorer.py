"""The scorer against the single metrics of this room, and against itself in pieces."""

import math

import pytest
import torch

import metrics
from metrics import catalogue
from tests.metrics.data import segmentation

NAMES = ["background", "liver", "tumour"]
SINGLE = {
    "dice_pooled": metrics.DiceScore(3, average="pooled"),
    "iou_pooled": metrics.JaccardIndex(3, average="pooled"),
    "nll": metrics.NegativeLogLikelihood(3, average="per_case"),
    "nll_pooled": metrics.NegativeLogLikelihood(3),
    "brier": metrics.BrierScore(3, average="per_case"),
    "brier_pooled": metrics.BrierScore(3),
    "ece": metrics.ExpectedCalibrationError(3, average="per_case"),
    "ece_pooled": metrics.ExpectedCalibrationError(3),
    "ace": metrics.AverageCalibrationError(3, average="per_case"),
    "mce_pooled": metrics.MaximumCalibrationError(3),
    "ece_classwise": metrics.ExpectedCalibrationError(3, view="classwise", average="per_case"),
    "ece_foreground_pooled": metrics.ExpectedCalibrationError(3, view="foreground"),
    "ece_boundary": metrics.ExpectedCalibrationError(3, region="boundary", average="per_case"),
    "ece_dilated_pooled": metrics.ExpectedCalibrationError(3, region="dilated"),
    "ece_reference_foreground": metrics.ExpectedCalibrationError(3, region="reference_foreground", average="per_case"),
    "ece_reference_boundary_pooled": metrics.ExpectedCalibrationError(3, region="reference_boundary"),
}


def cases(number=3, shape=(17, 23)):
    return [segmentation(shape, seed=seed) for seed in range(number)]


def test_names_and_values_agree_with_single_metrics():
    scorer = metrics.Scorer(3, NAMES)
    for metric in SINGLE.values():
        metric.reset()
    for probs, target in cases():
        scorer.update(probs[None], target[None])
        for metric in SINGLE.values():
            metric.update(probs[None], target[None])
    values = scorer.compute()
    assert all(value.ndim == 0 and value.dtype == torch.float64 for value in values.values())
    for name, metric in SINGLE.items():
        assert values[name].item() == pytest.approx(metric.compute().item(), abs=1e-12), name


def test_mean_over_cases_and_all_voxels_together_differ_where_a_class_is_absent():
    """Dice of a perfect small case and of an empty one with a false claim: 1 and 0 by case, 2/3 of the voxels."""
    scorer = metrics.Scorer(2)
    claimed = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    for target in ([1, 1, 0, 0], [0, 0, 0, 0]):
        scorer.update(claimed[None], torch.tensor([target]))
    values = scorer.compute()
    assert values["dice"] == 0.5
    assert values["dice_pooled"] == pytest.approx(2 * 2 / (4 + 2))


def test_rows_of_a_case_are_what_the_scorer_averages():
    rule = metrics.ObjectRule(iou=0.2)
    scorer = metrics.Scorer(3, NAMES, surface=True, objects=rule, expectations=True)
    tables = []
    for probs, target in cases(shape=(12, 9, 8)):
        raters = torch.stack([target, target.flip(0)])
        scorer.update(probs[None], target[None], (3.0, 1.0, 1.0), probs[None], raters=raters[None])
        options = {"true_probs": probs, "objects": rule, "raters": raters}
        tables.append(metrics.evaluate_case(probs, target, NAMES, (3.0, 1.0, 1.0), True, **options))
    values = scorer.compute()
    for row in catalogue.of_average("case"):
        column = [rows[-1][row.key] for rows in tables]
        assert values[row.key].item() == pytest.approx(math.fsum(column) / 3, abs=1e-12), row.key
    dice = [rows[0]["dice"] for rows in tables]
    assert values["dice/liver"].item() == pytest.approx(math.fsum(dice) / 3, abs=1e-12)


def test_only_what_was_measured_is_reported():
    scorer = metrics.Scorer(3)
    probs, target = segmentation()
    scorer.update(probs[None], target[None])
    assert not {"hd95", "nsd", "ece_true", "ece_true_pooled", "nll_lowest"} & set(scorer.compute())


def test_a_case_where_nothing_counts_changes_no_mean():
    probs, target = segmentation()
    alone, more = metrics.Scorer(3), metrics.Scorer(3)
    for scorer in (alone, more):
        scorer.update(probs[None], target[None])
    more.update(probs[None], torch.full_like(target, 255)[None])
    a, b = alone.compute(), more.compute()
    assert {key: value.item() for key, value in a.items()} == pytest.approx(
        {key: value.item() for key, value in b.items()}, nan_ok=True
    )


def test_named_cases_are_kept_and_forgotten():
    scorer = metrics.Scorer(3)
    for index, (probs, target) in enumerate(cases()):
        scorer.update(probs[None], target[None], names=[f"c{index}"])
    together = metrics.merge_sums([sums for _, sums in scorer.records])
    assert [name for name, _ in scorer.records] == ["c0", "c1", "c2"]
    whole = scorer.over_all()
    assert torch.equal(together.confusion, whole.confusion)
    for key, bins in together.bins.items():
        assert torch.equal(bins.count, metrics.rebin(whole.bins[key], metrics.CASE_BINS).count)
    scorer.reset()
    assert scorer.records == []
    assert scorer.confusion.sum() == 0


def test_the_names_of_the_classes_must_fit():
    with pytest.raises(ValueError, match="must name 3 classes"):
        metrics.Scorer(3, ["a", "b"])


def test_pooled_intervals_hold_what_drawing_the_voxels_anew_gives():
    """The oracle draws whole cases and scores their voxels in one; the same draws by weights of the cases' sums."""
    given = [metrics.score_case(*case) for case in cases(4)]
    rows = [catalogue.NUMBERS[key] for key in ("dice_pooled", "nll_pooled", "brier_pooled", "ece_boundary_pooled")]
    weights = torch.tensor([[1.0, 1, 1, 1], [2, 0, 1, 1], [0, 4, 0, 0]], dtype=torch.float64).numpy()
    found = metrics.pooled.pooled_values(given, rows)(weights)
    for draw, values in zip(weights, found, strict=True):
        merged = metrics.merge_sums([sums for sums, times in zip(given, draw, strict=True) for _ in range(int(times))])
        for row, value in zip(rows, values, strict=True):
            torch.testing.assert_close(torch.from_numpy(value), row.value(merged), rtol=1e-12, atol=1e-12)
    low, high = metrics.pooled_intervals([given], rows)
    middle = torch.stack([row.value(metrics.merge_sums(given)) for row in rows]).numpy()
    assert (low <= middle).all()
    assert (middle <= high).all()
