"""What the runs compare: methods by data sets, and what the cases say about them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lightning_app.report.apart import set_apart
from lightning_app.report.read import SHORT_NAMES, Case, Run
from lightning_app.training.run_folder import STAGES
from metrics.catalogue import POOLED, higher_is_better

SYMBOLS = {"gamma": "γ", "margin": "m", "alpha": "α", "delta": "δ", "sigma": "σ", "learning_rate": "lr"}
ORDER = ("loss", "γ", "m", "α", "δ", "σ", "net", "patch_size", "size", "lr", "batch_size")  # then other settings
LEVEL = 0.05
MAX_DRAWN = 12  # methods in one picture


@dataclass(frozen=True)
class Cell:
    """One method on one data set by one metric.

    Args:
        mean: Mean over the cases of the means over the seeds.
        low: Lower end of the 95 % bootstrap interval over the cases.
        high: Upper end.
        cases: Number of cases that have a value.
        seeds: Number of seeds that were averaged.
        mark: `best` where every other method differs by the paired test; `tied` where the test cannot tell the method
            from the one with the best mean; else empty.
    """

    mean: float
    low: float
    high: float
    cases: int
    seeds: int
    mark: str = ""


class Comparison:
    """Runs grouped to methods and data sets, scored on the cases of one stage.

    A method is everything in a run's configuration that differs between runs on the same data, less the seed.

    Args:
        runs: Run folders.
        stage: `test` or `val`; by default the test where every run has it.
    """

    def __init__(self, runs: Sequence[Run], stage: str | None = None) -> None:
        self.runs = list(runs)
        self.stage = stage or next((s for s in reversed(STAGES) if all(s in run.stages() for run in runs)), "")
        if not self.stage or any(self.stage not in run.stages() for run in runs):
            missing = [run.name for run in runs if (self.stage or "val") not in run.stages()]
            raise ValueError(
                f"no {self.stage or 'common'} results in {', '.join(missing)}: run validate or test on them first"
            )
        self._scores = {id(run): run.cases(self.stage) for run in self.runs}
        self._pooled = {id(run): run.pooled(self.stage) for run in self.runs}
        self.notes = set_apart(self.runs, self._scores)
        self.factors = {id(run): factors for run, factors in zip(self.runs, _factors(self.runs), strict=True)}
        self.data = sorted({run.data for run in self.runs})
        self.methods = list(dict.fromkeys(self.method(run) for run in sorted(self.runs, key=self._order)))
        for name in ("values", "cell", "marks", "of"):  # asked again and again by tables and figures
            setattr(self, name, cache(getattr(self, name)))

    def method(self, run: Run) -> str:
        """Label of a run's method."""
        return label_of(self.factors[id(run)])

    @cached_property
    def leading(self) -> list[str]:
        """The methods that pictures of single methods show: all, or where there are too many those of best Dice."""
        if len(self.methods) <= MAX_DRAWN:
            return self.methods
        dice = {m: [c.mean for d in self.data if (c := self.cell(d, m, "dice"))] for m in self.methods}
        best = sorted(self.methods, key=lambda m: -float(np.mean(dice[m])) if dice[m] else np.inf)[:MAX_DRAWN]
        return [method for method in self.methods if method in best]

    def _order(self, run: Run) -> tuple[int, list[tuple[bool, float, str]]]:
        names = list(SHORT_NAMES.values())
        rank = names.index(run.loss) if run.loss in names else len(names)
        return rank, [
            (isinstance(v, str), 0.0 if isinstance(v, str) else float(v), str(v))
            for v in self.factors[id(run)].values()
        ]

    def of(self, data: str, method: str) -> list[Run]:
        """The runs of a method on a data set: one a seed."""
        return [run for run in self.runs if run.data == data and self.method(run) == method]

    def cases(self, run: Run) -> list[Case]:
        """Scores of a run's cases."""
        return self._scores[id(run)]

    def metrics(self) -> list[str]:
        """Metrics that some case or run has."""
        found = {metric for cases in self._scores.values() for case in cases for metric, _ in case.scores}
        return sorted(found.union(metric for pooled in self._pooled.values() for metric, _ in pooled))

    def values(self, data: str, method: str, metric: str, label: str = "all") -> dict[str, float]:
        """Case -> value, averaged over the seeds; cases without a value are left out."""
        collected: dict[str, list[float]] = {}
        for run in self.of(data, method):
            for case in self._scores[id(run)]:
                collected.setdefault(case.name, []).append(case.scores.get((metric, label), np.nan))
        with_value = {case: [v for v in values if np.isfinite(v)] for case, values in collected.items()}
        return {case: float(np.mean(values)) for case, values in with_value.items() if values}

    def cell(self, data: str, method: str, metric: str, label: str = "all") -> Cell | None:
        """A method's result on a data set, or None where it was not run or has no value."""
        import metrics

        if metric.endswith(POOLED):
            return self._pooled_cell(data, method, metric, label)
        values = np.array(list(self.values(data, method, metric, label).values()))
        if not len(values):
            return None
        low, high = metrics.bootstrap_interval(values) if len(values) > 1 else (np.nan, np.nan)
        mark = self.marks(data, metric, label).get(method, "")
        seeds = {run.seed for run in self.of(data, method)}
        return Cell(float(values.mean()), low, high, len(values), len(seeds), mark)

    def _pooled_cell(self, data: str, method: str, metric: str, label: str) -> Cell | None:
        """Of all voxels together: value and interval over cases, each the mean over the seeds."""
        runs = self.of(data, method)
        found = [row for run in runs if (row := self._pooled[id(run)].get((metric, label))) and np.isfinite(row[0])]
        if not found:
            return None
        mean, low, high = map(float, np.mean(found, axis=0))
        return Cell(mean, low, high, len(self._scores[id(runs[0])]), len({run.seed for run in runs}))

    def marks(self, data: str, metric: str, label: str = "all") -> dict[str, str]:
        """Method -> `best` or `tied`, by paired Wilcoxon tests against the best mean, Holm-corrected."""
        means = {m: np.mean(list(v.values())) for m in self.methods if (v := self.values(data, m, metric, label))}
        if len(means) < 2:
            return {}
        best = (max if higher_is_better(metric) else min)(means, key=lambda method: means[method])
        p_values = self.p_values(data, best, [m for m in means if m != best], metric, label)
        tied = [method for method, p in p_values.items() if not p < LEVEL]
        return dict.fromkeys([best, *tied], "tied") if tied else {best: "best"}

    def p_values(
        self, data: str, reference: str, others: Sequence[str], metric: str, label: str = "all"
    ) -> dict[str, float]:
        """Holm-corrected p-value of each method against a reference, over the cases that both have."""
        from metrics import statistics

        own = self.values(data, reference, metric, label)
        raw = {}
        for other in others:
            theirs = self.values(data, other, metric, label)
            common = sorted(own.keys() & theirs.keys())
            raw[other] = statistics.paired_wilcoxon([own[c] for c in common], [theirs[c] for c in common]).p_value
        corrected = statistics.holm(list(raw.values()))
        return dict(zip(raw, map(float, corrected), strict=True))

    def numeric_factors(self) -> list[str]:
        """Factors with at least three numeric values: the axes of curves."""
        names = dict.fromkeys(name for factors in self.factors.values() for name in factors)
        values = {n: {f[n] for f in self.factors.values() if n in f} for n in names}
        return [n for n, seen in values.items() if len(seen) > 2 and not any(isinstance(v, str) for v in seen)]


def label_of(factors: Mapping[str, str | float], *without: str) -> str:
    """The words of some factors: loss and network by their names, the others as `name=value`."""
    kept = {name: value for name, value in factors.items() if name not in without}
    return " ".join(str(v) if name in ("loss", "net") else f"{name}={v}" for name, v in kept.items())


def _factors(runs: Sequence[Run]) -> list[dict[str, str | float]]:
    """For each run what tells its method from the others: loss and its arguments, network, further settings."""
    found = [
        {
            "loss": run.loss,
            **varying(run.loss_arguments, [other.loss_arguments for other in runs if other.loss == run.loss]),
            **_network(run, runs),
            **_others(run, [other for other in runs if other.data == run.data]),
        }
        for run in runs
    ]
    kept = _telling(found, [run.data for run in runs])
    return [{name: factors[name] for name in kept if name in factors} for factors in found]


def _telling(factors: Sequence[dict[str, str | float]], data: Sequence[str]) -> list[str]:
    """Names without which two methods would be one: of settings that vary together, the first stands for all."""
    names = dict.fromkeys(name for own in factors for name in own)
    kept = ["loss"]
    places = 0
    for name in sorted(names, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
        wanted = dict.fromkeys([*kept, name])
        refined = {(of, *(own.get(n) for n in wanted)) for of, own in zip(data, factors, strict=True)}
        if len(refined) > places:
            kept, places = list(wanted), len(refined)
    return kept


def varying(own: dict, all_of_its_kind: Sequence[dict]) -> dict[str, str | float]:
    """The arguments in which several of a kind differ, by their symbols."""
    names = [name for name in own if len({repr(other.get(name)) for other in all_of_its_kind}) > 1]
    return {SYMBOLS.get(name, name): _plain(own[name]) for name in names}


def _network(run: Run, runs: Sequence[Run]) -> dict[str, str | float]:
    nets = [other.config["model"]["net"] for other in runs]
    own = run.config["model"]["net"]
    name = {"net": own["class_path"].rpartition(".")[2]} if len({net["class_path"] for net in nets}) > 1 else {}
    alike = [net.get("init_args") or {} for net in nets if net["class_path"] == own["class_path"]]
    return {**name, **varying(own.get("init_args") or {}, alike)}


def _others(run: Run, same_data: Sequence[Run]) -> dict[str, str | float]:
    names = [name for name in run.settings if name not in ("model.loss", "model.net")]
    differing = [name for name in names if len({repr(other.settings.get(name)) for other in same_data}) > 1]
    return {name.rpartition(".")[2]: _plain(run.settings[name]) for name in differing}


def _plain(value: object) -> str | float:
    if isinstance(value, str) and re.fullmatch(r"\[[\d., ]+\]", value):  # a size, as 87×87
        return "×".join(value.strip("[]").split(", "))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return value
