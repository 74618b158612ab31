"""Cross entropy."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from losses.base import SegmentationLoss, in_range
from losses.inputs import IGNORED
from losses.statistics import result
from losses.voxelwise import ratio, voxel_sums


def negative_log(logits: Tensor, clip: float = 0.0) -> Tensor:
    """Negative log probability of each class, ``(G, K, n)``, with the probability held within ``[clip, 1 - clip]``."""
    nll = -torch.log_softmax(logits, dim=1)
    return nll.clamp(-math.log1p(-clip), -math.log(clip)) if clip else nll


class CrossEntropyLoss(SegmentationLoss):
    r"""Cross entropy, the mean of :math:`-\log p_y` over the counted voxels of the batch.

    With ``class_weights`` the weighted mean, divided by the sum of the weights of the voxels' labels. With soft labels
    :math:`-\sum_k q_k \log p_k`.

    Args:
        clip: Probabilities are held within ``[clip, 1 - clip]``, as in the code of the DSC++ paper: a voxel outside has
            no gradient. 0 is the exact cross entropy.
        class_weights: One weight for each class, background first.
        ignore_index: Label of voxels that do not count.
    """

    def __init__(
        self,
        clip: float = 1e-7,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = IGNORED,
    ) -> None:
        super().__init__(ignore_index, class_weights)
        self.clip = in_range("clip", clip, 0, 0.49)

    def _formula(self, logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        return torch.stack([labels.sum(-1), (labels * negative_log(logits, self.clip)).sum(-1)], dim=1)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of ``(B, K, *S)`` logits and ``(B, *S)`` labels or ``(B, K, *S)`` soft labels."""
        volume, entropy = voxel_sums(self._formula, logits, target, self.ignore_index).sum(0)
        weights = self.weights_for(logits)
        return result(ratio((weights * entropy).sum(), (weights * volume).sum()), logits)
