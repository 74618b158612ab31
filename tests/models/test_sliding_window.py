import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from models import SlidingWindow, UNet
from models.sliding_window import tile_grid, tile_starts, tile_weights


def pointwise(tiles):
    """A network without context: logits of three classes from one channel."""
    return torch.cat((tiles, -tiles, tiles**2), dim=1)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 60),
    tile=st.integers(1, 40),
    overlap=st.floats(0, 0.9),
    blend=st.sampled_from(["gaussian", "constant"]),
)
def test_weights_along_an_axis_sum_to_one(size, tile, overlap, blend):
    size = max(size, tile)
    starts = tile_starts(size, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == size - tile
    total = torch.zeros(size, dtype=torch.float64)
    for start, weight in zip(starts, tile_weights(starts, tile, size, blend), strict=True):
        assert (weight >= 0).all()
        total[start : start + tile] += weight
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_neighbours_overlap_at_least_as_asked(overlap):
    for size, tile in itertools.product((31, 64, 100), (8, 17, 31)):
        starts = tile_starts(size, tile, overlap)
        steps = [b - a for a, b in itertools.pairwise(starts)]
        assert all(step <= max(1, tile * (1 - overlap)) + 1 for step in steps)


def test_grid_weights_sum_to_one_in_three_dimensions():
    total = torch.zeros(9, 14, 11)
    for tile in tile_grid((9, 14, 11), (4, 6, 11), 0.5, "gaussian"):
        weight = torch.einsum("i,j,k->ijk", *tile.weights)
        total[tuple(slice(a, a + n) for a, n in zip(tile.start, (4, 6, 11), strict=True))] += weight
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("size", [(20, 33), (7, 40), (5, 6)])
def test_constant_map_comes_back(blend, size):
    logits = torch.tensor([0.3, -1.0, 2.0]).view(1, 3, 1, 1)
    window = SlidingWindow([16, 12], blend=blend, batch_size=3)
    probs = window(torch.randn(1, 1, *size), lambda tiles: logits.expand(len(tiles), 3, 16, 12))
    torch.testing.assert_close(probs, logits.softmax(1).expand(1, 3, *size))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("storage", ["memory", "device", "disk"])
def test_network_without_context_is_reproduced_with_any_window(average, storage):
    image = torch.randn(1, 1, 13, 22, 9)
    window = SlidingWindow([8, 8, 8], overlap=0.3, batch_size=2, average=average, storage=storage)
    torch.testing.assert_close(window(image, pointwise), pointwise(image).softmax(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("storage", ["memory", "device", "disk"])
def test_window_of_the_image_is_the_plain_forward(storage):
    torch.manual_seed(0)
    net = UNet(spatial_dims=3, in_channels=1, num_classes=3, width=4, depth=2).eval()
    image = torch.randn(1, 1, 8, 12, 16)
    with torch.no_grad():
        plain = net(image).softmax(1)
    torch.testing.assert_close(SlidingWindow([8, 12, 16], storage=storage)(image, net), plain, rtol=0, atol=0)


def test_window_larger_than_the_image_is_the_forward_of_the_padded_image():
    torch.manual_seed(0)
    net = UNet(in_channels=1, width=4, depth=2).eval()
    image = torch.randn(1, 1, 13, 10)
    with torch.no_grad():
        padded = net(F.pad(image, (3, 3, 1, 2))).softmax(1)[..., 1:14, 3:13]
    torch.testing.assert_close(SlidingWindow([16, 16])(image, net), padded)


def test_valid_network_covers_the_whole_image():
    weight = torch.randn(2, 1, 5, 5)
    image = torch.randn(1, 1, 31, 26)
    expected = F.conv2d(F.pad(image, (2, 2, 2, 2)), weight).softmax(1)
    window = SlidingWindow([12, 12], overlap=0.25)
    for _ in range(2):  # the second call knows the size already
        torch.testing.assert_close(window(image, lambda tiles: F.conv2d(tiles, weight)), expected, atol=1e-5, rtol=1e-5)


def test_padding_follows_the_data_unless_another_is_chosen():
    image = torch.arange(5.0, 9.0).reshape(1, 1, 2, 2)
    for padding, told, edge in (("data", "minimum", 5), ("data", "zero", 0), ("data", "", 0), ("zero", "minimum", 0)):
        seen = []
        window = SlidingWindow([4, 4], padding=padding)
        if told:
            window.pad_as(told)
        window(image, lambda t, seen=seen: seen.append(t) or pointwise(t))
        assert seen[0][0, 0, 0].tolist() == [edge] * 4
        assert seen[0][0, 0, 1:3, 1:3].tolist() == [[5, 6], [7, 8]]


def test_nearest_padding_repeats_the_border():
    seen = []
    SlidingWindow([4, 4], padding="nearest")(torch.full((1, 1, 2, 2), 7.0), lambda t: seen.append(t) or pointwise(t))
    assert (seen[0] == 7).all()


def test_single_channel_becomes_two_classes():
    image = torch.randn(1, 1, 9, 9)
    probs = SlidingWindow([4, 4])(image, lambda tiles: tiles)
    torch.testing.assert_close(probs[:, 1], image[:, 0].sigmoid())
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 9, 9))


def test_half_precision_logits_are_summed_in_float32():
    probs = SlidingWindow([4, 4])(torch.randn(1, 1, 9, 9), lambda tiles: pointwise(tiles).bfloat16())
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 9, 9))


def test_averaging_logits_is_more_confident_than_averaging_probabilities_where_tiles_disagree():
    calls = itertools.count()

    def torn(tiles):
        """Sure of class 0, then unsure, then sure of class 0 ..."""
        margin = torch.tensor([6.0 if next(calls) % 2 else 0.0 for _ in tiles])
        return torch.stack((margin, -margin), 1)[..., None, None].expand(-1, -1, 8, 8)

    image = torch.zeros(1, 1, 8, 32)
    confidence = {}
    for average in ("probabilities", "logits"):
        calls = itertools.count()
        confidence[average] = SlidingWindow([8, 8], average=average)(image, torn).amax(1).mean()
    assert confidence["logits"] > confidence["probabilities"] + 0.05


def test_batches_hold_at_most_batch_size_tiles():
    sizes = []
    SlidingWindow([4, 4], batch_size=3)(torch.zeros(1, 1, 12, 12), lambda t: sizes.append(len(t)) or pointwise(t))
    assert max(sizes) == 3
    assert sum(sizes) == 25


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"window": [8, 0]}, "window must be at least 1, got 0"),
        ({"overlap": 1.0}, r"overlap must be in \[0, 1\), got 1.0"),
        ({"blend": "hann"}, "blend must be one of gaussian, constant, got 'hann'"),
        ({"batch_size": 0}, "batch_size"),
        ({"average": "votes"}, "average"),
        ({"storage": "tape"}, "storage"),
        ({"padding": "mirror"}, "padding"),
    ],
)
def test_wrong_arguments_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SlidingWindow(**{"window": [8, 8], **wrong})


def test_wrong_images_and_networks_are_refused():
    window = SlidingWindow([8, 8])
    with pytest.raises(ValueError, match="window of 2 axes"):
        window(torch.zeros(1, 1, 8, 8, 8), pointwise)
    with pytest.raises(ValueError, match="one image"):
        window(torch.zeros(2, 1, 8, 8), pointwise)
    with pytest.raises(ValueError, match="not its centre"):
        window(torch.zeros(1, 1, 8, 8), lambda tiles: F.interpolate(tiles, scale_factor=2.0))
