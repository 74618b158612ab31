"""A row of the catalogue: a number's name, better side, meaning, and what of a case's sums it is computed from."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .binning import View
from .sums import CaseSums

NUM_BINS = 15
POOLED = "_pooled"
Direction = Literal["higher", "lower", "closer to 0", ""]
Unit = Literal["case", "pooled"]


@dataclass(frozen=True)
class Number:
    """A row of the catalogue.

    Args:
        key: Its name, everywhere.
        title: Its name in tables and figures.
        better: Which side is better; empty for a yardstick.
        function: Called as ``function(sums, row)``: values (..., 1), or (..., K) with the case as a whole first and the
            foreground classes behind it; NaN where undefined. It serves one case, many stacked, and all of them merged.
        meaning: What it is, in a sentence.
        view: Which probability is held against which event, of `metrics.ReliabilityBins`; "true" holds the largest p
            against its true probability, "raters" against the share of raters who say so, "object" the mean p of a
            claimed object against "is it one"; empty if no bins are read.
        region: Where, of `metrics.regions`; empty if no bins are read.
        average: Unit of averaging: "case", the mean over cases, or "pooled", all voxels together.
        adds_up: Whether it exists for the voxels of all cases together too, as `<key>_pooled`.
        main: Whether it stands in main tables.
        by_class: Whether loggers get a line a class too.
        bounds: Least and largest value that it can take; intervals are cut there.
        num_bins: Equal bins that it is computed from, a divisor of 300.
        reads: What it needs of sums that may lack it, where that is no bins of its view: "tallies.objects",
            "beside.hd95", "bins.all.classwise"; empty for none.

    Example:
        >>> import torch
        >>> from metrics import Scorer
        >>> from metrics.catalogue import add, remove
        >>> def accuracy(sums, row):
        ...     return sums.confusion.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) / sums.voxels.unsqueeze(-1)
        >>> add(Number("accuracy", "Accuracy", "higher", accuracy, "share of right labels"))
        >>> scorer = Scorer(num_classes=2)
        >>> scorer.update(torch.tensor([[[0.75, 0.75], [0.25, 0.25]]]), torch.tensor([[0, 1]]))
        >>> float(scorer.compute()["accuracy"])
        0.5
        >>> remove("accuracy")
    """

    key: str
    title: str
    better: Direction
    function: Callable[[CaseSums, "Number"], Tensor]
    meaning: str = ""
    view: View | Literal["true", "raters", "object", ""] = ""
    region: str = ""
    average: Unit = "case"
    adds_up: bool = True
    main: bool = False
    by_class: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    num_bins: int = NUM_BINS
    reads: str = ""

    def known(self, sums: CaseSums) -> bool:
        """Whether these sums hold what the number is computed from."""
        if self.view:
            return f"{self.region}.{self.view}" in sums.bins
        part, _, key = self.reads.partition(".")
        return not part or key in getattr(sums, part)

    def value(self, sums: CaseSums) -> Tensor:
        """The number, (..., 1) or (..., K) float64: the case as a whole first, then each foreground class.

        Of regions that may overlap, (..., 1 + R): the mean over those that have a value, then each region as a whole,
        which is what its two-class problem alone gives.
        """
        values = self.function(sums, self)
        if not sums.multilabel:
            return values
        regions = values[..., 0]
        return torch.cat([regions.nanmean(-1, keepdim=True), regions], -1)

    @property
    def arrow(self) -> str:
        """Which side is better, as a sign."""
        return {"higher": "↑", "lower": "↓", "closer to 0": "→0", "": ""}[self.better]

    def pooled(self) -> "Number":
        """The row of the same number over all voxels together."""
        return replace(self, key=self.key + POOLED, title=f"{self.title}, pooled", average="pooled", main=False)
