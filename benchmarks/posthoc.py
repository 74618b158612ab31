"""Every post-hoc calibrator on finished runs, fitted on their validation cases and, cross-fitted, on their test cases.

    python -m benchmarks.posthoc runs/six --losses CrossEntropyLoss DiceLoss DicePlusPlusLoss --output runs/posthoc.csv

The network predicts each case once. Methods are fitted on the network's grid, as `calibrate` does, and scored on the
original grid, as `test` does: mean Dice of the cases; ECE (15 bins, top-label), class-wise ECE and NLL of all voxels
together. `cross`: fitted on one half of the test cases and scored on the other, both ways, the mean of the two, so that
few or unlike validation cases are no part of the answer; never pooled over both halves, where their errors of opposite
sign would cancel. Runs that stand in the file are not run again; `benchmarks.results` makes the tables of the page from
it. `fit_s` are CPU seconds.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import metrics
from lightning_app.calibrate import CalibratingTrainer, Collector, calibrator_arguments
from lightning_app.calibration.registry import CLASSES, build
from lightning_app.files import read_csv, write_csv
from lightning_app.report.read import Run, find_runs
from lightning_app.training.program import run_training
from models import Calibrator

COLUMNS = ("dice", "ece_pooled", "ece_classwise_pooled", "nll_pooled")


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


class Network:
    """A trained network's predictions of its validation and test cases, to be calibrated again and again.

    Args:
        run: The run.
        folder: Where to keep the predictions.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        path = run.folder.path
        split = ["--data.split", str(path / "split.csv"), "--data.fold", "null"]
        cli = run_training(
            ["fit", "--config", str(path / "config.yaml"), "--trainer.logger", "false", *split], run=False
        )
        self.module, self.data = cli.model, cli.datamodule
        checkpoint = torch.load(path / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
        self.module.load_state_dict(checkpoint["state_dict"], strict=False)
        self.module.calibrator = None
        self.data.prepare_data()
        self.data.setup("validate")
        self.data.setup("test")
        self.validation = self._collect(self.data.val_dataloader(), folder / "val")
        self.test = self._collect(self.data.test_dataloader(), folder / "test")
        self.grids = [(batch["geometry"][0], batch["original_mask"]) for batch in self.data.test_dataloader()]

    def _collect(self, loader: Any, folder: Path) -> Collector:
        folder.mkdir()
        collector = Collector(self.module, folder, frozenset(case.name for case in loader.dataset.cases), images=True)
        trainer = CalibratingTrainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, precision="bf16-mixed",
        )  # fmt: skip
        trainer.predict(collector, dataloaders=loader, return_predictions=False)
        return collector

    def fitted(self, method: str, cases: Any) -> Calibrator:
        """A calibrator, fitted on cases."""
        options = {"gamma": 2.0} if method == "dicepp_inverse" else {}
        calibrator = build(method, calibrator_arguments(method, options, self.module, self.data))
        calibrator.fit(cases)
        return calibrator

    def score(self, calibrators: Sequence[Calibrator | None]) -> dict[str, float]:
        """Metrics of the test cases; of several calibrators the mean, each on the cases that it gets in turn."""
        names = tuple(self.data.class_names)
        scorers = [metrics.Scorer(len(names), names) for _ in calibrators]
        for number, (case, (geometry, mask)) in enumerate(zip(self.test, self.grids, strict=True)):
            calibrator = calibrators[number % len(calibrators)]
            probs = case.probs if calibrator is None else calibrator(case.probs, case.image)
            scorers[number % len(calibrators)].update(geometry.restore(probs[0])[None], mask)
        values = [scorer.compute() for scorer in scorers]
        return {name: sum(float(part[name]) for part in values) / len(values) for name in COLUMNS}


def table(run: Run, methods: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of one run: uncalibrated, then each method fitted in both ways."""
    with tempfile.TemporaryDirectory() as folder:
        network = Network(run, Path(folder))
        about = {
            "run": run.name, "data": run.data, "loss": type(network.module.loss).__name__,
            "val_cases": len(network.validation.names), "test_cases": len(network.grids),
        }  # fmt: skip
        rows: list[dict[str, Any]] = [
            {**about, "method": "none", "fitted": how, **network.score(parts), "fit_s": 0.0}
            for how, parts in {"validation": [None], "cross": [None, None]}.items()
        ]
        halves = [Half(network.test, 1), Half(network.test, 0)]
        for method in methods:
            for how, parts in {"validation": [network.validation], "cross": halves}.items():
                start = time.process_time()
                calibrators = [network.fitted(method, part) for part in parts]
                seconds = round(time.process_time() - start, 2)
                rows.append(about | {"method": method, "fitted": how} | network.score(calibrators) | {"fit_s": seconds})
            print(f"{run.name}: {method}", flush=True)
        return rows


def main(args: Sequence[str] | None = None) -> int:
    """Score the runs that the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--losses", nargs="+", default=[], help="classes of the losses to take, by default all")
    parser.add_argument("--methods", nargs="+", default=list(CLASSES), choices=list(CLASSES))
    options = parser.parse_args(args)
    warnings.filterwarnings("ignore")
    rows: list[dict[str, Any]] = list(read_csv(options.output)) if options.output.is_file() else []
    for run in find_runs(options.runs):
        loss = run.config["model"]["loss"]["class_path"].rpartition(".")[2]
        if (options.losses and loss not in options.losses) or any(row["run"] == run.name for row in rows):
            continue
        rows += table(run, options.methods)
        write_csv(options.output, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
