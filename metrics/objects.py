"""Objects: connected components of what is claimed and of what is true, matched one to one by their IoU.

An object is a connected component of the voxels of one class, in 2D or 3D; voxel sizes play no part. What touches is
one object, and what a wrong voxel joins too: of touching nuclei the components of the semantic mask are counted, not
the nuclei. Voxels that do not count belong to no object.

A claimed object has a confidence too, the mean p_k of its voxels. Held against "is it one" (matched with an IoU of at
least the threshold) it gives a reliability diagram of objects.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .binning import CASE_BINS, Bins, bin_soft, empty_bins

Array = NDArray[Any]
TALLY = ("true", "claimed", "matched", "iou", "dice", "lesion_dice", "lesions")  # columns of an object tally
ObjectScore = Literal[
    "true", "claimed", "matched", "f1", "precision", "recall", "sq", "pq", "dice", "lesion_dice"
]  # fmt: skip
DILATION, SMALLEST_LESION = 3, 50  # of BraTS 2023: voxels that lesions are dilated by, and size that is too small


@dataclass(frozen=True)
class ObjectRule:
    """What an object is, and when a claimed one is right.

    Args:
        iou: Least IoU of a match.
        connectivity: 1 joins voxels that share a face, 2 an edge, 3 a corner; by default, as panoptica has it, 1 in 2D
            and 3 in 3D.

    Raises:
        ValueError: If one is out of range.

    Example:
        >>> ObjectRule(iou=0.3).connectivity is None
        True
    """

    iou: float = 0.5
    connectivity: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise ValueError(f"iou={self.iou} must lie in (0, 1]")
        if self.connectivity not in (None, 1, 2, 3):
            raise ValueError(f"connectivity={self.connectivity} must be 1 (faces), 2 (edges) or 3 (corners)")


class Matching(NamedTuple):
    """Claimed and true objects of one class, and their matches.

    Attributes:
        claimed: Label map (*S) of the claimed objects, numbered from 1; of the smallest box that holds any object.
        box: That box.
        sizes: Voxels of the claimed objects, and of the true ones.
        pairs: (m, 2): numbers of a claimed and a true object that match, best IoU first.
        iou: (m,) IoU of each pair.
        dice: (m,) Dice of each pair.

    Example:
        >>> found = match_objects(torch.tensor([1, 1, 0, 1]), torch.tensor([1, 1, 0, 0]))
        >>> found.claimed.tolist(), found.dice.tolist()
        ([1, 1, 0, 2], [1.0])
    """

    claimed: Array
    box: tuple[slice, ...]
    sizes: tuple[Array, Array]
    pairs: Array
    iou: Array
    dice: Array


def match_objects(claimed: Tensor, true: Tensor, rule: ObjectRule | None = None) -> Matching:
    """Match the objects of two masks (*S), one to one: the pair of highest IoU first, down to the rule's threshold.

    Example:
        >>> claimed, true = torch.tensor([1, 1, 0, 0, 1, 0]), torch.tensor([0, 1, 0, 0, 0, 0])
        >>> found = match_objects(claimed, true)
        >>> len(found.sizes[0]), len(found.sizes[1]), found.pairs.tolist(), found.iou.tolist()
        (2, 1, [[1, 1]], [0.5])
    """
    rule = rule or ObjectRule()
    masks = [mask.bool().cpu().numpy() for mask in (claimed, true)]
    box = _box(masks[0] | masks[1])
    steps = rule.connectivity or (1 if claimed.ndim < 3 else 3)
    (one, number), (two, _) = (_components(mask[box], steps) for mask in masks)
    sizes = (np.bincount(one.ravel())[1:], np.bincount(two.ravel())[1:])
    pairs, common = _overlaps(one, two, number)
    total = sizes[0][pairs[:, 0] - 1] + sizes[1][pairs[:, 1] - 1]
    iou = common / (total - common)
    kept = _one_to_one(pairs, iou, rule.iou)
    return Matching(one, box, sizes, pairs[kept], iou[kept], 2 * common[kept] / total[kept])


def lesion_wise_dice(claimed: Tensor, true: Tensor) -> tuple[float, int]:
    """The lesion-wise Dice of BraTS 2023 of two masks (*S): sum of Dice scores, and the number they are divided by.

    True lesions that touch once both are dilated by three voxels are one. A lesion's Dice is that with all claimed
    components that touch it so dilated. Lesions of up to 50 voxels are left out; a claimed component that touches no
    lesion counts as one of Dice 0. Components are joined at corners; a voxel is taken for 1 mm^3.

    Example:
        >>> lesion, far = torch.zeros(40, 40), torch.zeros(40, 40)
        >>> lesion[4:14, 4:14] = far[30:34, 30:34] = 1
        >>> lesion_wise_dice(lesion + far, lesion)
        (1.0, 2)
    """
    from scipy.ndimage import binary_dilation, generate_binary_structure

    masks = [mask.bool().cpu().numpy() for mask in (claimed, true)]
    box, dims = _box(masks[0] | masks[1]), claimed.ndim
    parts, number = _components(masks[0][box], dims)
    grown, count = _components(
        binary_dilation(masks[1][box], generate_binary_structure(dims, min(2, dims)), DILATION), dims
    )
    lesion = np.where(masks[1][box], grown, 0)
    part_sizes = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    sizes = np.bincount(lesion.ravel(), minlength=count + 1)[1:]
    touching, _ = _overlaps(parts, grown, number)
    claimed_sizes = np.bincount(touching[:, 1] - 1, part_sizes[touching[:, 0] - 1], count)
    common = np.bincount(lesion[parts > 0].ravel(), minlength=count + 1)[1:]
    dice = 2 * common / (claimed_sizes + sizes)
    large = sizes > SMALLEST_LESION
    return float(dice[large].sum()), int(large.sum()) + number - len(np.unique(touching[:, 0]))


def object_sums(
    prediction: Tensor, target: Tensor, probs: Tensor, rule: ObjectRule, valid: Tensor | None = None
) -> tuple[Bins, Tensor]:
    """What a case's objects leave; both add up over cases.

    Args:
        prediction: (*S) predicted labels.
        target: (*S) labels.
        probs: (K, *S) probabilities.
        rule: What an object is.
        valid: (*S) bool, the voxels that count; all if None.

    Returns:
        Bins (K, 300) of the claimed objects' mean p_k against "is matched", and a tally (K, 7) float64 with the columns
        of `TALLY`: true, claimed and matched objects, sums of IoU and Dice over the matched, and what
        `lesion_wise_dice` gives. The background has no objects.

    Example:
        >>> p = torch.tensor([0.75, 0.25, 0.75])
        >>> bins, tally = object_sums(p > 0.5, torch.tensor([1, 0, 0]), torch.stack([1 - p, p]), ObjectRule())
        >>> bins.count.sum().item(), bins.correct.sum().item(), tally[1, :3].tolist()
        (2, 1.0, [1.0, 2.0, 1.0])
    """
    found, tally = [empty_bins(1, CASE_BINS)], torch.zeros(len(probs), len(TALLY), dtype=torch.float64)
    for k in range(1, len(probs)):
        claimed, true = ((labels == k) if valid is None else (labels == k) & valid for labels in (prediction, target))
        match = match_objects(claimed, true, rule)
        right = np.zeros(len(match.sizes[0]))
        right[match.pairs[:, 0] - 1] = 1
        confidence = torch.from_numpy(_means(match, probs[k]))
        found.append(bin_soft(confidence, torch.from_numpy(right), CASE_BINS))
        counts = (len(match.sizes[1]), len(match.sizes[0]), len(match.pairs), match.iou.sum(), match.dice.sum())
        tally[k] = torch.tensor([*counts, *lesion_wise_dice(claimed, true)], dtype=torch.float64)
    return Bins(*(torch.cat(fields).to(probs.device) for fields in zip(*found, strict=True))), tally.to(probs.device)


def object_score(tally: Tensor, score: ObjectScore) -> Tensor:
    """A score of each class, (..., K) float64, from a tally (..., K, 7).

    With the matched objects as TP: precision, recall, f1 = 2 TP / (true + claimed), panoptica's RQ; sq and dice the
    mean IoU and Dice of the matched, NaN where none is; pq = sum of IoU / (TP + (FP + FN) / 2), as Kirillov et al.
    (2019). A class with no object, true or claimed, is NaN, but for the counts; a 0/0 of one that has some is 0.

    Example:
        >>> tally = torch.tensor([1.0, 2, 1, 0.75, 0.8, 0, 0], dtype=torch.float64)
        >>> object_score(tally, "f1").item() == 2 / 3, object_score(tally, "pq").item()
        (True, 0.5)
    """
    parts = dict(zip(TALLY, tally.unbind(-1), strict=True))
    if score in ("true", "claimed", "matched"):
        return parts[score]
    both = parts["true"] + parts["claimed"]
    above, below = {
        "f1": (2 * parts["matched"], both),
        "precision": (parts["matched"], parts["claimed"]),
        "recall": (parts["matched"], parts["true"]),
        "pq": (2 * parts["iou"], both),
        "sq": (parts["iou"], parts["matched"]),
        "dice": (parts["dice"], parts["matched"]),
        "lesion_dice": (parts["lesion_dice"], parts["lesions"]),
    }[score]
    undefined = below == 0 if score in ("sq", "dice", "lesion_dice") else both == 0
    return (above / below.clamp(min=1)).masked_fill(undefined, torch.nan)


def _box(mask: Array) -> tuple[slice, ...]:
    """The smallest box that holds the mask; empty where it is."""
    places = [np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)]
    return tuple(slice(p[0], p[-1] + 1) if len(p) else slice(0, 0) for p in places)


def _components(mask: Array, connectivity: int) -> tuple[Array, int]:
    """Label map of the components, and their number."""
    from scipy.ndimage import generate_binary_structure, label

    labels, number = label(mask, generate_binary_structure(mask.ndim, min(connectivity, mask.ndim)))
    return labels, int(number)


def _overlaps(one: Array, two: Array, number: int) -> tuple[Array, Array]:
    """Pairs (m, 2) of objects that share voxels, and how many."""
    both = (one > 0) & (two > 0)
    joint, common = np.unique(two[both].astype(np.int64) * (number + 1) + one[both], return_counts=True)
    return np.stack([joint % (number + 1), joint // (number + 1)], -1), common


def _one_to_one(pairs: Array, iou: Array, least: float) -> Array:
    """Which pairs are kept: the best first, each object once."""
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for place in np.argsort(-iou, kind="stable"):
        one, two = pairs[place].tolist()
        if iou[place] >= least and one not in taken[0] and two not in taken[1]:
            taken[0].add(one)
            taken[1].add(two)
            kept.append(place)
    return np.array(kept, dtype=np.int64)


def _means(match: Matching, p: Tensor) -> Array:
    """Mean of p (*S) over each claimed object, in [0, 1]."""
    inside = p[match.box].double().cpu().numpy()
    sums = np.bincount(match.claimed.ravel(), inside.ravel())[1:]
    return (sums / match.sizes[0]).clip(0, 1)
