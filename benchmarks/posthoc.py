"""Every post-hoc calibrator on finished runs, fitted on their validation cases and, cross-fitted, on their test cases.

    python -m benchmarks.posthoc runs/six --losses CrossEntropyLoss DiceLoss DicePlusPlusLoss --output runs/posthoc.csv

The network predicts each case once. Methods are fitted on the network's grid, as `calibrate` does, and scored on the
original grid, as `test` does: mean Dice of the cases; ECE (15 bins, top-label), class-wise ECE and NLL of all voxels
together. `cross`: fitted on one half of the test cases and scored on the other, both ways, the mean of the two, so that
few or unlike validation cases are no part of the answer; never pooled over both halves, where their errors of opposite
sign would cancel. With `--shift` they are fitted on the validation cases and scored on the other set of the same task
instead (DRIVE: STARE, ...) and on the run's own test cases. Runs that stand in the file are not run again;
`benchmarks.results` makes the tables of the pages from it. `fit_s` are CPU seconds.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule

import metrics
from benchmarks.shift import PARTNERS
from lightning_app.calibrate import CalibratingTrainer, Collector, calibrator_arguments
from lightning_app.calibration.methods import CLASSES
from lightning_app.calibration.registry import build
from lightning_app.files import read_csv, write_csv
from lightning_app.report.read import Run, find_runs
from lightning_app.training.program import run_training
from lightning_app.training.shift import foreign_data
from models import Calibrator

COLUMNS = ("dice", "ece_pooled", "ece_classwise_pooled", "nll_pooled")


class Tested(NamedTuple):
    """Test cases as predicted on the network's grid, with the way to the original grid and the mask there."""

    cases: Collector
    grids: list[tuple[Any, torch.Tensor]]


class Half:
    """Every second case of a collector, to fit on.

    Args:
        cases: All cases.
        first: 0 or 1, the case to begin with.
    """

    def __init__(self, cases: Collector, first: int) -> None:
        self.cases, self.first = cases, first

    def __iter__(self) -> Iterator[Any]:
        """The cases of this half."""
        return (case for number, case in enumerate(self.cases) if number % 2 == self.first)


def opened(run: Run) -> tuple[Any, Any, Path]:
    """The network of a run with its best weights and no calibrator, its data with its split, and the checkpoint."""
    path = run.folder.path
    split = ["--data.split", str(path / "split.csv"), "--data.fold", "null"]
    cli = run_training(["fit", "--config", str(path / "config.yaml"), "--trainer.logger", "false", *split], run=False)
    checkpoint = path / "checkpoints" / "best.ckpt"
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    cli.model.load_state_dict(weights, strict=False)
    cli.model.calibrator = None
    cli.datamodule.prepare_data()
    cli.datamodule.setup("validate")
    return cli.model, cli.datamodule, checkpoint


def collect(collector: LightningModule, loader: Any, limit: int | None = None) -> None:
    """Show a collector the cases of a loader, or so many of them."""
    trainer = CalibratingTrainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, precision="bf16-mixed", limit_predict_batches=limit or 1.0,
    )  # fmt: skip
    trainer.predict(collector, dataloaders=loader, return_predictions=False)


class Network:
    """A trained network's predictions of its validation and test cases, to be calibrated again and again.

    Args:
        run: The run.
        folder: Where to keep the predictions.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.folder = folder
        self.module, self.data, self.checkpoint = opened(run)
        self.validation = self._collect(self.data.val_dataloader(), folder / "val")

    def test(self, limit: int | None = None, other: str | None = None) -> Tested:
        """Predict the run's own test cases, or those of another set.

        Args:
            limit: At most so many cases.
            other: The other set, as of `test --test_data`.
        """
        data = foreign_data(other, None, self.data, str(self.checkpoint)) if other else self.data
        data.setup("test")
        cases = self._collect(data.test_dataloader(), self.folder / (other or "test"), limit)
        batches = islice(data.test_dataloader(), limit)
        return Tested(cases, [(batch["geometry"][0], batch["original_mask"]) for batch in batches])

    def _collect(self, loader: Any, folder: Path, limit: int | None = None) -> Collector:
        folder.mkdir()
        collector = Collector(self.module, folder, frozenset(case.name for case in loader.dataset.cases), images=True)
        collect(collector, loader, limit)
        return collector

    def fitted(self, method: str, cases: Any) -> Calibrator:
        """A calibrator, fitted on cases."""
        options = {"gamma": 2.0} if method == "dicepp_inverse" else {}
        calibrator = build(method, calibrator_arguments(method, options, self.module, self.data))
        calibrator.fit(cases)
        return calibrator

    def score(self, tested: Tested, calibrators: Sequence[Calibrator | None]) -> dict[str, float]:
        """Metrics of the test cases; of several calibrators the mean, each on the cases that it gets in turn."""
        names = tuple(self.data.class_names)
        scorers = [metrics.Scorer(len(names), names) for _ in calibrators]
        for number, (case, (geometry, mask)) in enumerate(zip(*tested, strict=True)):
            calibrator = calibrators[number % len(calibrators)]
            probs = case.probs if calibrator is None else calibrator(case.probs, case.image)
            scorers[number % len(calibrators)].update(geometry.restore(probs[0])[None], mask)
        values = [scorer.compute() for scorer in scorers]
        return {name: sum(float(part[name]) for part in values) / len(values) for name in COLUMNS}


def cross_fitted(run: Run, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of one run: uncalibrated, then each method fitted in both ways."""
    with tempfile.TemporaryDirectory() as folder:
        network = Network(run, Path(folder))
        test = network.test()
        about = about_of(run, network, test)
        halves = [Half(test.cases, 1), Half(test.cases, 0)]
        ways: dict[str, list[Any]] = {"validation": [network.validation], "cross": halves}
        for how, parts in ways.items():
            yield about | {"method": "none", "fitted": how, **network.score(test, [None] * len(parts)), "fit_s": 0.0}
        for method in methods:
            for how, parts in ways.items():
                start = time.process_time()
                calibrators = [network.fitted(method, part) for part in parts]
                seconds = round(time.process_time() - start, 2)
                yield about | {"method": method, "fitted": how, **network.score(test, calibrators), "fit_s": seconds}


def shifted(run: Run, methods: Sequence[str], limit: int) -> Iterator[dict[str, Any]]:
    """The rows of one run on its own test cases and on those of the other set; none where there is no other set."""
    if run.data not in PARTNERS:
        return
    with tempfile.TemporaryDirectory() as folder:
        network = Network(run, Path(folder))
        sets = {other or "own": network.test(limit, other) for other in (None, PARTNERS[run.data])}
        for method in ("none", *methods):
            calibrator = None if method == "none" else network.fitted(method, network.validation)
            for name, tested in sets.items():
                about = about_of(run, network, tested)
                yield about | {"method": method, "tested": name, **network.score(tested, [calibrator])}


def about_of(run: Run, network: Network, tested: Tested) -> dict[str, Any]:
    """The first columns."""
    return {
        "run": run.name, "data": run.data, "loss": type(network.module.loss).__name__,
        "val_cases": len(network.validation.names), "test_cases": len(tested.grids),
    }  # fmt: skip


def main(args: Sequence[str] | None = None) -> int:
    """Score the runs that the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--losses", nargs="+", default=[], help="classes of the losses to take, by default all")
    parser.add_argument("--methods", nargs="+", default=list(CLASSES), choices=list(CLASSES))
    parser.add_argument("--shift", action="store_true", help="score on the other set of the task too")
    parser.add_argument("--limit", type=int, default=30, help="with --shift: at most so many cases a set")
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = list(read_csv(options.output)) if options.output.is_file() else []
    for run in find_runs(options.runs):
        loss = run.config["model"]["loss"]["class_path"].rpartition(".")[2]
        if (options.losses and loss not in options.losses) or any(row["run"] == run.name for row in rows):
            continue
        made = shifted(run, options.methods, options.limit) if options.shift else cross_fitted(run, options.methods)
        rows += list(made)
        write_csv(options.output, rows)
        print(run.name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
