"""Tables of what `benchmarks.drift` wrote: how often the check warns, and whether where a promise fails."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.drift import LEVEL
from benchmarks.posthoc_tables import markdown
from lightning_app.names import short_name
from metrics.drift import TRAITS, unlike

DRAWS = 500  # of cases at home, by chance the promise's or new
FEW = (3, 5, 10, 20)  # new cases
FEW_DRAWS = 50
Row = Mapping[str, str]
Numbers = dict[str, np.ndarray]


class Seen(NamedTuple):
    """The cases of a run under a condition.

    Attributes:
        condition: `own`, `other` or the kind of damage.
        level: Of damage, 0 of own cases, empty of another set.
        numbers: By key of `metrics.drift.TRAITS`.
        missed: Mean share of the true voxels that the promised cut misses.
    """

    condition: str
    level: str
    numbers: Numbers
    missed: float


class Network(NamedTuple):
    """A run: the numbers of the promise's cases, and what was seen."""

    data: str
    loss: str
    known: Numbers
    seen: list[Seen]

    def at(self, level: str) -> list[Seen]:
        """What was seen at a level."""
        return [one for one in self.seen if one.level == level]


def networks(rows: Sequence[Row]) -> list[Network]:
    """The runs of a file."""
    found = []
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        groups = dict.fromkeys((row["condition"], row["level"]) for row in own)
        parts = {key: [row for row in own if (row["condition"], row["level"]) == key] for key in groups}
        known = _numbers(parts.pop(("promise", "0")))
        seen = [Seen(*key, _numbers(part), _missed(part)) for key, part in parts.items()]
        found.append(Network(own[0]["data"], short_name(own[0]["loss"]), known, seen))
    return found


def _numbers(rows: Sequence[Row]) -> Numbers:
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in TRAITS}


def _missed(rows: Sequence[Row]) -> float:
    return float(np.mean([float(row["missed"]) for row in rows if row["missed"]]))


def warned(network: Network, seen: Seen) -> bool:
    """Whether the check warns of what was seen."""
    return bool(unlike(network.known, seen.numbers))


def by_network(rows: Sequence[Row]) -> str:
    """A row a network: warnings and missed shares at home, on the other set, and of the kinds of damage by level."""
    found = networks(rows)
    levels = sorted({one.level for network in found for one in network.seen} - {"0", ""})
    heads = ["data", "loss", "cases: promise, new", "at home: missed", "at home: warns, in random draws"]
    heads += ["other set: cases, missed", "other set: warns"]
    heads += [f"damage {level}: missed, kinds that warn" for level in levels]
    lines = []
    for network in found:
        (own,) = network.at("0")
        other = network.at("")
        cells = [f"{_size(network.known)}, {_size(own.numbers)}", f"{own.missed:.3f}"]
        cells.append(f"{_yes(warned(network, own))}, {100 * at_home(network, own):.1f} %")
        cells += [f"{_size(one.numbers)}, {one.missed:.3f}" for one in other] or [""]
        cells += [_first(network, one) for one in other] or [""]
        for level in levels:
            damaged = network.at(level)
            missed = np.mean([one.missed for one in damaged])
            cells.append(f"{missed:.3f}, {sum(warned(network, one) for one in damaged)} of {len(damaged)}")
        lines.append([network.data, network.loss, *cells])
    return markdown(heads, lines)


def at_home(network: Network, own: Seen) -> float:
    """Share of draws in which cases at home look unlike, where chance says which the promise is made from."""
    rng, known, told = np.random.default_rng(0), _size(network.known), 0
    together = {key: np.concatenate([network.known[key], own.numbers[key]]) for key in TRAITS}
    for _ in range(DRAWS):
        order = rng.permutation(_size(together))
        told += bool(
            unlike(*({key: v[part] for key, v in together.items()} for part in (order[:known], order[known:])))
        )
    return told / DRAWS


def of_promises(rows: Sequence[Row]) -> str:
    """How the warnings line up with promises that failed: a row for cases at home, other sets, damage by level.

    A network under a condition counts once; "warned, of" says how many warned of those with such a missed share.
    """
    heads = ["cases", f"kept, at most {LEVEL:g} missed: warned, of", f"above {LEVEL:g}", f"above {2 * LEVEL:g}"]
    heads += [f"of {count} new cases it warns" for count in FEW]
    found = networks(rows)
    levels = sorted({one.level for network in found for one in network.seen}, key=lambda level: (level == "", level))
    lines = []
    for level in levels:
        pairs = [(network, one) for network in found for one in network.at(level)]
        told = [(one.missed, warned(network, one)) for network, one in pairs]
        ends = ((-np.inf, LEVEL), (LEVEL, np.inf), (2 * LEVEL, np.inf))
        groups = [[says for missed, says in told if low < missed <= high] for low, high in ends]
        shares = [f"{100 * np.mean([few_warn(*pair, count) for pair in pairs]):.0f} %" for count in FEW]
        lines.append([_title(level), *(f"{sum(group)} of {len(group)}" for group in groups), *shares])
    return markdown(heads, lines)


def few_warn(network: Network, seen: Seen, count: int) -> float:
    """Share of draws of so many of the new cases that look unlike."""
    rng, told = np.random.default_rng(0), 0
    for _ in range(FEW_DRAWS):
        part = rng.choice(_size(seen.numbers), min(count, _size(seen.numbers)), replace=False)
        told += bool(unlike(network.known, {key: values[part] for key, values in seen.numbers.items()}))
    return told / FEW_DRAWS


def _title(level: str) -> str:
    return {"": "other set", "0": "at home"}.get(level, f"damage {level}")


def _first(network: Network, seen: Seen) -> str:
    """The surest number, from where to where."""
    for one in unlike(network.known, seen.numbers):
        return f"yes: {TRAITS[one.key]} {one.known:.2g} -> {one.new:.2g}, p = {one.p_value:.0e}"
    return "no"


def _size(numbers: Numbers) -> int:
    return len(next(iter(numbers.values())))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
