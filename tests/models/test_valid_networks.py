"""The networks of the Generalised Dice paper: sizes, parameters, receptive fields."""

import pytest
import torch
from torch.nn import functional as F

from models import DeepMedic, HighRes3DNet, SlidingWindow, TwoPathCNN, ValidUNet
from tests.models.contract import NetworkContract, parameters, receptive_field


class TestValidUNet(NetworkContract):
    network = ValidUNet
    arguments = {"in_channels": 3, "num_classes": 2, "width": 4, "batch_norm": True}
    sizes = {(56, 44): (16, 4), (64, 64): (24, 24), (88, 88): (48, 48)}
    illegal = (54, 56)
    message = r"divisible by 4, at least 44.*\(54, 56\).*\(56, 56\)"


class TestTwoPathCNN(NetworkContract):
    network = TwoPathCNN
    arguments = {"in_channels": 2, "num_classes": 3}
    sizes = {(34, 35): (2, 3), (51, 51): (19, 19)}
    illegal = (32, 51)
    message = r"at least 33.*\(33, 51\)"


class TestDeepMedic(NetworkContract):
    network = DeepMedic
    arguments = {"in_channels": 1, "num_classes": 2, "spatial_dims": 2}
    sizes = {(54, 51): (6, 3), (63, 63): (15, 15), (87, 87): (39, 39)}
    illegal = (52, 51)
    message = "divisible by 3, at least 51"


class TestHighRes3DNet(NetworkContract):
    network = HighRes3DNet
    arguments = {"in_channels": 1, "num_classes": 2, "border": 2}
    sizes = {(10, 9, 8): (6, 5, 4), (5, 7, 6): (1, 3, 2)}
    illegal = (4, 9, 9)
    message = "at least 5"


@pytest.mark.parametrize(
    ("network", "arguments", "count"),
    [
        (ValidUNet, {"in_channels": 3}, 1_862_914),
        (ValidUNet, {"in_channels": 3, "batch_norm": True}, 1_862_914 + 2_560),
        (ValidUNet, {"in_channels": 3, "width": 32}, 466_562),
        (TwoPathCNN, {"in_channels": 3}, 452_930),
        (TwoPathCNN, {"in_channels": 4, "num_classes": 5}, 809_637),
        (DeepMedic, {"in_channels": 3}, 661_082),
        (DeepMedic, {"in_channels": 3, "niftynet_head": True}, 661_086),
        (DeepMedic, {"in_channels": 1, "niftynet_head": True}, 657_846),
        (HighRes3DNet, {"in_channels": 1}, 808_948),
        (HighRes3DNet, {"in_channels": 3}, 809_812),
    ],
)
def test_parameter_counts(network, arguments, count):
    with torch.device("meta"):
        assert parameters(network(**arguments)) == count


@pytest.mark.parametrize(
    ("net", "table"),
    [
        (ValidUNet, {56: 16, 64: 24, 88: 48}),
        (TwoPathCNN, {51: 19, 63: 31, 85: 53}),
        (DeepMedic, {51: 3, 63: 15, 87: 39}),
        (lambda: HighRes3DNet(border=18), {51: 15, 63: 27, 85: 49}),
    ],
)
def test_effective_sizes_of_the_paper(net, table):
    with torch.device("meta"):  # shapes alone, at full width
        built = net().eval()
        for size, effective in table.items():
            image = torch.empty(1, built.in_channels, *[size] * built.spatial_dims)
            assert built(image).shape[2:] == (effective,) * built.spatial_dims


@pytest.mark.parametrize(
    ("net", "size", "width"),
    [
        (ValidUNet(in_channels=1, width=2), 64, 44),
        (TwoPathCNN(in_channels=1), 65, 33),
        (HighRes3DNet(spatial_dims=2), 121, 87),
        (DeepMedic(spatial_dims=2), 87, 49),
    ],
    ids=["ValidUNet", "TwoPathCNN", "HighRes3DNet", "DeepMedic: 17 cells of 3, of which the centres are read"],
)
def test_receptive_field_by_gradient(net, size, width):
    assert receptive_field(net, (size, size)) == width


def test_normal_path_of_deepmedic_sees_17_voxels():
    assert receptive_field(DeepMedic(spatial_dims=2).normal_path, (33, 33)) == 17


def test_logits_of_highres3dnet_are_negative_too():
    torch.manual_seed(0)
    assert HighRes3DNet(spatial_dims=2)(torch.randn(2, 1, 12, 12)).min() < -0.5


def test_border_of_43_is_free_of_padding():
    torch.manual_seed(0)
    net = HighRes3DNet(spatial_dims=2, border=43).eval()
    image = torch.randn(1, 1, 91, 93)
    wide = F.pad(image, (20, 20, 20, 20), value=5.0)
    torch.testing.assert_close(net(wide)[..., 20:-20, 20:-20], net(image), atol=1e-5, rtol=1e-4)


def test_sliding_window_over_a_valid_network_is_the_forward_of_the_padded_image():
    torch.manual_seed(0)
    net = ValidUNet(in_channels=1, width=4).eval()
    image = torch.randn(1, 1, 36, 24)  # 4 divides what is padded, so pooling cells fall alike in every tile
    with torch.no_grad():
        whole = net(F.pad(image, (20, 20, 20, 20))).softmax(1)
        tiled = SlidingWindow([56, 56], overlap=0.75, blend="constant")(image, net)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=1e-4)


def test_negative_border_is_named():
    with pytest.raises(ValueError, match="border must not be negative, got -1"):
        HighRes3DNet(border=-1)
