"""Everything about one case in one pass over its voxels: bins by region and view, confusion, scores.

Then rows of a table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import errors
from .binning import (
    CASE_BINS,
    BinAccumulator,
    Bins,
    iter_blocks,
    merge_bins,
    predict_labels,
    rebin,
    top_label,
    view_channels,
)
from .checks import check_choice, check_shapes, label_problems, raise_problems, valid_voxels, value_problems
from .overlap import MEASURES, overlap_from_confusion
from .regions import All, Boundary, Region, get_region, region_cells
from .scores import EPS

VIEWS = ("top_label", "classwise", "foreground")
REGIONS = ("all", "foreground", "boundary")


@dataclass(frozen=True)
class CaseSums:
    """What one pass over a case leaves.

    Attributes:
        bins: "<region>.<view>" to fine bins (C, B).
        confusion: (K, K) int64 counts over all voxels, truth in rows.
        nll: (1 + K,) float64: sum of -log p_y, then of each class's one-vs-rest cross entropy.
        voxels: Number of voxels that are not ignored.
    """

    bins: dict[str, Bins]
    confusion: Tensor
    nll: Tensor
    voxels: int


class _Pass:
    """Accumulators of one pass; a block at a time.

    Args:
        num_classes: K.
        views: Views to bin.
        cells: Number of cells.
        num_bins: Number of bins.
        device: Where the sums live.
    """

    def __init__(self, num_classes: int, views: Sequence[str], cells: int, num_bins: int, device: torch.device) -> None:
        self.views = {v: BinAccumulator(view_channels(num_classes, v), cells, num_bins, device) for v in views}
        self.cells, self.num_bins, self.num_classes = cells, num_bins, num_classes
        self.confusion = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)
        self.nll = torch.zeros(1 + num_classes, dtype=torch.float64, device=device)

    def add(self, probs: Tensor, target: Tensor, cell: Tensor | None) -> None:
        """Add a block: probs (K, n) of any precision, target (n,), cell (n,) uint8."""
        offset = None if cell is None else cell.to(torch.int32).mul_(2 * self.num_bins)
        valid = None if cell is None else cell != self.cells
        confidence, prediction = top_label(probs)
        self._count(prediction, target, valid)
        if "top_label" in self.views:
            self.views["top_label"].add(0, confidence.double(), prediction == target, offset)
        if "foreground" in self.views:
            self.views["foreground"].add(0, 1.0 - probs[0].double(), target != 0, offset)
        for k in range(self.num_classes):
            correct, p = target == k, probs[k].double()
            if "classwise" in self.views:
                residual = self.views["classwise"].add(k, p, correct, offset)
            else:
                residual = p - correct.view(torch.uint8)
            self._log(k, residual.abs_(), correct, valid)

    def _count(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> None:
        """Add to the confusion counts."""
        index = prediction.to(torch.int32).add_(target.to(torch.int32), alpha=self.num_classes)
        if valid is not None:
            index = torch.where(valid, index, self.num_classes**2)
        if index.device.type == "cpu":
            self.confusion += torch.bincount(index, minlength=len(self.confusion))
        else:
            self.confusion.index_add_(0, index, torch.ones_like(index, dtype=torch.int64))

    def _log(self, k: int, off: Tensor, correct: Tensor, valid: Tensor | None) -> None:
        """Add class k's one-vs-rest -log(1 - off), which is -log p_y where k is the label; overwrites ``off``."""
        if valid is not None:
            off.masked_fill_(~valid, 0.0)
        log = off.neg_().add_(1.0).clamp_(min=EPS).log_()
        self.nll[1 + k] -= log.sum()
        self.nll[0] -= log.mul_(correct).sum()


def sum_case(
    probs: Tensor,
    target: Tensor,
    num_bins: int = CASE_BINS,
    regions: Sequence[str | Region] = REGIONS,
    views: Sequence[str] = VIEWS,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = 255,
    from_logits: bool = False,
    validate: bool = True,
) -> CaseSums:
    """One pass over a case; `evaluate_case` and `case_bins` are read off what it gives.

    Args:
        probs: (K, *S) probabilities, or logits with ``from_logits``.
        target: (*S) labels.
        num_bins: Fine bins to keep.
        regions: Names or region objects; an object goes by its class's name in lower case.
        views: Views to bin.
        spacing: Voxel size in mm. Where the axes differ, the boundary band is twice the smallest of them wide, in mm;
            else two voxels.
        ignore_index: Label of voxels that never count, or None.
        from_logits: Take the softmax of each block.
        validate: Check the values.

    Raises:
        ValueError: For shapes or values that do not fit.
    """
    check_shapes(probs.unsqueeze(0), target.unsqueeze(0), len(probs))
    for view in views:
        check_choice("view", view, VIEWS)
    valid = valid_voxels(target, len(probs), ignore_index)
    if validate:
        if not from_logits:
            raise_problems(value_problems(probs))
        if valid is not None or ignore_index is None:
            raise_problems(label_problems(target, len(probs), ignore_index))
    names = [r if isinstance(r, str) else type(r).__name__.lower() for r in regions]
    masks = _region_masks(probs, target, valid, [_with_spacing(r, spacing) for r in regions])
    cell, members, num_cells = region_cells(masks, valid)
    sums = _Pass(len(probs), views, num_cells, num_bins, probs.device)
    flat_cell = None if cell is None else cell.reshape(-1)
    for p, y, c in iter_blocks(probs.reshape(len(probs), -1), target.reshape(-1), flat_cell):
        sums.add(torch.softmax(p.float(), 0) if from_logits else p, y, c)
    by_cell = {view: accumulator.bins() for view, accumulator in sums.views.items()}
    bins = {
        f"{n}.{v}": merge_bins(*(by_cell[v][c] for c in m)) for n, m in zip(names, members, strict=True) for v in views
    }
    confusion = sums.confusion[:-1].reshape(len(probs), len(probs))
    return CaseSums(bins, confusion, sums.nll, int(confusion.sum()))


def _with_spacing(region: str | Region, spacing: Sequence[float] | None) -> Region:
    """The region object, with a boundary band in mm where the voxels are not cubes."""
    if region == "boundary" and spacing is not None and len(set(spacing)) > 1:
        return Boundary(2 * min(spacing), tuple(float(s) for s in spacing))
    return get_region(region)


def _region_masks(
    probs: Tensor, target: Tensor, valid: Tensor | None, regions: Sequence[Region]
) -> list[Tensor | None]:
    """Mask (*S) of each region; None is all voxels."""
    if all(isinstance(region, All) for region in regions):
        return [None for _ in regions]
    labels = target.to(torch.uint8)
    everywhere = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
    prediction = predict_labels(probs) if any(hasattr(region, "predicted") for region in regions) else labels
    return [None if isinstance(r, All) else r(labels, prediction, everywhere) for r in regions]


def case_bins(
    probs: Tensor,
    target: Tensor,
    num_bins: int = CASE_BINS,
    regions: Sequence[str | Region] = REGIONS,
    views: Sequence[str] = VIEWS,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = 255,
) -> dict[str, Bins]:
    """Reliability bins of one case, "<region>.<view>" to fields (C, num_bins); arguments as for `sum_case`."""
    return sum_case(probs, target, num_bins, regions, views, spacing, ignore_index).bins


def evaluate_case(
    probs: Tensor,
    target: Tensor,
    class_names: Sequence[str],
    spacing: Sequence[float] | None = None,
    surface: bool = False,
    ignore_index: int | None = 255,
) -> list[dict[str, Any]]:
    """Rows of the table of cases: a row per foreground class, and a row "all".

    A class row holds that class's overlap, its one-vs-rest NLL and Brier score, and the class-wise marginal errors of
    p_k. The row "all" holds means over the foreground classes for overlap and surface (absent classes left out), the
    multi-class scores, and top-label errors over all voxels. Errors use 15 bins. What is undefined is NaN.

    Args:
        probs: (K, *S) probabilities.
        target: (*S) labels.
        class_names: K names, background first.
        spacing: Voxel size in mm, for the surface distances and an anisotropic boundary band.
        surface: Compute hd95, assd (mm) and nsd (at a tolerance of twice the smallest voxel side) too.
        ignore_index: Label of voxels that never count, or None.

    Returns:
        Rows with the columns class, voxels, dice, iou, precision, recall, nll, brier, ece, ace,
        ece_foreground_region, ece_boundary, and with ``surface`` hd95, assd, nsd.
    """
    if len(class_names) != len(probs):
        raise ValueError(f"class_names={list(class_names)} must name {len(probs)} classes, background among them")
    sums = sum_case(probs, target, views=("top_label", "classwise"), spacing=spacing, ignore_index=ignore_index)
    rows = rows_from_sums(sums, class_names)
    if surface:
        from .surface import surface_rows

        valid = None if ignore_index is None else target != ignore_index
        extra = surface_rows(predict_labels(probs), target, len(probs), spacing, valid)
        rows = [row | more for row, more in zip(rows, extra, strict=True)]
    return rows


def rows_from_sums(sums: CaseSums, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of `evaluate_case` without the surface columns.

    Sums of the views top_label and classwise, default regions.
    """
    classes = len(class_names)
    overlap = torch.stack([overlap_from_confusion(sums.confusion, name) for name in MEASURES])
    voxels = sums.confusion.sum(1).tolist()
    nll = (sums.nll / sums.voxels).tolist() if sums.voxels else [math.nan] * (1 + classes)
    calibration = _calibration_columns(sums.bins, "classwise")
    rows = []
    for k in range(1, classes):
        row = {"class": class_names[k], "voxels": voxels[k]}
        row |= dict(zip(MEASURES, overlap[:, k].tolist(), strict=True))
        row |= {"nll": nll[1 + k], **{name: values[k].item() for name, values in calibration.items()}}
        rows.append(row)
    total = {"class": "all", "voxels": sums.voxels}
    total |= dict(zip(MEASURES, overlap[:, 1:].nanmean(1).tolist(), strict=True))
    top = _calibration_columns(sums.bins, "top_label")
    total |= {"nll": nll[0], **{name: values[0].item() for name, values in top.items()}}
    total["brier"] = calibration["brier"].sum().item()
    return [*rows, total]


def _calibration_columns(bins: dict[str, Bins], view: str) -> dict[str, Tensor]:
    """Columns computed from the bins of one view, each (C,)."""
    everywhere = rebin(bins[f"all.{view}"], 15)
    return {
        "brier": errors.brier_score(everywhere),
        "ece": errors.expected_calibration_error(everywhere),
        "ace": errors.average_calibration_error(everywhere),
        "ece_foreground_region": errors.expected_calibration_error(bins[f"foreground.{view}"], 15),
        "ece_boundary": errors.expected_calibration_error(bins[f"boundary.{view}"], 15),
    }
