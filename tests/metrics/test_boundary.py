import numpy as np
import pytest
import scipy.ndimage
import torch

import metrics
from metrics import boundary, regions
from metrics.margins import count_margins
from tests.metrics.data import segmentation


def onehot(labels, classes=2):
    return torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 0)[None].float()


@pytest.mark.parametrize("shape", [(20, 24), (9, 12, 11)])
@pytest.mark.parametrize("width", [1, 3])
def test_band_equals_erosion(shape, width):
    mask = scipy.ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 2) > 0
    eroded = scipy.ndimage.binary_erosion(mask, np.ones((3,) * len(shape)), iterations=width)
    assert (boundary.inner_band(torch.from_numpy(mask), width).numpy() == (mask & ~eroded)).all()


def test_boundary_iou_by_hand():
    a, b = torch.zeros(12, 12, dtype=torch.uint8), torch.zeros(12, 12, dtype=torch.uint8)
    a[2:8, 2:8], b[3:9, 2:8] = 1, 1
    # rings of one voxel: 20 voxels each; the two sides (4 rows) and the corners of rows 3 and 7 meet
    assert boundary.boundary_iou(a == 1, b == 1, 1).item() == pytest.approx(10 / 30)
    metric = metrics.BoundaryIoU(2, width=1)
    metric.update(onehot(a), b[None])
    metric.update(onehot(a), a[None])
    metric.update(onehot(torch.zeros_like(a)), torch.zeros_like(a)[None])
    assert metric.compute().item() == pytest.approx((1 / 3 + 1) / 2)
    with pytest.raises(ValueError, match="width=0"):
        metrics.BoundaryIoU(2, width=0)


def test_soft_volume_bias():
    probs, target = segmentation()
    metric = metrics.SoftVolumeBias(3)
    metric.update(probs[None], target[None])
    p = probs.double().reshape(3, -1).sum(1)
    true = torch.stack([(target == k).sum() for k in range(3)])
    assert metric.compute().item() == pytest.approx((p / true - 1)[1:].mean().item(), abs=1e-12)
    metric.update(probs[None], torch.zeros_like(target)[None])  # no foreground: left out
    assert metric.compute().item() == pytest.approx((p / true - 1)[1:].mean().item(), abs=1e-12)


def test_distance_is_signed_and_in_mm():
    target = torch.zeros(1, 10, dtype=torch.uint8)
    target[0, 4:] = 1
    distance = boundary.boundary_distance(target, spacing=(1.0, 2.0))[0]
    assert distance[:4].tolist() == [6.5, 4.5, 2.5, 0.5]
    assert distance[4:6].tolist() == [-0.5, -2.5]
    assert torch.isinf(boundary.boundary_distance(torch.zeros(3, 3))).all()


def test_shells_share_out_the_voxels():
    probs, target = segmentation((40, 40))
    target = (torch.linspace(0, 2.9, 40)[:, None] * torch.ones(40)).to(torch.uint8)
    target[:, :3] = 255
    shells = metrics.distance_bins(probs, target, edges=(-4.0, 0.0, 4.0), view="classwise")
    assert shells.count.shape == (4, 3, 300)
    assert shells.count.sum() == 3 * 40 * 37
    distance = boundary.boundary_distance(target, target != 255)
    inside = (target != 255) & (distance > 0) & (distance <= 4)
    assert torch.equal(shells.count[2], metrics.bin_item(probs, target, "classwise", 300, inside).count)


@pytest.mark.parametrize("shape", [(23, 19), (11, 12, 9)])
def test_regions_equal_morphology(shape):
    rng = np.random.default_rng(2)
    target = (scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.05).astype(np.uint8)
    prediction = np.roll(target, 1, 0)
    valid = np.ones(shape, bool)
    args = [torch.from_numpy(a) for a in (target, prediction, valid)]
    box = np.ones((5,) * len(shape))
    for labels, reference in ((target, True), (prediction, False)):
        band = scipy.ndimage.grey_dilation(labels, footprint=box) != scipy.ndimage.grey_erosion(labels, footprint=box)
        assert (regions.Boundary(2, reference=reference)(*args).numpy() == band).all()
        assert (regions.Interior(2, reference=reference)(*args).numpy() == ((labels > 0) & ~band)).all()
        assert (regions.Foreground(reference)(*args).numpy() == (labels > 0)).all()
        grown = scipy.ndimage.binary_dilation(labels > 0, iterations=2)
        assert (regions.Dilated(2, reference=reference)(*args).numpy() == grown).all()


def test_boundary_in_mm():
    target = torch.zeros(5, 30, dtype=torch.uint8)
    target[:, 15:] = 1
    band = regions.Boundary(3.0, (1.0, 2.0))(target, target, torch.ones_like(target, dtype=torch.bool))
    assert band[0].nonzero().flatten().tolist() == [13, 14, 15, 16]


@pytest.mark.parametrize(
    ("spacing", "limit"),
    [((1.0, 1.0), 2.0), ((0.7, 2.5), 5.0), ((3.0, 0.8, 0.8), 1.6), ((0.5, 1.0, 2.0), 2.0), ((1.0, 1.0, 1.5), 9.0)],
)
def test_a_band_in_mm_is_that_of_the_distance_transform(spacing, limit):
    shape = (37, 31) if len(spacing) == 2 else (14, 25, 23)
    mask = np.random.default_rng(3).random(shape) < 0.01
    expected = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing) <= limit + 1e-9
    assert (regions.within(torch.from_numpy(mask), limit, spacing).numpy() == expected).all()
    nothing = torch.zeros(shape, dtype=torch.bool)
    assert not regions.within(nothing, limit, spacing).any()


def test_margins_by_hand():
    logits = torch.tensor([[10.0, 0.0, 3.0], [0.0, 2.5, 3.0], [4.0, 0.0, 20.0]])
    found = count_margins(logits, edges=(1.0, 5.0, 10.0))
    assert found.counts.tolist() == [0, 2, 2, 2]  # distances 10, 6; 2.5, 2.5; 17, 17
    assert found.violations(10.0) == pytest.approx(2 / 6)
    assert count_margins(logits, (5.0,), keep=torch.tensor([True, False, False])).counts.tolist() == [0, 2]
    with pytest.raises(ValueError, match="margin=7"):
        found.violations(7)
