"""Averages of several predictions, with what they disagree about: test-time augmentation, ensembles, dropout."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .activation import Exclusive, two_class
from .network import positive
from .sliding_window import Inference, Predict, WholeImage


class Prediction(NamedTuple):
    """Mean probabilities and two maps of uncertainty, in nats.

    Example:
        >>> import torch
        >>> from models import combine
        >>> sure = torch.tensor([[[1.0], [0.0]]])
        >>> prediction = combine([sure, sure.flip(1)])  # two members that disagree
        >>> [round(float(part.max()), 3) for part in prediction]
        [0.5, 0.693, 0.693]
    """

    probs: Tensor  # (1, K, *S)
    entropy: Tensor  # (1, *S), of the mean
    mutual_information: Tensor  # (1, *S), between label and member: entropy of the mean less mean entropy


def combine(members: Iterable[Tensor]) -> Prediction:
    r"""Average the probabilities of several members, one at a time.

    :math:`H(\bar p)` is the predictive entropy; :math:`H(\bar p) - \overline{H(p)}`, the mutual information, is the
    part of it that comes from the members' disagreement (0 where they agree, at most :math:`\log K`).

    Args:
        members: probabilities ``(B, K, *S)`` of each.

    Raises:
        ValueError: if there is no member.

    Example:
        >>> import torch
        >>> from models import combine
        >>> sure = torch.tensor([[[1.0], [0.0]]])
        >>> combine([sure, sure]).mutual_information, combine([sure, sure.flip(1)]).mutual_information
        (tensor([[0.]]), tensor([[0.6931]]))
    """
    count, total, entropies = 0, torch.empty(0), torch.empty(0)
    for probs in members:
        if count == 0:
            total, entropies = probs.clone(), entropy(probs)
        else:
            total += probs
            entropies += entropy(probs)
        count += 1
    if count == 0:
        raise ValueError("members must hold at least one prediction, got none")
    mean = total.div_(count)
    predictive = entropy(mean)
    return Prediction(mean, predictive, (predictive - entropies / count).clamp_min(0))


def entropy(probs: Tensor) -> Tensor:
    """Entropy ``(B, *S)`` in nats of probabilities ``(B, K, *S)``; of regions, ``(B, 2 R, *S)``, the sum over them.

    Example:
        >>> import torch
        >>> from models import entropy
        >>> entropy(torch.tensor([[[0.9, 0.5], [0.1, 0.5]]]))
        tensor([[0.3251, 0.6931]])
    """
    return -torch.special.xlogy(probs, probs).sum(1)


class Averaged(Inference):
    """Base of the inferences that average members; `uncertainty` gives their disagreement too.

    Args:
        inference: how each member sees an image: whole if none is given.

    Example:
        >>> import torch
        >>> from models import Averaged
        >>> class Brightness(Averaged):
        ...     def members(self, image, predict):
        ...         for shift in (-0.1, 0.0, 0.1):
        ...             yield self.inference(image + shift, predict)
        >>> found = Brightness().uncertainty(torch.zeros(1, 1, 8, 8), lambda image: torch.cat([image, -image], 1))
        >>> found.probs.shape, found.mutual_information.shape
        (torch.Size([1, 2, 8, 8]), torch.Size([1, 8, 8]))
    """

    def __init__(self, inference: Inference | None = None) -> None:
        self.inference = inference or WholeImage()
        self.window = self.inference.window

    def pad_as(self, padding: str) -> None:
        """As each member's inference does."""
        self.inference.pad_as(padding)

    def activate_by(self, activation: Exclusive) -> None:
        """As each member's inference does."""
        self.inference.activate_by(activation)

    @abstractmethod
    def members(self, image: Tensor, predict: Predict) -> Iterator[Tensor]:
        """Probabilities ``(1, K, *S)`` of one member after the other."""

    def uncertainty(self, image: Tensor, predict: Predict) -> Prediction:
        """Mean probabilities, predictive entropy and mutual information of one image ``(1, C, *S)``."""
        return combine(self.members(image, predict))

    def __call__(self, image: Tensor, predict: Predict) -> Tensor:
        """Mean probabilities ``(1, K, *S)`` of one image; see the base."""
        return self.uncertainty(image, predict).probs


class TestTimeAugmentation(Averaged):
    """Mean of the probabilities of the image and its mirror images, brought back.

    Args:
        axes: spatial axes to mirror, counted from 0, in all combinations; all axes if none are given.
        quarter_turns: also turn by 90, 180 and 270 degrees in the plane of the last two axes.
        inference: how each of them is seen: whole if none is given, or a `models.SlidingWindow`.

    Raises:
        ValueError: if the image lacks one of the axes.

    Example:
        >>> import torch
        >>> from models import TestTimeAugmentation, UNet
        >>> net = UNet(in_channels=1, width=2, depth=2).eval()
        >>> image = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
        >>> probs = TestTimeAugmentation()(image, net)
        >>> torch.allclose(probs, TestTimeAugmentation()(image.flip(2), net).flip(2), atol=1e-6)
        True
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(
        self, axes: list[int] | None = None, quarter_turns: bool = False, inference: Inference | None = None
    ) -> None:
        super().__init__(inference)
        self.axes, self.quarter_turns = axes, quarter_turns

    def members(self, image: Tensor, predict: Predict) -> Iterator[Tensor]:
        """Probabilities of the image and each of its transforms."""
        rank = image.dim() - 2
        axes = range(rank) if self.axes is None else self.axes
        if any(not 0 <= axis < rank for axis in axes):
            raise ValueError(f"axes must be among 0..{rank - 1} for an image of {rank} axes, got {list(axes)}")
        subsets = chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1))
        for flipped in subsets:
            dims = [axis + 2 for axis in flipped]
            for turns in self._turns(rank):
                seen = torch.rot90(image.flip(dims), turns, (-2, -1))
                probs = self.inference(seen, predict)
                yield torch.rot90(probs, -turns, (-2, -1)).flip(dims)

    def _turns(self, rank: int) -> range:
        """Quarter turns beside each mirroring, so that each symmetry of the plane comes once."""
        plane = {rank - 2, rank - 1}
        mirrored = plane <= set(range(rank) if self.axes is None else self.axes)
        # mirroring both axes of the plane is half a turn already
        return range((2 if mirrored else 4) if self.quarter_turns else 1)


class MonteCarloDropout(Averaged):
    """Mean over forward passes in which the network's dropout stays on (Gal and Ghahramani 2016).

    Args:
        samples: number of passes.
        seed: of the dropped channels, so that an image always gets the same probabilities.
        inference: how each pass sees the image: whole if none is given, or a `models.SlidingWindow`.

    Raises:
        ValueError: if the network has no dropout layer with a rate above zero, or ``predict`` doesn't tell its network.

    Example:
        >>> import torch
        >>> from models import MonteCarloDropout, UNet
        >>> net = UNet(in_channels=1, width=2, depth=2, dropout=0.5).eval()
        >>> found = MonteCarloDropout(samples=3).uncertainty(torch.randn(1, 1, 16, 16), net)
        >>> bool(found.mutual_information.max() > 0)
        True
    """

    def __init__(self, samples: int = 10, seed: int = 0, inference: Inference | None = None) -> None:
        super().__init__(inference)
        self.samples, self.seed = positive("samples", samples), seed

    def members(self, image: Tensor, predict: Predict) -> Iterator[Tensor]:
        """Probabilities of one pass after the other."""
        net = owner(predict)
        for sample in range(self.samples):
            with dropout_on(net), torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
                torch.manual_seed(self.seed + sample)
                probs = self.inference(image, predict)
            yield probs


class CheckpointEnsemble(Averaged):
    """Mean over checkpoints of one network (Lakshminarayanan et al. 2017; for segmentation Mehrtash et al. 2020).

    Args:
        checkpoints: further checkpoints of the same network, beside the one that is loaded.
        inference: how each of them sees the image: whole if none is given, or a `models.SlidingWindow`.

    Raises:
        ValueError: if a checkpoint is of another network.

    Example:
        >>> import torch
        >>> from models import CheckpointEnsemble, UNet
        >>> module = torch.nn.ModuleDict({"net": UNet(in_channels=1, width=2, depth=2)}).eval()
        >>> torch.save({"state_dict": module.state_dict()}, "other.ckpt")
        >>> module.forward = lambda image: module["net"](image)
        >>> CheckpointEnsemble(["other.ckpt"])(torch.zeros(1, 1, 16, 16), module).shape
        torch.Size([1, 2, 16, 16])
    """

    def __init__(self, checkpoints: list[str], inference: Inference | None = None) -> None:
        super().__init__(inference)
        self.checkpoints = list(checkpoints)

    def members(self, image: Tensor, predict: Predict) -> Iterator[Tensor]:
        """Probabilities of the loaded weights, then of each checkpoint's; the loaded ones come back at the end."""
        yield self.inference(image, predict)
        module = owner(predict)
        weights = {name: value for name, value in module.state_dict().items() if name.startswith("net.")}
        own = {name: value.clone() for name, value in weights.items()}
        try:
            for path in self.checkpoints:
                state = torch.load(path, map_location=image.device, weights_only=True)["state_dict"]
                state = {name: value for name, value in state.items() if name.startswith("net.")}
                if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in own.items()}:
                    raise ValueError(f"checkpoint {path} is of another network: it cannot join the ensemble")
                module.load_state_dict(state, strict=False)
                yield self.inference(image, predict)
        finally:
            module.load_state_dict(own, strict=False)


class Ensemble(nn.Module):
    """Several networks as one, whose softmax is the mean of theirs: its logits are the logarithm of that mean.

    Args:
        nets: networks of the same channels and classes.

    Raises:
        ValueError: if there is none.

    Example:
        >>> import torch
        >>> from models import Ensemble, UNet
        >>> nets = [UNet(in_channels=1, width=2, depth=2).eval() for _ in range(3)]
        >>> image = torch.zeros(1, 1, 16, 16)
        >>> probs = Ensemble(nets)(image).softmax(1)
        >>> torch.allclose(probs, sum(net(image).softmax(1) for net in nets) / 3, atol=1e-6)
        True
    """

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        if not nets:
            raise ValueError("nets must hold at least one network, got none")
        self.nets = nn.ModuleList(nets)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(B, K, *S)``, at least two classes."""
        logs = torch.stack([two_class(net(image).float()).log_softmax(1) for net in self.nets])
        return torch.logsumexp(logs, dim=0) - torch.log(torch.tensor(float(len(self.nets))))


def owner(predict: Predict) -> nn.Module:
    """The module behind ``predict``: itself, or the one whose method it is.

    Raises:
        ValueError: if there is none.
    """
    module = getattr(predict, "__self__", predict)
    if not isinstance(module, nn.Module):
        raise ValueError(f"predict must be a module or a module's method, got {type(predict).__name__}")
    return module


@contextmanager
def dropout_on(net: nn.Module) -> Iterator[None]:
    """Keep the dropout layers of a network active within the block, and nothing else.

    Raises:
        ValueError: if it has none with a rate above zero.
    """
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    layers = [layer for layer in net.modules() if isinstance(layer, kinds) and layer.p > 0]
    if not layers:
        raise ValueError("the network has no dropout to sample; build it with one, such as --model.net.dropout 0.2")
    before = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.train(mode)
