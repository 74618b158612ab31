"""What all post-hoc calibrators share: probabilities in and out, a fit that streams, a bounded sample of voxels."""

import warnings
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

IGNORE = 255
CHUNK = 1 << 20  # voxels calibrated at once


class Case(NamedTuple):
    """One case of the validation set: what the network said, what is true, and the image where a method reads it.

    Example:
        >>> import torch
        >>> from models import Case
        >>> case = Case(probs=torch.full((1, 2, 8, 8), 0.5), target=torch.zeros(1, 8, 8, dtype=torch.long))
        >>> case.image is None
        True
    """

    probs: Tensor  # (1, K, *S)
    target: Tensor  # (1, *S), 255 = ignore
    image: Tensor | None = None  # (1, C, *S)


class FitReport(NamedTuple):
    """What a fit saw and gained; the error is that of fitting a sample of the voxels, not of having few cases.

    Example:
        >>> import torch
        >>> from models import Case, TemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]  # class 1 to 0.9 in ten voxels; seven are of it
        >>> report = TemperatureScaling(num_classes=2).fit([Case(sure, torch.tensor([[1] * 7 + [0] * 3]))])
        >>> report.voxels, round(report.nll_before, 3), round(report.nll_after, 3)
        (10, 0.765, 0.611)
    """

    voxels: int
    voxels_used: int
    nll_before: float
    nll_after: float
    sampling_error: float  # standard error of (nll_before - nll_after) from the subsampling of voxels
    nll_frequencies: float  # of a prediction that is everywhere the frequencies of the classes


class Calibrator(nn.Module):
    r"""Base of the post-hoc calibrators: ``(B, K, *S)`` probabilities to calibrated probabilities of the same shape.

    Logits are taken as :math:`\log p`, which differs from a network's logits by one number a voxel; so calibrators
    act on blended, averaged or stored probabilities. Float32 probabilities keep what is needed for that down to
    :math:`10^{-38}`. Before it is fitted, a calibrator changes nothing.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        max_voxels: voxels kept for the fit; the fit streams over all of them.
        seed: of the choice of these voxels.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> from models import Calibrator, Case
        >>> class Halfway(Calibrator):
        ...     def calibrated(self, log_probs):
        ...         return (log_probs.exp() / 2 + 0.5 / self.num_classes).log()
        ...     def solve(self, sample):
        ...         "Nothing to fit."
        >>> sure = torch.tensor([0.1, 0.9]).repeat(10, 1).T[None]
        >>> Halfway(num_classes=2)(sure)[0, :, 0]
        tensor([0.3000, 0.7000])
    """

    keeps_argmax: ClassVar[bool] = True

    def __init__(self, num_classes: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if max_voxels < 2:
            raise ValueError(f"max_voxels must be at least 2, got {max_voxels}")
        self.num_classes, self.max_voxels, self.seed = num_classes, max_voxels, seed

    @torch.no_grad()
    def forward(self, probs: Tensor, image: Tensor | None = None) -> Tensor:
        """Calibrated probabilities ``(B, K, *S)``; ``image (B, C, *S)`` is read by the image-based methods alone."""
        flat = self._checked(probs).flatten(2)
        calibrated = torch.empty_like(flat)
        for part, place in zip(flat.split(CHUNK, dim=2), calibrated.split(CHUNK, dim=2), strict=True):
            place.copy_(self.calibrated(log_probabilities(part)).exp())
        return calibrated.view(probs.shape)

    def calibrated(self, log_probs: Tensor) -> Tensor:
        """Calibrated log probabilities ``(B, K, N)`` of log probabilities ``(B, K, N)``, voxel by voxel."""
        raise NotImplementedError

    def fit(self, cases: Iterable[Case]) -> FitReport:
        """Fit to the cases of a validation set, one at a time.

        Args:
            cases: one case after the other; can be iterated anew (image-based methods pass several times).

        Returns:
            Voxels seen and used, negative log-likelihood before and after, and the error of subsampling.

        Raises:
            ValueError: if no voxel has a label, or a label is no class.
        """
        sample = self.begin()
        for case in cases:
            self.add(case, sample)
        report = self.finish(sample)
        if self.runaway:
            warnings.warn(f"{type(self).__name__}: {self.runaway}", UserWarning, stacklevel=2)
        return report

    def begin(self) -> "VoxelSample":
        """Begin a fit in steps: `add` each case once to the sample that this gives, then `finish`."""
        self.reset()
        return VoxelSample(self.num_classes, self.max_voxels, self.seed)

    def add(self, case: Case, sample: "VoxelSample") -> None:
        """Add a case to a fit."""
        self.see(case)
        sample.update(self._checked(case.probs), case.target)

    def finish(self, sample: "VoxelSample") -> FitReport:
        """End a fit; see `fit`."""
        if not any(sample.seen):
            raise ValueError("no voxel of the cases has a label: there is nothing to fit to")
        self.solve(sample)
        return sample.report(self)

    @property
    def runaway(self) -> str:
        """Why what was fitted is no optimum and should not be used, or nothing."""
        return ""

    def reset(self) -> None:
        """Forget what an earlier fit summed; methods that need only the sample leave this."""

    def see(self, case: Case) -> None:
        """Add what a method sums over all voxels; methods that need only the sample leave this."""

    def solve(self, sample: "VoxelSample") -> None:
        """Set the parameters from the sample and from what was summed."""
        raise NotImplementedError

    def penalty(self) -> Tensor | float:
        """What is added to the mean NLL in the fit."""
        return 0.0

    def _checked(self, probs: Tensor) -> Tensor:
        if probs.dim() < 3 or probs.shape[1] != self.num_classes:
            raise ValueError(
                f"{type(self).__name__} takes probabilities (batch, {self.num_classes}, ...), got {tuple(probs.shape)}"
            )
        return probs


class VoxelSample:
    """A uniform sample of voxels from a stream, in two strata, with weights that make its sums unbiased.

    Half the places go to voxels whose true class got less than 0.99, half to the rest (segmentations are mostly
    background that is certain and right). Within a stratum every voxel is as likely to be kept; it counts
    ``seen / kept``. Memory is ``max_voxels * (K + 2) * 4`` bytes.

    Args:
        num_classes: number of classes.
        max_voxels: voxels kept.
        seed: of the choice.
    """

    def __init__(self, num_classes: int, max_voxels: int = 500_000, seed: int = 0) -> None:
        self.num_classes = num_classes
        self._room = max_voxels // 2
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = [torch.empty(0) for _ in range(2)]
        self._logs = [torch.empty(num_classes, 0) for _ in range(2)]
        self._labels = [torch.empty(0, dtype=torch.uint8) for _ in range(2)]
        self.seen = [0, 0]

    def update(self, probs: Tensor, target: Tensor) -> None:
        """Offer the voxels of ``probs (B, K, *S)`` that have a label in ``target (B, *S)``.

        Raises:
            ValueError: if a label is neither a class nor 255, or the shapes don't fit.
        """
        if (probs.shape[0], *probs.shape[2:]) != tuple(target.shape):
            raise ValueError(f"probabilities {tuple(probs.shape)} and target {tuple(target.shape)} don't fit")
        for probs_item, target_item in zip(probs.flatten(2), target.flatten(1), strict=True):
            labels, valid = check_labels(target_item, self.num_classes)
            if not valid.all():
                labels, probs_item = labels[valid], probs_item[:, valid]
            easy = probs_item.gather(0, labels[None])[0] >= 0.99
            for stratum, mask in enumerate((~easy, easy)):
                self._offer(stratum, mask, probs_item, labels)

    def _offer(self, stratum: int, mask: Tensor, probs: Tensor, labels: Tensor) -> None:
        """Keep the voxels with the smallest random keys: a uniform sample whatever the order of the stream."""
        index = mask.nonzero()[:, 0]
        self.seen[stratum] += len(index)
        keys = torch.rand(len(index), generator=self._generator)
        held = self._keys[stratum]
        if len(held) == self._room:
            better = keys < held.max()
            keys, index = keys[better], index[better.to(index.device)]
        logs = log_probabilities(probs[:, index].float()).cpu()
        keys = torch.cat((held, keys))
        logs = torch.cat((self._logs[stratum], logs), dim=1)
        kept = torch.cat((self._labels[stratum], labels[index].to("cpu", torch.uint8)))
        if len(keys) > self._room:
            keys, order = keys.topk(self._room, largest=False, sorted=False)
            logs, kept = logs[:, order], kept[order]
        self._keys[stratum], self._logs[stratum], self._labels[stratum] = keys, logs, kept

    @property
    def log_probs(self) -> Tensor:
        """Log probabilities ``(1, K, n)`` of the kept voxels, float64."""
        return torch.cat(self._logs, dim=1)[None].double()

    @property
    def labels(self) -> Tensor:
        """Labels ``(1, n)`` of the kept voxels."""
        return torch.cat(self._labels)[None].long()

    @property
    def weights(self) -> Tensor:
        """Weights ``(1, n)`` of the kept voxels, that sum to one."""
        parts = [
            torch.full((len(keys),), seen / max(len(keys), 1)) for keys, seen in zip(self._keys, self.seen, strict=True)
        ]
        weights = torch.cat(parts).double()
        return (weights / weights.sum())[None]

    def report(self, calibrator: Calibrator) -> FitReport:
        """Negative log-likelihood before and after, with the standard error of their difference."""
        logs, labels = self.log_probs, self.labels
        with torch.no_grad():
            before = -logs.gather(1, labels[:, None])[0, 0]
            after = -calibrator.calibrated(logs).gather(1, labels[:, None])[0, 0]
        weights, variance, start = self.weights[0], 0.0, 0
        for keys, seen in zip(self._keys, self.seen, strict=True):
            gain = (before - after)[start : start + len(keys)]
            start += len(keys)
            if 1 < len(keys) < seen:
                share = seen / sum(self.seen)
                variance += share**2 * float(gain.var()) / len(keys) * (1 - len(keys) / seen)
        nll = [float((weights * value).sum()) for value in (before, after)]
        shares = torch.zeros(self.num_classes, dtype=torch.float64).index_add_(0, labels[0], weights)
        frequencies = float(torch.special.entr(shares).sum())
        return FitReport(sum(self.seen), len(before), nll[0], nll[1], variance**0.5, frequencies)


def log_probabilities(probs: Tensor) -> Tensor:
    """Logarithm of probabilities, zeros taken as the smallest normal number of the dtype."""
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def check_labels(target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Labels as int64, and which voxels have one.

    Raises:
        ValueError: if a label is neither a class nor 255.
    """
    labels = target.long()
    valid = labels != IGNORE
    wrong = valid & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        raise ValueError(f"target has label {int(labels[wrong][0])}, but there are {num_classes} classes")
    return labels, valid


def weighted_nll(log_probs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of minus the log probability of the label; ``(1, K, n)``, ``(1, n)``, ``(1, n)``."""
    return -(weights * log_probs.gather(1, labels[:, None])[:, 0]).sum()


def minimise(calibrator: Calibrator, sample: VoxelSample) -> None:
    """Fit a calibrator's parameters to a sample by L-BFGS in float64: mean NLL plus the calibrator's penalty."""
    logs, labels, weights = sample.log_probs, sample.labels, sample.weights
    calibrator.double()
    parameters = [p for p in calibrator.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(parameters, max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = weighted_nll(calibrator.calibrated(logs), labels, weights) + calibrator.penalty()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    optimiser.zero_grad()
    calibrator.float()
