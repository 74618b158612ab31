"""What one pass over a case leaves: sums from which every number of the catalogue follows, for one case or for many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .axis import AXIS_BINS
from .binning import Bins, merge_bins, rebin


@dataclass(frozen=True)
class CaseSums:
    """Sums of one case, of several stacked along leading axes, or of several added up (`merge_sums`).

    Attributes:
        bins: "<region>.<view>" to bins (..., C, B). The view "true" holds, where the true probabilities are known, the
            true probability of the predicted class in place of "was it right"; "raters" the share of raters who say so.
        confusion: (..., K, K) int64 counts over all voxels, truth in rows.
        nll: (..., 1 + K) float64: sum of -log p_y, then of each class's one-vs-rest cross entropy.
        beside: What was measured beside the pass and does not add up, by key, (..., K) or (..., 1): the case as a whole
            first, then each foreground class. "by_rater" of `metrics.raters` has a row a rater.
        tallies: What was measured beside the pass and adds up, by key, (..., K, n): "objects" of `metrics.objects`.
        odds: (..., 2, K, AXIS_BINS) int32, the voxels of each p_k on the fine axis, and those that are of class k; kept
            where the bins are coarse.
        multilabel: The last of the leading axes (..., R) is that of regions that may overlap, each a two-class problem
            with K = 2; the odds alone have the regions as classes 1..R, and nothing of class 0.

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
        >>> int(sums.voxels), sums.confusion.tolist(), sums.bins["boundary.top_label"].num_bins
        (2, [[1, 1], [0, 0]], 300)
    """

    bins: Mapping[str, Bins]
    confusion: Tensor
    nll: Tensor
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    tallies: Mapping[str, Tensor] = field(default_factory=dict)
    odds: Tensor | None = None
    multilabel: bool = False

    @property
    def num_classes(self) -> int:
        """K; of regions 1 + R, as if none of them were the background."""
        return 1 + self.confusion.shape[-3] if self.multilabel else self.confusion.shape[-1]

    @property
    def channels(self) -> Mapping[str, Bins]:
        """The bins with a channel (..., C, B) each for a case, a class, or a region.

        Of regions the views of classes have C = 1 + R channels, of which the first is empty, the others R.
        """
        if not self.multilabel:
            return self.bins
        found = {}
        for key, bins in self.bins.items():
            flat = of_regions if bins.count.shape[-2] == self.confusion.shape[-1] else _without_class
            found[key] = Bins(*map(flat, bins))
        return found

    @property
    def voxels(self) -> Tensor:
        """Number of voxels that are not ignored, (...) int64."""
        return self.confusion.sum((-2, -1))

    def coarse(self, num_bins: int) -> "CaseSums":
        """The same with bins of that number, exactly; the fine counts of each class are kept beside them."""
        fine, odds = self.bins.get("all.classwise"), self.odds
        if fine is not None and fine.num_bins == AXIS_BINS:
            counts = [fine.count.int(), fine.correct.int()]
            odds = torch.stack([of_regions(part) for part in counts] if self.multilabel else counts, -3)
        bins = {key: rebin(bins, num_bins) for key, bins in self.bins.items()}
        return replace(self, bins=bins, odds=odds)

    def cpu(self) -> "CaseSums":
        """The same in main memory."""
        bins = {key: Bins(*(part.cpu() for part in bins)) for key, bins in self.bins.items()}
        beside = {key: value.cpu() for key, value in self.beside.items()}
        tallies = {key: value.cpu() for key, value in self.tallies.items()}
        odds = None if self.odds is None else self.odds.cpu()
        return CaseSums(bins, self.confusion.cpu(), self.nll.cpu(), beside, tallies, odds, self.multilabel)


def of_regions(field: Tensor) -> Tensor:
    """Class-wise fields (..., R, 2, B) of regions as those of classes (..., 1 + R, B), of which the first is empty."""
    inside = field[..., 1, :]
    return torch.cat([torch.zeros_like(inside[..., :1, :]), inside], -2)


def _without_class(field: Tensor) -> Tensor:
    return field[..., 0, :]


def merge_sums(cases: Sequence[CaseSums]) -> CaseSums:
    """What one pass over the voxels of all cases would have given; nothing of what does not add up.

    Example:
        >>> from metrics import sum_case
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> sums = sum_case(sure, torch.tensor([0, 1]))
        >>> merge_sums([sums, sums]).confusion.tolist()
        [[2, 0], [2, 0]]
    """
    bins = {key: merge_bins(*(case.bins[key] for case in cases)) for key in cases[0].bins}
    tallies = {key: torch.stack([case.tallies[key] for case in cases]).sum(0) for key in cases[0].tallies}
    confusion, nll = (torch.stack([getattr(case, name) for case in cases]).sum(0) for name in ("confusion", "nll"))
    return CaseSums(bins, confusion, nll, tallies=tallies, multilabel=cases[0].multilabel)


def stack_sums(cases: Sequence[CaseSums]) -> CaseSums:
    """The sums of several cases with a leading axis for the cases.

    Example:
        >>> from metrics import sum_case
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> sums = sum_case(sure, torch.tensor([0, 1]))
        >>> stack_sums([sums, sums]).confusion.shape
        torch.Size([2, 2, 2])
    """
    bins = {
        key: Bins(*(torch.stack(fields) for fields in zip(*(case.bins[key] for case in cases), strict=True)))
        for key in cases[0].bins
    }
    beside, tallies = (
        {key: torch.stack([getattr(case, name)[key] for case in cases]) for key in getattr(cases[0], name)}
        for name in ("beside", "tallies")
    )
    confusion, nll = (torch.stack([getattr(case, name) for case in cases]) for name in ("confusion", "nll"))
    odds = [case.odds for case in cases if case.odds is not None]
    stacked = torch.stack(odds) if len(odds) == len(cases) else None
    return CaseSums(bins, confusion, nll, beside, tallies, stacked, cases[0].multilabel)


def unstack(stacked: CaseSums) -> list[CaseSums]:
    """The cases of `stack_sums`, each by itself, without what does not add up.

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.75, 0.75], [0.25, 0.25]]), torch.tensor([0, 1]))
        >>> [case.confusion.tolist() for case in unstack(stack_sums([sums, sums]))]
        [[[1, 0], [1, 0]], [[1, 0], [1, 0]]]
    """
    return [
        CaseSums(
            {key: Bins(*(part[case] for part in bins)) for key, bins in stacked.bins.items()},
            stacked.confusion[case],
            stacked.nll[case],
            tallies={key: tally[case] for key, tally in stacked.tallies.items()},
            multilabel=stacked.multilabel,
        )
        for case in range(len(stacked.confusion))
    ]


def from_channels(
    channels: Mapping[str, Bins], confusion: Tensor, nll: Tensor, tallies: Mapping[str, Tensor]
) -> CaseSums:
    """Stacked cases from their `channels` with equal bins: the way back.

    Args:
        channels: "<region>.<view>" to bins (n, C, B).
        confusion: (n, K, K), of regions (n, R, 2, 2).
        nll: As in the sums.
        tallies: As in the sums.

    Example:
        >>> from metrics import sum_case
        >>> one = sum_case(torch.tensor([[0.75, 0.75], [0.25, 0.25]]), torch.tensor([0, 1])).coarse(300)
        >>> sums = stack_sums([one, one])
        >>> from_channels(sums.channels, sums.confusion, sums.nll, {}).bins["all.classwise"].count.shape
        torch.Size([2, 2, 300])
    """
    if confusion.ndim == 3:
        return CaseSums(channels, confusion, nll, tallies=tallies)
    regions = confusion.shape[1]
    bins = {key: _of_two_classes(found, regions) for key, found in channels.items()}
    return CaseSums(bins, confusion, nll, tallies=tallies, multilabel=True)


def _of_two_classes(bins: Bins, regions: int) -> Bins:
    """Bins (n, R, B) of one channel as (n, R, 1, B); those (n, 1 + R, B) of the insides as (n, R, 2, B).

    What lies outside has the probability 1 - p, hence the mirror image.
    """
    if bins.count.shape[1] == regions:
        return Bins(*(part.unsqueeze(2) for part in bins))
    count, confidence, correct, squared = (part[:, 1:].flip(-1) for part in bins)
    outside = Bins(count, count - confidence, count - correct, squared)
    return Bins(*(torch.stack([first, part[:, 1:]], 2) for first, part in zip(outside, bins, strict=True)))
