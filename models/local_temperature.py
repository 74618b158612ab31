"""Temperatures that depend on the image: one a voxel, or one an image."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .calibrator import Calibrator, Case, FitReport, VoxelSample, check_labels, log_probabilities
from .network import positive
from .temperature import TemperatureScaling

Convolution = nn.Conv2d | nn.Conv3d


class LocalTemperatureScaling(Calibrator):
    r""":math:`\mathrm{softmax}(z(x) / T(x))` with a map of temperatures (Ding et al. 2021). Keeps the argmax.

    Four dilated 5-wide convolutions of the logits :math:`\log p` are mixed by a soft tree of three gates, and the
    mixture by a fourth gate with a convolution of the image: :math:`T = \mathrm{relu}(1 + \text{mix}) + 10^{-8}`, for
    images and volumes. All begin at zero; then the leaves start from the temperature that is best everywhere, where the
    published code starts from T = 2. Fitted by Adam on the NLL of crops, one a case and epoch; the epoch with the least
    mean NLL is kept. Without an image channel (``in_channels`` 0) the logits alone decide.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        in_channels: channels of the image; 0 to leave it aside.
        spatial_dims: 2 for images, 3 for volumes.
        epochs: passes over the cases.
        learning_rate: of Adam.
        patch: largest crop along an axis while fitting, which bounds memory.
        max_voxels: voxels kept to fit the temperature to start from.
        seed: of crops and voxels.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> from models import Case, LocalTemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(2, 5, 1).permute(2, 0, 1)[None]  # 0.9 for class 1
        >>> case = Case(sure, torch.tensor([[1] * 7 + [0] * 3]).view(1, 2, 5), image=torch.zeros(1, 1, 2, 5))
        >>> calibrator = LocalTemperatureScaling(num_classes=2, epochs=1)
        >>> report = calibrator.fit([case])
        >>> calibrator(sure, case.image).shape, report.nll_after < report.nll_before
        (torch.Size([1, 2, 2, 5]), True)
    """

    leaves: Convolution
    gates: Convolution
    image_leaf: Convolution
    image_gate: Convolution

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        spatial_dims: int = 2,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        patch: int = 128,
        max_voxels: int = 500_000,
        seed: int = 0,
    ) -> None:
        super().__init__(num_classes, max_voxels, seed)
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
        if in_channels < 0:
            raise ValueError(f"in_channels must not be negative, got {in_channels}")
        self.epochs, self.patch = positive("epochs", epochs), positive("patch", patch)
        self.learning_rate, self.in_channels, self.spatial_dims = learning_rate, in_channels, spatial_dims

        def convolution(before: int, after: int) -> Convolution:
            kind = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
            layer = kind(before, after, 5, padding=4, dilation=2, padding_mode="replicate")
            for p in layer.parameters():
                nn.init.zeros_(p)
            return layer

        self.leaves, self.gates = convolution(num_classes, 4), convolution(num_classes, 3)
        if in_channels:
            self.image_leaf, self.image_gate = convolution(in_channels, 1), convolution(in_channels + num_classes, 1)

    def forward(self, probs: Tensor, image: Tensor | None = None) -> Tensor:
        """Calibrated probabilities ``(B, K, *S)``.

        Raises:
            ValueError: if the method reads the image and none, or one of other channels or size, is given.
        """
        logs = log_probabilities(self._checked(probs).float())
        with torch.no_grad():
            return (logs / self.temperatures(logs, image)).softmax(1).to(probs.dtype)

    def temperatures(self, logs: Tensor, image: Tensor | None = None) -> Tensor:
        """The map of temperatures ``(B, 1, *S)`` for log probabilities ``(B, K, *S)``."""
        logs = logs.clamp_min(-30.0)  # a certain voxel's log probability would drown the others in the window
        if self.in_channels:
            wanted = (logs.shape[0], self.in_channels, *logs.shape[2:])
            if image is None or tuple(image.shape) != wanted:
                found = None if image is None else tuple(image.shape)
                raise ValueError(f"{type(self).__name__} reads the image: expected shape {wanted}, got {found}")
            logs = torch.cat((image.to(logs), logs), dim=1)
        features = self._convolved(logs)
        first, second, third, fourth = features[:, :4].unsqueeze(2).unbind(1)
        top, left, right = features[:, 4:7].sigmoid().unsqueeze(2).unbind(1)
        mixed = top * (left * first + (1 - left) * second) + (1 - top) * (right * third + (1 - right) * fourth)
        if self.in_channels:
            gate = features[:, 8:].sigmoid()
            mixed = gate * mixed + (1 - gate) * features[:, 7:8]
        return self.spread(F.relu(1 + mixed) + 1e-8)

    def _convolved(self, inputs: Tensor) -> Tensor:
        """All layers at once, with zeros where a kernel does not read a channel, which is 2.5 times faster.

        Channels: four leaves, three gates, and with an image its leaf and its gate.
        """
        dims, layers = self.spatial_dims, [self.leaves, self.gates]
        weight = torch.cat([layer.weight for layer in layers])
        if self.in_channels:
            layers += [self.image_leaf, self.image_gate]
            behind = (0, 0) * dims + (0, self.num_classes)
            before = (0, 0) * dims + (self.in_channels, 0)
            weight = torch.cat((F.pad(weight, before), F.pad(self.image_leaf.weight, behind), self.image_gate.weight))
        bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
        convolve = F.conv2d if dims == 2 else F.conv3d
        return convolve(F.pad(inputs, (4, 4) * dims, mode="replicate"), weight, bias, dilation=2)

    def spread(self, temperatures: Tensor) -> Tensor:
        """What becomes of the map; here, nothing."""
        return temperatures

    def fit(self, cases: Iterable[Case]) -> FitReport:
        """Start from the best temperature everywhere, then train the map; see the base."""
        tempered = TemperatureScaling(self.num_classes, self.max_voxels, self.seed)
        start = tempered.fit(cases)
        self._begin(min(tempered.temperature, 20.0))
        optimiser = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        best, kept = self._mean_nll(cases), copy.deepcopy(self.state_dict())
        for _ in range(self.epochs):
            for case in cases:
                self._step(optimiser, crop(case, self.patch, generator))
            nll = self._mean_nll(cases)
            if nll < best:
                best, kept = nll, copy.deepcopy(self.state_dict())
        self.load_state_dict(kept)
        return start._replace(nll_after=best, voxels_used=start.voxels, sampling_error=0.0)

    def solve(self, sample: VoxelSample) -> None:
        """Not used: `fit` passes over whole cases."""
        raise NotImplementedError

    def _begin(self, temperature: float) -> None:
        with torch.no_grad():
            for p in self.parameters():
                p.zero_()
            for name, p in self.named_parameters():
                if name in ("leaves.bias", "image_leaf.bias"):
                    p.fill_(temperature - 1)

    def _step(self, optimiser: torch.optim.Optimizer, case: Case) -> None:
        with torch.enable_grad():
            total, voxels = self._nll(case)
            if voxels:
                optimiser.zero_grad()
                (total / voxels).backward()
                optimiser.step()
                optimiser.zero_grad()

    def _mean_nll(self, cases: Iterable[Case]) -> float:
        total, voxels = 0.0, 0
        with torch.no_grad():
            for case in cases:
                nll, count = self._nll(case)
                total, voxels = total + float(nll), voxels + count
        return total / max(voxels, 1)

    def _nll(self, case: Case) -> tuple[Tensor, int]:
        """Sum of the NLL over a case's voxels, and their number."""
        logs = log_probabilities(self._checked(case.probs).float())
        labels, valid = check_labels(case.target, self.num_classes)
        tempered = (logs / self.temperatures(logs, case.image)).log_softmax(1)
        picked = tempered.gather(1, torch.where(valid, labels, 0)[:, None])[:, 0]
        return -(picked * valid).double().sum(), int(valid.sum())


class ImageTemperatureScaling(LocalTemperatureScaling):
    """One temperature an image: the mean of the local map (Ding et al. 2021). Keeps the argmax.

    Args:
        num_classes: classes, background included; two for a network with one sigmoid channel.
        in_channels: channels of the image; 0 to leave it aside.
        spatial_dims: 2 for images, 3 for volumes.
        epochs: passes over the cases.
        learning_rate: of Adam.
        patch: largest crop along an axis while fitting, which bounds memory.
        max_voxels: voxels kept to fit the temperature to start from.
        seed: of crops and voxels.

    Example:
        >>> import torch
        >>> from models import Case, ImageTemperatureScaling
        >>> sure = torch.tensor([0.1, 0.9]).repeat(2, 5, 1).permute(2, 0, 1)[None]  # 0.9 for class 1
        >>> case = Case(sure, torch.tensor([[1] * 7 + [0] * 3]).view(1, 2, 5), image=torch.zeros(1, 1, 2, 5))
        >>> calibrator = ImageTemperatureScaling(num_classes=2, epochs=1)
        >>> report = calibrator.fit([case])
        >>> round(float(calibrator(sure, case.image)[0, 1, 0, 0]), 2)
        0.7
    """

    def spread(self, temperatures: Tensor) -> Tensor:
        """The mean over the image, everywhere."""
        axes = tuple(range(2, temperatures.dim()))
        return temperatures.mean(axes, keepdim=True).expand_as(temperatures)


def crop(case: Case, patch: int, generator: torch.Generator) -> Case:
    """A random part of a case, at most ``patch`` along each axis."""
    probs, target, image = case
    for axis, size in enumerate(target.shape[1:], start=1):
        length = min(size, patch)
        start = int(torch.randint(size - length + 1, (), generator=generator))
        probs, target = probs.narrow(axis + 1, start, length), target.narrow(axis, start, length)
        image = None if image is None else image.narrow(axis + 1, start, length)
    return Case(probs, target, image)
