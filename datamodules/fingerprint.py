"""What the training cases have in common: spacing, and the intensities of their foreground."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case
from .errors import DataError
from .preparation import Preparation, RawVolume
from .writers import write_atomic

_SAMPLES = 10_000


@dataclass(frozen=True)
class Fingerprint:
    """Facts of the training cases, after nnU-Net.

    Args:
        spacing: Median spacing (z, y, x) in mm; where the coarsest axis is more than three times the others, the 10th
            percentile on that axis.
        bounds: 0.5 and 99.5 percentile of the foreground intensities of each channel.
        mean: Mean of the clipped foreground intensities of each channel.
        deviation: Their standard deviation.
    """

    spacing: tuple[float, ...]
    bounds: tuple[tuple[float, float], ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def measure(cases: Sequence[Case], read: Callable[[Case], RawVolume], folder: Path, salt: str) -> Fingerprint:
    """Measure the cases, or take the result from a file where they were measured before.

    Args:
        cases: Training cases.
        read: Reads a case.
        folder: Where results are kept.
        salt: Whatever else decides how a case is read.

    Raises:
        DataError: If no case has foreground.
    """
    from .cache import entry_key

    keys = sorted(entry_key(case, salt) for case in cases)
    path = folder / f"{hashlib.sha256(json.dumps(['by channel', *keys]).encode()).hexdigest()}.json"
    if path.is_file():
        return from_plain(json.loads(path.read_text()))
    found = _measure(cases, read)
    write_atomic(path, lambda part: part.write_text(json.dumps(asdict(found))))
    return found


def from_plain(facts: dict[str, Any]) -> Fingerprint:
    """The fingerprint that `dataclasses.asdict`, and then JSON, made plain."""
    bounds = tuple((float(low), float(high)) for low, high in facts["bounds"])
    return Fingerprint(tuple(facts["spacing"]), bounds, tuple(facts["mean"]), tuple(facts["deviation"]))


def _measure(cases: Sequence[Case], read: Callable[[Case], RawVolume]) -> Fingerprint:
    spacings, values = [], []
    rng = np.random.default_rng(0)
    for case in cases:
        raw = read(case)
        geometry = Preparation().geometry(raw.image.shape[1:], raw.affine, raw.spacing)
        spacings.append(geometry.grid_spacing())
        labels = raw.labels
        flat = np.empty(0, int) if labels is None else np.flatnonzero((labels != 0) & (labels != 255))
        if len(flat):
            chosen = rng.choice(flat, min(len(flat), _SAMPLES), replace=False)
            values.append(raw.image.reshape(len(raw.image), -1)[:, chosen])
    if not values:
        raise DataError("fingerprint: no training case has foreground. Check the masks, or give clip and spacing.")
    samples = np.concatenate(values, axis=1).astype(np.float64)
    bounds = np.percentile(samples, [0.5, 99.5], axis=1).T
    samples = samples.clip(bounds[:, :1], bounds[:, 1:])
    return Fingerprint(
        _target_spacing(np.array(spacings)),
        tuple((float(low), float(high)) for low, high in bounds),
        tuple(samples.mean(axis=1).tolist()),
        tuple(samples.std(axis=1).tolist()),
    )


def _target_spacing(spacings: np.ndarray) -> tuple[float, ...]:
    target = np.median(spacings, axis=0)
    worst = int(target.argmax())
    if target[worst] > 3 * np.delete(target, worst).max():
        target[worst] = max(np.percentile(spacings[:, worst], 10), np.delete(target, worst).max())
    return tuple(float(value) for value in target)
