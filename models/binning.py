"""Class-wise calibrators that read frequencies off bins: histogram and isotonic."""

from typing import ClassVar

import torch
from torch import Tensor

from .calibrator import Calibrator, Case, VoxelSample, check_labels, log_probabilities
from .network import positive

LOGIT_RANGE = 20.0


class BinnedCalibration(Calibrator):
    """Base: each class's probability is replaced by a number of its bin, then the classes are made to sum to one.

    Counts stream over all voxels, in int64 and float64. A voxel whose classes all become zero keeps its probabilities.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        num_bins: bins a class.
        max_voxels: voxels kept to report the NLL.
        seed: of the choice of these voxels.
    """

    keeps_argmax: ClassVar[bool] = False
    count: Tensor
    positive: Tensor
    table: Tensor
    known: Tensor

    def __init__(self, num_classes: int, num_bins: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        self.num_bins = positive("num_bins", num_bins)
        shape = (num_classes, num_bins)
        self.register_buffer("count", torch.zeros(shape, dtype=torch.int64), persistent=False)
        self.register_buffer("positive", torch.zeros(shape, dtype=torch.int64), persistent=False)
        self.register_buffer("table", torch.zeros(shape))
        self.register_buffer("known", torch.zeros(shape, dtype=torch.bool))

    def bins(self, log_probs: Tensor) -> Tensor:
        """Bin of each probability, int64."""
        raise NotImplementedError

    def see(self, case: Case) -> None:
        """Count the voxels of a case by class, bin and label."""
        for probs, target in zip(case.probs.flatten(2), case.target.flatten(1), strict=True):
            labels, valid = check_labels(target, self.num_classes)
            bins = self.bins(log_probabilities(probs))
            for k in range(self.num_classes):
                self.count[k] += torch.bincount(bins[k][valid], minlength=self.num_bins).cpu()
                self.positive[k] += torch.bincount(bins[k][labels == k], minlength=self.num_bins).cpu()

    def reset(self) -> None:
        """Forget what was counted."""
        self.count.zero_()
        self.positive.zero_()

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities read off the tables."""
        bins = self.bins(log_probs)
        rows = torch.arange(self.num_classes, device=bins.device).view(-1, 1)
        probs = log_probs.exp()
        read = torch.where(self.known[rows, bins], self.table[rows, bins].to(probs.dtype), probs)
        total = read.sum(1, keepdim=True)
        return log_probabilities(torch.where(total > 0, read / total.clamp_min(1e-30), probs))


class HistogramCalibration(BinnedCalibration):
    """Frequency of each class in equal bins of its probability (Zadrozny and Elkan 2001). May change the argmax.

    Bins that no voxel of the validation set fell into leave the probability as it is.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        num_bins: equal bins of [0, 1].
        max_voxels: voxels kept to report the NLL.
        seed: of the choice of these voxels.

    Example:
        >>> import torch
        >>> from models import Case, HistogramCalibration
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = HistogramCalibration(num_classes=2)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator(sure)[0, 1, 0]), 3)
        0.7
    """

    def __init__(self, num_classes: int, num_bins: int = 15, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, num_bins, max_voxels, seed)

    def bins(self, log_probs: Tensor) -> Tensor:
        """Equal bins, the last one closed."""
        return (log_probs.double().exp() * self.num_bins).long().clamp(0, self.num_bins - 1)

    def solve(self, sample: VoxelSample) -> None:
        """Frequencies of the bins."""
        self.known.copy_(self.count > 0)
        self.table.copy_(self.positive / self.count.clamp_min(1))


class IsotonicCalibration(BinnedCalibration):
    r"""The best non-decreasing map of each class's probability (Zadrozny and Elkan 2002). May change the argmax.

    Fitted by scipy on fine bins, equal in :math:`\log(p/(1-p))` from -20 to 20: with 8,192 bins a probability is known
    to 0.0013 or better (to 0.5 % of itself near zero), which is the error against the fit to all voxels. Frequencies
    are kept inside (0, 1) by half a voxel, so that no label gets probability zero.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        num_bins: fine bins.
        max_voxels: voxels kept to report the NLL.
        seed: of the choice of these voxels.

    Example:
        >>> import torch
        >>> from models import Case, IsotonicCalibration
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = IsotonicCalibration(num_classes=2)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator(sure)[0, 1, 0]), 3)
        0.7
    """

    def __init__(self, num_classes: int, num_bins: int = 8192, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, num_bins, max_voxels, seed)

    def bins(self, log_probs: Tensor) -> Tensor:
        """Bins equal in the log odds; certain probabilities go to the outermost."""
        logs = log_probs.double()
        rest = torch.log(-torch.expm1(logs.clamp_max(-1e-12)))
        place = ((logs - rest).clamp(-LOGIT_RANGE, LOGIT_RANGE) / (2 * LOGIT_RANGE) + 0.5) * self.num_bins
        return place.long().clamp(0, self.num_bins - 1)

    def solve(self, sample: VoxelSample) -> None:
        """Pool adjacent violators, class by class."""
        from scipy.optimize import isotonic_regression

        least = 0.5 / max(int(self.count[0].sum()), 1)
        for k in range(self.num_classes):
            filled = self.count[k] > 0
            count = self.count[k][filled].double()
            share = (self.positive[k][filled] / count).numpy()
            smooth = torch.from_numpy(isotonic_regression(share, weights=count.numpy()).x).clamp(least, 1 - least)
            # an empty bin takes the value of the nearest filled one below it, or of the first
            nearest = (filled.cumsum(0) - 1).clamp_min(0)
            self.table[k] = smooth[nearest].float()
        self.known.fill_(True)
