"""Whether new cases, of which nobody has a label, look like those that a promise was made from."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .binning import predict_labels
from .expectations import expected_dice, expected_volume, uncertain_share

ERROR = 0.01  # share of sets of cases, drawn as the known ones, that are called unlike
TRAITS = {
    "expected_dice": "expected Dice",
    "uncertain_share": "uncertain share",
    "share": "expected share of the image",
    "entropy": "mean entropy",
}


def case_traits(probs: Tensor) -> dict[str, Tensor]:
    """What the probabilities of a case say of it without a label, by key of `TRAITS`, (K - 1,) of the foreground.

    The expected Dice is of the mask of the largest probability, the share the mean of p_k, the entropy that of p_k
    against 1 - p_k, its mean over the voxels in nats; all voxels count, as nothing else is known of a new case.

    Args:
        probs: (K, *S).

    Example:
        >>> found = case_traits(torch.tensor([[0.5, 1.0, 1.0, 0.0], [0.5, 0.0, 0.0, 1.0]]))
        >>> {key: round(float(value), 3) for key, value in found.items()}
        {'expected_dice': 0.832, 'uncertain_share': 0.5, 'share': 0.375, 'entropy': 0.173}
    """
    entropy = [_entropy(p) for p in probs[1:]]
    return {
        "expected_dice": expected_dice(probs, predict_labels(probs))[1:],
        "uncertain_share": uncertain_share(probs)[1:],
        "share": expected_volume(probs)[1:] / probs[0].numel(),
        "entropy": torch.stack(entropy),
    }


def _entropy(p: Tensor) -> Tensor:
    return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(dtype=torch.float64)


class Unlike(NamedTuple):
    """A number whose values are distributed otherwise than in the known cases.

    Attributes:
        key: Its name.
        known: Median over the known cases.
        new: Median over the new ones.
        p_value: Of the two-sample Kolmogorov-Smirnov test, times the numbers that are compared, at most 1.

    Example:
        >>> found = unlike({"size": [1.0, 2.0, 3.0] * 4}, {"size": [7.0, 8.0] * 6})[0]
        >>> found.key, found.known, found.new, found.p_value < 1e-5
        ('size', 2.0, 7.5, True)
    """

    key: str
    known: float
    new: float
    p_value: float


def unlike(known: Mapping[str, ArrayLike], new: Mapping[str, ArrayLike], error: float = ERROR) -> list[Unlike]:
    """The numbers that tell new cases from known ones, the surest first.

    If both are drawn alike, whatever from, at most the share `error` of sets of new cases has any: the test is exact
    (ties only make it more careful), and Bonferroni's correction needs no independence. The other way round nothing
    follows: cases may look alike and be others. Values are compared by three digits, so that other hardware is no other
    data.

    Args:
        known: Name to its values, one a case; NaN where a case has none, which is left out.
        new: The same of the new cases; names that one side lacks are not compared.
        error: Between 0 and 1.

    Raises:
        ValueError: If the error is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> known = {"size": rng.normal(10, 1, 40), "share": rng.normal(0.3, 0.1, 40)}
        >>> unlike(known, {"size": rng.normal(10, 1, 20), "share": rng.normal(0.3, 0.1, 20)})
        []
        >>> [one.key for one in unlike(known, {"size": rng.normal(10, 1, 20), "share": rng.normal(0.6, 0.1, 20)})]
        ['share']
    """
    _check(error)
    from scipy.stats import ks_2samp  # a second

    keys = [key for key in known if key in new]
    found = []
    for key in keys:
        old, others = _comparable(known[key]), _comparable(new[key])
        if not (len(old) and len(others)):
            continue
        p = min(1.0, float(ks_2samp(old, others).pvalue) * len(keys))
        if p <= error:
            found.append(Unlike(key, float(np.median(old)), float(np.median(others)), p))
    return sorted(found, key=lambda one: one.p_value)


def fewest_new(known: int, numbers: int, error: float = ERROR) -> int:
    """How many new cases it takes before any could be called unlike, however far off they are.

    Of m new cases that all lie beyond the n known ones the test's p-value is 2 n! m! / (n + m)!.

    Args:
        known: n, at least 1.
        numbers: How many are compared.
        error: As for `unlike`.

    Raises:
        ValueError: If the error is out of range, or there is no known case.

    Example:
        >>> [fewest_new(known, numbers=4) for known in (4, 10, 40, 800)]
        [10, 4, 2, 1]
    """
    _check(error)
    if known < 1:
        raise ValueError(f"known={known} must be at least 1")
    new = 1
    while 2 * numbers / math.comb(known + new, new) > error:
        new += 1
    return new


def _check(error: float) -> None:
    if not 0 < error < 1:
        raise ValueError(f"error={error} must be between 0 and 1")


def _comparable(values: ArrayLike) -> np.ndarray:
    """The finite values, to three digits."""
    array = np.asarray(values, float)
    return np.array([float(f"{value:.3g}") for value in array[np.isfinite(array)]])
