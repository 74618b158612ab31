"""Slow and plain references in float64, written from the definitions, that share no code with `metrics`."""

from fractions import Fraction

import numpy as np


def exact_bins(confidence, n):
    """Bin of each confidence by exact rational arithmetic: min(floor(n p), n - 1)."""
    return np.array([min(int(Fraction(float(p)) * n), n - 1) for p in np.ravel(confidence)])


def views(probs, target, view):
    """Pairs (confidence, correct) of each channel, flat float64, of probs (K, *S)."""
    p = np.asarray(probs, dtype=np.float64).reshape(len(probs), -1)
    y = np.asarray(target).ravel()
    if view == "top_label":
        return [(p.max(0), (p.argmax(0) == y).astype(float))]
    if view == "foreground":
        return [(1 - p[0], (y != 0).astype(float))]
    return [(p[k], (y == k).astype(float)) for k in range(len(p))]


def sums(confidence, correct, n):
    """Count, sums of confidence, correctness and squared error by bin, as lists of n numbers each."""
    bins = exact_bins(confidence, n)
    parts = [(bins == b) for b in range(n)]
    values = (np.ones_like(confidence), confidence, correct, (confidence - correct) ** 2)
    return [np.array([v[part].sum() for part in parts]) for v in values]


def errors(confidence, correct, n):
    """ECE, ACE, MCE, over- and under-confidence and RMSCE by a loop over bins."""
    bins = exact_bins(confidence, n)
    gaps, shares = [], []
    for b in range(n):
        inside = bins == b
        if inside.any():
            gaps.append(confidence[inside].mean() - correct[inside].mean())
            shares.append(inside.mean())
    gaps, shares = np.array(gaps), np.array(shares)
    return {
        "ece": (shares * abs(gaps)).sum(),
        "ace": abs(gaps).mean(),
        "mce": abs(gaps).max(),
        "overconfidence": (shares * gaps.clip(min=0)).sum(),
        "underconfidence": (shares * (-gaps).clip(min=0)).sum(),
        "rmsce": np.sqrt((shares * gaps**2).sum()),
    }


def overlap(prediction, target, k):
    """Dice, IoU, precision and recall of class k from sets."""
    a, b = prediction == k, target == k
    hit = (a & b).sum()
    return {
        "dice": 2 * hit / (a.sum() + b.sum()),
        "iou": hit / (a | b).sum(),
        "precision": hit / a.sum(),
        "recall": hit / b.sum(),
    }
