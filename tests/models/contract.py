"""What every network must hold; a test of one network names its class, arguments and sizes."""

import copy
import io
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from models import export_onnx


def finest(output: Tensor | list[Tensor]) -> Tensor:
    """Logits of the finest grid."""
    return output[0] if isinstance(output, list) else output


class NetworkContract:
    """Shared tests. `sizes` maps legal input sizes to output sizes; `illegal` is refused with `message`."""

    network: ClassVar[type[nn.Module]]
    arguments: ClassVar[dict[str, Any]]
    sizes: ClassVar[dict[tuple[int, ...], tuple[int, ...]]]
    illegal: ClassVar[tuple[int, ...] | None] = None
    message: ClassVar[str] = ""
    compiles: ClassVar[bool] = True

    @pytest.fixture
    def net(self) -> nn.Module:
        torch.manual_seed(0)
        return self.network(**self.arguments)

    def image(self, net: nn.Module, size: tuple[int, ...], batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(batch, net.in_channels, *size, generator=generator)

    @property
    def size(self) -> tuple[int, ...]:
        return next(iter(self.sizes))

    def test_every_legal_size_gives_logits(self, net):
        net.eval()
        for size, returned in self.sizes.items():
            with torch.no_grad():
                logits = net(self.image(net, size, batch=1))
            assert logits.shape == (1, net.num_classes, *returned)
            assert logits.isfinite().all()
            assert net.legal_sizes.allows(size)

    def test_gradient_reaches_every_parameter(self, net):
        outputs = net.train()(self.image(net, self.size))
        outputs = outputs if isinstance(outputs, list) else [outputs]
        sum(level.square().mean() for level in outputs).backward()
        without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []

    def test_illegal_size_is_refused_with_the_rule(self, net):
        if self.illegal is None:
            pytest.skip("takes any size")
        with pytest.raises(ValueError, match=self.message):
            net(self.image(net, self.illegal))
        assert net.legal_sizes.allows(net.legal_sizes.up(self.illegal))

    def test_wrong_channels_and_rank_are_refused_by_name(self, net):
        image = self.image(net, self.size)
        with pytest.raises(ValueError, match=rf"{net.in_channels} channels"):
            net(torch.cat((image, image), 1))
        with pytest.raises(ValueError, match="got shape"):
            net(image[0])

    def test_saved_and_loaded_gives_the_same(self, net):
        file = io.BytesIO()
        torch.save(net.eval().state_dict(), file)
        file.seek(0)
        other = self.network(**self.arguments).eval()
        other.load_state_dict(torch.load(file, weights_only=True))
        image = self.image(net, self.size)
        with torch.no_grad():
            torch.testing.assert_close(other(image), net(image), rtol=0, atol=0)

    def test_copies_are_independent(self, net):
        twin = copy.deepcopy(net)
        with torch.no_grad():
            next(twin.parameters()).add_(1)
        assert not torch.equal(next(twin.parameters()), next(net.parameters()))

    def test_bfloat16_autocast_is_close_to_float32(self, net):
        image = self.image(net.eval(), self.size)
        with torch.no_grad():
            exact = net(image).softmax(1)
            with torch.autocast("cpu", torch.bfloat16):
                half = net(image)
        assert (half.float().softmax(1) - exact).abs().mean() < 0.02

    @pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
    def test_half_weights_are_close_to_float32(self, net, dtype, largest):
        image = self.image(net.eval(), self.size)
        with torch.no_grad():
            exact = net(image).softmax(1)
            half = net.to(dtype)(image.to(dtype))
        assert half.dtype == dtype
        assert (half.float().softmax(1) - exact).abs().mean() < largest

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
    def test_onnx_file_gives_the_same_probabilities(self, net, tmp_path):
        pytest.importorskip("onnxruntime")
        path = tmp_path / "net.onnx"
        assert export_onnx(net, path, self.image(net, self.size, batch=1)) < 1e-4
        assert path.stat().st_size > 0

    def test_torch_export_gives_eager_values(self, net):
        image = self.image(net.eval(), self.size)
        with torch.no_grad():
            program = torch.export.export(net, (image,))
            torch.testing.assert_close(program.module()(image), net(image), rtol=1e-4, atol=1e-5)

    def test_compiled_graph_is_whole_and_equal(self, net):
        if not self.compiles:
            pytest.skip("the library's code breaks the graph")
        image = self.image(net.eval(), self.size)
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        with torch.no_grad():
            torch.testing.assert_close(compiled(image), net(image), rtol=1e-5, atol=1e-6)


def parameters(net: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in net.parameters())


def receptive_field(net: nn.Module, size: tuple[int, ...], channels: int = 1) -> int:
    """Widest span of input voxels on which the central output voxel depends, by its gradient.

    Parameters become positive, the input constant and max-pooling an average, so that no path is cut by chance.
    """
    net = averaging(copy.deepcopy(net)).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.05)
    image = torch.ones(1, channels, *size, dtype=torch.float64, requires_grad=True)
    output = net(image)
    output[(0, 0, *(n // 2 for n in output.shape[2:]))].backward()
    touched = image.grad[0, 0].nonzero()
    return int((touched.amax(0) - touched.amin(0) + 1).max())


def averaging(net: nn.Module) -> nn.Module:
    """Replace max-pooling, whose gradient reaches one voxel of a cell, by the average of the cell."""
    for name, child in net.named_children():
        if isinstance(child, nn.MaxPool2d):
            setattr(net, name, nn.AvgPool2d(child.kernel_size, child.stride))
        else:
            averaging(child)
    return net
