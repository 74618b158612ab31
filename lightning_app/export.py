"""The verb `export`: a checkpoint's network as an ONNX file, checked against the network itself."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from datamodules import SegmentationData
from lightning_app.calibrate import CalibratingTrainer
from lightning_app.calibration.registry import restore
from lightning_app.files import write_text
from lightning_app.training.checkpoint_files import read_checkpoint
from lightning_app.training.head import head_of
from models import (
    Averaged,
    Calibrator,
    LocalTemperatureScaling,
    SlidingWindow,
    export_calibrator,
    export_onnx,
    onnx_runner,
)


class ProgramTrainer(CalibratingTrainer):
    """Lightning's Trainer with the verbs `calibrate` and `export`.

    Its limits are whole numbers first: on the command line 1 is one batch, 1.0 are all.

    Args:
        limit_train_batches: Training batches an epoch, or their share.
        limit_val_batches: Batches of a validation, or their share.
        limit_test_batches: Batches of a test, or their share.
        limit_predict_batches: Batches of a prediction, or their share.
        val_check_interval: Training batches between two validations, or the share of an epoch.
        **options: As for Lightning's Trainer.
    """

    def __init__(
        self,
        *,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        val_check_interval: int | float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            val_check_interval=val_check_interval,
            **options,
        )

    def export(
        self,
        model: LightningModule,
        datamodule: SegmentationData,
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
            ValueError: If no checkpoint is given, the network has regions, the size is not known, or the file differs
                from the network.
        """
        if not ckpt_path:
            raise ValueError("export needs --ckpt_path: a checkpoint, a run folder, or best or last of the newest run")
        if head_of(model).regions:
            raise ValueError("export writes a softmax over classes, this network has regions: use predict")
        channels = datamodule.in_channels
        shape = spatial_size(model, datamodule, size)
        checkpoint = read_checkpoint(Path(ckpt_path))
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=False)
        path = Path(output) if output else Path(ckpt_path).with_suffix(".onnx")
        path.parent.mkdir(parents=True, exist_ok=True)
        export = Export(
            model, path, torch.zeros(1, channels, *shape), checkpoint, getattr(datamodule, "normalisation", None)
        )
        sys.stdout.write("\n".join(export.write()) + "\n")
        return path


class Export:
    """The files of one export: `NAME.onnx`, `NAME.json` and `NAME_predict.py`; `NAME_calibrator.onnx` under tiling.

    Args:
        model: The training module with the checkpoint's weights.
        path: The file of the network.
        example: Image `(1, C, *S)` of the size that the network is exported for.
        checkpoint: The checkpoint, for its calibrator.
        normalisation: What the data set calls the intensities that the network sees.
    """

    def __init__(
        self, model: Any, path: Path, example: Tensor, checkpoint: dict[str, Any], normalisation: str | None
    ) -> None:
        self.model, self.path, self.example, self.normalisation = model, path, example, normalisation
        found = restore(checkpoint)
        self.calibrator: Calibrator | None = found[0] if found else None  # type: ignore[assignment]
        self.record: dict[str, Any] = found[1] if found else {}
        self.tiles = model.inference if isinstance(model.inference, SlidingWindow) else None

    def write(self) -> list[str]:
        """Write the files; lines for the terminal."""
        calibrator = None if self.tiles else self.calibrator
        difference = export_onnx(self.model.net, self.path, self.example, calibrator)
        if self.tiles and self.calibrator:
            difference = max(difference, self._write_calibrator(self.calibrator))
        write_text(self.path.with_suffix(".json"), json.dumps(self.facts(), indent=1) + "\n")
        runner = self.path.with_name(f"{self.path.stem}_predict.py")
        write_text(runner, Path(onnx_runner.__file__).read_text(encoding="utf-8"))
        return self._lines(difference, runner)

    def facts(self) -> dict[str, Any]:
        """What a program that has nothing but the files must know."""
        return {
            "network": self.path.name,
            "calibrator": self._calibrator_file.name if self.tiles and self.calibrator else None,
            "method": self.record.get("method"),
            "classes": list(self.model.class_names),
            "thresholds": self.record.get("thresholds"),
            "channels": self.example.shape[1],
            "size": list(self.example.shape[2:]),
            "intensities": self.normalisation,
            "tiles": self._tiling(self.tiles) if self.tiles else None,
        }

    @property
    def _calibrator_file(self) -> Path:
        return self.path.with_name(f"{self.path.stem}_calibrator.onnx")

    def _write_calibrator(self, calibrator: Calibrator) -> float:
        """Beside the network: it is applied to what the tiles were blended to, not to each tile."""
        image = self.example if isinstance(calibrator, LocalTemperatureScaling) and calibrator.in_channels else None
        probs = torch.full((1, len(self.model.class_names), *self.example.shape[2:]), 1 / len(self.model.class_names))
        return export_calibrator(calibrator, self._calibrator_file, probs, image)

    def _tiling(self, tiles: SlidingWindow) -> dict[str, Any]:
        with torch.no_grad():
            returned = self.model.net.eval()(self.example)
        return {
            "window": list(tiles.window),
            "returned": list(returned.shape[2:]),
            "overlap": tiles.overlap,
            "blend": tiles.blend,
            "average": tiles.average,
            "padding": tiles.padding,
        }

    def _lines(self, difference: float, runner: Path) -> list[str]:
        shape = " x ".join(map(str, self.example.shape[2:]))
        inside = "in NAME_calibrator.onnx, for blended tiles" if self.tiles else "in the file"
        lines = [
            "",
            f"ONNX file                 {self.path}",
            f"input `image`             float32, batch x {self.example.shape[1]} x {shape}",
            f"outputs                   `logits`, `probabilities`: {', '.join(self.model.class_names)}",
            f"calibrator                {self.record['method'] + ', ' + inside if self.record else 'none'}",
            f"largest difference        {difference:.1e} of a probability, against the network on another image",
            f"run it without torch      python {shlex.quote(str(runner))} image.npy probabilities.npy",
        ]
        if isinstance(self.model.inference, Averaged):
            lines.append(f"not in the file           {type(self.model.inference).__name__}: the file is one pass")
        return lines


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
