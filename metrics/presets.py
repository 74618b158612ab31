"""Protocols of papers, with the conventions of their code, so that published numbers can be compared with ours.

A preset is a metric whose `compute` gives a dict of scalars: means over cases (a batch item is a case), cases without
a value left out. Where a convention is doubtful, the number with the published convention ends in ``_published`` or
``_paper`` and the sound one stands beside it. Bins are right-closed, (lo, hi], with float32 edges as published; so
these keep a state of their own. Bins, edges and weights are those of the published code (MarginLoss and CRaC, SVLS,
LTS, average-calibration losses), the sums float64 where it has float32.

Shape letters: K classes, N voxels, M bins.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from .base import StateOptions
from .binning import Bins, top_label
from .checks import check_choice
from .errors import average_calibration_error, expected_calibration_error, maximum_calibration_error
from .protocol import Preset, adaptive_error, top_bins
from .protocol_bins import (
    equal_count_bins,
    even_edges,
    quantile_edges,
    right_closed_bins,
    weighted_gap,
)
from .scores import EPS, score_sums


def _neighbour_mean(image: Tensor) -> Tensor:
    """Mean over the 3 x 3 neighbourhood in the last two axes, zeros outside."""
    planes = image.reshape(-1, 1, *image.shape[-2:])
    return torch.nn.functional.avg_pool2d(planes, 3, stride=1, padding=1).reshape(image.shape)


class MbLS(Preset):
    """Margin-based label smoothing and its followers (NACL, CRaC): true-foreground voxels, 15 bins (lo, hi], per case.

    ``ece``: top label. ``cece``: mean over k = 0..(largest label in the case) of the error of p_k; the background
    channel is one of them. ``tcece``: the same over p_k > 0.001. ``aece``: top label, 15 bins of equal mass. ``nll``:
    mean cross entropy. ``segmentation_brier``: sum_k (p_k - share of class k in the 3 x 3 neighbourhood)^2, what lies
    outside the slice (the last two axes) taken as background.

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> metric = MbLS(num_classes=2)
        >>> metric.update(torch.tensor([[[[0.25, 0.75]], [[0.75, 0.25]]]]), torch.tensor([[[1, 1]]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'ece': 0.25, 'cece': 0.5, 'tcece': 0.5, 'aece': 0.0, 'nll': 0.837, 'segmentation_brier': 0.279}
    """

    names = ("ece", "cece", "tcece", "aece", "nll", "segmentation_brier")
    num_bins = 15
    threshold = 1e-3

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """Values of one case."""
        probs, target = probs[:, target != 0], target[target != 0]
        if not len(target):
            return dict.fromkeys(self.names, torch.nan)
        classes = range(int(target.max()) + 1)
        nll, _, number = score_sums(probs, target)
        return {
            "ece": weighted_gap(top_bins(probs, target, self.num_bins), len(target)),
            "cece": torch.stack([self._class_error(probs[k], target == k, 0.0) for k in classes]).mean(),
            "tcece": torch.stack([self._class_error(probs[k], target == k, self.threshold) for k in classes]).mean(),
            "aece": adaptive_error(probs, target, self.num_bins),
            "nll": nll / number,
        }

    def shaped_values(self, probs: Tensor, target: Tensor, keep: Tensor | None) -> dict[str, Any]:
        """The Brier score against the neighbourhood."""
        inside = target != 0 if keep is None else (target != 0) & keep
        error = torch.zeros(int(inside.sum()), dtype=torch.float64, device=probs.device)
        outside = 1 - _neighbour_mean(torch.ones_like(target, dtype=torch.float64))
        for k, p in enumerate(probs):
            share = _neighbour_mean((target == k).double()) + (outside if k == 0 else 0)
            error += (p[inside].double() - share[inside]).square()
        return {"segmentation_brier": error.mean()}

    def _class_error(self, p: Tensor, correct: Tensor, threshold: float) -> Tensor:
        """Error of one channel over the voxels above the threshold (over all of them, if it is 0)."""
        above = p > threshold
        bins = right_closed_bins(p[above], correct[above], even_edges(self.num_bins, p.device))
        return weighted_gap(bins, int(above.sum()) if threshold else len(p))


class DSCPlusPlus(Preset):
    """DSC++ (Yeung et al. 2023): every voxel of a case on its original grid, mean over the foreground classes.

    ``nll_paper``: mean of -y log p, p at least 1e-7: false positives cost nothing, so it is no proper score.
    ``brier_paper``: mean of (y - p)^2 of the class. ``nll``, ``brier``: the multi-class scores.

    Args:
        num_classes: Number of classes K.
        raw_labels: Take the label itself as y, as the paper's code does for KiTS19, in place of "the label is k".
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> metric = DSCPlusPlus(num_classes=2)
        >>> metric.update(torch.tensor([[[[0.25, 0.75]], [[0.75, 0.25]]]]), torch.tensor([[[1, 1]]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'nll_paper': 0.837, 'brier_paper': 0.312, 'nll': 0.837, 'brier': 0.625}
    """

    names = ("nll_paper", "brier_paper", "nll", "brier")
    floor = 1e-7

    def __init__(
        self,
        num_classes: int,
        raw_labels: bool = False,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, ignore_index, validate, **state)
        self.raw_labels = raw_labels

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """Values of one case."""
        if not len(target):
            return dict.fromkeys(self.names, torch.nan)
        p = probs[1:].double()
        classes = torch.arange(1, len(probs), device=probs.device)[:, None]
        y = target.expand_as(p).double() if self.raw_labels else (target == classes).double()
        nll, brier, number = score_sums(probs, target, eps=EPS)
        return {
            "nll_paper": -(y * p.clamp(min=self.floor).log()).mean(),
            "brier_paper": (y - p).square().mean(),
            "nll": nll / number,
            "brier": brier / number,
        }


class Barfoot(Preset):
    """Average calibration error loss (Barfoot et al. 2024): marginal errors of the foreground classes, all voxels.

    20 bins (lo, hi] with 0 in the first; empty bins are left out.

    ``ece_macro``, ``ace_macro``, ``mce_macro``: per case and class, then means. ``ece_micro`` ...: bins of all cases
    pooled, mean over the classes. ``ece_micro_published``: with the mean confidence of a bin averaged over the cases
    without their counts, as in the paper's code.

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> metric = Barfoot(num_classes=2)
        >>> metric.update(torch.tensor([[[[0.25, 0.75]], [[0.75, 0.25]]]]), torch.tensor([[[1, 1]]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items() if "ece" in name}
        {'ece_macro': 0.5, 'ece_micro': 0.5, 'ece_micro_published': 0.5}
    """

    names = ("ece_macro", "ace_macro", "mce_macro")
    num_bins = 20

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, ignore_index, validate, **state)
        self.pooled: Tensor
        shape = (5, num_classes - 1, self.num_bins)  # count, confidence, correct, mean confidence, cases
        self.add_state("pooled", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """Values of one case; its bins go to the pool."""
        if not len(target):
            return dict.fromkeys(self.names, torch.nan)
        edges = even_edges(self.num_bins, probs.device)
        parts = [right_closed_bins(probs[k], target == k, edges, keep_zero=True) for k in range(1, len(probs))]
        bins = Bins(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
        full = bins.count > 0
        mean = bins.confidence / bins.count.clamp(min=1)
        self.pooled += torch.stack([bins.count.double(), bins.confidence, bins.correct, mean, full.double()])
        errors = (expected_calibration_error, average_calibration_error, maximum_calibration_error)
        return {name: error(bins).mean() for name, error in zip(self.names, errors, strict=True)}

    def compute(self) -> dict[str, Tensor]:
        """Macro, micro and published micro errors, scalars float64."""
        count, confidence, correct, mean, cases = self.pooled
        bins = Bins(count.long(), confidence, correct, torch.zeros_like(correct))
        gap = (count * mean / cases.clamp(min=1) - correct).abs()
        micro = {
            "ece_micro": expected_calibration_error(bins).mean(),
            "ace_micro": average_calibration_error(bins).mean(),
            "mce_micro": maximum_calibration_error(bins).mean(),
            "ece_micro_published": (gap.sum(-1) / count.sum(-1)).mean(),
        }
        return super().compute() | micro


class SVLS(Preset):
    """Spatially varying label smoothing (Islam and Glocker 2021), per case.

    ``ece``: top label, true-foreground voxels, 10 bins (lo, hi]. ``tace_published``: foreground classes, all voxels of
    p_k > 0.001, 10 bins of floor(N / 10) neighbours in the order of p_k (the rest in the last), the *mean* over bins of
    (n_m / N) |gap|, a tenth of what the paper's formula says; ``tace``: the sum. Classes of fewer than 10 such voxels
    are left out (0 / 0 as published).

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> metric = SVLS(num_classes=2)
        >>> metric.update(torch.tensor([[[0.25] * 10, [0.75] * 10]]), torch.tensor([[1] * 5 + [0] * 5]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'ece': 0.25, 'tace_published': 0.05, 'tace': 0.5}
    """

    names = ("ece", "tace_published", "tace")
    num_bins = 10
    threshold = 1e-3

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """Values of one case."""
        inside = target != 0
        ece = expected_calibration_error(top_bins(probs[:, inside], target[inside], self.num_bins)).squeeze()
        values = []
        for k in range(1, len(probs)):
            above = probs[k] > self.threshold
            p = probs[k, above]
            if len(p) >= self.num_bins:
                values.append(weighted_gap(equal_count_bins(p, target[above] == k, self.num_bins), len(p)))
        tace = torch.stack(values).mean() if values else torch.tensor(torch.nan)
        return {"ece": ece, "tace_published": tace / self.num_bins, "tace": tace}


def near_change(target: Tensor, radius: int = 2, frame: int = 3) -> Tensor:
    """Voxels (*S) with another label up to ``radius`` steps away along an axis, without a frame around the image.

    Example:
        >>> near_change(torch.tensor([0] * 5 + [1] * 5)).int().tolist()
        [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    """
    near = torch.zeros_like(target, dtype=torch.bool)
    for axis, size in enumerate(target.shape):
        for step in range(1, min(radius, size - 1) + 1):
            low, high = target.narrow(axis, 0, size - step), target.narrow(axis, step, size - step)
            changed = low != high
            near.narrow(axis, 0, size - step).logical_or_(changed)
            near.narrow(axis, step, size - step).logical_or_(changed)
    inner = torch.zeros_like(near)
    inner[tuple(slice(frame, max(n - frame, frame)) for n in target.shape)] = True
    return near & inner


class LTS(Preset):
    """Local temperature scaling (Ding et al. 2021), as its code computes it: top label, 10 bins (lo, hi], per image.

    ``ece``, ``mce``. ``sce``: bins of each *predicted* class by itself, gaps weighted by their share of all voxels.
    ``ace``: the same with the deciles of the image's confidence as edges; ignored voxels take part in these, though in
    nothing else. All four over the image, with the suffix ``_boundary`` over voxels up to two steps from a change of
    the label without a frame of three voxels (the deciles are the image's), and ``_local`` as the mean over ten patches
    of 72 x 72 pixels; their centres come from Python's generator, seeded with 10 and drawn on from case to case, so
    that these depend on the order of the cases. Images of less than 168 pixels a side, and volumes, have no patches.

    Args:
        num_classes: Number of classes K.
        ignore_index: Label of voxels that never count, or None.
        validate: As for `VoxelMetric`.
        **state: As for `torchmetrics.Metric`.

    Example:
        >>> metric = LTS(num_classes=2)
        >>> metric.update(torch.tensor([[[[0.25, 0.75]], [[0.75, 0.25]]]]), torch.tensor([[[1, 1]]]))
        >>> {name: round(metric.compute()[name].item(), 3) for name in ("ece", "sce", "ace")}
        {'ece': 0.25, 'sce': 0.5, 'ace': 0.5}
    """

    names = tuple(f"{name}{region}" for region in ("", "_boundary", "_local") for name in ("ece", "mce", "sce", "ace"))
    num_bins = 10
    patches, reach, margin, seed = 10, 36, 84, 10

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        validate: bool = True,
        **state: Unpack[StateOptions],
    ) -> None:
        super().__init__(num_classes, ignore_index, validate, **state)
        self._random = random.Random(self.seed)

    def reset(self) -> None:
        """Forget all cases; the patches begin anew."""
        super().reset()
        self._random = random.Random(self.seed)

    def case_values(self, probs: Tensor, target: Tensor) -> dict[str, Any]:
        """None: all values need the image's shape."""
        return {}

    def shaped_values(self, probs: Tensor, target: Tensor, keep: Tensor | None) -> dict[str, Any]:
        """Values of the image, its boundary and its patches."""
        confidence, prediction = (part.reshape(target.shape) for part in top_label(probs.flatten(1)))
        keep = torch.ones_like(target, dtype=torch.bool) if keep is None else keep
        maps = torch.stack([confidence.double(), prediction.double(), (prediction == target).double()])
        edges = quantile_edges(confidence.flatten(), self.num_bins)
        local = [
            self._four(maps[:, *part][:, keep[part]], quantile_edges(confidence[part].flatten(), self.num_bins))
            for part in self._windows(target.shape)
            if keep[part].any()
        ]
        values = (
            self._four(maps[:, keep], edges),
            self._four(maps[:, keep & near_change(target)], edges),
            torch.stack(local).mean(0) if local else torch.full((4,), torch.nan),
        )
        return dict(zip(self.names, torch.cat([v.cpu() for v in values]), strict=True))

    def _windows(self, shape: Sequence[int]) -> list[tuple[slice, ...]]:
        """The patches of one image."""
        if len(shape) != 2 or min(shape) < 2 * self.margin:
            return []
        centres = [[self._random.randint(self.margin, n - self.margin) for n in shape] for _ in range(self.patches)]
        return [tuple(slice(c - self.reach, c + self.reach) for c in centre) for centre in centres]

    def _four(self, voxels: Tensor, edges: Tensor) -> Tensor:
        """The errors ece, mce, sce and ace (4,) of voxels (3, N): confidence, prediction, correctness."""
        confidence, prediction, hit = voxels
        even = even_edges(self.num_bins, confidence.device)
        bins = right_closed_bins(confidence.float(), hit, even)
        grouped = torch.zeros(2, dtype=torch.float64, device=confidence.device)
        for k in prediction.unique():
            p, right = confidence[prediction == k].float(), hit[prediction == k]
            parts = [right_closed_bins(p, right, e.to(p.device)) for e in (even, edges)]
            grouped += torch.stack([weighted_gap(part, len(confidence)) for part in parts])
        first = torch.cat([expected_calibration_error(bins), maximum_calibration_error(bins)])
        return torch.cat([first, grouped if len(confidence) else grouped.fill_(torch.nan)])


PresetName = Literal["mbls", "dscpp", "barfoot", "svls", "lts"]
PRESETS: dict[PresetName, Callable[..., Preset]] = {
    "mbls": MbLS,
    "dscpp": DSCPlusPlus,
    "barfoot": Barfoot,
    "svls": SVLS,
    "lts": LTS,
}


class _PresetOptions(StateOptions, total=False):
    """Arguments that `preset` hands on; `raw_labels` is one of "dscpp" alone."""

    ignore_index: int | None
    validate: bool
    raw_labels: bool


def preset(name: PresetName, num_classes: int, **options: Unpack[_PresetOptions]) -> Preset:
    """The protocol of that name.

    Args:
        name: Its name.
        num_classes: Number of classes K.
        **options: As for the class.

    Raises:
        ValueError: If there is none of that name.

    Example:
        >>> preset("barfoot", num_classes=2).num_classes
        2
    """
    check_choice("name", name, PresetName)
    return PRESETS[name](num_classes, **options)
