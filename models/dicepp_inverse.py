"""The analytic inverse of DSC++: from what the loss makes optimal back to the probability."""

from typing import ClassVar

import torch
from torch import Tensor

from .calibrator import Calibrator, Case, VoxelSample, check_labels, log_probabilities


class DicePlusPlusInverse(Calibrator):
    r"""Undo what a DSC++-trained network is drawn to, class by class, with the soft coefficient D of validation.

    The DSC++ loss of exponent :math:`\gamma` is least, on a large sample with true foreground probability
    :math:`\pi` at a voxel, where :math:`(1-\pi)p^{\gamma-1} - \pi(1-p)^{\gamma-1} = \pi(2/D-2)/\gamma`, with
    :math:`D = 2T/(2T+N+P)` its own soft coefficient. Solved for :math:`\pi`:

    .. math:: \pi = \frac{p^{\gamma-1}}{p^{\gamma-1} + (1-p)^{\gamma-1} + (2/D-2)/\gamma}

    which at :math:`\gamma=2` is :math:`\pi = D p`: no optimiser, one number a class. It is exact for the optimum of
    the population, where no voxel is saturated: p = 1 stands for all :math:`\pi` from D up. The background takes
    what the foreground classes leave. The argmax may change; the cut that is best for Dice moves from 1/2 to D/2.
    **An experiment**: on real networks it helps in some measures and harms in others; see the table in docs/models.md.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        gamma: the exponent of the loss that the network was trained with.
        max_voxels: voxels kept to report the NLL.
        seed: of the choice of these voxels.

    Raises:
        ValueError: if ``gamma`` is not above one (at one the optimum is 0 or 1 and nothing can be undone).

    Example:
        >>> import torch
        >>> from models import Case, DicePlusPlusInverse
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> calibrator = DicePlusPlusInverse(num_classes=2, gamma=2.0)
        >>> report = calibrator.fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> round(float(calibrator.soft_dice[1]), 3), round(float(calibrator(sure)[0, 1, 0]), 3)  # D, and D p
        (0.834, 0.751)
    """

    keeps_argmax: ClassVar[bool] = False
    sums: Tensor
    soft_dice: Tensor
    fitted: Tensor

    def __init__(self, num_classes: int, gamma: float = 2.0, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__(num_classes, max_voxels, seed)
        if gamma <= 1:
            raise ValueError(f"gamma must be above 1, got {gamma}: at 1 the optimum is 0 or 1, which can't be undone")
        self.gamma = gamma
        self.register_buffer("sums", torch.zeros(num_classes, 2, dtype=torch.float64), persistent=False)
        self.register_buffer("soft_dice", torch.ones(num_classes))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def see(self, case: Case) -> None:
        """Add a case's overlap T and its terms N and P, class by class."""
        for probs, target in zip(case.probs.flatten(2), case.target.flatten(1), strict=True):
            labels, valid = check_labels(target, self.num_classes)
            for k in range(1, self.num_classes):
                p, mine = probs[k][valid].double(), labels[valid] == k
                error = torch.where(mine, 1 - p, p) ** self.gamma
                self.sums[k] += torch.stack((p[mine].sum(), error.sum())).cpu()

    def reset(self) -> None:
        """Forget what was summed."""
        self.sums.zero_()

    def solve(self, sample: VoxelSample) -> None:
        """The soft coefficients; a class that is neither there nor predicted keeps 1."""
        overlap, errors = self.sums.unbind(1)
        total = 2 * overlap + errors
        self.soft_dice.copy_(torch.where(total > 0, 2 * overlap / total.clamp_min(1e-30), torch.ones_like(total)))
        self.fitted.fill_(True)

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Log probabilities with the foreground classes undone."""
        p = log_probs.exp()
        power, rest = p ** (self.gamma - 1), (1 - p).clamp_min(0) ** (self.gamma - 1)
        dice = self.soft_dice.to(p).clamp_min(1e-6).view(-1, 1)
        undone = (power / (power + rest + (2 / dice - 2) / self.gamma))[:, 1:]
        share = undone.sum(1, keepdim=True)
        undone = undone / share.clamp_min(1)
        result = log_probabilities(torch.cat(((1 - share).clamp_min(0), undone), dim=1))
        return torch.where(self.fitted, result, log_probs)
