"""Selective scaling: a temperature for the voxels that look wrong."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .calibrator import Calibrator, VoxelSample
from .network import positive
from .temperature import best_log_temperature


class SelectiveScaling(Calibrator):
    r"""A small network tells which voxels are misclassified; their logits alone are divided by T (Wang et al. 2023).

    The network reads :math:`\log p` in three layers, standardised in place of the published batch norm (a calibrator
    must not depend on the batch). Right and wrong voxels weigh the same in its training: so it points at voxels that
    are wrong more often than the average one (with two classes no voxel is wrong more often than right, and an
    unweighted detector would point at none). Keeps the argmax.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        hidden: width of the detector's layers.
        epochs: passes over the sample of voxels.
        max_voxels: voxels kept for the fit.
        seed: of the choice of these voxels, and of the detector.

    Raises:
        ValueError: if ``hidden`` or ``epochs`` is below one.

    Example:
        >>> import torch
        >>> from models import Case, SelectiveScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = SelectiveScaling(num_classes=2, epochs=1)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> calibrator(sure).shape, report.voxels_used
        (torch.Size([1, 2, 10]), 10)
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, num_classes: int, hidden: int = 32, epochs: int = 10, max_voxels: int = 200_000, seed: int = 0
    ) -> None:
        super().__init__(num_classes, max_voxels, seed)
        self.epochs = positive("epochs", epochs)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.hidden = positive("hidden", hidden)
        self.detector = self._new_detector()
        self.register_buffer("mean", torch.zeros(num_classes, 1))
        self.register_buffer("deviation", torch.ones(num_classes, 1))

    def _new_detector(self) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            widths = (self.num_classes, self.hidden, self.hidden)
            layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
            return nn.Sequential(*layers, nn.Linear(self.hidden, 1))

    @property
    def temperature(self) -> float:
        """The fitted T of the voxels held to be wrong."""
        return math.exp(float(self.log_temperature.detach()))

    def suspicion(self, log_probs: Tensor) -> Tensor:
        """Logit ``(B, N)`` that a voxel is misclassified."""
        inputs = ((log_probs.float() - self.mean) / self.deviation).transpose(1, 2)
        return self.detector(inputs)[..., 0]

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities, tempered where a voxel is held to be wrong."""
        suspect = (self.suspicion(log_probs) > 0)[:, None]
        return torch.where(suspect, log_probs / self.log_temperature.exp(), log_probs).log_softmax(1)

    def solve(self, sample: VoxelSample) -> None:
        """Train the detector on the weighted sample, then fit T to the voxels that it points at."""
        self.detector.load_state_dict(self._new_detector().state_dict())
        logs, labels, weights = sample.log_probs.float(), sample.labels, sample.weights
        mean = (weights[:, None] * logs).sum(2).T
        self.mean.copy_(mean)
        self.deviation.copy_((weights[:, None] * (logs - mean) ** 2).sum(2).T.sqrt().clamp_min(1e-3))
        wrong = (logs.argmax(1) != labels)[0]
        share = (weights[0] * wrong).sum().clamp(1e-6, 1 - 1e-6)
        balanced = weights[0] * wrong.numel() * torch.where(wrong, 0.5 / share, 0.5 / (1 - share))
        with torch.enable_grad():
            self._train(logs, wrong.float(), balanced.float())
        with torch.no_grad():
            suspect = self.suspicion(logs)[0] > 0
            self.log_temperature.fill_(best_log_temperature(logs[0], labels[0], weights[0] * suspect))

    def _train(self, logs: Tensor, wrong: Tensor, weights: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        optimiser = torch.optim.AdamW(self.detector.parameters(), lr=1e-3, weight_decay=1e-6)
        for _ in range(self.epochs):
            for index in torch.randperm(logs.shape[2], generator=generator).split(4096):
                optimiser.zero_grad()
                logit = self.suspicion(logs[:, :, index])[0]
                loss = F.binary_cross_entropy_with_logits(logit, wrong[index], weights[index])
                loss.backward()
                optimiser.step()
        optimiser.zero_grad()
