"""What all metrics of this room share: arguments, checks, regions, and the sum and number of case values."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from .binning import predict_labels
from .checks import check_choice, check_shapes, label_problems, raise_problems, valid_voxels, value_problems
from .regions import All, Region, RegionName, get_region

Average = Literal["pooled", "per_case"]


class StateOptions(TypedDict, total=False):
    """Arguments of `torchmetrics.Metric`, which every metric takes: how its state is kept and synchronised."""

    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    dist_sync_fn: Callable[..., Any]
    distributed_available_fn: Callable[[], bool]
    sync_on_compute: bool
    compute_with_cache: bool


class VoxelMetric(Metric):
    """Base of the metrics over voxels; `update` takes probabilities (B, K, *S) and labels (B, *S).

    Args:
        num_classes: Number of classes K, background (class 0) among them.
        region: Which voxels count: "all", "foreground", "boundary", "interior" or "dilated" by the predicted label,
            "reference_foreground", "reference_boundary" or "reference_interior" by the true one, or a region object.
        average: "pooled" counts every voxel alike; "per_case" takes each batch item as a case and averages the cases;
            those without a voxel in the region are skipped and counted.
        ignore_index: Label of voxels that never count, or None.
        validate: Check the values: probabilities in [0, 1] that sum to one, no NaN, labels in range. On a GPU the
            check is read in `compute`, so that `update` does not wait for the device.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> class Accuracy(VoxelMetric):
        ...     def __init__(self, num_classes):
        ...         super().__init__(num_classes)
        ...         self.add_state("right", torch.tensor(0), "sum")
        ...         self.add_state("total", torch.tensor(0), "sum")
        ...     def update(self, probs, target):
        ...         for item, labels, keep in self.items(probs, target, None):
        ...             keep = torch.ones_like(labels, dtype=torch.bool) if keep is None else keep
        ...             self.right += (item.argmax(0) == labels)[keep].sum()
        ...             self.total += keep.sum()
        ...     def compute(self):
        ...         return self.right / self.total
        >>> metric = Accuracy(num_classes=2)
        >>> metric.update(torch.tensor([[[0.9, 0.9, 0.2], [0.1, 0.1, 0.8]]]), torch.tensor([[0, 1, 255]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    is_differentiable = False
    full_state_update = False

    def __init__(
        self,
        num_classes: int,
        region: RegionName | Region = "all",
        average: Average = "pooled",
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(**state)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: at least two; turn one sigmoid channel p into (1 - p, p)")
        check_choice("average", average, Average)
        self.num_classes = num_classes
        self.region = get_region(region)
        self.average = average
        self.ignore_index = ignore_index
        self.validate = validate
        self.problems: Tensor
        self.seen: Tensor
        self.add_state("problems", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def items(
        self, probs: Tensor, target: Tensor, mask: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Checked items of a batch: probs (K, *S), target (*S), and the voxels that count (*S) bool, None if all."""
        check_shapes(probs, target, self.num_classes)
        if mask is not None and mask.shape != target.shape:
            raise ValueError(f"mask must have the shape of target, {tuple(target.shape)}, got {tuple(mask.shape)}")
        for index in range(len(probs)):
            item, labels = probs[index].detach(), target[index]
            keep = self._keep(item, labels, None if mask is None else mask[index].bool())
            self.seen += 1
            yield item, labels, keep

    def _keep(self, probs: Tensor, target: Tensor, mask: Tensor | None) -> Tensor | None:
        """Voxels that are valid, in the region and in the mask; None if all."""
        valid = valid_voxels(target, self.num_classes, self.ignore_index)
        if self.validate:
            self._note(value_problems(probs))
            if valid is not None or self.ignore_index is None:
                self._note(label_problems(target, self.num_classes, self.ignore_index))
        if not isinstance(self.region, All):
            inside = self.region_mask(probs, target, valid)
            valid = inside if valid is None else inside & valid
        if mask is not None:
            valid = mask if valid is None else mask & valid
        return valid

    def region_mask(self, probs: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """The region (*S) of one item."""
        labels = target.to(torch.uint8)
        everywhere = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
        prediction = labels if getattr(self.region, "reference", False) else predict_labels(probs)
        return self.region(labels, prediction, everywhere)

    def _note(self, found: Tensor) -> None:
        """Raise for problems at once on the CPU, else keep them for `compute`."""
        if found.device.type == "cpu":
            raise_problems(found)
        else:
            self.problems += found

    def raise_noted(self) -> None:
        """Raise for problems that an update on a GPU found.

        Raises:
            ValueError: If there were any.
        """
        if self.validate and self.problems.device.type != "cpu":
            raise_problems(self.problems > 0)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw what `compute` gives (or ``val``, or a list of values of several steps); returns (figure, axes)."""
        return self._plot(val, ax)
