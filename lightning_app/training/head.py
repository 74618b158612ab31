"""What a network's channels mean: classes of which each voxel has one, or regions that may overlap.

Training, scoring, calibration, prediction and pictures ask the head; nothing else knows of the difference. Shape
letters: B items, K classes, R regions, C channels of probabilities: K, or 2 R (`models.Separate`).
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

import losses
import metrics
from datamodules.regions import Regions
from lightning_app.calibration.risk import case_odds, promised_labels, promised_sets
from lightning_app.training.labels import IGNORED, hard_labels
from models import Ensemble, Exclusive, Separate

Binary = Literal["softmax", "sigmoid"]


class Picture(NamedTuple):
    """What is drawn of a case: true and predicted labels (*S), and probabilities whose largest is the confidence."""

    truth: Tensor
    prediction: Tensor
    probs: Tensor


class Head:
    """Classes of which each voxel has one: a softmax over them, or for two of them one sigmoid channel.

    Args:
        class_names: Names of the classes, background first.
        binary: Whether two classes have two channels or one.

    Attributes:
        names: Names of what is scored, background first.
        labels: Names of the classes in label maps.
        channels: The network's output channels.
        num_classes: Classes of a problem.
        regions: How many regions there are, each a problem of its own; 0 where there is one problem.
        activation: Makes probabilities of logits.

    Raises:
        ValueError: If one channel is asked for other than two classes.
    """

    activation: Exclusive = Exclusive()
    regions = 0

    def __init__(self, class_names: Sequence[str], binary: Binary = "softmax") -> None:
        if binary == "sigmoid" and len(class_names) != 2:
            raise ValueError(f"--model.binary sigmoid needs data with two classes, these have {len(class_names)}")
        self.names = self.labels = tuple(class_names)
        self.num_classes = len(self.names)
        self.channels = 1 if binary == "sigmoid" else self.num_classes

    @property
    def largest_entropy(self) -> float:
        """The largest entropy that a voxel's probabilities can have, in nats."""
        return math.log(len(self.names))

    @property
    def maps(self) -> int:
        """Channels of probabilities C."""
        return self.num_classes * max(1, self.regions)

    def scorer(self) -> metrics.Scorer:
        """A scorer of these classes."""
        return metrics.Scorer(len(self.names), self.names)

    def objective(self, loss: nn.Module) -> nn.Module:
        """The loss of all channels."""
        return loss

    def taught(self, mask: Tensor) -> Tensor:
        """What the objective is given of a mask (B, *S), or (B, K, *S) of several raters."""
        return mask

    def items(self, probs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, C, *S) and mask as items of one problem of classes each, (N, K, *S) and (N, *S)."""
        return probs, hard_labels(mask, probs)

    def scored(
        self, probs: Tensor, mask: Tensor, true_probs: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Probabilities, labels and known probabilities as the scorer takes them."""
        return *self.items(probs, mask), true_probs

    def logits(self, probs: Tensor) -> Tensor:
        """Logits of whose probabilities these are."""
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()

    def restore(self, probs: Tensor, geometry: Any) -> Tensor:
        """Probabilities (C, *S) of the network's grid on the case's original one."""
        return geometry.restore(probs)

    def odds(self, probs: Tensor, mask: Tensor) -> Tensor:
        """Counts (2, K, AXIS_BINS) of a case, (C, *S) and (*S); see `metrics.CaseSums`."""
        return case_odds(probs, mask)

    def traits(self, probs: Tensor) -> dict[str, float]:
        """What probabilities (C, *S) say of a case without its label, `<key>/<class>`; see `metrics.drift.TRAITS`."""
        nothing = torch.zeros(1, *probs.shape[1:], dtype=torch.uint8, device=probs.device)
        each = [metrics.case_traits(p) for p in self.items(probs[None], nothing)[0]]
        found = {key: torch.cat([one[key] for one in each]).tolist() for key in each[0]}
        return {
            f"{key}/{name}": v for key, values in found.items() for name, v in zip(self.names[1:], values, strict=True)
        }

    def written(self, probs: Tensor) -> Tensor:
        """The probabilities (K, *S), or of regions (R, *S), that a file holds."""
        return probs

    def foreground(self, probs: Tensor) -> Tensor:
        """Probability (*S) of any foreground, of (C, *S)."""
        return 1 - probs[0]

    def label_map(
        self, probs: Tensor, cuts: Sequence[float] | None = None, promised: Sequence[int | None] | None = None
    ) -> Tensor:
        """Labels (*S) of probabilities (C, *S): by cuts, by promised first bins, else of the largest probability."""
        if promised is not None:
            return promised_labels(probs, promised)
        return probs.argmax(0) if cuts is None else metrics.threshold_labels(probs, cuts)

    def sets(self, probs: Tensor, promised: Sequence[int | None]) -> Tensor:
        """What is claimed for each foreground class or region, bool; they may overlap."""
        return promised_sets(probs, promised)

    def picture(self, probs: Tensor, mask: Tensor, cuts: Sequence[float] | None = None) -> Picture:
        """What is drawn of probabilities (C, *S) and a mask (*S); the prediction is made by the cuts, if any."""
        return Picture(hard_labels(mask[None], probs[None])[0], self.label_map(probs, cuts), probs)

    def check(self, net: nn.Module) -> None:
        """Refuse a network that cannot have this head."""


class RegionHead(Head):
    """Regions that may overlap: a sigmoid for each, and each a two-class problem of its own.

    Args:
        class_names: Names of the classes in label maps, background first.
        regions: The classes that each region unites.
        binary: Must be left alone.

    Raises:
        ValueError: If `binary` was chosen.
    """

    activation = Separate()

    def __init__(self, class_names: Sequence[str], regions: Regions, binary: Binary = "softmax") -> None:
        if binary != "softmax":
            raise ValueError(f"--model.binary {binary}: regions have a sigmoid each as it is; leave it out")
        self.names = ("background", *regions.united)
        self.labels, self.order, self.num_classes = tuple(class_names), regions.order, 2
        self.channels = self.regions = len(regions.united)
        self.united = tuple(regions.united.values())
        self.table = torch.zeros(self.channels, IGNORED + 1, dtype=torch.uint8)
        for inside, united in zip(self.table, self.united, strict=True):
            inside[list(united)] = 1
        self.table[:, IGNORED] = IGNORED

    @property
    def largest_entropy(self) -> float:
        """The sum over the regions."""
        return self.channels * math.log(2)

    def scorer(self) -> metrics.Scorer:
        """A scorer of each region."""
        return metrics.Scorer(len(self.names), self.names, multilabel=True)

    def objective(self, loss: nn.Module) -> nn.Module:
        """The mean over the regions."""
        return losses.MultiLabelLoss(loss)

    def taught(self, mask: Tensor) -> Tensor:
        """Labels (B, R, *S): 1 inside of each region, 255 where nothing counts.

        Raises:
            ValueError: For soft labels.
        """
        if mask.is_floating_point():
            raise ValueError("regions need one label map a case, not the shares of several raters: leave regions out")
        self.table = self.table.to(mask.device)
        return self.table[:, mask.long()].movedim(0, 1)

    def items(self, probs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each region of each item, (B R, 2, *S) and (B R, *S)."""
        pairs, labels, _ = self.scored(probs, mask)
        return pairs.flatten(0, 1), labels.flatten(0, 1)

    def scored(
        self, probs: Tensor, mask: Tensor, true_probs: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Probabilities (B, R, 2, *S), labels (B, R, *S), and the known probabilities (B, R, 2, *S)."""
        return probs.unflatten(1, (-1, 2)), self.taught(mask), None if true_probs is None else self._true(true_probs)

    def logits(self, probs: Tensor) -> Tensor:
        """Logits (B, R, *S) of whose sigmoids these are."""
        logs = super().logits(probs).unflatten(1, (-1, 2))
        return logs[:, :, 1] - logs[:, :, 0]

    def restore(self, probs: Tensor, geometry: Any) -> Tensor:
        """Each region by itself, as two classes."""
        return torch.cat([geometry.restore(pair) for pair in probs.split(2)])

    def odds(self, probs: Tensor, mask: Tensor) -> Tensor:
        """Those of each region; class 0 has nothing."""
        each = [case_odds(*item)[:, 1] for item in zip(*self.items(probs[None], mask[None]), strict=True)]
        return torch.stack([torch.zeros_like(each[0]), *each], 1)

    def written(self, probs: Tensor) -> Tensor:
        """The sigmoids (R, *S)."""
        return probs[1::2]

    def foreground(self, probs: Tensor) -> Tensor:
        """The mean over the regions."""
        return self.written(probs).mean(0)

    def label_map(
        self, probs: Tensor, cuts: Sequence[float] | None = None, promised: Sequence[int | None] | None = None
    ) -> Tensor:
        """Labels (*S) as nnU-Net writes them: of each region its class, the later over the earlier."""
        pairs = probs.split(2)
        if promised is not None:
            return self._painted(list(self.sets(probs, promised)))
        own = [None] * len(pairs) if cuts is None else [(0.5, cut) for cut in cuts[1:]]
        return self._painted([super(RegionHead, self).label_map(*each) > 0 for each in zip(pairs, own, strict=True)])

    def sets(self, probs: Tensor, promised: Sequence[int | None]) -> Tensor:
        """What is claimed for each region."""
        return torch.cat([promised_sets(pair, [first]) for pair, first in zip(probs.split(2), promised, strict=True)])

    def picture(self, probs: Tensor, mask: Tensor, cuts: Sequence[float] | None = None) -> Picture:
        """The label maps of regions, and the confidence of the region that is least sure."""
        labels = self.taught(mask[None])[0]
        truth = self._painted(list(labels == 1)).masked_fill(mask == IGNORED, IGNORED)
        least = probs.unflatten(0, (-1, 2)).amax(1).amin(0)
        return Picture(truth, self.label_map(probs, cuts), torch.stack([least, 1 - least]))

    def check(self, net: nn.Module) -> None:
        """Refuse a network that forms a softmax.

        Raises:
            ValueError: For `models.Ensemble`.
        """
        if isinstance(net, Ensemble):
            raise ValueError("models.Ensemble averages softmaxes: for regions take models.CheckpointEnsemble")

    def _painted(self, inside: Sequence[Tensor]) -> Tensor:
        """Label map of where each region is."""
        found = torch.zeros_like(inside[0], dtype=torch.int64)
        for region, number in zip(inside, self.order, strict=True):
            found[region] = number
        return found

    def _true(self, true_probs: Tensor) -> Tensor:
        """The known probabilities (B, K, *S) of classes as pairs of each region."""
        inside = torch.stack([true_probs[:, list(united)].sum(1) for united in self.united], 1)
        return torch.stack([1 - inside, inside], 2)


def output_channels(num_classes: int, regions: Regions | None, binary: Binary) -> int:
    """Channels that the network needs."""
    if regions is not None:
        return len(regions.united)
    return 1 if binary == "sigmoid" and num_classes == 2 else num_classes


def make_head(num_classes: int, class_names: Sequence[str], regions: Regions | None, binary: Binary) -> Head:
    """The head of data with these classes, or with these regions of them.

    Raises:
        ValueError: If the names are not as many as the classes, or regions and `binary` do not go together.
    """
    if len(class_names) != num_classes:
        raise ValueError(f"class_names={list(class_names)} must name {num_classes} classes, background among them")
    return Head(class_names, binary) if regions is None else RegionHead(class_names, regions, binary)


def head_of(module: Any) -> Head:
    """The head of a training module; of other modules than ours, that of their classes."""
    own = getattr(module, "head", None)  # many networks call their last layer so
    return own if isinstance(own, Head) else Head(tuple(module.class_names))
