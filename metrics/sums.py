"""What one pass over a case leaves: sums from which every number of the catalogue follows, for one case or for many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .binning import Bins, merge_bins, rebin


@dataclass(frozen=True)
class CaseSums:
    """Sums of one case, of several stacked along leading axes, or of several added up (`merge_sums`).

    Attributes:
        bins: "<region>.<view>" to bins (..., C, B). The view "true" holds, where the true probabilities are known, the
            true probability of the predicted class in place of "was it right".
        confusion: (..., K, K) int64 counts over all voxels, truth in rows.
        nll: (..., 1 + K) float64: sum of -log p_y, then of each class's one-vs-rest cross entropy.
        beside: What was measured beside the pass and does not add up, by key, (..., K) or (..., 1): the case as a whole
            first, then each foreground class.
    """

    bins: Mapping[str, Bins]
    confusion: Tensor
    nll: Tensor
    beside: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def voxels(self) -> Tensor:
        """Number of voxels that are not ignored, (...) int64."""
        return self.confusion.sum((-2, -1))

    def coarse(self, num_bins: int) -> "CaseSums":
        """The same with bins of that number, exactly."""
        return CaseSums({k: rebin(b, num_bins) for k, b in self.bins.items()}, self.confusion, self.nll, self.beside)

    def cpu(self) -> "CaseSums":
        """The same in main memory."""
        bins = {key: Bins(*(part.cpu() for part in bins)) for key, bins in self.bins.items()}
        return CaseSums(bins, self.confusion.cpu(), self.nll.cpu(), {k: v.cpu() for k, v in self.beside.items()})


def merge_sums(cases: Sequence[CaseSums]) -> CaseSums:
    """What one pass over the voxels of all cases would have given; nothing of what does not add up."""
    bins = {key: merge_bins(*(case.bins[key] for case in cases)) for key in cases[0].bins}
    confusion = torch.stack([case.confusion for case in cases]).sum(0)
    return CaseSums(bins, confusion, torch.stack([case.nll for case in cases]).sum(0))


def stack_sums(cases: Sequence[CaseSums]) -> CaseSums:
    """The sums of several cases with a leading axis for the cases."""
    bins = {
        key: Bins(*(torch.stack(fields) for fields in zip(*(case.bins[key] for case in cases), strict=True)))
        for key in cases[0].bins
    }
    beside = {key: torch.stack([case.beside[key] for case in cases]) for key in cases[0].beside}
    confusion, nll = (torch.stack([getattr(case, name) for case in cases]) for name in ("confusion", "nll"))
    return CaseSums(bins, confusion, nll, beside)
