"""Inputs that the tests of this folder share."""

import numpy as np
import torch
from torch import Tensor


def golden_pair(case: dict) -> tuple[Tensor, Tensor]:
    """Logits and labels of a golden case: scaled normal logits, uniform labels, the last class missing or not."""
    rng = np.random.default_rng(case["seed"])
    items, *grid = case["shape"]
    logits = rng.standard_normal((items, case["classes"], *grid)) * case["scale"]
    labels = rng.integers(0, case["classes"] - 1 if case["absent"] else case["classes"], (items, *grid))
    return torch.tensor(logits, requires_grad=True), torch.tensor(labels)


def random_pair(
    classes: int = 3, grid: tuple[int, ...] = (6, 5), items: int = 2, seed: int = 0, scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Double-precision logits that take a gradient, and integer labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, classes, *grid, generator=generator, dtype=torch.float64) * scale
    labels = torch.randint(0, max(classes, 2), (items, *grid), generator=generator)
    return logits.requires_grad_(), labels


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient with respect to the logits."""
    value = loss(logits, target)
    return value.detach(), torch.autograd.grad(value, logits)[0]
