"""What the runs compare: methods by data sets, and what the cases say about them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lightning_app.names import SHORT_NAMES
from lightning_app.report import folds
from lightning_app.report.apart import set_apart
from lightning_app.report.mixtures import mixtures
from lightning_app.report.read import Case, Run
from lightning_app.training.run_folder import STAGES
from metrics.catalogue import POOLED, bounds_of

SYMBOLS = {"gamma": "γ", "margin": "m", "alpha": "α", "delta": "δ", "sigma": "σ", "learning_rate": "lr"}
POST_HOC = "after training"
ORDER = (
    "loss",
    POST_HOC,
    "γ",
    "m",
    "α",
    "δ",
    "σ",
    "net",
    "patch_size",
    "size",
    "lr",
    "batch_size",
)  # then other settings
MAX_DRAWN = 12  # methods in one picture


@dataclass(frozen=True)
class Cell:
    """One method on one data set by one metric.

    Args:
        mean: Mean over the cases of the means over the seeds.
        low: Lower end of the 95 % interval over cases, and over seeds where there are several.
        high: Upper end.
        cases: Number of cases that have a value.
        seeds: Number of seeds that were averaged.
        spread: Standard deviation of the seeds' means; NaN for one seed.
    """

    mean: float
    low: float
    high: float
    cases: int
    seeds: int
    spread: float = float("nan")


@dataclass(frozen=True)
class Seeds:
    """Values of a method on a data set, by seed and case.

    Args:
        cases: Case -> its column.
        values: (seeds, cases), NaN where a seed has no value.
    """

    cases: dict[str, int]
    values: np.ndarray


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
        found = _factors(self.runs, self.stage)
        self.factors = {id(run): factors for run, factors in zip(self.runs, found, strict=True)}
        self.data = sorted({run.data for run in self.runs})
        self.notes += mixtures(self.runs, self.stage, self.method)
        self.methods = list(dict.fromkeys(self.method(run) for run in sorted(self.runs, key=self._order)))
        for name in ("seeds", "cell", "of", "wholes", "of_folds"):  # asked again and again by tables and figures
            setattr(self, name, cache(getattr(self, name)))
        every = [whole for data in self.data for method in self.methods for whole in self.wholes(data, method)]
        self.notes += folds.unkept(every, self.stage)

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
        """The runs of a method on a data set: one a seed, or one a seed and fold."""
        return [run for run in self.runs if run.data == data and self.method(run) == method]

    def wholes(self, data: str, method: str) -> list[tuple[Run, ...]]:
        """The runs of a method on a data set, the folds of a seed together."""
        return folds.join(self.of(data, method), self._scores)

    def of_folds(self, runs: tuple[Run, ...], metric: str) -> dict[str, folds.Row]:
        """Class -> value, low and high of a pooled number of all cases of folds together."""
        return folds.pooled(runs, self.stage, metric)

    def cases(self, run: Run) -> list[Case]:
        """Scores of a run's cases."""
        return self._scores[id(run)]

    def metrics(self) -> list[str]:
        """Metrics that some case or run has."""
        found = {metric for cases in self._scores.values() for case in cases for metric, _ in case.scores}
        return sorted(found.union(metric for pooled in self._pooled.values() for metric, _ in pooled))

    def seeds(self, data: str, method: str, metric: str, label: str = "all") -> Seeds:
        """Values by seed and case, of the cases that have a value under some seed; runs of one seed (folds) are one."""
        by_seed: dict[int, dict[str, list[float]]] = {}
        for run in self.of(data, method):
            for case in self._scores[id(run)]:
                value = case.scores.get((metric, label), np.nan)
                kept = by_seed.setdefault(run.seed, {}).setdefault(case.name, [])
                kept += [value] if np.isfinite(value) else []
        names = sorted({name for scores in by_seed.values() for name, found in scores.items() if found})
        values = np.array([[np.mean(scores.get(name) or [np.nan]) for name in names] for scores in by_seed.values()])
        values = values.reshape(len(by_seed), len(names))
        known = ~np.isnan(values).all(1)
        return Seeds({name: column for column, name in enumerate(names)}, values[known])

    def values(self, data: str, method: str, metric: str, label: str = "all") -> dict[str, float]:
        """Case -> value, averaged over the seeds; cases without a value are left out."""
        from metrics import intervals

        found = self.seeds(data, method, metric, label)
        return dict(zip(found.cases, intervals.mean_of_known(found.values).tolist(), strict=True))

    def cell(self, data: str, method: str, metric: str, label: str = "all") -> Cell | None:
        """A method's result on a data set, or None where it was not run or has no value."""
        import metrics

        if metric.endswith(POOLED):
            return self._pooled_cell(data, method, metric, label)
        found = self.seeds(data, method, metric, label).values
        if not found.size:
            return None
        low, high = metrics.bootstrap_interval(found, bounds=bounds_of(metric))
        mean = metrics.intervals.mean_of_known(found).mean()
        return Cell(float(mean), low, high, found.shape[1], len(found), _spread(np.nanmean(found, axis=1)))

    def _pooled_cell(self, data: str, method: str, metric: str, label: str) -> Cell | None:
        """Of all voxels together: the mean over the seeds, and its interval over cases and seeds."""
        from metrics import intervals

        rows = [self._pooled_row(whole, metric, label) for whole in self.wholes(data, method)]
        found = [row for row in rows if row and np.isfinite(row[0])]
        if not found:
            return None
        values, lows, highs = np.array(found).T
        cases = len({case.name for run in self.of(data, method) for case in self._scores[id(run)]})
        reaches = np.maximum(values - lows, highs - values)  # an end may have been cut
        low, high = intervals.combine_seeds(values, reaches, cases, bounds=bounds_of(metric))
        if len(found) == 1:
            low, high = float(lows[0]), float(highs[0])
        return Cell(float(values.mean()), low, high, cases, len(found), _spread(values))

    def _pooled_row(self, runs: tuple[Run, ...], metric: str, label: str) -> folds.Row | None:
        """Value, low and high of one seed: as its run wrote them, or of all cases of its folds together."""
        if len(runs) > 1:
            return self.of_folds(runs, metric).get(label)
        return self._pooled[id(runs[0])].get((metric, label))

    def numeric_factors(self) -> list[str]:
        """Factors with at least three numeric values: the axes of curves."""
        names = dict.fromkeys(name for factors in self.factors.values() for name in factors)
        values = {n: {f[n] for f in self.factors.values() if n in f} for n in names}
        return [n for n, seen in values.items() if len(seen) > 2 and not any(isinstance(v, str) for v in seen)]


def label_of(factors: Mapping[str, str | float], *without: str) -> str:
    """The words of some factors: loss and network by their names, the others as `name=value`."""
    kept = {name: value for name, value in factors.items() if name not in without}
    if kept.get("loss") == "DSC++" and kept.get("γ") == 1:
        kept = {name: value for name, value in kept.items() if name != "γ"} | {"loss": "DSC (γ=1)"}
    return " ".join(str(v) if name in ("loss", "net", POST_HOC) else f"{name}={v}" for name, v in kept.items())


def _spread(means: np.ndarray) -> float:
    """Standard deviation of the seeds' means; NaN for one seed."""
    return float(means.std(ddof=1)) if len(means) > 1 else float("nan")


def _factors(runs: Sequence[Run], stage: str) -> list[dict[str, str | float]]:
    """For each run what tells its method from the others: loss and its arguments, network, further settings.

    What was done after training is always told.
    """
    found = [
        {
            "loss": run.loss,
            **_post_hoc(run, stage),
            **varying(run.loss_arguments, [other.loss_arguments for other in runs if other.loss == run.loss]),
            **_network(run, runs),
            **_others(run, [other for other in runs if other.data == run.data]),
        }
        for run in runs
    ]
    data = [run.data for run in runs]
    kept = _telling(found, data)
    apart = {(own["loss"], name) for own in found for name in kept if _differs(name, own["loss"], found, data)}
    always = ("loss", POST_HOC)
    return [
        {name: own[name] for name in kept if name in own and (name in always or (own["loss"], name) in apart)}
        for own in found
    ]


def _differs(name: str, loss: object, factors: Sequence[dict[str, str | float]], data: Sequence[str]) -> bool:
    """Whether a setting differs between runs of one loss on one data set."""
    by_data: dict[str, set[object]] = {}
    for own, of in zip(factors, data, strict=True):
        if own["loss"] == loss:
            by_data.setdefault(of, set()).add(own.get(name))
    return any(len(values) > 1 for values in by_data.values())


def _post_hoc(run: Run, stage: str) -> dict[str, str | float]:
    """What was done to the network's probabilities, as `+ temperature + cut`."""
    done = run.folder.post_hoc(stage)
    parts = [str(done.get("calibrator", "")), "cut" if done.get("cuts") else ""]
    told = " ".join(f"+ {part}" for part in parts if part)
    return {POST_HOC: told} if told else {}


def _telling(factors: Sequence[dict[str, str | float]], data: Sequence[str]) -> list[str]:
    """Names without which two methods would be one: of settings that vary together, the first stands for all."""
    names = dict.fromkeys(name for own in factors for name in own)
    kept = ["loss", POST_HOC]
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
