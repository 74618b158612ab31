import math
from typing import get_args

import monai.metrics
import numpy as np
import pytest
import scipy.ndimage
import surface_distance
import torch

import metrics
from metrics import surface

SHAPES = [(40, 37), (19, 23, 17)]


def blob(shape, seed, level=0.6):
    field = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return field > level * field.std()


def pair(shape, seed=0):
    return blob(shape, seed), blob(shape, seed) ^ (blob(shape, seed + 50, 1.8))


def brute_force(a, b, spacing):
    """All pairs of surface voxels; the surface by looking at every neighbour."""

    def edge(mask):
        padded = np.pad(mask, 1)
        points = []
        for point in np.argwhere(mask):
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    other = point + 1
                    other[axis] += step
                    if not padded[tuple(other)]:
                        points.append(point)
        return np.unique(points, axis=0) * np.asarray(spacing)

    x, y = edge(a), edge(b)
    distances = np.linalg.norm(x[:, None] - y[None], axis=2)
    return distances.min(1), distances.min(0)


def onehot(mask):
    return torch.from_numpy(np.stack([~mask, mask]))[None].float()


@pytest.mark.parametrize("shape", [(12, 14), (7, 8, 9)])
@pytest.mark.parametrize("way", ["tree", "transform"])
def test_distances_equal_brute_force(shape, way, monkeypatch):
    if way == "transform":
        monkeypatch.setattr(surface, "MANY_VOXELS", 0)
    spacing = (3.0, 0.7, 1.1)[: len(shape)]
    a, b = pair(shape)
    for ours, expected in zip(surface.surface_distances(a, b, spacing), brute_force(a, b, spacing), strict=True):
        np.testing.assert_allclose(np.sort(ours), np.sort(expected), atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # of MONAI, about itself
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("anisotropic", [False, True])
def test_equal_to_monai(shape, seed, anisotropic):
    spacing = (2.5, 0.8, 1.25)[: len(shape)] if anisotropic else (1.0,) * len(shape)
    a, b = pair(shape, seed)
    ours = surface.measure_surfaces(a, b, spacing, tolerance=1.7, elements="voxels")
    args = {"y_pred": onehot(a), "y": onehot(b), "spacing": list(spacing), "include_background": False}
    hd95 = monai.metrics.compute_hausdorff_distance(**args, percentile=95).item()
    assd = monai.metrics.compute_average_surface_distance(**args, symmetric=True).item()
    nsd = monai.metrics.compute_surface_dice(**args, class_thresholds=[1.7]).item()
    # MONAI takes the percentile in float32; done so with our distances, which equal brute force, it is MONAI's value to
    # 1e-6 mm: what separates the two is its rounding
    distances = surface.surface_distances(a, b, spacing)
    in_float32 = max(torch.quantile(torch.from_numpy(d).float(), 0.95).item() for d in distances)
    assert in_float32 == pytest.approx(hd95, abs=1e-6)
    assert ours["hd95"] == pytest.approx(hd95, abs=1e-5)
    assert ours["assd"] == pytest.approx(assd, abs=1e-5)
    assert ours["nsd"] == pytest.approx(nsd, abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*Please import:DeprecationWarning")  # of surface-distance, about scipy's names
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 1.25), (0.7, 0.7, 0.7)])
def test_nsd_is_that_of_its_authors(shape, spacing):
    """Nikolov et al. (2018) by their own code, at tolerances that distances meet exactly and others."""
    sides = spacing[: len(shape)]
    for seed in range(3):
        a, b = pair(shape, seed)
        theirs = surface_distance.compute_surface_distances(a, b, sides)
        for tolerance in (0.5, 1.0, 1.7, 2 * min(sides)):
            expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
            assert surface.surface_dice(a, b, sides, tolerance) == pytest.approx(expected, abs=1e-7)
            assert surface.measure_surfaces(a, b, sides, tolerance)["nsd"] == pytest.approx(expected, abs=1e-7)


def test_nsd_by_hand():
    """Two pixels, one apart: of 4 corners each 2 are shared, every corner has the same length of contour."""
    a, b = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    a[2, 2] = b[2, 3] = True
    assert surface.surface_dice(a, b, (1, 1), 0.5) == pytest.approx(0.5)
    assert surface.surface_dice(a, b, (1, 1), 1.0) == 1
    assert surface.surface_dice(a, b, (1, 1), 0.5, "voxels") == 0


@pytest.mark.parametrize("elements", get_args(surface.Elements))
def test_a_distance_equal_to_the_tolerance_is_within_it(elements):
    """Whole steps of 0.7 mm are not whole in floating point: 5 * 0.7 - 3 * 0.7 is more than 1.4."""
    a, b = np.zeros((3, 40), bool), np.zeros((3, 40), bool)
    a[1, 2:30], b[1, 4:32] = True, True
    assert surface.surface_dice(a, b, (0.7, 0.7), 1.4, elements) == 1


def test_nsd_counts_one_of_two_things():
    some = np.ones((4, 4), bool)
    with pytest.raises(ValueError, match="elements='points' is unknown"):
        surface.surface_dice(some, some, (1, 1), 1, "points")
    with pytest.raises(ValueError, match="elements='points' is unknown"):
        metrics.NormalizedSurfaceDice(2, elements="points")


def test_two_points_by_hand():
    a, b = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    a[2, 2] = b[5, 6] = True
    assert surface.measure_surfaces(a, b, (2.0, 0.5), 1.0) == {
        "hd95": pytest.approx(math.hypot(6, 2)),
        "assd": pytest.approx(math.hypot(6, 2)),
        "nsd": 0.0,
    }


def test_equal_masks_and_masks_at_the_border():
    full = np.ones((5, 6, 7), bool)
    assert surface.measure_surfaces(full, full, (1, 1, 1), 1.0) == {"hd95": 0.0, "assd": 0.0, "nsd": 1.0}
    assert surface.find_surface(full)[0].all()
    assert not surface.find_surface(full)[2, 2, 2]


def test_empty_policies():
    some, none = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    some[2:4, 2:4] = True
    far = math.hypot(6 * 2, 8 * 0.5)
    assert surface.measure_surfaces(some, none, (2, 0.5), 1) == {"hd95": far, "assd": far, "nsd": 0.0}
    assert math.isnan(surface.measure_surfaces(none, some, (2, 0.5), 1, "skip")["hd95"])
    assert all(map(math.isnan, surface.measure_surfaces(none, none, (1, 1), 1).values()))
    with pytest.raises(ValueError, match="one_empty"):
        surface.measure_surfaces(some, none, (1, 1), 1, "zero")


def test_rows_by_class_and_their_mean():
    target, prediction = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    target[2:8, 2:8], target[12:18, 12:18] = 1, 2
    prediction[3:9, 2:8] = 1
    rows = surface.surface_rows(torch.from_numpy(prediction), torch.from_numpy(target), 4, spacing=(2.0, 1.0))
    assert rows[0]["hd95"] == 2
    assert rows[1]["hd95"] == math.hypot(40, 20)
    assert math.isnan(rows[2]["nsd"])
    assert rows[3]["hd95"] == (rows[0]["hd95"] + rows[1]["hd95"]) / 2


def test_ignored_voxels_belong_to_no_class():
    target, prediction = torch.zeros(12, 12, dtype=torch.uint8), torch.zeros(12, 12, dtype=torch.uint8)
    target[2:5, 2:5] = prediction[2:5, 2:5] = 1
    target[8:, :], prediction[9:, 9:] = 255, 1
    assert surface.surface_rows(prediction, target, 2, None, target != 255)[0]["hd95"] == 0
    assert surface.surface_rows(prediction, target.clamp(max=1), 2)[0]["hd95"] > 0


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, 1.0, 1.0)])
def test_spacing_must_fit(spacing):
    labels = torch.zeros(4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="spacing="):
        surface.surface_rows(labels, labels, 2, spacing)


@pytest.mark.parametrize(
    ("name", "column"),
    [("HausdorffDistance95", "hd95"), ("AverageSurfaceDistance", "assd"), ("NormalizedSurfaceDice", "nsd")],
)
def test_metrics_are_means_over_cases(name, column):
    metric = getattr(metrics, name)(2)
    expected = []
    for seed in range(3):
        a, b = pair((30, 30), seed)
        metric.update(onehot(a), torch.from_numpy(b)[None].long(), spacing=(2.0, 1.0))
        expected.append(surface.measure_surfaces(a, b, (2.0, 1.0), 2.0)[column])
    metric.update(onehot(np.zeros((30, 30), bool)), torch.zeros(1, 30, 30, dtype=torch.uint8))
    assert metric.compute().item() == pytest.approx(np.mean(expected))


def test_case_table_with_surfaces():
    a, b = pair((30, 30))
    rows = metrics.evaluate_case(onehot(a)[0], torch.from_numpy(b).long(), ["background", "organ"], surface=True)
    assert {"hd95", "assd", "nsd"} <= set(rows[0]) == set(rows[1])
    assert rows[0]["hd95"] == rows[1]["hd95"] > 0
