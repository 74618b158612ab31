import math

import numpy as np
import pytest
import torch

import metrics
from metrics import regions
from metrics.evaluate import REGIONS
from tests.metrics import reference
from tests.metrics.data import segmentation

NAMES = ["background", "liver", "tumour"]


@pytest.mark.parametrize("shape", [(19, 21), (7, 9, 8)])
def test_rows_equal_brute_force(shape):
    probs, target = segmentation(shape)
    rows = metrics.evaluate_case(probs, target, NAMES)
    p, y = probs.double().numpy().reshape(3, -1), target.numpy().ravel()
    assert [row["class"] for row in rows] == ["liver", "tumour", "all"]
    for k, row in enumerate(rows[:2], start=1):
        expected = reference.overlap(p.argmax(0), y, k)
        confidence, correct = p[k], (y == k).astype(float)
        expected |= {key: reference.errors(confidence, correct, 15)[key] for key in ("ece", "ace")}
        expected["nll"] = -np.log(np.where(y == k, confidence, 1 - confidence)).mean()
        expected["brier"] = ((confidence - correct) ** 2).mean()
        inside = y != 0
        expected["ece_reference_foreground"] = reference.errors(confidence[inside], correct[inside], 15)["ece"]
        assert row["voxels"] == (y == k).sum()
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1e-12), name


def test_row_of_all_classes():
    probs, target = segmentation()
    rows = metrics.evaluate_case(probs, target, NAMES)
    p, y = probs.double().numpy().reshape(3, -1), target.numpy().ravel()
    total = rows[-1]
    assert total["dice"] == pytest.approx((rows[0]["dice"] + rows[1]["dice"]) / 2)
    assert total["nll"] == pytest.approx(-np.log(p[y, np.arange(len(y))]).mean(), abs=1e-12)
    assert total["brier"] == pytest.approx(((p - np.eye(3)[y].T) ** 2).sum(0).mean(), abs=1e-12)
    (pair,) = reference.views(probs, target, "top_label")
    assert total["ece"] == pytest.approx(reference.errors(*pair, 15)["ece"], abs=1e-12)
    assert total["voxels"] == len(y)


def test_ignored_voxels_take_no_part():
    probs, target = segmentation((20, 20))
    ignored = target.clone()
    ignored[12:] = 255
    part = metrics.sum_case(probs, ignored, regions=("all", "reference_foreground"))
    alone = metrics.sum_case(probs[:, :12], target[:12], regions=("all", "reference_foreground"))
    assert torch.equal(part.confusion, alone.confusion)
    torch.testing.assert_close(part.nll, alone.nll)
    for name in part.bins:
        assert torch.equal(part.bins[name].count, alone.bins[name].count), name


def test_absent_class_is_left_out_and_marked():
    probs, target = segmentation()
    probs = torch.cat([probs, torch.zeros_like(probs[:1])])
    rows = metrics.evaluate_case(probs, target, [*NAMES, "absent"])
    assert math.isnan(rows[2]["dice"])
    assert rows[2]["voxels"] == 0
    assert rows[-1]["dice"] == pytest.approx((rows[0]["dice"] + rows[1]["dice"]) / 2)


def test_case_bins_agree_with_the_metric():
    probs, target = segmentation((9, 10, 11))
    bins = metrics.sum_case(probs, target).bins
    for region in REGIONS:
        for view in ("top_label", "classwise", "foreground"):
            metric = metrics.ReliabilityBins(3, view=view, region=region)
            metric.update(probs[None], target[None])
            expected = metrics.rebin(metric.compute(), 300)
            found = metrics.rebin(bins[f"{region}.{view}"], 300)
            assert torch.equal(found.count, expected.count)
            for a, b in zip(found[1:], expected[1:], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(30, 20), (30, 20, 5)])
def test_a_mask_of_what_counts_is_as_good_as_the_ignored_label(shape):
    probs, target = segmentation(shape)
    valid = torch.zeros(shape, dtype=torch.bool)
    valid[4:21, 3:] = True
    both = valid.clone()
    both[10:] = False
    part = target.masked_fill(~valid, 255)
    a, b = metrics.sum_case(probs, target, valid=valid), metrics.sum_case(probs, part)
    c, d = metrics.sum_case(probs, part, valid=both), metrics.sum_case(probs, target, valid=both)
    for x, y in ((a, b), (c, d)):
        assert torch.equal(x.confusion, y.confusion)
        assert all(torch.equal(p, q) for key in x.bins for p, q in zip(x.bins[key], y.bins[key], strict=True))
    assert d.voxels == 6 * 17 * math.prod(shape[2:])
    with pytest.raises(ValueError, match="valid must have the shape of target"):
        metrics.sum_case(probs, target, valid=valid[:5])


def test_every_set_of_regions_keeps_its_names_or_is_refused():
    probs, target = segmentation((40, 40))
    pair = {"thin": regions.Boundary(1), "thick": regions.Boundary(6)}
    found = metrics.sum_case(probs, target, regions=pair).bins
    for name, region in pair.items():
        inside = region(target, metrics.predict_labels(probs), torch.ones_like(target, dtype=torch.bool))
        assert torch.equal(
            found[f"{name}.top_label"].count, metrics.bin_item(probs, target, "top_label", 300, inside).count
        )
    many = {f"r{radius}": regions.Dilated(radius) for radius in range(7)}
    found = metrics.sum_case(probs, target, regions={"all": regions.All(), **many}).bins
    assert [int(bins.count.sum()) > 0 for bins in found.values()] == [True] * len(found)
    for wrong in (["all", "all"], [regions.Boundary(1), regions.Boundary(6)], {**many, "r8": regions.Boundary(8)}):
        with pytest.raises(ValueError, match=r"regions="):
            metrics.sum_case(probs, target, regions=wrong)


def test_logits_in_the_pass_equal_probabilities():
    probs, target = segmentation()
    a = metrics.sum_case(probs.log() + 3.0, target, from_logits=True)
    b = metrics.sum_case((probs.log() + 3.0).softmax(0), target)
    torch.testing.assert_close(a.nll, b.nll, rtol=1e-9, atol=0)
    assert torch.equal(a.confusion, b.confusion)


def test_lowest_scores():
    probs, target = segmentation()
    low = metrics.lowest_scores(probs[None])
    p = probs.double().numpy().reshape(3, -1)
    assert low["nll"] == pytest.approx(-(p * np.log(p)).sum(0).mean())
    assert low["brier"] == pytest.approx((p * (1 - p)).sum(0).mean())
    part = target.clone()
    part[1:] = 255
    assert metrics.lowest_scores(probs[None], part[None])["nll"] == pytest.approx(
        metrics.lowest_scores(probs[None, :, :1])["nll"]
    )
