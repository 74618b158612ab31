import pytest
import torch
from torch import nn

from models import UNet, ValidUNet, export_onnx

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
