"""Export to ONNX, checked against the network itself."""

from pathlib import Path

import torch
from torch import Tensor, nn


def export_onnx(net: nn.Module, path: str | Path, example: Tensor, tolerance: float = 1e-4) -> float:
    """Write a network as ONNX and run the file on another image to see that it says the same.

    The batch size stays free; the spatial size is that of the example. Needs the optional dependencies ``export``
    (onnx, onnxscript, onnxruntime).

    Args:
        net: network ``(B, C, *S)`` to logits; exported in evaluation mode.
        path: file to write.
        example: image ``(B, C, *S)`` of the size that the file is to take.
        tolerance: largest difference of a probability that is accepted.

    Returns:
        The largest difference of a probability between the file and the network.

    Raises:
        ValueError: if the file's probabilities differ by more than ``tolerance``; the file is removed.
    """
    import onnxruntime

    training, path = net.training, Path(path)
    net.eval()
    try:
        pair = torch.cat((example, example))[:2]  # a batch of one would be taken for a constant
        batch = {0: torch.export.Dim("batch", min=1)}
        torch.onnx.export(
            net, (pair,), path, input_names=["image"], output_names=["logits"], dynamic_shapes=(batch,),
            external_data=False, verbose=False,
        )  # fmt: skip
        other = torch.randn(example[:1].shape, generator=torch.Generator().manual_seed(0)).to(example)
        with torch.no_grad():
            expected = probabilities(net(other)).cpu()
    finally:
        net.train(training)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = probabilities(torch.from_numpy(session.run(None, {"image": other.cpu().numpy()})[0]))
    difference = float((found - expected).abs().max())
    if not difference <= tolerance:
        path.unlink()
        raise ValueError(f"the ONNX file differs from {type(net).__name__} by {difference:.2g} (tolerance {tolerance})")
    return difference


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of several channels, sigmoid of one."""
    return logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()
