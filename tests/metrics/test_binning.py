import numpy as np
import pytest
import torch

import metrics
from metrics.binning import BLOCK, add_by_index, bin_index, bin_soft, counted, scattered, top_label
from tests.metrics import reference
from tests.metrics.data import awkward, segmentation

AWKWARD = awkward()


@pytest.mark.parametrize("n", [10, 15, 20, 25, 50, 100, 300, 3000])
def test_bin_is_the_exact_floor(n):
    edges = np.arange(n + 1, dtype=np.float32) / np.float32(n)
    p = np.concatenate([edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1))]).clip(0, 1)
    assert bin_index(torch.from_numpy(p), n).tolist() == reference.exact_bins(p, n).tolist()


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("view", ["top_label", "classwise", "foreground"])
@pytest.mark.parametrize("n", [15, 300])
def test_sums_equal_brute_force(name, view, n):
    probs, target = AWKWARD[name]
    ours = metrics.rebin(metrics.bin_item(probs, target, view), n)
    for channel, (confidence, correct) in enumerate(reference.views(probs, target, view)):
        for field, expected in zip(ours, reference.sums(confidence, correct, n), strict=True):
            np.testing.assert_allclose(field[channel].numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [10, 15, 20, 25, 50, 100, 300])
def test_fine_bins_rebin_exactly(n):
    probs, target = segmentation()
    fine = metrics.rebin(metrics.bin_item(probs, target, "classwise"), n)
    direct = metrics.bin_item(probs, target, "classwise", n)
    assert torch.equal(fine.count, direct.count)
    for a, b in zip(fine, direct, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_rebin_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="num_bins=7"):
        metrics.rebin(metrics.empty_bins(1, 300), 7)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1])
def test_blocks_make_no_difference(size):
    probs, target = segmentation((size,), classes=2)
    whole = metrics.bin_item(probs, target, "top_label", 15)
    halves = [metrics.bin_item(probs[:, s], target[s], "top_label", 15) for s in (slice(0, 999), slice(999, None))]
    merged = metrics.merge_bins(*halves)
    assert torch.equal(whole.count, merged.count)
    torch.testing.assert_close(whole.confidence, merged.confidence, rtol=1e-13, atol=1e-12)


def test_voxels_left_out_do_not_count():
    probs, target = segmentation()
    keep = torch.zeros_like(target, dtype=torch.bool)
    keep[3:9, 4:11] = True
    part = metrics.bin_item(probs, target, "top_label", 15, keep)
    alone = metrics.bin_item(probs[:, 3:9, 4:11], target[3:9, 4:11], "top_label", 15)
    assert torch.equal(part.count, alone.count)
    torch.testing.assert_close(part.squared_error, alone.squared_error, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("view", ["top_label", "classwise", "foreground"])
def test_voxels_labelled_255_do_not_count_unless_asked_to(view):
    probs = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(0)
    labels = torch.arange(20).view(4, 5) % 3
    ignored = labels.clone()
    ignored[1:3] = 255
    counted = metrics.bin_item(probs, labels, view, keep=ignored != 255)
    for field, expected in zip(metrics.bin_item(probs, ignored, view), counted, strict=True):
        assert torch.equal(field, expected)


def test_soft_correctness_of_zero_and_one_is_hard_correctness():
    probs, target = segmentation(classes=2)
    confidence, prediction = top_label(probs.reshape(2, -1))
    right = prediction == target.reshape(-1)
    soft = bin_soft(confidence, right.double(), 15)
    for a, b in zip(soft, metrics.bin_item(probs, target, "top_label", 15), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_first_of_equal_probabilities_wins():
    assert top_label(torch.tensor([[0.5, 0.2], [0.5, 0.4], [0.0, 0.4]]))[1].tolist() == [0, 1]
    assert top_label(torch.tensor([[0.5], [0.5]]))[1].tolist() == [0]


def test_more_than_float32_can_count_in_one_bin():
    """At 2^24 a float32 count stops; ours is exact, through the metric's own update."""
    voxels, repeats = 1 << 21, 9
    p = torch.full((1, 2, voxels), 0.98, dtype=torch.float32)
    p[:, 0] = 1 - p[:, 1]
    target = torch.ones(1, voxels, dtype=torch.uint8)
    target[:, ::50] = 0
    metric = metrics.ExpectedCalibrationError(2)
    for _ in range(repeats):
        metric.update(p, target)
    assert int(metric.count.sum()) == repeats * voxels > 2**24
    wrong = (voxels + 49) // 50 / voxels
    assert metric.compute().item() == pytest.approx(abs(np.float64(np.float32(0.98)) - (1 - wrong)), abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_by_index_of_a_processor_and_of_an_accelerator(weighted):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, 50, (1001,), generator=generator) // 7 * 7  # few entries take all
    weights = torch.rand(1001, generator=generator).double() if weighted else None
    expected = [
        (torch.ones(1001) if weights is None else weights)[index == entry].sum().double() for entry in range(50)
    ]
    sums = torch.zeros(50, dtype=torch.float64 if weighted else torch.int64)
    add_by_index(sums, index, weights)
    for found in (sums, counted(index, weights, 50), scattered(index, weights, 50)):
        assert torch.allclose(found.double(), torch.stack(expected), rtol=1e-12)
