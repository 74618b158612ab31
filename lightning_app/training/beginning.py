"""What a training begins with: weights of another run as far as they fit, epochs that lie behind it."""

from pathlib import Path

from torch import nn

from lightning_app.errors import UserError
from lightning_app.training.checkpoint_files import check_finite, read_checkpoint
from lightning_app.training.processes import tell
from lightning_app.training.run_folder import RunFolder

NET = "net."
SHOWN = 6  # names of weights that are listed before "and n more"


def take_weights(module: nn.Module, path: Path) -> None:
    """Take the weights of a checkpoint's network that fit by name and shape; say which do not.

    Args:
        module: The training module, whose network takes them.
        path: The checkpoint, also of a network of other classes, channels or parts.

    Raises:
        UserError: If none fits, or weights are not finite.
    """
    checkpoint = read_checkpoint(path)
    check_finite(checkpoint, str(path))
    theirs = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(NET)}
    ours = {key: value for key, value in module.state_dict().items() if key.startswith(NET)}
    fitting = {key: theirs[key] for key, value in ours.items() if key in theirs and theirs[key].shape == value.shape}
    if not fitting:
        raise UserError(f"--weights_from {path}: none of its {len(theirs)} weights fits the network as configured")
    module.load_state_dict(fitting, strict=False)
    new = [
        key if key not in theirs else f"{key} {list(theirs[key].shape)} is {list(value.shape)} here"
        for key, value in ours.items()
        if key not in fitting
    ]
    left = [key for key in theirs if key not in ours]
    parts = [f"took {len(fitting)} of {len(ours)} weights"]
    parts += [f"new here: {_listed(new)}"] if new else []
    parts += [f"only there: {_listed(left)}"] if left else []
    tell(f"--weights_from {path}: {'; '.join(parts)}")


def check_epochs(path: Path, most: int | None) -> None:
    """Refuse a checkpoint that a new run goes on from with all its epochs behind it.

    Raises:
        UserError: If `most` epochs do not exceed those of the checkpoint.
    """
    epochs = int(read_checkpoint(path).get("epoch", -1)) + 1
    if epochs and most is not None and 0 <= most <= epochs:
        raise UserError(
            f"--ckpt_path {path} has {epochs} epochs behind it, and --trainer.max_epochs {most} counts them: "
            f"give more, or --weights_from to take its weights alone"
        )


def tell_if_finished(run: RunFolder, most: int | None) -> None:
    """Say of a run to go on with that nothing is left to train."""
    state = run.read_state()
    if state.get("status") == "finished" and most is not None and 0 <= most <= state.get("epochs", 0):
        tell(
            f"{run} is finished, all of its {state['epochs']} epochs are behind it: it is only evaluated again; to "
            f"train on give more --max_epochs"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
