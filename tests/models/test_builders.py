import pytest
import torch

from models import MONAI, SMP, NNUNet
from tests.models.contract import NetworkContract


class TestSMP(NetworkContract):
    network = SMP
    arguments = {"arch": "Unet", "encoder": "tu-test_resnet", "in_channels": 2, "num_classes": 3}
    sizes = {(32, 64): (32, 64), (37, 50): (37, 50)}


class TestFPN(NetworkContract):
    network = SMP
    arguments = {"arch": "FPN", "encoder": "tu-test_resnet", "in_channels": 1, "num_classes": 1}
    sizes = {(64, 32): (64, 32)}
    illegal = (32, 40)
    message = r"divisible by 32.*\(32, 64\)"


class TestDynUNet(NetworkContract):
    network = MONAI
    arguments = {"net": "DynUNet", "spatial_dims": 3, "in_channels": 1, "num_classes": 3, "options": {
        "kernel_size": [3] * 3, "strides": [1, [1, 2, 2], 2], "upsample_kernel_size": [[1, 2, 2], 2],
        "filters": [4, 4, 4]}}  # fmt: skip
    sizes = {(4, 8, 8): (4, 8, 8), (2, 8, 16): (2, 8, 16)}
    illegal = (4, 8, 10)
    message = r"divisible by \(2, 4, 4\)"


class TestBasicUNet(NetworkContract):
    network = MONAI
    arguments = {"net": "BasicUNet", "spatial_dims": 2, "options": {"features": [4, 4, 4, 4, 4, 4]}}
    sizes = {(32, 32): (32, 32), (37, 33): (37, 33)}
    illegal = (12, 32)
    message = "at least 16"
    compiles = False


class TestNNUNet(NetworkContract):
    network = NNUNet
    arguments = {"in_channels": 1, "num_classes": 4, "levels": 3}
    sizes = {(8, 12): (8, 12)}
    illegal = (8, 10)
    message = "divisible by 4"


@pytest.mark.parametrize(
    ("net", "options", "size", "illegal"),
    [
        ("SegResNet", {"init_filters": 8}, (16, 16, 16), (16, 16, 12)),
        ("SegResNetDS", {"init_filters": 8, "dsdepth": 2}, (16, 16, 16), (16, 16, 12)),
        ("MedNeXt", {"init_filters": 4, "kernel_size": 3, "deep_supervision": True}, (32, 32, 32), (32, 32, 24)),
        ("SwinUNETR", {"feature_size": 12, "depths": [1, 1, 1, 1]}, (32, 32, 64), (32, 32, 48)),
        ("BasicUNetPlusPlus", {"features": [4] * 6, "deep_supervision": True}, (16, 16, 32), None),
        ("UNet", {"channels": [4, 8, 8], "strides": [2, 2]}, (8, 8, 8), (8, 8, 6)),
        ("AttentionUnet", {"channels": [4, 8, 8], "strides": [2, 2]}, (8, 8, 8), (8, 8, 6)),
        ("VNet", {}, (16, 16, 32), (16, 16, 24)),
    ],
)
def test_volume_networks_of_monai(net, options, size, illegal):
    built = MONAI(net=net, spatial_dims=3, in_channels=2, num_classes=3, options=options)
    levels = built(torch.randn(1, 2, *size))
    if isinstance(levels, list):
        assert levels[0].shape == (1, 3, *size)
        voxels = [level[0, 0].numel() for level in levels]
        assert voxels == sorted(voxels, reverse=True)
    assert isinstance(levels, list) == ("DS" in net or options.get("deep_supervision", False))
    with torch.no_grad():
        assert built.eval()(torch.randn(1, 2, *size)).shape == (1, 3, *size)
    if illegal:
        with pytest.raises(ValueError, match="divisible by"):
            built(torch.randn(1, 2, *illegal))


def test_finest_output_is_the_one_that_evaluation_returns():
    options = {"features": [4] * 6, "deep_supervision": True}
    net = MONAI(net="BasicUNetPlusPlus", spatial_dims=2, options=options)
    for layer in net.modules():
        if isinstance(layer, torch.nn.InstanceNorm2d):
            layer.eval()
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(net.train()(image)[0], net.eval()(image))


def test_deep_supervision_of_nnunet_has_all_levels_but_the_two_coarsest():
    net = NNUNet(in_channels=1, num_classes=2, levels=5, deep_supervision=True)
    assert [tuple(level.shape) for level in net(torch.randn(2, 1, 32, 32))] == [(2, 2, 32, 32)] * 3


@pytest.mark.parametrize("net", ["DynUNet", "UNet", "AttentionUnet"])
def test_usual_levels_need_no_options(net):
    assert MONAI(net=net, spatial_dims=2).legal_sizes.up((17, 17)) == (32, 32)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: SMP(spatial_dims=3), "spatial_dims must be 2 for SMP.*models.MONAI"),
        (lambda: SMP(arch="Nope"), "Nope"),
        (lambda: SMP(encoder="nope"), "nope"),
        (lambda: SMP(encoder="tu-test_resnet", options={"colour": 1}), "colour"),
        (lambda: MONAI(net="Nope"), "class of monai.networks.nets, got 'Nope'"),
        (lambda: MONAI(net="VISTA3D"), "takes no in_channels"),
        (lambda: MONAI(net="SegResNet", options={"colour": 1}), "colour"),
        (lambda: MONAI(net="UNETR"), "img_size"),
        (lambda: NNUNet(levels=2), "levels must be at least 3, got 2"),
    ],
)
def test_what_cannot_be_built_is_named(build, named):
    with pytest.raises(ValueError, match=named):
        build()


def test_classifiers_are_refused_when_they_return_no_map():
    net = MONAI(net="DenseNet121", spatial_dims=2, options={"block_config": [1, 1]}).eval()
    with pytest.raises(ValueError, match="not logits of an image"):
        net(torch.randn(1, 1, 32, 32))


def test_monai_highresnet_warns_of_its_relu_on_the_logits():
    with pytest.warns(UserWarning, match="HighRes3DNet"):
        MONAI(net="HighResNet")
