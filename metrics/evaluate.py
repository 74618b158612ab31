"""Everything about one case in one pass over its voxels: bins by region and view, confusion, scores.

Pure functions over arrays: `sum_case` walks the voxels, `score_case` adds what a pass does not give, `evaluate_case`
reads the numbers of the catalogue off them as rows of a table. They know nothing of files, runs or processes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import catalogue
from .binning import (
    CASE_BINS,
    iter_blocks,
    predict_labels,
)
from .calibration import soft_bins
from .checks import check_shapes, label_problems, raise_problems, valid_voxels, value_problems
from .expectations import expected_dice, expected_volume, uncertain_share
from .objects import ObjectRule, object_sums
from .overlap import label_confusion, threshold_labels
from .raters import add_raters
from .regions import All, Region, get_region, in_mm, region_cells
from .scores import lowest_scores
from .sums import CaseSums, stack_sums
from .walk import Walk

VIEWS = ("top_label", "classwise", "foreground")
REGIONS = ("all", "boundary", "dilated", "reference_foreground", "reference_boundary")
OBJECTS = "all.object"
MOST_REGIONS = 7  # beside "all": a voxel's combination of regions is a number of eight bits


def sum_case(
    probs: Tensor,
    target: Tensor,
    regions: Sequence[str] | Mapping[str, Region] = REGIONS,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = 255,
    from_logits: bool = False,
    validate: bool = True,
    valid: Tensor | None = None,
) -> CaseSums:
    """One pass over a case: everything that `score_case` and `evaluate_case` read, in main memory.

    The bins of the whole image lie on the fine axis of `metrics.axis`, those of other regions are 300 equal ones.

    Args:
        probs: (K, *S) probabilities, or logits with ``from_logits``.
        target: (*S) labels.
        regions: Names of `metrics.regions`, or names of your own to region objects.
        spacing: Voxel size in mm. Where the axes differ, the bands of the named regions are twice the smallest of them
            wide, in mm; else two voxels.
        ignore_index: Label of voxels that never count, or None.
        from_logits: Take the softmax of each block.
        validate: Check the values.
        valid: (*S) bool, the voxels that count; all if None.

    Raises:
        ValueError: For shapes or values that do not fit, a name given twice, or more than eight regions.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> sums = sum_case(sure, torch.tensor([0, 1]))
        >>> sums.confusion.tolist()
        [[1, 0], [1, 0]]
    """
    check_shapes(probs.unsqueeze(0), target.unsqueeze(0), len(probs))
    shapes = _regions(regions, spacing)
    counted = _counted(probs, target, ignore_index, valid, validate, from_logits)
    prediction = predict_labels(probs)
    masks = _region_masks(target, prediction, counted, list(shapes.values()))
    cell, members, num_cells = region_cells(masks, counted)
    walk = Walk(len(probs), num_cells, probs.device, counted is not None)
    flat = (None if t is None else t.reshape(-1) for t in (target, prediction, cell))
    for p, *block in iter_blocks(probs.reshape(len(probs), -1), *flat):
        walk.add(torch.softmax(p.float(), 0) if from_logits else p, *block)
    found = walk.views([None if mask is None else cells for mask, cells in zip(masks, members, strict=True)])
    bins = {f"{name}.{view}": b for name, views in zip(shapes, found, strict=True) for view, b in views.items()}
    confusion = walk.confusion.reshape(len(probs), len(probs))
    return CaseSums(bins, confusion.cpu(), walk.nll.cpu())


def _counted(
    probs: Tensor, target: Tensor, ignore_index: int | None, valid: Tensor | None, validate: bool, from_logits: bool
) -> Tensor | None:
    """The voxels (*S) bool that count, None if all do; the values are checked."""
    labelled = valid_voxels(target, len(probs), ignore_index)
    if validate:
        if not from_logits:
            raise_problems(value_problems(probs))
        if labelled is not None or ignore_index is None:
            raise_problems(label_problems(target, len(probs), ignore_index))
    if valid is None:
        return labelled
    if valid.shape != target.shape:
        raise ValueError(f"valid must have the shape of target, {tuple(target.shape)}, got {tuple(valid.shape)}")
    return valid.bool() if labelled is None else valid.bool() & labelled


def _regions(regions: Sequence[str] | Mapping[str, Region], spacing: Sequence[float] | None) -> dict[str, Region]:
    """Name to region object; the named ones in mm where the voxels are not cubes."""
    named = regions if isinstance(regions, Mapping) else {name: name for name in regions}
    if len(named) < len(regions) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"regions={list(regions)} must be different names, or a mapping of names to region objects")
    found = {name: in_mm(get_region(r), spacing) if isinstance(r, str) else r for name, r in named.items()}
    if sum(not isinstance(region, All) for region in found.values()) > MOST_REGIONS:
        raise ValueError(f"regions={list(named)} are too many for one pass: give at most {MOST_REGIONS} beside 'all'")
    return found


def _region_masks(
    target: Tensor, prediction: Tensor, valid: Tensor | None, regions: Sequence[Region]
) -> list[Tensor | None]:
    """Mask (*S) of each region; None is all voxels."""
    labels = target.to(torch.uint8)
    everywhere = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
    return [None if isinstance(r, All) else r(labels, prediction, everywhere) for r in regions]


def score_case(
    probs: Tensor,
    target: Tensor,
    spacing: Sequence[float] | None = None,
    surface: bool = False,
    true_probs: Tensor | None = None,
    ignore_index: int | None = 255,
    validate: bool = True,
    valid: Tensor | None = None,
    objects: ObjectRule | None = None,
    cuts: Sequence[float] | None = None,
    expectations: bool = False,
    multilabel: bool = False,
    raters: Tensor | None = None,
) -> CaseSums:
    """The sums of a case with all that the catalogue's rows read, in main memory.

    Args:
        probs: (K, *S) probabilities; of regions (R, 2, *S), that a voxel lies outside of each and inside.
        target: (*S) labels; of regions (R, *S), 1 inside.
        spacing: Voxel size in mm, for the surface distances and anisotropic bands.
        surface: Measure hd95, assd (mm) and nsd (at a tolerance of twice the smallest voxel side) too.
        true_probs: (K, *S), where they are known: the true calibration error, and the lowest reachable scores.
        ignore_index: Label of voxels that never count, or None.
        validate: Check the values.
        valid: (*S) bool, the voxels that count; all if None.
        objects: Find objects by this rule and match them (`metrics.objects`).
        cuts: K cuts (`metrics.threshold_labels`), whose mask overlap, surfaces and objects are of; of the class of
            largest probability if None. Calibration is of the probabilities in either case.
        expectations: Measure what the probabilities expect too: the mask's Dice, the volumes (`metrics.expectations`).
        multilabel: Score regions that may overlap, each as a two-class problem of its own.
        raters: (R, *S) labels of several raters, to hold the probabilities and the mask against (`metrics.raters`).

    Raises:
        ValueError: As for `sum_case`, or for raters of regions that may overlap.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> sums = score_case(sure, torch.tensor([0, 1]), true_probs=torch.full((2, 2), 0.5))
        >>> sorted(key for key in sums.bins if key.startswith("all."))
        ['all.classwise', 'all.foreground', 'all.top_label', 'all.true']
    """
    if multilabel:
        one = partial(
            score_case, spacing=spacing, surface=surface, ignore_index=ignore_index, validate=validate, valid=valid,
            objects=objects, expectations=expectations,
        )  # fmt: skip
        return _score_regions(one, probs, target, true_probs, cuts, raters)
    sums = sum_case(probs, target, spacing=spacing, ignore_index=ignore_index, validate=validate, valid=valid)
    if not (surface or expectations) and all(part is None for part in (true_probs, objects, cuts, raters)):
        return sums
    counted = valid_voxels(target, len(probs), ignore_index)
    counted = counted if valid is None else valid.bool() if counted is None else counted & valid.bool()
    mask = predict_labels(probs) if cuts is None else threshold_labels(probs, cuts)
    beside = dict(sums.beside)
    if cuts is not None:
        sums = replace(sums, confusion=label_confusion(mask, target, len(probs), counted))
    if surface:
        beside |= _surfaces(mask, target, len(probs), spacing, counted)
    if expectations:
        beside |= _expectations(probs, mask, target, spacing, counted)
    sums = replace(sums, beside=beside)
    if true_probs is not None:
        sums = _add_known(sums, probs, true_probs, counted)
    if raters is not None:
        sums = add_raters(sums, mask, raters, probs, counted)
    return (sums if objects is None else add_objects(sums, mask, target, probs, objects, counted)).cpu()


def _score_regions(
    score: Callable[..., CaseSums],
    probs: Tensor,
    target: Tensor,
    true_probs: Tensor | None,
    cuts: Sequence[float] | None,
    raters: Tensor | None,
) -> CaseSums:
    """The sums of regions that may overlap, each by `score`."""
    if raters is not None:
        raise ValueError("regions that may overlap are scored against one label map: leave raters out")
    known = [None] * len(probs) if true_probs is None else true_probs.unbind()
    own = [None] * len(probs) if cuts is None else [(0.5, cut) for cut in cuts[1:]]
    each = zip(probs, target, known, own, strict=True)
    return replace(stack_sums([score(p, y, true_probs=t, cuts=cut) for p, y, t, cut in each]), multilabel=True)


def _add_known(sums: CaseSums, probs: Tensor, true_probs: Tensor, counted: Tensor | None) -> CaseSums:
    """The sums with what known probabilities tell: the bins against them, the lowest reachable scores."""
    bins = {**sums.bins, "all.true": soft_bins(probs, true_probs, "top_label", CASE_BINS, counted)}
    ignored = None if counted is None else torch.where(counted, 0, 255)[None]
    found = lowest_scores(true_probs[None], ignored).items()
    lowest = {f"{name}_lowest": sums.nll.new_tensor([value]) for name, value in found}
    return replace(sums, bins=bins, beside={**sums.beside, **lowest})


def add_objects(
    sums: CaseSums, prediction: Tensor, target: Tensor, probs: Tensor, rule: ObjectRule, valid: Tensor | None = None
) -> CaseSums:
    """The sums of a case with its objects in them: those of any label map (*S); see `metrics.object_sums`.

    Example:
        >>> probs, target = torch.tensor([[0.75, 0.25, 0.75], [0.25, 0.75, 0.25]]), torch.tensor([0, 1, 1])
        >>> sums = add_objects(sum_case(probs, target), target, target, probs, ObjectRule())
        >>> sums.tallies["objects"][1, :3].tolist()
        [1.0, 1.0, 1.0]
    """
    bins, tally = object_sums(prediction, target, probs, rule, valid)
    return replace(sums, bins={**sums.bins, OBJECTS: bins}, tallies={**sums.tallies, "objects": tally})


def _expectations(
    probs: Tensor, mask: Tensor, target: Tensor, spacing: Sequence[float] | None, valid: Tensor | None
) -> dict[str, Tensor]:
    """What the probabilities expect by key, and the true volume, (K,): the mean or sum over the foreground first."""
    dice, uncertain = expected_dice(probs, mask, valid)[1:], uncertain_share(probs, valid)[1:]
    volume, size = expected_volume(probs, spacing, valid)[1:], math.prod(spacing or (1.0,))
    counted = target if valid is None else target[valid]
    true = size * torch.stack([(counted == k).sum() for k in range(1, len(probs))]).double()
    means = {"expected_dice": dice, "uncertain_share": uncertain}
    found = {key: torch.cat([values.nanmean().unsqueeze(0), values]) for key, values in means.items()}
    sums = {"expected_volume": volume, "true_volume": true}
    return found | {key: torch.cat([values.sum().unsqueeze(0), values]) for key, values in sums.items()}


def _surfaces(
    mask: Tensor, target: Tensor, classes: int, spacing: Sequence[float] | None, valid: Tensor | None
) -> dict[str, Tensor]:
    """Surface distances by key, (K,): the mean over the foreground classes first, then each of them."""
    from .surface import surface_rows  # scipy, a second

    rows = surface_rows(mask, target, classes, spacing, valid)
    return {
        key: torch.tensor([rows[-1][key], *(row[key] for row in rows[:-1])], dtype=torch.float64) for key in rows[0]
    }


def evaluate_case(
    probs: Tensor,
    target: Tensor,
    class_names: Sequence[str],
    spacing: Sequence[float] | None = None,
    surface: bool = False,
    ignore_index: int | None = 255,
    valid: Tensor | None = None,
    true_probs: Tensor | None = None,
    objects: ObjectRule | None = None,
    raters: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Rows of the table of cases: a row per foreground class, and a row "all".

    A class row holds that class's overlap, its one-vs-rest NLL and Brier score, and the errors of p_k against "label is
    k". The row "all" holds means over the foreground classes for overlap and surface (absent classes left out), the
    multi-class scores, and the calibration errors of the catalogue. What is undefined is NaN.

    Args:
        probs: (K, *S) probabilities.
        target: (*S) labels.
        class_names: K names, background first.
        spacing: As for `score_case`.
        surface: As for `score_case`.
        ignore_index: Label of voxels that never count, or None.
        valid: (*S) bool, the voxels that count; all if None.
        true_probs: As for `score_case`.
        objects: As for `score_case`.
        raters: As for `score_case`.

    Returns:
        Rows with the columns class, voxels, and a column a key of `metrics.catalogue` that is a mean over cases.

    Raises:
        ValueError: As for `sum_case`, or for another number of names than classes.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> rows = evaluate_case(sure, torch.tensor([0, 1]), ["background", "lesion"])
        >>> [(row["class"], row["voxels"], round(row["nll"], 4)) for row in rows]
        [('lesion', 1, 0.837), ('all', 2, 0.837)]
    """
    sums = score_case(
        probs,
        target,
        spacing,
        surface,
        true_probs,
        ignore_index,
        valid=valid,
        objects=objects,
        expectations=True,
        raters=raters,
    )
    return rows_from_sums(sums, class_names)


def rows_from_sums(sums: CaseSums, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of `evaluate_case` from the sums of one case.

    Raises:
        ValueError: For another number of names than classes.

    Example:
        >>> sure = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
        >>> sums = sum_case(sure, torch.tensor([0, 1]))
        >>> [row["class"] for row in rows_from_sums(sums, ["background", "lesion"])]
        ['lesion', 'all']
    """
    classes = sums.num_classes
    if len(class_names) != classes:
        raise ValueError(f"class_names={list(class_names)} must name {classes} classes, background among them")
    rows = [row for row in catalogue.of_average("case") if row.known(sums)]
    values = case_values(sums, rows).T.tolist()
    true, total = sums.confusion.sum(-1), int(sums.voxels.max())  # of regions (R, 2) and as many voxels in each
    inside = true[:, 1] if sums.multilabel else true[1:]
    labels = [("all", total), *zip(class_names[1:], inside.tolist(), strict=True)]
    found = [
        {"class": name, "voxels": number, **{row.key: value for row, value in zip(rows, column, strict=True)}}
        for (name, number), column in zip(labels, values, strict=True)
    ]
    return [*found[1:], found[0]]


def case_values(sums: CaseSums, rows: Sequence[catalogue.Number]) -> Tensor:
    """Values (len(rows), K) float64 of one case: as a whole, then each foreground class; NaN where undefined."""
    table = sums.nll.new_full((len(rows), sums.num_classes), torch.nan)
    for line, row in zip(table, rows, strict=True):
        if row.known(sums):
            value = row.value(sums)
            line[: len(value)] = value
    return table
