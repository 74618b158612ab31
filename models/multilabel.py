"""Calibrators of regions that may overlap, one a region."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .calibrator import Calibrator, Case, FitReport


class MultiLabelCalibrator(nn.Module):
    """A calibrator for each region, fitted to the two-class problem that the region is alone.

    Takes and gives the pairs of `models.Separate`, ``(B, 2 R, *S)``; the cases of a fit have labels ``(1, R, *S)``, 1
    inside of each region.

    Args:
        calibrators: one a region, of two classes each.

    Example:
        >>> import torch
        >>> from models import Case, MultiLabelCalibrator, TemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9, 0.1, 0.9]).repeat(10, 1).T[None]  # of both regions in ten voxels
        >>> labels = torch.tensor([[[1] * 7 + [0] * 3, [1] * 8 + [0] * 2]])
        >>> calibrator = MultiLabelCalibrator([TemperatureScaling(num_classes=2) for _ in range(2)])
        >>> report = calibrator.fit([Case(sure, labels)])
        >>> [round(float(p), 2) for p in calibrator(sure)[0, 1::2, 0]]
        [0.7, 0.8]
    """

    def __init__(self, calibrators: Sequence[Calibrator]) -> None:
        super().__init__()
        self.calibrators = nn.ModuleList(calibrators)

    @property
    def parts(self) -> list[Calibrator]:
        """The calibrators of the regions."""
        return [cast(Calibrator, part) for part in self.calibrators]

    @torch.no_grad()
    def forward(self, probs: Tensor, image: Tensor | None = None) -> Tensor:
        """Calibrated pairs ``(B, 2 R, *S)``."""
        pairs = zip(self.parts, probs.split(2, 1), strict=True)
        return torch.cat([calibrator(pair, image) for calibrator, pair in pairs], 1)

    def fit(self, cases: Iterable[Case]) -> FitReport:
        """Fit each region to its part of the cases; they are passed over once a region.

        Returns:
            Voxels of all regions together, and the means of the other numbers over them.
        """
        reports = [part.fit(RegionCases(cases, region)) for region, part in enumerate(self.parts)]
        means = [sum(column) / len(reports) for column in zip(*reports, strict=True)]
        return FitReport(sum(r.voxels for r in reports), sum(r.voxels_used for r in reports), *means[2:])

    @property
    def runaway(self) -> str:
        """Why some region's fit is no optimum, or nothing."""
        told = (f"region {k}: {part.runaway}" for k, part in enumerate(self.parts, 1) if part.runaway)
        return next(told, "")


class RegionCases:
    """The cases of one region, as its calibrator takes them.

    Args:
        cases: cases of all regions.
        region: which one.

    Example:
        >>> import torch
        >>> from models import Case, RegionCases
        >>> pair = torch.tensor([0.25, 0.75])
        >>> regions = Case(torch.stack([pair, pair.flip(0)]).view(1, 4, 1, 1), torch.tensor([1, 0]).view(1, 2, 1, 1))
        >>> [case.probs.flatten().tolist() for case in RegionCases([regions], 1)]
        [[0.75, 0.25]]
    """

    def __init__(self, cases: Iterable[Case], region: int) -> None:
        self.cases, self.region = cases, region

    def __iter__(self) -> Iterator[Case]:
        for case in self.cases:
            yield Case(case.probs.split(2, 1)[self.region], case.target[:, self.region], case.image)
