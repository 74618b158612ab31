"""Every way to the network's grid has its way back."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.geometry import Geometry, Orient, Resize, Window, centred, padded, resize_labels
from datamodules.images import _resize


def one_hot(labels):
    return torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 0).float()


@given(
    shape=st.lists(st.integers(3, 9), min_size=3, max_size=3),
    order=st.permutations(range(3)),
    flips=st.lists(st.booleans(), min_size=3, max_size=3),
    start=st.lists(st.integers(-3, 0), min_size=3, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_exact_steps_round_trip_to_the_bit(shape, order, flips, start):
    orient = Orient(order, flips, shape)
    turned = [shape[axis] for axis in order]
    window = Window(turned, start, [n + 5 for n in turned])
    geometry = Geometry("volume", shape, affine=np.eye(4), steps=[orient, window])
    labels = torch.randint(0, 3, shape)
    probs = one_hot(labels)
    assert torch.equal(geometry.restore(geometry.apply(probs)), probs)


@given(order=st.permutations(range(3)), flips=st.lists(st.booleans(), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_affine_follows_a_voxel_through_the_steps(order, flips):
    shape = (5, 6, 7)
    affine = np.array([[0, -2.0, 0, 9], [0, 0, 3, 4], [0.5, 0, 0, -7], [0, 0, 0, 1]])
    orient = Orient(order, flips, shape)
    turned = [shape[axis] for axis in order]
    geometry = Geometry("volume", shape, (0.5, 2, 3), affine, [orient, Window(turned, [-1, 2, 1], (6, 6, 6))])
    volume = torch.arange(5 * 6 * 7).reshape(1, *shape)
    moved = geometry.apply(volume, fill=-1)[0]
    for index in np.argwhere(moved.numpy() >= 0)[::17]:
        original = np.unravel_index(int(moved[tuple(index)]), shape)
        assert np.allclose(geometry.grid_affine() @ [*index, 1], affine @ [*original, 1])
    assert sorted(geometry.grid_spacing()) == pytest.approx([0.5, 2, 3])


def test_resize_keeps_the_outer_edges():
    geometry = Geometry("image", (4, 6), steps=[Resize((4, 6), (8, 3))])
    edges = Resize((4, 6), (8, 3)).matrix() @ np.array([-0.5, -0.5, 1])
    assert np.allclose(edges, [-0.5, -0.5, 1])
    assert geometry.grid_spacing() == pytest.approx((0.5, 2.0))


@pytest.mark.parametrize(
    ("stored", "size"), [((40, 400), (64, 64)), ((400, 40), (64, 64)), ((50, 60), (25, 90)), ((90, 80), (30, 20))]
)
def test_a_resized_image_lies_on_the_grid_of_its_masks(stored, size):
    """Rows and columns hold their own coordinates; after resizing those of the matrix that moves the masks."""
    rows, columns = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in stored), indexing="ij")
    resized = _resize(np.stack([rows, columns], -1), size)
    matrix = Resize(stored, size).matrix()
    there = np.stack(np.meshgrid(*(np.arange(length) for length in size), indexing="ij"), -1)
    expected = there @ matrix[:2, :2].T + matrix[:2, 2]
    inner = (slice(4, -4), slice(4, -4))  # cubic ends are bent
    pixel, off = np.array(stored) / size, (resized - expected)[inner]
    assert (np.abs(off).max((0, 1)) < np.where(pixel < 1, 0.075, 0.005 * pixel)).all()  # OpenCV's cubic bends a line
    assert (np.abs(off.mean((0, 1))) < 2e-3 * pixel).all()


def test_resized_probabilities_sum_to_one_and_agree_with_the_truth():
    labels = torch.zeros(40, 30, dtype=torch.long)
    labels[8:30, 5:20] = 1
    labels[20:26, 10:16] = 2
    geometry = Geometry("image", (40, 30), steps=[Resize((40, 30), (64, 48))])
    restored = geometry.restore(geometry.apply(one_hot(labels)))
    assert torch.allclose(restored.sum(0), torch.ones(40, 30), atol=1e-6)
    assert (restored.argmax(0) == labels).float().mean() > 0.99


def test_what_a_crop_left_out_is_background():
    geometry = Geometry("image", (6, 6), steps=[centred((6, 6), (2, 2))])
    restored = geometry.restore(one_hot(torch.ones(2, 2)))
    assert restored.argmax(0).sum() == 4
    assert restored[0, 0, 0] == 1


def test_padding_is_to_the_next_multiple():
    assert padded((16, 17, 1), 16).after == (16, 32, 16)


def test_labels_survive_resizing_with_ignored_voxels():
    labels = torch.full((8, 8), 255, dtype=torch.uint8)
    labels[2:6, 2:6] = 2
    resized = resize_labels(labels, (16, 16), 3)
    assert set(resized.unique().tolist()) == {2, 255}
    assert (resized == 2).sum() == 64


@pytest.mark.parametrize("sides", [(64, 48), (16, 24, 32)])
@pytest.mark.parametrize("classes", [2, 4])
def test_halved_labels_keep_the_share_of_each_class(sides, classes):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, sides, generator=generator)
    for axis in range(len(sides)):  # stripes of three voxels: of a block's two voxels along an axis one or both
        labels = labels.repeat_interleave(3, axis)
    resized = resize_labels(labels, [3 * side // 2 for side in sides], classes)
    for value in range(classes):
        assert (resized == value).float().mean().item() == pytest.approx(
            (labels == value).float().mean().item(), abs=0.01
        )


def test_half_covered_blocks_are_shared_out_evenly_and_shift_nothing():
    labels = torch.zeros(32, 32, dtype=torch.uint8)
    labels[:, 9:21] = 1  # the left and the right edge cut a block of two in half
    resized = resize_labels(labels, (16, 16), 2)
    assert resized[:, 5:10].all()
    assert resized.sum() == 16 * 6
    assert resized[:, 4].sum() == resized[:, 10].sum() == 8


def test_geometry_is_immutable_pickles_and_refuses_a_foreign_grid():
    geometry = Geometry("image", (4, 4), steps=[centred((4, 4), (8, 8))])
    again = pickle.loads(pickle.dumps(geometry))
    assert again.original_shape == (4, 4)
    with pytest.raises(AttributeError, match="immutable"):
        geometry.kind = "volume"
    with pytest.raises(ValueError, match="do not come back"):
        Geometry("image", (4, 4)).restore(torch.ones(2, 5, 5))


def test_lightning_moves_a_batch_with_geometries():
    from lightning.fabric.utilities import move_data_to_device

    batch = {"image": torch.ones(1), "geometry": [Geometry("image", (2, 2))]}
    assert move_data_to_device(batch, torch.device("cpu"))["geometry"][0].original_shape == (2, 2)


def test_padding_is_the_share_of_the_grid_that_the_windows_filled():
    shape = (5, 6, 7)
    crop, pad = Window(shape, (1, 0, 0), (4, 6, 7)), Window((4, 6, 7), (-1, 0, -2), (8, 6, 14))
    geometry = Geometry("volume", shape, steps=[crop, pad])
    assert geometry.padding() == pytest.approx(1 - geometry.apply(torch.ones(1, *shape)).mean().item())
    assert geometry.padding() == pytest.approx(0.75)
    assert Geometry("volume", shape).padding() == 0
