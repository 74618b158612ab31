import shutil

import pytest
import torch

from models import LegalSizes, UNet
from tests.models.contract import NetworkContract, parameters


class TestUNet2D(NetworkContract):
    network = UNet
    arguments = {"in_channels": 3, "num_classes": 2, "width": 4, "depth": 3}
    sizes = {(16, 24): (16, 24), (8, 16): (8, 16)}
    illegal = (16, 20)
    message = r"divisible by 8.*\(16, 20\).*\(16, 24\)"


class TestUNet3D(NetworkContract):
    network = UNet
    arguments = {"spatial_dims": 3, "in_channels": 1, "num_classes": 3, "width": 4, "depth": 2}
    sizes = {(8, 8, 12): (8, 8, 12), (4, 16, 8): (4, 16, 8)}
    illegal = (8, 8, 10)
    message = "divisible by 4"


class TestDeeplySupervisedUNet(NetworkContract):
    network = UNet
    arguments = {"in_channels": 2, "num_classes": 1, "width": 4, "depth": 3, "deep_supervision": True, "norm": "group"}
    sizes = {(16, 16): (16, 16)}
    illegal = (15, 16)
    message = "divisible by 8"


class TestBatchNormUNetWithDropout(NetworkContract):
    network = UNet
    arguments = {"in_channels": 1, "width": 4, "depth": 2, "norm": "batch", "dropout": 0.2, "init": "keras"}
    sizes = {(8, 8): (8, 8), (4, 4): (4, 4)}
    illegal = (6, 8)
    message = "divisible by 4"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"spatial_dims": 2, "in_channels": 3, "num_classes": 2}, 7_766_018),
        ({"spatial_dims": 3, "in_channels": 1, "num_classes": 3}, 22_581_283),
    ],
)
def test_parameter_counts_of_the_paper(arguments, count):
    with torch.device("meta"):
        assert parameters(UNet(**arguments)) == count


@pytest.mark.slow  # the C++ compiler takes some 15 s
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_code_gives_eager_logits():
    torch.manual_seed(0)
    net, image = UNet(in_channels=1, width=4, depth=1).eval(), torch.randn(2, 1, 8, 12)
    compiled = torch.compile(net, backend="inductor", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), net(image), rtol=1e-4, atol=1e-5)


def test_norm_follows_the_relu():
    kinds = [type(layer).__name__ for layer in UNet(width=4, depth=1).encoder[0]]
    assert kinds == ["Conv2d", "ReLU", "InstanceNorm2d"] * 2


def test_keras_initialisation_is_glorot_with_zero_bias():
    layer = UNet(width=32, depth=1, init="keras").encoder[1][0]
    bound = (6 / (9 * (32 + 64))) ** 0.5
    assert layer.bias.abs().max() == 0
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert UNet(width=4, depth=1, init="keras").encoder[0][2].eps == 1e-3


def test_deep_supervision_lists_levels_finest_first_only_while_training():
    net = UNet(in_channels=1, width=4, depth=3, deep_supervision=True)
    image = torch.randn(1, 1, 16, 16)
    assert [tuple(level.shape) for level in net(image)] == [(1, 2, 16, 16), (1, 2, 8, 8), (1, 2, 4, 4)]
    assert net.eval()(image).shape == (1, 2, 16, 16)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"norm": "layer"}, "norm must be one of instance, batch"),
        ({"init": "zeros"}, "init must be one of"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_arguments_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        UNet(**wrong)


def test_one_voxel_at_the_bottom_is_refused_before_instance_norm_fails():
    net = UNet(in_channels=1, width=4, depth=3)
    with pytest.raises(ValueError, match=r"2 voxels on the coarsest grid.*\(8, 16\)"):
        net(torch.randn(1, 1, 8, 8))


def test_legal_sizes_round_up_axis_by_axis():
    assert LegalSizes((1, 16, 16)).up((3, 17, 16)) == (3, 32, 16)
    assert LegalSizes(3, minimum=51).up((20, 52)) == (51, 54)
