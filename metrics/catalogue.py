"""The catalogue: every number that the program shows, a row a number, each with one name and one meaning.

All else is derived from it: keys of W&B and of sweeps, columns of `per_case.csv`, `summary.csv` and `metrics.csv`,
tables and arrows of the report, the mode of a checkpoint's monitor, the dashboard, the table in docs/metrics.md. To add
a number: a function here or anywhere, `add(Number(...))`, a test.

A key without a suffix is the mean over the cases, a case alike however large; `<key>_pooled` is the same quantity of
all voxels of all cases together. `<key>/<class>` is that of one foreground class: its overlap, or the error of p_k
against "label is k" in the same region.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from . import errors
from .binning import CASE_BINS, Bins, rebin
from .number import NUM_BINS, POOLED, Direction, Number, Unit
from .objects import ObjectScore, object_score
from .overlap import Measure, overlap_from_confusion
from .smooth import smooth_calibration_error
from .sums import CaseSums


def overlap(measure: Measure) -> Callable[[CaseSums, Number], Tensor]:
    """An overlap of `metrics.overlap`: the mean over the foreground classes that occur, then each class.

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
        >>> overlap("precision")(sums, NUMBERS["precision"]).tolist()
        [0.0, 0.0]
    """

    def value(sums: CaseSums, row: Number) -> Tensor:
        classes = overlap_from_confusion(sums.confusion, measure)[..., 1:]
        return torch.cat([classes.nanmean(-1, keepdim=True), classes], -1)

    return value


def calibration(error: Callable[[Bins], Tensor]) -> Callable[[CaseSums, Number], Tensor]:
    """An error of `metrics.errors` of the row's view and region, the mean over the classes for the class-wise view.

    Top label: then each class's error of p_k against "label is k".

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.75, 0.75], [0.25, 0.25]]), torch.tensor([0, 1]))
        >>> calibration(errors.signed_calibration_error)(sums, NUMBERS["ece"]).tolist()
        [0.25, -0.25]
    """

    def value(sums: CaseSums, row: Number) -> Tensor:
        whole = error(sums.bins[f"{row.region}.{row.view}"]).nanmean(-1, keepdim=True)
        if row.view != "top_label":
            return whole
        return torch.cat([whole, error(sums.bins[f"{row.region}.classwise"])[..., 1:]], -1)

    return value


def objects(score: ObjectScore) -> Callable[[CaseSums, Number], Tensor]:
    """A score of `metrics.objects`: counts added up over the foreground classes, else their mean; then each class.

    Example:
        >>> from metrics import ObjectRule, score_case
        >>> probs = torch.tensor([[0.75, 0.25, 0.75, 0.25], [0.25, 0.75, 0.25, 0.75]])
        >>> sums = score_case(probs, torch.tensor([0, 1, 0, 0]), objects=ObjectRule())
        >>> objects("precision")(sums, NUMBERS["object_precision"]).tolist()
        [0.5, 0.5]
    """

    def value(sums: CaseSums, row: Number) -> Tensor:
        classes = object_score(sums.tallies["objects"], score)[..., 1:]
        whole = classes.sum(-1) if score in ("true", "claimed", "matched") else classes.nanmean(-1)
        return torch.cat([whole.unsqueeze(-1), classes], -1)

    return value


def object_ece(sums: CaseSums, row: Number) -> Tensor:
    """ECE of the claimed objects, the mean over the foreground classes that claim some, then each class.

    Example:
        >>> from metrics import ObjectRule, score_case
        >>> probs = torch.tensor([[0.75, 0.25, 0.75, 0.25], [0.25, 0.75, 0.25, 0.75]])
        >>> sums = score_case(probs, torch.tensor([0, 1, 0, 0]), objects=ObjectRule())
        >>> object_ece(sums, NUMBERS["object_ece"]).tolist()
        [0.25, 0.25]
    """
    classes = errors.expected_calibration_error(sums.bins[f"{row.region}.{row.view}"], NUM_BINS)[..., 1:]
    return torch.cat([classes.nanmean(-1, keepdim=True), classes], -1)


def nll(sums: CaseSums, row: Number) -> Tensor:
    """Negative log-likelihood over the voxels, multi-class, then each class's against the rest.

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1]))
        >>> nll(sums, NUMBERS["nll"])
        tensor([0.6931, 0.6931], dtype=torch.float64)
    """
    values = sums.nll / sums.voxels.unsqueeze(-1)
    return torch.cat([values[..., :1], values[..., 2:]], -1)


def brier(sums: CaseSums, row: Number) -> Tensor:
    """Brier score over the voxels, summed over the classes, then each class's own.

    Example:
        >>> from metrics import sum_case
        >>> sums = sum_case(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1]))
        >>> brier(sums, NUMBERS["brier"]).tolist()
        [0.5, 0.25]
    """
    classes = errors.brier_score(sums.bins["all.classwise"])
    return torch.cat([classes.sum(-1, keepdim=True), classes[..., 1:]], -1)


def beside(sums: CaseSums, row: Number) -> Tensor:
    """What was measured beside the pass.

    Example:
        >>> from metrics import score_case
        >>> coin = torch.full((2, 4), 0.5)
        >>> sums = score_case(coin, torch.tensor([0, 1, 0, 1]), true_probs=coin)
        >>> beside(sums, NUMBERS["brier_lowest"]).tolist()
        [0.5]
    """
    return sums.beside[row.key]


def expectation_error(sums: CaseSums, row: Number) -> Tensor:
    """How far the expected Dice is from the Dice.

    Example:
        >>> from metrics import score_case
        >>> sure = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
        >>> sums = score_case(sure, torch.tensor([1, 0, 0]), expectations=True)
        >>> [round(value, 4) for value in expectation_error(sums, NUMBERS["expected_dice_error"]).tolist()]
        [0.3333, 0.3333]
    """
    return (sums.beside["expected_dice"] - overlap("dice")(sums, row)).abs()


def _measured(key: str, title: str, better: Direction, meaning: str, main: bool = False) -> Number:
    """A row of what was measured beside the pass."""
    return Number(key, title, better, beside, meaning, adds_up=False, main=main, reads=f"beside.{key}")


ECE, ACE, MCE = (
    calibration(partial(error, num_bins=NUM_BINS))
    for error in (
        errors.expected_calibration_error,
        errors.average_calibration_error,
        errors.maximum_calibration_error,
    )
)
SMOOTH = calibration(lambda bins: smooth_calibration_error(rebin(bins, CASE_BINS)))  # as a case's record has them
OBJECT_ROWS: tuple[tuple[str, str, Direction, ObjectScore, str], ...] = (
    ("object_f1", "object F1", "higher", "f1", "connected components matched at IoU >= 0.5; panoptica's RQ"),
    ("object_precision", "object precision", "higher", "precision", "matched / claimed objects"),
    ("object_recall", "object recall", "higher", "recall", "matched / true objects"),
    ("object_sq", "object SQ", "higher", "sq", "mean IoU of the matched objects"),
    ("object_pq", "object PQ", "higher", "pq", "panoptic quality, SQ x RQ"),
    ("object_dice", "object Dice", "higher", "dice", "mean Dice of the matched objects"),
    ("lesion_dice", "lesion-wise Dice", "higher", "lesion_dice", "as BraTS 2023; a missed or false lesion is 0"),
    ("objects_true", "true objects", "", "true", "connected components of the label"),
    ("objects_claimed", "claimed objects", "", "claimed", "connected components of the prediction"),
    ("objects_matched", "matched objects", "", "matched", "one to one, by the best IoU"),
)
PROBABILITIES = "bins.all.classwise"  # which hard masks have not
TRUTH_DEFINED = "favours flattened probabilities: its voxels are chosen by the label"
ROWS = (
    Number("dice", "Dice", "higher", overlap("dice"), "2 TP / (2 TP + FP + FN)", main=True, by_class=True),
    Number("iou", "IoU", "higher", overlap("iou"), "TP / (TP + FP + FN)"),
    Number("precision", "Precision", "higher", overlap("precision"), "TP / (TP + FP)"),
    Number("recall", "Recall", "higher", overlap("recall"), "TP / (TP + FN)"),
    Number("nll", "NLL", "lower", nll, "mean of -log p_y, in nats", main=True, reads=PROBABILITIES),
    Number(
        "brier", "Brier", "lower", brier, "mean of sum_k (p_k - [y = k])^2, 0 to 2", main=True, reads=PROBABILITIES
    ),
    Number("ece", "ECE", "lower", ECE, "|confidence - accuracy| over 15 bins, weighted", "top_label", "all", main=True),
    Number("ace", "ACE", "lower", ACE, "the same, non-empty bins alike", "top_label", "all"),
    Number("mce", "MCE", "lower", MCE, "the largest over the bins", "top_label", "all"),
    Number(
        "ece_smooth", "smooth ECE", "lower", SMOOTH, "a kernel in place of bins, its width found by itself",
        "top_label", "all", num_bins=CASE_BINS,
    ),
    Number("ece_classwise", "class-wise ECE", "lower", ECE, "mean over the classes", "classwise", "all", main=True),
    Number("ece_foreground", "ECE of foreground", "lower", ECE, "of 1 - p_0", "foreground", "all", main=True),
    Number(
        "ece_boundary", "ECE at boundary", "lower", ECE, "within two voxels of a predicted boundary",
        "top_label", "boundary", main=True,
    ),
    Number(
        "ece_dilated", "ECE near foreground", "lower", ECE, "predicted foreground and two voxels around it",
        "top_label", "dilated",
    ),
    Number(
        "ece_reference_foreground", "ECE in true foreground", "lower", ECE, TRUTH_DEFINED,
        "top_label", "reference_foreground",
    ),
    Number(
        "ece_reference_boundary", "ECE at true boundary", "lower", ECE, TRUTH_DEFINED,
        "top_label", "reference_boundary",
    ),
    Number(
        "ece_true", "true ECE", "lower", ECE, "against known probabilities (Phantom): no sampling noise",
        "true", "all", main=True,
    ),
    _measured("nll_lowest", "NLL, lowest reachable", "", "entropy of known probabilities"),
    _measured("brier_lowest", "Brier, lowest reachable", "", "of known probabilities"),
    _measured("hd95", "HD95 (mm)", "lower", "95 % Hausdorff distance", main=True),
    _measured("assd", "ASSD (mm)", "lower", "average symmetric surface distance"),
    _measured("nsd", "NSD", "higher", "surface within tolerance (Nikolov 2018)", main=True),
    _measured("expected_dice", "expected Dice", "", "what the probabilities expect of the mask; no label is read"),
    Number(
        "expected_dice_error", "expected Dice, error", "lower", expectation_error, "|expected Dice - Dice|",
        adds_up=False, reads="beside.expected_dice",
    ),
    _measured("uncertain_share", "uncertain share", "", "share below 0.9 of the voxels with p_k > 0.1"),
    _measured("expected_volume", "expected volume", "", "sum of p_k, in mm3 (2D: mm2; voxels of unknown size: voxels)"),
    _measured("true_volume", "true volume", "", "of the label, in the same unit"),
    Number(
        "ece_raters", "ECE against the raters", "lower", ECE, "confidence against the share of raters who say so",
        "raters", "all", main=True,
    ),
    _measured("ece_rater_mean", "ECE by rater, mean", "lower", "the same probabilities against each rater alone"),
    _measured("dice_raters", "Dice with raters", "higher", "of the mask with each rater, their mean", main=True),
    _measured("dice_inter_rater", "Dice between raters", "", "of each pair of raters: the yardstick"),
    *(
        Number(key, title, better, objects(score), meaning, reads="tallies.objects")
        for key, title, better, score, meaning in OBJECT_ROWS
    ),
    Number(
        "object_ece", "object ECE", "lower", object_ece, "mean p of a claimed object against \"is it one\"",
        "object", "all",
    ),
)  # fmt: skip
SHARES = ("expected_dice", "uncertain_share", "dice_inter_rater")  # at most 1, though neither side is better
NUMBERS: dict[str, Number] = {}


def add(row: Number) -> None:
    """Enter a row, and that of all voxels together where the number adds up.

    Raises:
        ValueError: If a row of that key is there, or the key holds a character that separates names.

    Example:
        >>> add(Number("lesions", "Lesions", "", lambda sums, row: sums.confusion.sum(-1)[..., 1:], adds_up=False))
        >>> "lesions" in NUMBERS, "lesions_pooled" in NUMBERS
        (True, False)
        >>> remove("lesions")
    """
    for number in (row, row.pooled()) if row.adds_up else (row,):
        if number.key in NUMBERS or "/" in number.key or "." in number.key:
            raise ValueError(f"key={number.key!r} is taken or holds '/' or '.': choose another name")
        NUMBERS[number.key] = number


def remove(key: str) -> None:
    """Take a row out again.

    Example:
        >>> add(Number("volume", "Volume", "", lambda sums, row: sums.confusion.sum(-1)[..., 1:]))
        >>> remove("volume")
        >>> "volume" in NUMBERS, "volume_pooled" in NUMBERS
        (False, False)
    """
    for name in (key, key + POOLED):
        NUMBERS.pop(name, None)


for _row in ROWS:
    add(replace(_row, bounds=(0.0, 1.0 if _row.better == "higher" or _row.key in SHARES else math.inf)))


def of_average(average: Unit) -> list[Number]:
    """The rows of one unit of averaging, "case" or "pooled", in their order.

    Example:
        >>> [row.key for row in of_average("pooled")][0]
        'dice_pooled'
    """
    return [row for row in NUMBERS.values() if row.average == average]


def find(name: str) -> Number | None:
    """The row of a key, of `<stage>/<key>` or of `<stage>/<key>/<class>`; None if it is no number of the catalogue.

    Example:
        >>> find("val/dice/liver").title, find("epoch")
        ('Dice', None)
    """
    parts = name.split("/")
    return next((NUMBERS[part] for part in parts[:2] if part in NUMBERS), None)


def title_of(name: str, arrow: bool = False) -> str:
    """The title of a key, or the name itself where it is none of the catalogue; with the arrow to the better side.

    Example:
        >>> title_of("val/ece_pooled", arrow=True), title_of("epoch")
        ('ECE, pooled ↓', 'epoch')
    """
    row = find(name)
    return name if row is None else f"{row.title} {row.arrow}".strip() if arrow else row.title


def bounds_of(name: str) -> tuple[float, float]:
    """Least and largest value of a number; without end where the catalogue does not know it.

    Example:
        >>> bounds_of("dice"), bounds_of("hd95")
        ((0.0, 1.0), (0.0, inf))
    """
    row = find(name)
    return (-math.inf, math.inf) if row is None else row.bounds


def higher_is_better(name: str) -> bool:
    """Whether a larger value of a number is better.

    Raises:
        ValueError: If the catalogue does not know.

    Example:
        >>> higher_is_better("val/dice"), higher_is_better("ece")
        (True, False)
    """
    row = find(name)
    if row is None or row.better not in ("higher", "lower"):
        raise ValueError(f"{name!r} is no number whose better side is known: choose one of {', '.join(directed())}")
    return row.better == "higher"


def directed() -> list[str]:
    """The keys whose better side is known: those by which a checkpoint or a method can be best.

    Example:
        >>> "ece" in directed(), "nll_lowest" in directed()
        (True, False)
    """
    return [key for key, row in NUMBERS.items() if row.better in ("higher", "lower")]


def main_keys() -> list[str]:
    """The keys of main tables; the ECE over all voxels together stands behind its mean over cases.

    Example:
        >>> main_keys()[:5]
        ['dice', 'nll', 'brier', 'ece', 'ece_pooled']
    """
    keys = [row.key for row in NUMBERS.values() if row.main]
    keys.insert(keys.index("ece") + 1, "ece" + POOLED)
    return keys


def markdown() -> str:
    """The catalogue as a table of docs/metrics.md.

    Example:
        >>> markdown().splitlines()[0]
        '| key | title | better | voxels together | view | region | what it is |'
    """
    lines = ["| key | title | better | voxels together | view | region | what it is |", "|---|---|---|---|---|---|---|"]
    for row in of_average("case"):
        pooled = f"`{row.key}{POOLED}`" if row.adds_up else ""
        view, region = (name.replace("_", " ") for name in (row.view, row.region))
        cells = [f"`{row.key}`", row.title, row.arrow, pooled, view, region, row.meaning.replace("|", "\\|")]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"
