"""The scorer: one metric that holds what passes over cases leave, and gives every number of the catalogue."""

import copy
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from . import catalogue
from .axis import AXIS_BINS
from .base import StateOptions
from .binning import CASE_BINS, Bins, empty_bins, view_channels
from .checks import check_regions, check_shapes
from .evaluate import OBJECTS, REGIONS, VIEWS, case_values, score_case
from .objects import TALLY, ObjectRule
from .raters import RATERS
from .sums import CaseSums

TRUE = "all.true"
# Bins that are not always measured, and a number of theirs.
SOMETIMES = {TRUE: "ece_true", OBJECTS: "object_ece", RATERS: "ece_raters"}
KEYS = (*(f"{region}.{view}" for region in REGIONS for view in VIEWS), *SOMETIMES)


class Scorer(Metric):
    """Every number of the catalogue over a stream of cases, from one pass over the voxels of each.

    `update` takes probabilities (B, K, *S) and labels (B, *S); a batch item is a case. `compute` gives a flat dict of
    float64 scalars: `<key>` the mean over the cases, `<key>_pooled` the number of all voxels together, `<key>/<class>`
    where the catalogue says so; only what was measured. The state is sums, added up over processes (counts to the bit,
    sums to 1e-12); its size does not depend on the number of voxels or cases. Where the cases are named, their own sums
    are kept in `records` too, of this process and with 300 bins: tables, intervals and files are made of them.

    With `multilabel` the classes 1..K-1 are regions that may overlap, each a two-class problem of its own: `update`
    takes (B, K - 1, 2, *S) and (B, K - 1, *S), a region's numbers are those of its problem alone, and those without a
    region the means over the regions.

    Args:
        num_classes: Number of classes K, background among them.
        class_names: K names, background first; without them there are no lines of classes.
        surface: Measure surface distances too.
        objects: Find objects by this rule and match them.
        ignore_index: Label of voxels that never count, or None.
        validate: Check the values.
        cuts: K cuts that make the mask whose overlap, surfaces and objects are measured; the largest probability makes
            it if None.
        expectations: Measure what the probabilities expect of the mask too.
        multilabel: Score regions that may overlap.
        **state: As for `torchmetrics.Metric`.

    Raises:
        ValueError: For another number of names than classes.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])
        >>> scorer = Scorer(num_classes=2)
        >>> scorer.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(scorer.compute()["ece"]), 4)
        0.25
        >>> scorer = Scorer(num_classes=3, class_names=["background", "whole", "core"], multilabel=True)
        >>> inside = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])
        >>> scorer.update(torch.stack([1 - inside, inside], 2), torch.tensor([[[1, 1], [0, 1]]]))
        >>> {key: float(value) for key, value in scorer.compute().items() if key.startswith("dice/")}
        {'dice/whole': 1.0, 'dice/core': 0.0}
    """

    is_differentiable = False
    full_state_update = False

    def __init__(
        self,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        surface: bool = False,
        objects: ObjectRule | None = None,
        ignore_index: int | None = 255,
        validate: bool = True,
        cuts: Sequence[float] | None = None,
        expectations: bool = False,
        multilabel: bool = False,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(**state)
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(f"class_names={list(class_names)} must name {num_classes} classes, background among them")
        self.num_classes, self.class_names = num_classes, None if class_names is None else list(class_names)
        self.surface, self.objects, self.ignore_index, self.validate = surface, objects, ignore_index, validate
        self.cuts, self.expectations, self.multilabel = cuts, expectations, multilabel
        self.numbers = catalogue.of_average("case")
        self.records: list[tuple[str, CaseSums]] = []
        self._all: CaseSums | None = None
        self.confusion: Tensor
        self.nll: Tensor
        self.objects_tally: Tensor
        self.case_sum: Tensor
        self.cases: Tensor
        self.measured: Tensor
        shape = (len(self.numbers), num_classes)
        self._state("case_sum", torch.zeros(shape, dtype=torch.float64))
        self._state("cases", torch.zeros(shape, dtype=torch.int64))
        self._state("measured", torch.zeros(len(self.numbers), dtype=torch.int64))
        regions, classes = ((num_classes - 1,), 2) if multilabel else ((), num_classes)
        self._state("confusion", torch.zeros(*regions, classes, classes, dtype=torch.int64))
        self._state("nll", torch.zeros(*regions, 1 + classes, dtype=torch.float64))
        self._state("objects_tally", torch.zeros(*regions, classes, len(TALLY), dtype=torch.float64))
        for key in KEYS:
            channels = view_channels(classes, key.partition(".")[2])
            number = AXIS_BINS if key.startswith("all.") and key not in SOMETIMES else CASE_BINS
            for name, field in zip(Bins._fields, empty_bins(channels, number), strict=True):
                self._state(_name(key, name), field.expand(*regions, *field.shape).clone())

    def _state(self, name: str, default: Tensor) -> None:
        self.add_state(name, default, dist_reduce_fx="sum")

    def update(
        self,
        probs: Tensor,
        target: Tensor,
        spacing: Sequence[float] | None = None,
        true_probs: Tensor | None = None,
        names: Sequence[str] | None = None,
        raters: Tensor | None = None,
    ) -> None:
        """Score the cases of a batch, all of one voxel size, maybe against raters (B, R, *S); named ones are kept."""
        if self.multilabel:
            check_regions(probs, target, self.num_classes - 1)
        else:
            check_shapes(probs, target, self.num_classes)
        for index in range(len(probs)):
            known = None if true_probs is None else true_probs[index]
            several = None if raters is None else raters[index]
            sums = self.score(probs[index], target[index], spacing, known, several)
            self.add(sums, None if names is None else names[index])

    def score(
        self,
        probs: Tensor,
        target: Tensor,
        spacing: Sequence[float] | None = None,
        true_probs: Tensor | None = None,
        raters: Tensor | None = None,
    ) -> CaseSums:
        """The sums of one case, a batch's item, which `add` takes; the state stays as it is."""
        return score_case(probs.detach(), target, spacing, true_probs=true_probs, raters=raters, **self.options())

    def options(self) -> dict[str, Any]:
        """What `score_case` is told, for a process that scores a case on its own."""
        names = ("surface", "objects", "ignore_index", "validate", "cuts", "expectations", "multilabel")
        return {name: getattr(self, name) for name in names}

    def add(self, sums: CaseSums, name: str | None = None) -> None:
        """Add one scored case; a named one is kept."""
        if name is not None:
            self.records.append((name, sums.coarse(CASE_BINS)))
        self._update_count, self._computed = self._update_count + 1, None  # also where nobody called `update`
        values = case_values(sums, self.numbers).to(self.case_sum)
        self.case_sum += values.nan_to_num(0.0)
        self.cases += ~values.isnan()
        self.measured += torch.tensor([row.known(sums) for row in self.numbers], device=self.measured.device)
        found = {"confusion": sums.confusion, "nll": sums.nll}
        found |= {f"{key}_tally": tally for key, tally in sums.tallies.items()}
        for key, bins in sums.bins.items():
            found |= {_name(key, part): field for part, field in zip(Bins._fields, bins, strict=True)}
        for state, value in found.items():
            getattr(self, state).add_(value.to(self.device))

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self.records = []

    def over_all(self) -> CaseSums:
        """The sums over all cases of all processes; every process must ask."""
        self.compute()
        assert self._all is not None  # compute has set it
        return self._all

    def _pooled(self) -> CaseSums:
        """The sums over all cases of this process, or of all while they are added up in `compute`."""
        found = {key: Bins(*(getattr(self, _name(key, name)) for name in Bins._fields)) for key in KEYS}
        known = {row.key for row, n in zip(self.numbers, self.measured.tolist(), strict=True) if n}
        bins = {key: bins for key, bins in found.items() if key not in SOMETIMES or SOMETIMES[key] in known}
        tallies = {"objects": self.objects_tally} if "object_f1" in known else {}
        return CaseSums(bins, self.confusion, self.nll, tallies=tallies, multilabel=self.multilabel)

    def compute(self) -> dict[str, Tensor]:
        """Key, or key and class, to its value, scalars float64; NaN where no case had one."""
        found: dict[str, Tensor] = {}
        means, pooled = self.case_sum / self.cases, self._pooled()
        self._all = copy.deepcopy(pooled)
        for row, values, measured in zip(self.numbers, means, self.measured.tolist(), strict=True):
            if measured:
                found |= self._lines(row, values)
        for row in catalogue.of_average("pooled"):
            if row.known(pooled) and any(r.key + catalogue.POOLED == row.key for r in self.numbers):
                found |= self._lines(row, row.value(pooled))
        return found

    def _lines(self, row: catalogue.Number, values: Tensor) -> dict[str, Tensor]:
        lines = {row.key: values[0]}
        if row.by_class and self.class_names is not None and len(values) > 1:
            lines |= {f"{row.key}/{name}": v for name, v in zip(self.class_names[1:], values[1:], strict=True)}
        return lines


def _name(key: str, field: str) -> str:
    return f"{key.replace('.', '_')}_{field}"
