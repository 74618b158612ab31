r"""The fast path: integer labels, exponents from 1, and what a compound of overlap, cross entropy and margin needs.

Works on the residual :math:`e = p - y`: all overlap statistics follow from
:math:`\sum e, \sum y e, \sum |e|^\gamma` and :math:`\sum y |e|^\gamma`. With two classes one sigmoid carries
everything, since the background's residual is the foreground's with the other sign
(:mod:`losses.two_classes`); with more, one softmax does (:mod:`losses.many_classes`). The gradients are derived by
hand, the steps write into buffers that stay in the cache, and the same pass sums

* a cost of each voxel's own log probability, such as cross entropy (:mod:`losses.costs`),
* the lead of the own label's logit over the mean of all, which label smoothing adds, and
* the hinge on logit distances of margin-based label smoothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .chunks import ChunkKernel
from .costs import OwnCost, power
from .inputs import IGNORED, all_counted, compact_labels


class FastKernel(ChunkKernel):
    """What the two kernels share: the choice of rows, labels and buffers.

    Args:
        num_classes: Classes K.
        ignore_index: Label that does not count.
        gamma: 1 or more; 0 leaves out the overlap.
        clip: Bound of the probabilities.
        own: Cost of each voxel's own log probability, or none.
        margin: Margin of the hinge, or none.
        lead: Whether to sum the leads, beside an own cost.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        gamma: float = 0.0,
        clip: float = 0.0,
        own: OwnCost | None = None,
        margin: float | None = None,
        lead: bool = False,
    ) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.gamma = gamma
        self.clip = clip
        self.own = own
        self.margin = margin
        self.lead = lead
        self._buffers: dict[str, Tensor] = {}
        # What the forward pass finds out about the voxels, and plan() about the weights, saves steps of the gradient.
        self._whole, self._within = True, margin is not None
        self._straight = own is not None and not own.curved
        self._even, self._uniform = False, False
        self._classes: Tensor | None = None

    keeps = True

    def plan(self, weight: Tensor) -> None:
        """Note which weights are alike, which saves steps; a GPU is not asked, it would have to wait.

        Missed and spurious: the weight of y |e|^gamma is the difference between the two. The cost of all classes: the
        weight of y cost is 0, or those of the classes' costs are one.
        """
        if weight.device.type != "cpu":
            return
        first = 2 + self.overlap_width
        self._even = self.gamma > 1 and not bool(weight[:, 5].any())
        if self.own and self.num_classes == 2:
            self._uniform = not bool(weight[:, first + 1].any())
        elif self.own:
            columns = weight[:, first : first + 1 + self.lead]
            self._uniform = bool((columns == columns[..., :1]).all())

    @property
    def overlap_width(self) -> int:
        """Number of the overlap's rows."""
        return 0 if not self.gamma else 2 if self.gamma == 1.0 else 4

    def look_at(self, own: OwnCost, nll: Tensor) -> None:
        """Note whether the slope of the cost is 1 at all negative log probabilities."""
        if self._straight and own.clip:
            self._straight = nll.device.type == "cpu" and float(nll.amax()) <= own.straight

    def hinge(self, distance: Tensor, margin: float, mask: Tensor | None) -> Tensor | None:
        """Hinge on distances, which are overwritten, or none if all are within the margin; notes if any is not."""
        if distance.device.type == "cpu" and float(distance.amax()) <= margin:
            return None
        self._within = False
        hinge = distance.sub_(margin).clamp_min_(0)
        return hinge if mask is None else hinge.mul_(mask)

    def release(self) -> None:
        """Forget the buffers."""
        self._buffers.clear()

    def buffer(self, name: str, like: Tensor, channels: int | None = None) -> Tensor:
        """Give an uninitialised tensor ``(G, channels, n)`` that lives for a pass over the chunks."""
        items, width, voxels = like.shape
        shape = (items, width if channels is None else channels, voxels)
        found = self._buffers.get(name)
        if found is None or found.shape != shape:
            found = self._buffers[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return found

    def labels(self, target: Tensor, check: bool) -> tuple[Tensor, bool]:
        """Compact labels of a chunk, and whether all of them count; unchecked, whether all of all chunks did."""
        labels = compact_labels(target, self.num_classes, self.ignore_index, check)
        if not check:
            return labels, self._whole
        whole = all_counted(labels, self.num_classes)
        self._whole &= whole
        return labels, whole

    def overlap_rows(self, residual: Tensor, hot: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Rows e, y e and, above exponent 1, |e|^gamma, y |e|^gamma; ``residual`` is used up."""
        if mask is not None:
            residual.mul_(mask)
        own = torch.mul(hot, residual, out=self.buffer("spare", hot))
        rows = [residual.sum(-1), own.sum(-1)]
        if self.gamma == 2.0:
            return [*rows, residual.mul_(residual).sum(-1), own.mul_(own).sum(-1)]
        if self.gamma > 1:
            powers = power(residual.abs_(), self.gamma - 1).mul_(residual)
            rows += [powers.sum(-1), powers.mul_(hot).sum(-1)]
        return rows

    def held(self, probs: Tensor) -> Tensor:
        """Hold probabilities within their bounds, in place."""
        return probs.clamp_(self.clip, 1 - self.clip) if self.clip else probs

    def probability_slope(self, probs: Tensor, hot: Tensor, columns: Sequence[Tensor], out: Tensor) -> Tensor:
        """Slope of :meth:`overlap_rows` with respect to the probabilities, from the weights of the rows."""
        first, own, *powers = columns
        if self.gamma == 1.0:
            return torch.mul(hot, own, out=out).add_(first)
        both, missed = (self.gamma * column for column in powers)
        if self.gamma == 2.0:
            # c0 + c1 y + 2 c2 (p - y) + 2 c3 y (p - y), sorted by powers of p and y (y is its own square).
            return self.slope(probs, hot, (first, own - both - missed, both, None if self._even else missed), out)
        # The slope of |e|^gamma turns its sign where y is 1.
        size = power(torch.sub(probs, hot, out=self.buffer("spare", hot)).abs_(), self.gamma - 1)
        return self.slope(size, hot, (first, own, both, -2 * both - missed), out)

    def slope(
        self, size: Tensor, hot: Tensor, numbers: tuple[Tensor, Tensor, Tensor, Tensor | None], out: Tensor
    ) -> Tensor:
        """Form a + b y + (c + d y) times ``size``."""
        first, own, both, missed = numbers
        if missed is None:
            torch.mul(size, both, out=out)
        else:
            torch.mul(hot, missed, out=out).add_(both).mul_(size)
        return out.add_(torch.mul(hot, own, out=self.buffer("spare", hot)).add_(first))

    def mask(self, labels: Tensor, like: Tensor) -> Tensor:
        """Mask ``(G, 1, n)`` of the voxels that count."""
        return torch.ne(labels.unsqueeze(1), IGNORED, out=self.buffer("mask", like, 1))


def underflows(prob: Tensor) -> bool:
    """Whether a probability is so small that its logarithm is not exact; a GPU is not asked, it would have to wait."""
    return prob.device.type != "cpu" or float(prob.amin()) < 1e3 * torch.finfo(prob.dtype).tiny
