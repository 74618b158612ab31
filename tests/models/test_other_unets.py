import torch

from models import AttentionUNet, PlainUNet
from models.attention_unet import AttentionGate
from tests.models.contract import NetworkContract, parameters


class TestPlainUNet(NetworkContract):
    network = PlainUNet
    arguments = {"in_channels": 1, "num_classes": 4, "width": 4}
    sizes = {(32, 64): (32, 64)}
    illegal = (32, 48)
    message = r"divisible by 32.*\(32, 64\)"


class TestPlainUNet3D(NetworkContract):
    network = PlainUNet
    arguments = {"spatial_dims": 3, "in_channels": 2, "width": 2}
    sizes = {(32, 32, 32): (32, 32, 32)}
    illegal = (16, 32, 32)
    message = "divisible by 32"


class TestAttentionUNet(NetworkContract):
    network = AttentionUNet
    arguments = {"in_channels": 1, "num_classes": 2, "width": 4}
    sizes = {(32, 16): (32, 16)}
    illegal = (32, 24)
    message = "divisible by 16"


def test_plain_unet_has_no_norm_and_five_levels():
    with torch.device("meta"):
        net = PlainUNet(in_channels=1, num_classes=4)
    kinds = {type(layer).__name__ for layer in net.modules()}
    assert not any("Norm" in kind or "Dropout" in kind for kind in kinds)
    assert [block[0].out_channels for block in net.encoder] == [32, 64, 128, 256, 512]


def test_attention_unet_has_the_size_of_its_public_ports():
    with torch.device("meta"):
        assert round(parameters(AttentionUNet(in_channels=3, num_classes=1)) / 1e6, 2) == 34.88


def test_gate_scales_every_voxel_between_zero_and_one():
    gate, skip = AttentionGate(2, 6).eval(), torch.rand(1, 6, 5, 5) + 0.1
    share = gate(torch.randn(1, 6, 5, 5), skip) / skip
    assert (share > 0).all()
    assert (share < 1).all()
    torch.testing.assert_close(share, share[:, :1].expand_as(share))
