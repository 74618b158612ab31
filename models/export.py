"""Export to ONNX with the calibrator inside, checked against the network itself."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from .activation import Exclusive
from .calibrator import Calibrator, log_probabilities
from .local_temperature import LocalTemperatureScaling


class Exported(nn.Module):
    """What the file holds: from images `(B, C, *S)` to logits, and to class probabilities after the calibrator.

    Args:
        net: Network of images to logits `(B, K, *S)`; one channel is the logit of class 1 against background.
        calibrator: What is applied to the probabilities, or None.
    """

    def __init__(self, net: nn.Module, calibrator: Calibrator | None = None) -> None:
        super().__init__()
        self.net, self.calibrator = net, calibrator

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, K, *S)` and probabilities, K at least 2 in the latter."""
        logits = self.net(image)
        probs = Exclusive()(logits)
        return logits, probs if self.calibrator is None else self.calibrator(probs, image)


class AxisNorm(nn.Module):
    """Instance or group norm whose means are taken axis by axis.

    ONNX Runtime's own operator adds all voxels of a channel in float32, one after the other; at 64 x 64 x 64 that moves
    probabilities by 5e-4. Means of means are as near to float64 as torch's.

    Args:
        norm: The layer to stand for.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d | nn.GroupNorm) -> None:
        super().__init__()
        self.groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else norm.num_features
        self.eps, self.weight, self.bias = norm.eps, norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalised features, of the shape of `x`."""
        grouped = x.unflatten(1, (self.groups, -1))
        centred = grouped - self._mean(grouped)
        found = (centred * (self._mean(centred.square()) + self.eps).rsqrt()).flatten(1, 2)
        shape = (-1, *(1,) * (x.dim() - 2))
        return found if self.weight is None else found * self.weight.view(shape) + self.bias.view(shape)

    @staticmethod
    def _mean(x: Tensor) -> Tensor:
        for axis in range(x.dim() - 1, 1, -1):
            x = x.mean(axis, keepdim=True)
        return x


def with_axis_norms(net: nn.Module) -> nn.Module:
    """A copy of the network whose norms over an image's own voxels are `AxisNorm`."""
    net = copy.deepcopy(net)
    own = (nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)
    for name, layer in list(net.named_modules()):
        if isinstance(layer, own) and not getattr(layer, "track_running_stats", False):
            parent, _, key = name.rpartition(".")
            setattr(net.get_submodule(parent), key, AxisNorm(layer))
    return net


class ExportedCalibrator(nn.Module):
    """A calibrator alone, for probabilities that were blended from tiles: `(1, K, *S)` of any size, and the image.

    Args:
        calibrator: The calibrator.
    """

    def __init__(self, calibrator: Calibrator) -> None:
        super().__init__()
        self.calibrator = calibrator

    def forward(self, probs: Tensor, image: Tensor | None = None) -> Tensor:
        """Calibrated probabilities, without the base's loop over parts, whose number a graph cannot leave open."""
        if isinstance(self.calibrator, LocalTemperatureScaling):
            return self.calibrator(probs, image)
        return self.calibrator.calibrated(log_probabilities(probs.flatten(2))).exp().view(probs.shape)


def export_onnx(
    net: nn.Module, path: str | Path, example: Tensor, calibrator: Calibrator | None = None, tolerance: float = 1e-4
) -> float:
    """Write a network, and its calibrator, as ONNX and run the file on another image to see that it says the same.

    Outputs of the file: `logits`, as the network gives them, and `probabilities`, softmaxed and calibrated. The batch
    size stays free; the spatial size is that of the example. Needs the optional dependencies ``export`` (onnx,
    onnxscript, onnxruntime).

    Args:
        net: network ``(B, C, *S)`` to logits; exported in evaluation mode.
        path: file to write.
        example: image ``(B, C, *S)`` of the size that the file is to take.
        calibrator: what the probabilities go through, or None.
        tolerance: largest difference of a probability that is accepted.

    Returns:
        The largest difference of a probability between the file and the network.

    Raises:
        ValueError: if the file's probabilities differ by more than ``tolerance``; the file is removed.

    Example:
        >>> import torch
        >>> from models import TemperatureScaling, UNet, export_onnx
        >>> net = UNet(in_channels=1, width=2, depth=1)
        >>> difference = export_onnx(net, "net.onnx", torch.zeros(1, 1, 8, 8), TemperatureScaling(2))
        >>> difference < 1e-4
        True
    """
    pair = torch.cat((example, example))[:2]  # a batch of one would be taken for a constant
    other = torch.randn(example[:1].shape, generator=torch.Generator().manual_seed(0)).to(example)
    free = ({0: torch.export.Dim("batch", min=1)},)
    written, truth = (Exported(part, calibrator) for part in (with_axis_norms(net), net))
    return _write(written, truth, Path(path), {"image": pair}, {"image": other}, free, tolerance)


def export_calibrator(
    calibrator: Calibrator, path: str | Path, example: Tensor, image: Tensor | None = None, tolerance: float = 1e-5
) -> float:
    """Write a calibrator alone as ONNX, for maps ``(1, K, *S)`` of any spatial size, and compare it on other values.

    Args:
        calibrator: a fitted calibrator.
        path: file to write.
        example: probabilities ``(1, K, *S)``.
        image: the image ``(1, C, *S)``, for the methods that read it.
        tolerance: largest difference of a probability that is accepted.

    Returns:
        The largest difference of a probability between the file and the calibrator.

    Raises:
        ValueError: if the file differs by more than ``tolerance``; the file is removed.

    Example:
        >>> import torch
        >>> from models import TemperatureScaling, export_calibrator
        >>> difference = export_calibrator(TemperatureScaling(2), "calibrator.onnx", torch.full((1, 2, 8, 8), 0.5))
        >>> difference < 1e-5
        True
    """
    axes = {axis: torch.export.Dim(f"size{axis}", min=2) for axis in range(2, example.ndim)}
    inputs = {"probabilities": example} | ({} if image is None else {"image": image})
    generator = torch.Generator().manual_seed(0)
    other = {"probabilities": torch.randn(example.shape, generator=generator).to(example).softmax(1)}
    if image is not None:
        other["image"] = torch.randn(image.shape, generator=generator).to(image)
    module = ExportedCalibrator(calibrator)
    return _write(module, module, Path(path), inputs, other, tuple(axes for _ in inputs), tolerance)


def _write(
    module: nn.Module,
    truth: nn.Module,
    path: Path,
    inputs: dict[str, Tensor],
    other: dict[str, Tensor],
    free: tuple,
    tolerance: float,
) -> float:
    """Write a module and compare its last output, probabilities, with that of the truth on other inputs."""
    import onnxruntime

    modes = {part: part.training for part in truth.modules()}
    module.eval()
    truth.eval()
    outputs = ["logits", "probabilities"] if isinstance(module, Exported) else ["calibrated"]
    try:
        torch.onnx.export(
            module, tuple(inputs.values()), path, input_names=list(inputs), output_names=outputs, dynamic_shapes=free,
            external_data=False, verbose=False,
        )  # fmt: skip
        with torch.no_grad():
            expected = truth(*other.values())
    finally:
        for part, training in modes.items():
            part.training = training
    expected = (expected[-1] if isinstance(expected, tuple) else expected).cpu()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {name: value.cpu().numpy() for name, value in other.items()})[-1])
    difference = float((found - expected).abs().max())
    if not difference <= tolerance:
        path.unlink()
        name = type(truth.net if isinstance(truth, Exported) else truth.calibrator).__name__
        raise ValueError(f"the ONNX file differs from {name} by {difference:.2g} (tolerance {tolerance})")
    return difference
