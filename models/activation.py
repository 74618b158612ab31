"""What the channels of a network mean: classes that exclude each other, or regions that may overlap."""

import torch
from torch import Tensor


class Exclusive:
    """Classes of which each voxel has one: softmax. A single channel is the logit of class 1 against background.

    Example:
        >>> import torch
        >>> from models import Exclusive
        >>> Exclusive()(torch.zeros(1, 1, 4)).shape, float(Exclusive()(torch.zeros(1, 4, 1)).max())
        (torch.Size([1, 2, 4]), 0.25)
    """

    def __call__(self, logits: Tensor) -> Tensor:
        """Probabilities float32 of the network's logits ``(B, K, *S)``."""
        return self.normalised(self.complete(logits.float()))

    def complete(self, logits: Tensor) -> Tensor:
        """Logits with a channel for each probability; they may be averaged before they become probabilities."""
        return two_class(logits)

    def normalised(self, logits: Tensor) -> Tensor:
        """Probabilities of complete logits."""
        return logits.softmax(1)


class Separate(Exclusive):
    """Regions that may overlap, each a two-class problem of its own: a sigmoid a channel, with what it leaves to one.

    Logits ``(B, R, *S)`` become pairs ``(B, 2 R, *S)``: that a voxel lies outside of the first region, inside of it,
    outside of the second, ... Both are kept, as float32 has no room for what a sure sigmoid leaves to one.

    Example:
        >>> import torch
        >>> from models import Separate
        >>> Separate()(torch.tensor([[[0.0], [20.0]]]))[0, :, 0]
        tensor([5.0000e-01, 5.0000e-01, 2.0612e-09, 1.0000e+00])
    """

    def complete(self, logits: Tensor) -> Tensor:
        """Each region's logit behind that of its outside, 0."""
        return torch.stack((torch.zeros_like(logits), logits), 2).flatten(1, 2)

    def normalised(self, logits: Tensor) -> Tensor:
        """Probabilities of complete logits, pair by pair."""
        return logits.unflatten(1, (-1, 2)).softmax(2).flatten(1, 2)


def two_class(logits: Tensor) -> Tensor:
    """A single channel as two: background logit 0 and the logit given; more channels unchanged."""
    return torch.cat((torch.zeros_like(logits), logits), dim=1) if logits.shape[1] == 1 else logits
