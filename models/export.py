"""Export to ONNX with the calibrator inside, checked against the network itself."""

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
    return _write(Exported(net, calibrator), Path(path), {"image": pair}, {"image": other}, free, tolerance)


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
    return _write(ExportedCalibrator(calibrator), Path(path), inputs, other, tuple(axes for _ in inputs), tolerance)


def _write(
    module: nn.Module, path: Path, inputs: dict[str, Tensor], other: dict[str, Tensor], free: tuple, tolerance: float
) -> float:
    """Write a module and compare its last output, probabilities, on other inputs."""
    import onnxruntime

    modes = {part: part.training for part in module.modules()}
    module.eval()
    outputs = ["logits", "probabilities"] if isinstance(module, Exported) else ["calibrated"]
    try:
        torch.onnx.export(
            module, tuple(inputs.values()), path, input_names=list(inputs), output_names=outputs, dynamic_shapes=free,
            external_data=False, verbose=False,
        )  # fmt: skip
        with torch.no_grad():
            expected = module(*other.values())
    finally:
        for part, training in modes.items():
            part.training = training
    expected = (expected[-1] if isinstance(expected, tuple) else expected).cpu()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {name: value.cpu().numpy() for name, value in other.items()})[-1])
    difference = float((found - expected).abs().max())
    if not difference <= tolerance:
        path.unlink()
        name = type(module.net if isinstance(module, Exported) else module.calibrator).__name__
        raise ValueError(f"the ONNX file differs from {name} by {difference:.2g} (tolerance {tolerance})")
    return difference
