"""How often the check without labels warns, at home and under shift, and whether it warns where a promise fails.

    python -m benchmarks.drift RUN ... --output runs/drift.csv [--levels 1,3,5] [--limit 30]
    python -m benchmarks.results docs/results/shift.md --runs_dir runs

Of every run a promise to miss at most a tenth of the true voxels is made from its validation cases, as `calibrate
--method risk` does; where these are fewer than 20, every second test case goes into the promise too and is not tested.
Each network then predicts its own test cases, these damaged, and the other set of the same task. The file has a row a
case: what its probabilities say without a label, and the share of its true voxels that the promised cut misses. Runs
that stand in the file are not run again.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.posthoc import collect, opened
from benchmarks.shift import Condition, conditions
from datamodules import Corruption
from lightning_app.calibration.risk import OddsCollector, Wish, make_promises
from lightning_app.files import read_csv, write_csv
from lightning_app.report.read import Run, find_runs
from lightning_app.training.head import head_of
from lightning_app.training.shift import foreign_data
from metrics.risk import Promise, risk_at

LEVEL = 0.1
FEWEST = 20  # cases of a promise that is more than "no case misses a voxel"


def observed(run: Run, levels: Sequence[int], limit: int) -> Iterator[dict[str, Any]]:
    """The rows of a run, those of the promise first; of its one foreground class."""
    module, data, checkpoint = opened(run)
    known = _seen(module, data.val_dataloader())
    halved = len(known.names) < FEWEST
    start = {"run": run.name, "data": run.data, "loss": run.loss}
    promise = None
    for condition in conditions(run, levels):
        found = _tested(module, data, checkpoint, condition, limit * (1 + halved))
        first = 1 if halved and condition.data is None else 0
        if promise is None:  # the run's own cases come first
            extra = slice(0, None, 2) if halved else slice(0)
            odds = [*known.odds, *found.odds[extra]]
            (promise,) = make_promises(odds, head_of(module).names, Wish(level=LEVEL)).values()
            yield from _rows(start | {"condition": "promise", "level": "0"}, known, promise)
            yield from _rows(start | {"condition": "promise", "level": "0"}, found, promise, extra)
        kind, _, level = (condition.corrupt or ("other:" if condition.data else "own:0")).partition(":")
        part = slice(first, None, 1 + first)
        yield from _rows(start | {"condition": kind, "level": level}, found, promise, part)


def _tested(module: Any, own: Any, checkpoint: Path, condition: Condition, limit: int) -> OddsCollector:
    data = foreign_data(condition.data, None, own, str(checkpoint)) if condition.data else own
    data.setup("test")
    cases = data.subsets["test"]
    if len(cases) > limit:  # spread over their order: neighbours may be frames of one video
        chosen = np.linspace(0, len(cases) - 1, limit).round().astype(int)
        data.use_split({**data.subsets, "test": [cases[i] for i in chosen]})
    data.corruption = Corruption.of(condition.corrupt) if condition.corrupt else None
    return _seen(module, data.test_dataloader())


def _seen(module: Any, loader: Any) -> OddsCollector:
    collector = OddsCollector(module, frozenset(case.name for case in loader.dataset.cases))
    collect(collector, loader)
    return collector


def _rows(
    start: dict[str, Any], seen: OddsCollector, promise: Promise, part: slice = slice(None)
) -> Iterator[dict[str, Any]]:
    for name, odds, traits in list(zip(seen.names, seen.odds, seen.traits, strict=True))[part]:
        missed = risk_at(odds[None, :, 1], "fnr", "case", promise.cut) if odds[1, 1].any() else ""
        yield start | {"case": name, "missed": missed, **{key.partition("/")[0]: v for key, v in traits.items()}}


def main(args: Sequence[str] | None = None) -> int:
    """Predict with the runs that the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--levels", default="1,3,5", help="levels of damage, of 1 to 5")
    parser.add_argument("--limit", type=int, default=30, help="most test cases of a condition")
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore")
    levels = [int(level) for level in options.levels.split(",")]
    rows: list[dict[str, Any]] = list(read_csv(options.output))
    for run in find_runs(options.runs):
        if not any(row["run"] == run.name for row in rows):
            rows += observed(run, levels, options.limit)
            write_csv(options.output, rows)
            print(run.name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
