"""What a data set gives: cases turned into items by a pipeline, prepared cases kept in memory, items made a batch."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .case import Case
from .corruption import Corruption
from .errors import DataError
from .patches import PatchSampling
from .raters import Raters
from .sampling import Draw
from .transforms import Augmentation

Sample = dict[str, Any]
MEMORY_LIMIT = 1 << 30


class Pipeline(ABC):
    """Turns a case into tensors; picklable, so that it can move to worker processes."""

    @abstractmethod
    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Augmented image (or patch) and mask; a function of the case and the draw alone."""

    @abstractmethod
    def whole_item(self, case: Case) -> Sample:
        """The whole case on the network's grid, with `geometry` and, where it has a mask, `original_mask`."""


@dataclass
class TrainingPatches:
    """What is cut from a case for training.

    Args:
        size: Shape of a patch, or None for the whole.
        divisor: Whole cases are padded to multiples of this.
        sampling: Where patches lie.
        augmentation: What is done to them, or None.
        seed: Seed of position and augmentation.
        raters: Label of several raters: their "mean", or that of one, whom each draw of a case picks anew, or always
            of the "first".
    """

    size: Sequence[int] | None
    divisor: int
    sampling: PatchSampling
    augmentation: Augmentation | None
    seed: int
    raters: Raters = "mean"


class MemoryCache:
    """Keeps prepared cases in memory until a budget is used up; later ones are prepared anew each time.

    Args:
        limit: Budget in bytes.
    """

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self.limit, self.used = limit, 0
        self.items: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """The item, or None."""
        return self.items.get(key)

    def put(self, key: Hashable, item: Any, size: int) -> None:
        """Keep the item if it fits."""
        if self.used + size <= self.limit:
            self.items[key] = item
            self.used += size


class CaseDataset(Dataset):
    """Map-style data set over cases.

    Args:
        cases: The cases.
        pipeline: Prepares them.
        train: Give augmented draws (index by `Draw` or number) instead of whole cases.
        corruption: Damage to whole cases' images, or None.
    """

    def __init__(
        self, cases: Sequence[Case], pipeline: Pipeline, train: bool, corruption: Corruption | None = None
    ) -> None:
        self.cases, self.pipeline, self.train, self.corruption = list(cases), pipeline, train, corruption

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: int | Draw) -> Sample:
        draw = key if isinstance(key, Draw) else Draw(0, int(key), int(key))
        case = self.cases[draw.number]
        if self.train:
            return self.pipeline.train_item(case, draw)
        item = self.pipeline.whole_item(case)
        return item if self.corruption is None else item | {"image": self.corruption(item["image"], case.name)}


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack tensors, list everything else.

    Raises:
        DataError: If the images of a batch differ in shape.
    """
    batch: Sample = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if not isinstance(first, Tensor):
            batch[key] = values
            continue
        if len({value.shape for value in values}) > 1:
            shapes = ", ".join(f"{s['case']} {tuple(v.shape)}" for s, v in zip(samples, values, strict=True))
            raise DataError(f"{key}s of one batch differ in shape: {shapes}. Set size or patch_size, or batch_size 1.")
        batch[key] = torch.stack(values)
    return batch


def single_thread(worker: int) -> None:
    """Keep OpenCV to one thread in a loader's worker."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
