"""Slopes by hand of formulas in the families' files, for those that run at least 1.3 times as fast with them.

Each gives, from the weights of a formula's sums, the slopes of their weighted sum; of a cost of the own label, its
factor of -log p. ``tests/losses/test_engine.py`` holds them to autograd's.
"""

import torch
from torch import Tensor

from .voxels import Slopes, Voxels, as_numbers, power

Weights = dict[str, Tensor]


def entropy_slope(voxels: Voxels, weights: Weights) -> Tensor:
    """Slope of the cross entropy, by the label's class, with respect to the log probabilities."""
    return voxels.labels * -weights["cost"]


def brier(voxels: Voxels, weights: Weights) -> Slopes:
    """Slopes of ``BrierLoss``."""
    return Slopes(probs=(voxels.probs - voxels.labels).mul_(2 * voxels.by_label(weights["cost"])))


def entropy_penalty(voxels: Voxels, weights: Weights, alpha: float) -> Slopes:
    """Slopes of ``EntropyPenaltyLoss``; ``alpha`` weighs the entropy's sum over the classes."""
    penalty = voxels.log_probs * (voxels.by_label(weights["cost"]) * alpha)
    return Slopes(log_probs=entropy_slope(voxels, weights), probs=penalty)


def dual_focal(voxels: Voxels, weights: Weights, gamma: float, lower: Tensor, gap: Tensor) -> Slopes:
    """Slopes of ``DualFocalLoss`` from its gap and from the probabilities below the label's."""
    entropy = entropy_slope(voxels, weights)
    if not gamma:
        return Slopes(log_probs=entropy)
    pull = (entropy * voxels.log_probs).sum(1, keepdim=True).mul_(gamma).mul_(power(gap, gamma - 1))
    return Slopes(log_probs=entropy.mul_(power(gap, gamma)), probs=voxels.share(lower).sub_(voxels.labels) * pull)


def confidence(voxels: Voxels, weights: Weights) -> Slopes:
    """Slopes of ``ConfidenceAccuracyLoss``; the weight of the confidence stands with each class, and counts once."""
    top = voxels.share(voxels.probs).mul_(voxels.counted * weights["confidence"].sum(1, keepdim=True))
    return Slopes(log_probs=entropy_slope(voxels, weights), probs=top)


def focal(rest: Tensor, foreground: Tensor, gamma: float) -> tuple[Tensor, float]:
    """Factor and elasticity of ``FocalLoss``."""
    return power(rest, gamma), gamma


def background_focal(rest: Tensor, foreground: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """Factor and elasticity of ``AsymmetricFocalLoss``: none in the foreground."""
    return torch.maximum(power(rest, exponent), foreground), torch.sub(exponent, foreground, alpha=exponent)


def two_focal(rest: Tensor, foreground: Tensor, exponents: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Factor and elasticity of ``SampleDependentFocalLoss``."""
    gamma, gamma_low, threshold = exponents
    low = as_numbers(torch.gt, rest, 1 - threshold, rest)
    factor = torch.lerp(power(rest, gamma), power(rest, gamma_low), low)
    return factor, low.mul_(gamma_low - gamma).add_(gamma)


def distance_slope(voxels: Voxels, slope: Tensor) -> Tensor:
    """Slope with respect to the logits from that with respect to their distances from the largest."""
    return (voxels.share(voxels.logits) * slope.sum(1, keepdim=True)).sub_(slope)


def margin(voxels: Voxels, weights: Weights, margin: float, penalty: str) -> Slopes:
    """Slopes of ``MarginLabelSmoothingLoss`` with a squared penalty."""
    excess = voxels.distances - margin
    slope = excess.mul_(2) if penalty == "equality" else excess.relu_().mul_(2)
    slope.mul_(voxels.counted).mul_(weights["hinge"])
    return Slopes(distance_slope(voxels, slope), entropy_slope(voxels, weights))


def neighbours(voxels: Voxels, weights: Weights, distance: str) -> Slopes:
    """Slopes of ``NeighborAwareCalibrationLoss``."""
    gap = voxels.logits - voxels.extra[0]
    gap = gap.sign_() if distance == "l1" else gap.mul_(2)
    return Slopes(gap.mul_(voxels.counted).mul_(weights["neighbours"]), entropy_slope(voxels, weights))


def bins(voxels: Voxels, weights: Weights, index: Tensor) -> Slopes:
    """Slopes of ``AverageCalibrationLoss``; a bin's index is a constant."""
    slope = torch.gather(weights["confidence"], 2, index)
    if "squares" in weights:
        slope.addcmul_(torch.gather(weights["squares"], 2, index), voxels.probs, value=2)
        slope.addcmul_(torch.gather(weights["label_probs"], 2, index), voxels.labels)
    return Slopes(probs=slope.mul_(voxels.counted))
