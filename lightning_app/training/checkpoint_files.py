"""Checkpoint files: written whole, read in words, and the newest sound one of a run."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lightning_app.errors import UserError
from lightning_app.files import write_atomic
from lightning_app.training.run_folder import RunFolder

OF_TRAINING = ("state_dict", "optimizer_states", "loops", "epoch", "global_step")  # what a training goes on from


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, staged beside their place.

    Lightning 2.6 stages them in TMPDIR and, where that is another disk, copies over the old file: a kill loses both.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint so that a kill leaves the old one."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            UserError: If the file is none.
        """
        return read_checkpoint(Path(path), map_location=map_location, weights_only=weights_only is not False)


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Raises:
        DiskFull: If there is no room for it.
    """

    def write(part: Path) -> None:
        with part.open("wb") as file:  # torch's own writer hides why a disk refused
            torch.save(checkpoint, file)

    write_atomic(path, write, needed=_size(checkpoint))


def read_checkpoint(path: Path, map_location: Any = "cpu", weights_only: bool = True) -> dict[str, Any]:
    """The content of a checkpoint file; with `weights_only` nothing in it is run.

    Raises:
        FileNotFoundError: If it is not there.
        UserError: If it is no checkpoint of this program, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=weights_only)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch, pickle and zipfile raise a dozen kinds on damaged or foreign files
        raise UserError(f"{path} is no checkpoint that can be read: {_reason(path, error)}") from error
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} is no checkpoint of this program: it holds no `state_dict` of weights")
    return checkpoint


def check_finite(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Refuse weights that a training without a gradient check spoiled.

    Raises:
        UserError: If a weight of the network is NaN or infinite.
    """
    spoiled = [name for name, value in checkpoint["state_dict"].items() if not bool(torch.isfinite(value).all())]
    if spoiled:
        raise UserError(
            f"{path}: {len(spoiled)} of {len(checkpoint['state_dict'])} weights hold NaN or infinite numbers, "
            f"first {spoiled[0]!r}; take another checkpoint, or train again"
        )


def newest_sound(run: RunFolder) -> tuple[Path | None, list[str]]:
    """The checkpoint that a training goes on from, and why newer ones are left out.

    Returns:
        The last epoch's where it is whole, else the newest that is; None where no checkpoint was written.

    Raises:
        UserError: If there are checkpoints and none of them is sound.
    """
    found = sorted(run.checkpoints.glob("[!.]*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found.sort(key=lambda path: path != run.checkpoint("last"))
    faults = []
    for path in found:
        if fault := _fault(path):
            faults.append(fault)
        else:
            return path, faults
    if faults:
        raise UserError(f"{run} holds no checkpoint to go on from: {'; '.join(faults)}")
    return None, []


def _fault(path: Path) -> str:
    """Why a training cannot go on from a checkpoint; empty where it can."""
    try:
        checkpoint = read_checkpoint(path)
        check_finite(checkpoint, path)
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (UserError, OSError, zipfile.BadZipFile) as error:
        return str(error)
    lacking = [key for key in OF_TRAINING if key not in checkpoint]
    if broken or lacking:
        return f"{path}: {f'{broken} is damaged' if broken else f'it lacks {lacking[0]}'}"
    return ""


def _reason(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return "the file is empty"
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK":
        return f"it begins with {start!r}, torch's files with b'PK'"
    if not zipfile.is_zipfile(path):
        return "the file is cut off or damaged"
    return " ".join(str(error).split())[:160] or type(error).__name__


def _size(checkpoint: Any) -> int:
    """Bytes of the tensors in nested containers."""
    if isinstance(checkpoint, torch.Tensor):
        return checkpoint.nbytes
    parts = checkpoint.values() if isinstance(checkpoint, dict) else checkpoint
    return sum(map(_size, parts)) if isinstance(checkpoint, dict | list | tuple) else 0
