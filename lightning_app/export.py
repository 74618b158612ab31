"""The verb `export`: a checkpoint's network as an ONNX file, checked against the network itself."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from lightning_app.calibration.calibrate import KEY, CalibratingTrainer
from models import export_onnx


class ProgramTrainer(CalibratingTrainer):
    """Lightning's Trainer with the verbs `calibrate` and `export`."""

    def export(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        output: str | None = None,
        size: list[int] | None = None,
    ) -> Path:
        """Write the network of a checkpoint as ONNX and compare the file with it.

        Args:
            model: The training module.
            datamodule: The data, for the number of channels.
            ckpt_path: The checkpoint.
            output: File to write; beside the checkpoint if unset.
            size: Spatial size that the file takes; by default the inference's window, else the training patches', else
                the images'. The batch size stays free.

        Returns:
            The file.

        Raises:
            ValueError: If no checkpoint is given, the size is not known, or the file differs from the network.
        """
        if not ckpt_path:
            raise ValueError("export needs --ckpt_path: a checkpoint, a run folder, or best or last of the newest run")
        channels = datamodule.in_channels  # type: ignore[attr-defined]
        shape = spatial_size(model, datamodule, size)
        checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=False)
        path = Path(output) if output else Path(ckpt_path).with_suffix(".onnx")
        path.parent.mkdir(parents=True, exist_ok=True)
        difference = export_onnx(model.net, path, torch.zeros(1, channels, *shape))  # type: ignore[arg-type]
        lines = [
            "",
            f"ONNX file                 {path}",
            f"input `image`             float32, batch x {channels} x {' x '.join(map(str, shape))}",
            f"output `logits`           {', '.join(model.class_names)}",  # type: ignore[arg-type]
            f"largest difference        {difference:.1e} of a probability, against the network on another image",
        ]
        if KEY in checkpoint:
            lines.append(f"not in the file           the checkpoint's calibrator ({checkpoint[KEY]['method']})")
        sys.stdout.write("\n".join(lines) + "\n")
        return path


def spatial_size(model: Any, datamodule: Any, size: Sequence[int] | None) -> tuple[int, ...]:
    """The size asked for, else that of the inference's window, of the training patches, or of the images.

    Raises:
        ValueError: If none of them is set, or the size has not the data's axes.
    """
    window = model.inference.window if model.inference is not None else None
    found = size or window or getattr(datamodule, "patch_size", None) or getattr(datamodule, "size", None)
    if found is None:
        raise ValueError("export needs --size, one number an axis: the images differ in size")
    shape = (found,) * datamodule.spatial_dims if isinstance(found, int) else tuple(int(n) for n in found)
    if len(shape) != datamodule.spatial_dims or min(shape) < 1:
        raise ValueError(f"--size {list(shape)}: give {datamodule.spatial_dims} positive sizes for these data")
    return shape
