"""The adapter between nnU-Net's targets and our losses."""

import json
import os
from collections.abc import Mapping

from torch import Tensor, nn

from calibrated_segmentation import losses

IGNORED = 255
NAME, ARGUMENTS = "CALSEG_LOSS", "CALSEG_LOSS_ARGS"


class NNUNetLoss(nn.Module):
    r"""One of our losses for one output of nnU-Net.

    Labels `(B, 1, *S)` lose their channel, and nnU-Net's ignore label becomes ours. With regions each channel is a
    two-class problem of its own: the loss is the mean over the regions r of ours on the logits `(B, 1, *S)` of r
    against the labels of r. Deep supervision stays nnU-Net's: its wrapper calls this once an output.

    Args:
        loss: A loss of logits `(B, K, *S)` and labels `(B, *S)`, 255 where a voxel does not count.
        ignore_label: nnU-Net's number of the label `ignore`, or None.
        has_regions: Whether the channels are regions, as nnU-Net trains them with a sigmoid.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import losses
        >>> logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 4, (2, 1, 8, 8))
        >>> adapted = NNUNetLoss(losses.DicePlusPlusLoss(), ignore_label=3)
        >>> ours = losses.DicePlusPlusLoss(ignore_index=3)(logits, labels[:, 0])
        >>> bool(adapted(logits, labels) == ours)
        True
    """

    def __init__(self, loss: nn.Module, ignore_label: int | None = None, has_regions: bool = False) -> None:
        super().__init__()
        self.loss, self.ignore_label, self.has_regions = loss, ignore_label, has_regions

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of logits `(B, K, *S)` and a target `(B, 1, *S)`, or with regions `(B, R, *S)` plus one for ignored.

        Raises:
            ValueError: If the target's channels fit neither.
        """
        expected = output.shape[1] + (self.ignore_label is not None) if self.has_regions else 1
        if target.ndim != output.ndim or target.shape[1] != expected:
            raise ValueError(
                f"target must have {expected} channels for logits {tuple(output.shape)}"
                f"{' of regions' if self.has_regions else ''}, got {tuple(target.shape)}"
            )
        return self._regions(output, target) if self.has_regions else self._labels(output, target[:, 0])

    def _labels(self, output: Tensor, target: Tensor) -> Tensor:
        labels = target.long()
        if self.ignore_label is not None:
            labels = labels.masked_fill(labels == self.ignore_label, IGNORED)
        return self.loss(output, labels)

    def _regions(self, output: Tensor, target: Tensor) -> Tensor:
        regions = target[:, : output.shape[1]].long()
        if self.ignore_label is not None:
            regions = regions.masked_fill(target[:, -1:].bool(), IGNORED)
        return losses.MultiLabelLoss(self.loss)(output, regions)


def trainable() -> dict[str, type[nn.Module]]:
    """The losses that need nothing but logits and labels, by name; those that learn between epochs are left out."""
    found = {name: getattr(losses, name) for name in losses.__all__}
    composed = {losses.WeightedSumLoss, losses.DeepSupervisionLoss, losses.MultiLabelLoss}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and issubclass(kind, nn.Module)
        and kind not in composed
        and not hasattr(kind, "update_multipliers")
        and name.endswith("Loss")
    }


def build_loss(name: str | None = None, environment: Mapping[str, str] = os.environ) -> nn.Module:
    """The loss of a trainer: by its own name or that in ``CALSEG_LOSS``, with the arguments in ``CALSEG_LOSS_ARGS``.

    Args:
        name: Name in `losses`, as `DicePlusPlusLoss`; the variable's where there is none.
        environment: Variables; the arguments are a JSON object, as ``{"gamma": 3}``.

    Raises:
        ValueError: If the loss is unknown, the arguments are no JSON object, or the loss does not take one of them.

    Example:
        >>> build_loss(environment={"CALSEG_LOSS": "DicePlusPlusLoss", "CALSEG_LOSS_ARGS": '{"gamma": 3}'}).gamma
        3.0
    """
    name = (name or environment.get(NAME, "")).removeprefix("losses.")
    kinds = trainable()
    if name not in kinds:
        raise ValueError(f"{NAME}={name!r} is no loss that trains alone; choose from {', '.join(kinds)}")
    text = environment.get(ARGUMENTS, "{}")
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{ARGUMENTS}={text!r} is no JSON: {error}; write it as '{{\"gamma\": 3}}'") from error
    if not isinstance(arguments, dict):
        raise ValueError(f"{ARGUMENTS}={text!r} must be a JSON object, as '{{\"gamma\": 3}}'")
    try:
        return kinds[name](**arguments)
    except TypeError as error:
        raise ValueError(f"{ARGUMENTS}={text!r}: {error}") from error
