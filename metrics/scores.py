"""Proper scores: negative log-likelihood and Brier score, and their least values where the truth is known."""

import math
from typing import Unpack

import torch
from torch import Tensor

from .base import Average, StateOptions, VoxelMetric
from .binning import iter_blocks
from .regions import Region, RegionName

EPS = 1e-12


def score_sums(
    probs: Tensor, target: Tensor, keep: Tensor | None = None, eps: float = EPS
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over the voxels of one item: -log p_y, sum_k (p_k - [y = k])^2, and their number.

    Args:
        probs: (K, *S).
        target: (*S).
        keep: (*S) bool, the voxels that count; all if None.
        eps: Probabilities below it count as it in the logarithm.

    Returns:
        Three scalars, float64, float64 and int64.
    """
    nll, brier = torch.zeros(2, dtype=torch.float64, device=probs.device)
    kept = None if keep is None else keep.reshape(-1)
    for p, y, k in iter_blocks(probs.reshape(len(probs), -1), target.reshape(-1), kept):
        p = p.double()
        right = torch.zeros_like(p[0])
        for label in range(len(p)):
            right += p[label] * (y == label)
        log, square = right.clamp(min=eps).log_(), p.square().sum(0) - 2 * right + 1
        if k is not None:
            log, square = torch.where(k, log, 0.0), torch.where(k, square, 0.0)
        nll -= log.sum()
        brier += square.sum()
    count = torch.tensor(target.numel(), device=probs.device) if keep is None else keep.sum()
    return nll, brier, count


class ProperScore(VoxelMetric):
    """State shared by `NegativeLogLikelihood` and `BrierScore`.

    Args:
        num_classes: Number of classes K.
        region: As for `VoxelMetric`.
        average: As for `VoxelMetric`.
        eps: Probabilities below it count as it in the logarithm.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    position = 0

    def __init__(
        self,
        num_classes: int,
        region: RegionName | Region = "all",
        average: Average = "pooled",
        eps: float = EPS,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, region, average, ignore_index, validate, **state)
        if not 0 < eps < 1:
            raise ValueError(f"eps={eps} must lie between 0 and 1")
        self.eps = eps
        self.sums: Tensor
        self.voxels: Tensor
        self.case_sum: Tensor
        self.cases: Tensor
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("voxels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("case_sum", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        for item, labels, keep in self.items(probs, target, mask):
            nll, brier, count = score_sums(item, labels, keep, self.eps)
            sums = torch.stack([nll, brier])
            self.sums += sums
            self.voxels += count
            self.case_sum += sums / count.clamp(min=1)
            self.cases += count > 0

    def compute(self) -> Tensor:
        """The score, scalar float64; NaN where no voxel counted."""
        self.raise_noted()
        if self.average == "per_case":
            return self.case_sum[self.position] / self.cases
        return self.sums[self.position] / self.voxels

    @property
    def skipped_cases(self) -> Tensor:
        """Number of cases that had no voxel in the region, scalar int64."""
        return self.seen - self.cases


class NegativeLogLikelihood(ProperScore):
    """NLL = mean of -log p_y over the voxels: multi-class cross entropy in nats; arguments as for `ProperScore`.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = NegativeLogLikelihood(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.837
    """

    position = 0


class BrierScore(ProperScore):
    """Mean over the voxels of sum_k (p_k - [y = k])^2, from 0 to 2; half of it for two classes is the binary score.

    Example:
        >>> sure = torch.tensor([[[0.75, 0.75], [0.25, 0.25]]])  # of class 0, to three quarters; right in one of two
        >>> metric = BrierScore(num_classes=2)
        >>> metric.update(sure, torch.tensor([[0, 1]]))
        >>> round(float(metric.compute()), 4)
        0.625
    """

    position = 1
    plot_upper_bound = 2.0


def lowest_scores(true_probs: Tensor, target: Tensor | None = None, ignore_index: int = 255) -> dict[str, float]:
    """Least expected scores where the true probabilities q are known: nobody can do better on average.

    Args:
        true_probs: q (B, K, *S).
        target: (B, *S), only to say which voxels are ignored.
        ignore_index: Label of those.

    Returns:
        ``nll``: the mean entropy -sum_k q_k log q_k; ``brier``: the mean of sum_k q_k (1 - q_k). NaN if no voxel
        counts.

    Example:
        >>> lowest_scores(torch.full((1, 2, 4), 0.5))
        {'nll': 0.6931471805599453, 'brier': 0.5}
    """
    nll = brier = voxels = 0.0
    for index, item in enumerate(true_probs):
        keep = None if target is None else (target[index] != ignore_index).reshape(-1)
        for q, k in iter_blocks(item.reshape(len(item), -1), keep):
            q = q.double() if k is None else q[:, k].double()
            nll -= torch.xlogy(q, q).sum().item()
            brier += (q * (1 - q)).sum().item()
            voxels += q.shape[1]
    return {"nll": nll / voxels, "brier": brier / voxels} if voxels else {"nll": math.nan, "brier": math.nan}
