"""Parametric calibrators that treat every voxel alike: temperature, vector, Dirichlet, ensemble temperature scaling."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from .calibrator import Calibrator, VoxelSample, minimise, weighted_nll

LOG_BOUND = math.log(100.0)


class TemperatureScaling(Calibrator):
    r""":math:`\mathrm{softmax}(z / T)` with one T, fitted by the NLL (Guo et al. 2017). Keeps the argmax.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        max_voxels: voxels kept for the fit.
        seed: of the choice of these voxels.

    Example:
        >>> import torch
        >>> from models import Case, TemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = TemperatureScaling(num_classes=2)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(calibrator.temperature, 2), round(float(calibrator(sure)[0, 1, 0]), 3)
        (2.59, 0.7)
    """

    def __init__(self, num_classes: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def temperature(self) -> float:
        """The fitted T; above one where the network was too sure."""
        return math.exp(float(self.log_temperature.detach()))

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities at the temperature."""
        return (log_probs / self.log_temperature.exp()).log_softmax(1)

    def solve(self, sample: VoxelSample) -> None:
        """Minimise the NLL, which is convex in 1/T, with T from 1/100 to 100."""
        logs, labels, weights = sample.log_probs[0], sample.labels[0], sample.weights[0]
        with torch.no_grad():
            self.log_temperature.fill_(best_log_temperature(logs, labels, weights))

    @property
    def runaway(self) -> str:
        """Says so where the temperature stands at a bound."""
        if abs(float(self.log_temperature.detach())) < 0.99 * LOG_BOUND:
            return ""
        cause = "worse than chance: are classes or cases mixed up?" if self.temperature > 1 else "never wrong"
        return f"the temperature runs to its bound {self.temperature:.4g}, as the probabilities are {cause}"


class VectorScaling(Calibrator):
    r""":math:`\mathrm{softmax}(a \odot z + b)`, a slope and an offset a class (Guo et al. 2017). May change the argmax.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        max_voxels: voxels kept for the fit.
        seed: of the choice of these voxels.

    Example:
        >>> import torch
        >>> from models import Case, VectorScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = VectorScaling(num_classes=2)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator(sure)[0, 1, 0]), 3)
        0.7
    """

    keeps_argmax: ClassVar[bool] = False

    def __init__(self, num_classes: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        self.slope = nn.Parameter(torch.ones(num_classes, 1))
        self.offset = nn.Parameter(torch.zeros(num_classes, 1))

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities after the affine map of each class."""
        return (self.slope * log_probs + self.offset).log_softmax(1)

    def solve(self, sample: VoxelSample) -> None:
        """Minimise the NLL, which is convex."""
        minimise(self, sample)


class DirichletCalibration(Calibrator):
    r""":math:`\mathrm{softmax}(W \log p + b)` (Kull et al. 2019). May change the argmax.

    Squares of the off-diagonal of W and of b are penalised (ODIR). As logits are :math:`\log p` here, matrix scaling
    is the same method.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        strength: weight of the mean square of the off-diagonal and of the offsets.
        max_voxels: voxels kept for the fit.
        seed: of the choice of these voxels.

    Raises:
        ValueError: if ``strength`` is negative.

    Example:
        >>> import torch
        >>> from models import Case, DirichletCalibration
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = DirichletCalibration(num_classes=2, strength=0.0)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator(sure)[0, 1, 0]), 3)
        0.7
    """

    keeps_argmax: ClassVar[bool] = False

    def __init__(self, num_classes: int, strength: float = 0.01, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        if strength < 0:
            raise ValueError(f"strength must not be negative, got {strength}")
        self.strength = strength
        self.matrix = nn.Parameter(torch.eye(num_classes))
        self.offset = nn.Parameter(torch.zeros(num_classes, 1))

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities after the affine map."""
        return (self.matrix.to(log_probs) @ log_probs + self.offset).log_softmax(1)

    def penalty(self) -> Tensor:
        """The off-diagonal and intercept regularisation."""
        classes = self.num_classes
        off_diagonal = self.matrix.square().sum() - self.matrix.diagonal().square().sum()
        return self.strength * (off_diagonal / (classes * (classes - 1)) + self.offset.square().mean())

    def solve(self, sample: VoxelSample) -> None:
        """Minimise the penalised NLL, which is convex."""
        minimise(self, sample)


class EnsembleTemperatureScaling(TemperatureScaling):
    r""":math:`w_1\, \mathrm{softmax}(z/T) + w_2\, \mathrm{softmax}(z) + w_3 / K` (Zhang et al. 2020). Keeps the argmax.

    T is fitted first, then the weights (positive, sum one) by expectation maximisation of the likelihood.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        max_voxels: voxels kept for the fit.
        seed: of the choice of these voxels.

    Example:
        >>> import torch
        >>> from models import Case, EnsembleTemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = EnsembleTemperatureScaling(num_classes=2)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator(sure)[0, 1, 0]), 3)
        0.7
    """

    mixture: Tensor

    def __init__(self, num_classes: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        self.register_buffer("mixture", torch.tensor([1.0, 0.0, 0.0]))

    def members(self, log_probs: Tensor) -> Tensor:
        """Log probabilities ``(3, B, K, N)`` of the tempered, the given and the uniform prediction."""
        uniform = torch.full_like(log_probs, -math.log(self.num_classes))
        return torch.stack((super().calibrated(log_probs), log_probs.log_softmax(1), uniform))

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities of the mixture."""
        weights = self.mixture.to(log_probs).log().view(3, 1, 1, 1)
        return torch.logsumexp(self.members(log_probs) + weights, dim=0)

    def solve(self, sample: VoxelSample) -> None:
        """Fit the temperature, then the weights."""
        self.mixture.copy_(torch.tensor([1.0, 0.0, 0.0]))
        with torch.no_grad():
            self.log_temperature.zero_()
        tempered = TemperatureScaling(self.num_classes)
        tempered.solve(sample)
        with torch.no_grad():
            self.log_temperature.copy_(tempered.log_temperature)
            logs = self.members(sample.log_probs)
            likelihood = logs.gather(2, sample.labels.expand(3, -1, -1)[:, :, None])[:, 0, 0].exp()
            weights = torch.full((3,), 1 / 3, dtype=torch.float64)
            for _ in range(300):
                shares = weights[:, None] * likelihood
                weights = (shares / shares.sum(0).clamp_min(1e-300) * sample.weights).sum(1)
                weights = weights / weights.sum()
            better = weighted_nll(self._mixed(logs, weights), sample.labels, sample.weights)
            if better < weighted_nll(logs[0], sample.labels, sample.weights):
                self.mixture.copy_(weights.float())

    @staticmethod
    def _mixed(logs: Tensor, weights: Tensor) -> Tensor:
        return torch.logsumexp(logs + weights.log().view(3, 1, 1, 1), dim=0)


def best_log_temperature(log_probs: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Minimise the weighted NLL of ``softmax(log_probs / T)`` for T from 1/100 to 100 by golden section.

    Args:
        log_probs: ``(K, n)``.
        labels: ``(n,)``.
        weights: ``(n,)``; if all are zero the answer is 0.
    """
    keep = weights > 0
    if not keep.any():
        return 0.0
    logs, labels, weights = log_probs[:, keep].double(), labels[keep], weights[keep]

    def nll(log_t: float) -> float:
        tempered = (logs / math.exp(log_t)).log_softmax(0)
        return -float((weights * tempered.gather(0, labels[None])[0]).sum())

    ratio, low, high = (5**0.5 - 1) / 2, -LOG_BOUND, LOG_BOUND
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = nll(left), nll(right)
    for _ in range(40):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = nll(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = nll(right)
    return (low + high) / 2
