"""The sums of one scored case as a file: an evaluation that was killed goes on from them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_app.files import write_atomic
from metrics import Bins, CaseSums


@dataclass(frozen=True)
class Scored:
    """A scored case: its sums, what was doubtful, and its traits where they are wanted."""

    name: str
    sums: CaseSums
    found: Counter[str]
    traits: dict[str, float] = field(default_factory=dict)


def write_scored(path: Path, scored: Scored, stamp: str) -> None:
    """Write a scored case under the stamp of its files and settings; bins that nothing fell into are left out."""
    sums = scored.sums
    content = {
        "stamp": stamp,
        "name": scored.name,
        "found": dict(scored.found),
        "traits": scored.traits,
        "bins": {key: _packed(bins) for key, bins in sums.bins.items()},
        "confusion": sums.confusion,
        "nll": sums.nll,
        "beside": dict(sums.beside),
        "tallies": dict(sums.tallies),
        "multilabel": sums.multilabel,
    }
    write_atomic(path, lambda part: torch.save(content, part))


def read_scored(path: Path, stamp: str) -> Scored | None:
    """A scored case of that stamp, or None where there is none."""
    try:
        content = torch.load(path, weights_only=True)
        if content["stamp"] != stamp:
            return None
        bins = {key: _unpacked(packed) for key, packed in content["bins"].items()}
        fields = {name: content[name] for name in ("confusion", "nll", "beside", "tallies", "multilabel")}
        sums = CaseSums(bins, **fields)
        return Scored(content["name"], sums, Counter(content["found"]), content["traits"])
    except Exception:  # no file, or none of ours: the case is scored anew
        return None


def _packed(bins: Bins) -> dict[str, Any]:
    place = bins.count.flatten().nonzero()[:, 0].to(torch.int32)
    return {"shape": list(bins.count.shape), "place": place, "fields": [f.flatten()[place] for f in bins]}


def _unpacked(packed: dict[str, Any]) -> Bins:
    fields: list[Tensor] = []
    for values in packed["fields"]:
        whole = torch.zeros(packed["shape"], dtype=values.dtype)
        whole.view(-1)[packed["place"].long()] = values
        fields.append(whole)
    return Bins(*fields)
