import pickle

import pytest
import torch

import metrics
from metrics import errors
from tests.metrics import reference
from tests.metrics.data import awkward, segmentation

AWKWARD = awkward()
CLASSES = {
    "ece": metrics.ExpectedCalibrationError,
    "ace": metrics.AverageCalibrationError,
    "mce": metrics.MaximumCalibrationError,
    "rmsce": metrics.RootMeanSquareCalibrationError,
    "overconfidence": metrics.Overconfidence,
    "underconfidence": metrics.Underconfidence,
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("measure", CLASSES)
def test_errors_equal_brute_force(name, measure):
    probs, target = AWKWARD[name]
    metric = CLASSES[measure](2)
    metric.update(probs[None], target[None])
    (pair,) = reference.views(probs, target, "top_label")
    assert metric.compute().item() == pytest.approx(reference.errors(*pair, 15)[measure], abs=1e-12)


@pytest.mark.parametrize("view", ["classwise", "foreground"])
@pytest.mark.parametrize("shape", [(13, 11), (5, 6, 7)])
def test_views_in_2d_and_3d(view, shape):
    probs, target = segmentation(shape)
    metric = metrics.ExpectedCalibrationError(3, num_bins=20, view=view)
    metric.update(probs[None], target[None])
    expected = [reference.errors(*pair, 20)["ece"] for pair in reference.views(probs, target, view)]
    assert metric.compute().item() == pytest.approx(sum(expected) / len(expected), abs=1e-12)


def test_classwise_without_background():
    probs, target = segmentation()
    metric = metrics.ExpectedCalibrationError(3, view="classwise", include_background=False)
    metric.update(probs[None], target[None])
    pairs = reference.views(probs, target, "classwise")[1:]
    assert metric.compute().item() == pytest.approx(sum(reference.errors(*p, 15)["ece"] for p in pairs) / 2, abs=1e-12)


def test_per_case_is_the_mean_of_cases_and_skips_those_without_the_region():
    metric = metrics.ExpectedCalibrationError(3, average="per_case", region="reference_foreground")
    alone = []
    for seed in range(3):
        probs, target = segmentation(seed=seed)
        if seed == 1:
            target = torch.zeros_like(target)
        else:
            single = metrics.ExpectedCalibrationError(3, region="reference_foreground")
            single.update(probs[None], target[None])
            alone.append(single.compute().item())
        metric.update(probs[None], target[None])
    assert metric.compute().item() == pytest.approx(sum(alone) / 2, abs=1e-12)
    assert metric.skipped_cases == 1


def test_order_and_batching_make_no_difference():
    cases = [segmentation(seed=seed) for seed in range(4)]
    forward, backward, batch = (metrics.ReliabilityBins(3) for _ in range(3))
    for probs, target in cases:
        forward.update(probs[None], target[None])
    for probs, target in reversed(cases):
        backward.update(probs[None], target[None])
    batch.update(torch.stack([p for p, _ in cases]), torch.stack([t for _, t in cases]))
    for other in (backward.compute(), batch.compute()):
        assert torch.equal(forward.compute().count, other.count)
        for a, b in zip(forward.compute(), other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-12)


def test_ignored_voxels_and_user_mask():
    probs, target = segmentation()
    ignored = target.clone()
    ignored[5:] = 255
    mask = torch.zeros_like(target, dtype=torch.bool)
    mask[:5] = True
    values = []
    for args in (
        (probs[None], ignored[None]),
        (probs[None], target[None], mask[None]),
        (probs[None, :, :5], target[None, :5]),
    ):
        metric = metrics.ExpectedCalibrationError(3)
        metric.update(*args)
        values.append(metric.compute().item())
    assert values[0] == values[1] == pytest.approx(values[2], abs=1e-13)


def test_all_ignored_gives_nan_and_counts_nothing():
    probs, target = segmentation()
    metric = metrics.ExpectedCalibrationError(3, average="per_case")
    metric.update(probs[None], torch.full_like(target, 255)[None])
    assert metric.count.sum() == 0
    assert metric.skipped_cases == 1
    probs2, target2 = segmentation(seed=5)
    metric.update(probs2[None], target2[None])
    single = metrics.ExpectedCalibrationError(3)
    single.update(probs2[None], target2[None])
    assert metric.compute() == single.compute()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    probs, target = segmentation(dtype=dtype)
    metric = metrics.ExpectedCalibrationError(3)
    metric.update(probs[None], target[None].long())
    (pair,) = reference.views(probs.double(), target, "top_label")
    assert metric.compute().item() == pytest.approx(reference.errors(*pair, 15)["ece"], abs=1e-12)


def test_pickled_and_cloned_metrics_go_on():
    probs, target = segmentation()
    metric = metrics.AverageCalibrationError(3)
    metric.update(probs[None], target[None])
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert copy.compute() == metric.compute()
        copy.update(probs[None], target[None])
        assert copy.count.sum() == 2 * metric.count.sum()


def test_true_calibration_error():
    probs, _ = segmentation(classes=2)
    truth = (probs.log() * 0.5).softmax(0)
    metric = metrics.TrueCalibrationError(2, num_bins=3000)
    metric.update(probs[None], truth[None])
    flat, true = probs.reshape(2, -1).double(), truth.reshape(2, -1).double()
    expected = (flat.amax(0) - true.gather(0, flat.argmax(0, keepdim=True))[0]).abs().mean()
    assert metric.compute().item() == pytest.approx(expected.item(), abs=1e-9)
    metric.reset()
    metric.update(probs[None], probs[None])
    assert metric.compute() == 0


@pytest.mark.parametrize("num_bins", [10, 15, 20])
def test_brier_decomposition_adds_up(num_bins):
    probs, target = segmentation()
    bins = metrics.bin_item(probs, target, "classwise")
    parts = errors.brier_decomposition(bins, num_bins)
    for k, (confidence, correct) in enumerate(reference.views(probs, target, "classwise")):
        assert parts.brier[k].item() == pytest.approx(((confidence - correct) ** 2).mean(), abs=1e-13)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
    torch.testing.assert_close(parts.brier, total)


WRONG = {
    "logits": (torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 5, "softmax"),
    "sums": (torch.full((1, 2, 4, 4), 0.3), "sum to 1"),
    "nan": (torch.full((1, 2, 4, 4), torch.nan), "NaN"),
    "classes": (torch.full((1, 3, 4, 4), 1 / 3), r"\(B, 2, \*S\)"),
    "labels as floats": (torch.ones(1, 2, 4, 4, dtype=torch.int64), "floating point"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_probabilities_are_refused(name):
    probs, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        metrics.ExpectedCalibrationError(2).update(probs, torch.zeros(1, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("label", [2, 254, -1])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match="labels outside"):
        metrics.ExpectedCalibrationError(2).update(torch.full((1, 2, 4), 0.5), torch.full((1, 4), label))


def test_checks_can_be_switched_off():
    metric = metrics.NegativeLogLikelihood(2, validate=False)
    metric.update(torch.full((1, 2, 4), 0.3), torch.zeros(1, 4, dtype=torch.uint8))
    assert metric.compute().item() == pytest.approx(-torch.tensor(0.3).double().log().item(), abs=1e-7)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"view": "x"}, "view='x'"),
        ({"num_bins": 7}, "num_bins=7"),
        ({"region": "x"}, "region='x'"),
        ({"average": "x"}, "average='x'"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        metrics.ReliabilityBins(2, **kwargs)
