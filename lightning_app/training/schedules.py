"""Callbacks that change numbers of the loss between epochs: schedules, and multipliers that adapt to each class."""

from typing import Any, Literal

import lightning.pytorch as pl
from torch import Tensor, nn

from losses.adaptive import AdaptiveMultiplierLoss


class LossSchedule(pl.Callback):
    """Change one number of the loss after every epoch, such as the weight or the margin of a penalty.

    ``add``: the number grows by ``amount``. ``multiply``: it is multiplied by ``amount``. ``step``: so too, but only
    every ``every`` epochs. It never passes ``bound``. The number goes on where it was when a run is resumed.

    Args:
        attribute: Path of the number within ``module.loss``, as ``alpha``, ``weights.margin`` or ``loss.margin``.
        mode: How it changes.
        amount: By how much; below 0 (add) or 1 (multiply, step) it falls.
        bound: What it does not pass, in its direction.
        every: Epochs between two steps.
    """

    def __init__(
        self,
        attribute: str = "alpha",
        mode: Literal["add", "multiply", "step"] = "add",
        amount: float = 0.0,
        bound: float = 100.0,
        every: int = 1,
    ) -> None:
        if mode not in ("add", "multiply", "step"):
            raise ValueError(f"mode must be one of add, multiply, step, got {mode!r}")
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.attribute = attribute
        self.mode = mode
        self.amount = amount
        self.bound = bound
        self.every = every
        self._value: float | None = None

    @property
    def state_key(self) -> str:
        """Key of this callback's state: one for each attribute."""
        return self._generate_state_key(attribute=self.attribute)

    def state_dict(self) -> dict[str, Any]:
        """Give the present value for the checkpoint."""
        return {"value": self._value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the value from a checkpoint; the loss gets it when training starts."""
        self._value = state_dict["value"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the number, so that a wrong path stops the run before it trains, and set it to a restored value."""
        found = read_number(loss_of(pl_module), self.attribute)
        if self._value is None:
            self._value = found
        else:
            write_number(loss_of(pl_module), self.attribute, self._value)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Change the number."""
        if (trainer.current_epoch + 1) % self.every:
            return
        value = read_number(loss_of(pl_module), self.attribute)
        changed = value + self.amount if self.mode == "add" else value * self.amount
        self._value = min(changed, self.bound) if changed >= value else max(changed, min(value, self.bound))
        write_number(loss_of(pl_module), self.attribute, self._value)


def loss_of(pl_module: pl.LightningModule) -> nn.Module:
    """The loss object of the training module."""
    loss = pl_module.loss
    assert isinstance(loss, nn.Module)
    return loss


class MultiplierUpdate(pl.Callback):
    """Update the multipliers of class-adaptive losses after each validation, from all processes together.

    Whatever such a loss is asked to score during validation counts, wherever it sits within ``module.loss``.
    """

    def __init__(self) -> None:
        self._hooks: list[Any] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to observe, but not during the sanity check, whose network is untrained."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._hooks = [loss.register_forward_hook(_observe) for loss in adaptive_losses(pl_module)]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop to observe, and update."""
        if not self._hooks:
            return
        self._drop_hooks()
        for loss in adaptive_losses(pl_module):
            loss.update_multipliers()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._drop_hooks()

    def _drop_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def adaptive_losses(module: nn.Module) -> list[AdaptiveMultiplierLoss]:
    """Losses within a module that have multipliers."""
    return [part for part in module.modules() if isinstance(part, AdaptiveMultiplierLoss)]


def _observe(loss: AdaptiveMultiplierLoss, arguments: tuple[Tensor, Tensor], output: Tensor) -> None:
    """Let a loss observe what it was called with."""
    loss.observe(*arguments)


def read_number(loss: nn.Module, path: str) -> float:
    """Number at a path of attribute names and dictionary keys.

    Raises:
        ValueError: If there is no number.
    """
    owner, name = _owner(loss, path)
    value = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(
            f"attribute {path!r} of {type(loss).__name__} is no number that can be scheduled, got {value!r}"
        )
    return float(value)


def write_number(loss: nn.Module, path: str, value: float) -> None:
    """Set the number at a path."""
    owner, name = _owner(loss, path)
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


def _owner(loss: nn.Module, path: str) -> tuple[Any, str]:
    """Object or dictionary that holds the last name of a path, and that name."""
    owner: Any = loss
    *parents, name = path.split(".")
    for parent in parents:
        owner = owner.get(parent) if isinstance(owner, dict) else getattr(owner, parent, None)
    return owner, name
