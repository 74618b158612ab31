import pytest
import torch
from torch import nn

import models
from models import UNet, ValidUNet, export_calibrator, export_onnx
from models.export import with_axis_norms

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (UNet(in_channels=1, width=4, depth=2, dropout=0.1), (16, 24)),
        (UNet(spatial_dims=3, in_channels=2, num_classes=1, width=4, depth=1), (4, 6, 8)),
        (ValidUNet(in_channels=1, width=4), (48, 44)),
    ],
)
def test_file_gives_the_networks_probabilities_for_any_batch(net, size, tmp_path):
    path = tmp_path / "net.onnx"
    net.train()
    assert export_onnx(net, path, torch.randn(1, net.in_channels, *size)) < 1e-4
    assert net.training
    session = onnxruntime.InferenceSession(str(path))
    image = torch.randn(3, net.in_channels, *size)
    with torch.no_grad():
        expected = net.eval()(image)
    found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


class Fickle(nn.Module):
    """Says something else in a graph than it says eagerly."""

    def forward(self, image):
        return torch.cat((image, image + 5.0 * torch.compiler.is_exporting()), 1)


def test_file_that_differs_is_refused_and_removed(tmp_path):
    with pytest.raises(ValueError, match="ONNX file differs from Fickle by"):
        export_onnx(Fickle(), tmp_path / "net.onnx", torch.randn(1, 1, 8, 8))
    assert list(tmp_path.iterdir()) == []


READ_THE_IMAGE = ("ImageTemperatureScaling", "LocalTemperatureScaling")
METHODS = [
    *("TemperatureScaling", "EnsembleTemperatureScaling", "VectorScaling", "DirichletCalibration", "SelectiveScaling"),
    *("IsotonicCalibration", "HistogramCalibration", "DicePlusPlusInverse", *READ_THE_IMAGE),
]


def fitted(method, size):
    """A calibrator of three classes, fitted to noise."""
    generator = torch.Generator().manual_seed(1)
    options = {"in_channels": 1, "spatial_dims": len(size), "epochs": 1} if method in READ_THE_IMAGE else {}
    calibrator = getattr(models, method)(3, **options)
    calibrator.fit(
        [
            models.Case(
                (2 * torch.randn(1, 3, *size, generator=generator)).softmax(1),
                torch.randint(0, 3, (1, *size), generator=generator),
                torch.randn(1, 1, *size, generator=generator),
            )
        ]
    )
    return calibrator


@pytest.mark.parametrize("method", METHODS)
def test_every_calibrator_goes_into_the_file(method, tmp_path):
    calibrator, net = fitted(method, (8, 12)), nn.Conv2d(1, 3, 3, padding=1)
    assert export_onnx(net, tmp_path / "net.onnx", torch.randn(1, 1, 8, 12), calibrator) < 1e-5
    image = torch.randn(2, 1, 8, 12)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    found = session.run(["probabilities"], {"image": image.numpy()})[0]
    with torch.no_grad():
        expected = calibrator(net.eval()(image).softmax(1), image)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("method", "size"), [("TemperatureScaling", (6, 8)), ("LocalTemperatureScaling", (6, 8, 10))])
def test_calibrator_alone_takes_maps_of_any_size(method, size, tmp_path):
    calibrator, path = fitted(method, size), tmp_path / "calibrator.onnx"
    image = torch.randn(1, 1, *size) if method in READ_THE_IMAGE else None
    export_calibrator(calibrator, path, torch.full((1, 3, *size), 1 / 3), image)
    other = [n + 5 for n in size]
    probs, image = torch.randn(1, 3, *other).softmax(1), torch.randn(1, 1, *other)
    session = onnxruntime.InferenceSession(str(path))
    given = {"probabilities": probs.numpy(), "image": image.numpy()}
    found = session.run(None, {wanted.name: given[wanted.name] for wanted in session.get_inputs()})[0]
    torch.testing.assert_close(torch.from_numpy(found), calibrator(probs, image), atol=1e-5, rtol=0)


def test_large_volumes_stay_exact(tmp_path):
    """ONNX Runtime's own instance norm adds 64 x 64 x 64 voxels one after the other: 5e-4 in a probability."""
    torch.manual_seed(0)
    net = UNet(spatial_dims=3, in_channels=1, width=4, depth=2)
    assert export_onnx(net, tmp_path / "net.onnx", torch.rand(1, 1, 64, 64, 64)) < 1e-5


@pytest.mark.parametrize("layer", [nn.InstanceNorm3d(4, affine=True), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)])
def test_norms_that_are_written_say_what_torchs_say(layer):
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    net = nn.Sequential(nn.Sequential(layer))
    written = with_axis_norms(net)
    x = 3 + torch.randn(2, 4, *(5, 6, 7)[: 2 if isinstance(layer, nn.InstanceNorm2d) else 3])
    assert not isinstance(written[0][0], type(layer))
    torch.testing.assert_close(written(x), net(x))
    assert net[0][0] is layer
