"""Every post-hoc calibrator on finished runs: fitted on their validation cases, scored on their test cases.

    python -m benchmarks.posthoc runs/a runs/b --output table.csv

The network predicts each case once. Methods are fitted on the network's grid, as `calibrate` does, and scored on the
original grid, as `test` does (mask value 255 left out): Dice (mean over foreground classes and cases), pooled top-label
and class-wise ECE of 15 bins, and NLL and Brier score over all voxels. Prints a Markdown table a data set, with the
losses side by side. `fit_s` of the CSV file are CPU seconds.
"""

import argparse
import csv
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import metrics
from lightning_app.calibrate import CalibratingTrainer, Collector, calibrator_arguments
from lightning_app.calibration.registry import CLASSES, build
from lightning_app.training.program import run_training
from models import Calibrator

COLUMNS = ("dice", "ece", "ece_classwise", "nll", "brier")
SHOWN = {"dice": "Dice", "ece": "ECE", "ece_classwise": "class-wise ECE", "nll": "NLL"}


class TestCases:
    """The test cases as predicted, with what brings them to their original grid.

    Args:
        module: The training module.
        data: Its data.
        folder: Where to keep the predictions.
    """

    __test__ = False  # pytest: not a test

    def __init__(self, module: Any, data: Any, folder: Path) -> None:
        self.predicted = collect(module, data.test_dataloader(), folder)
        self.grids = [(batch["geometry"][0], batch["original_mask"]) for batch in data.test_dataloader()]
        self.class_names = tuple(data.class_names)

    def __iter__(self) -> Iterator[tuple[Any, Any, torch.Tensor]]:
        """Each prediction with its geometry and its mask on the original grid."""
        for case, (geometry, mask) in zip(self.predicted, self.grids, strict=True):
            yield case, geometry, mask

    def score(self, calibrator: Calibrator | None) -> dict[str, float]:
        """Metrics of all cases, calibrated."""
        collection = metrics.Scorer(len(self.class_names), self.class_names)
        for case, geometry, mask in self:
            probs = case.probs if calibrator is None else calibrator(case.probs, case.image)
            collection.update(geometry.restore(probs[0])[None], mask)
        values = collection.compute()
        return {name: float(values[name]) for name in COLUMNS}


def collect(module: Any, loader: Any, folder: Path) -> Collector:
    """Predict the cases of a loader once."""
    folder.mkdir()
    names = frozenset(case.name for case in loader.dataset.cases)
    collector = Collector(module, folder, names, images=True)
    trainer = CalibratingTrainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, precision="bf16-mixed",
    )  # fmt: skip
    trainer.predict(collector, dataloaders=loader, return_predictions=False)
    return collector


def load(run: Path, which: str = "best") -> tuple[Any, Any]:
    """The training module, with the weights of a checkpoint and no calibrator, and the data of a run."""
    cli = run_training(["fit", "--config", str(run / "config.yaml"), "--trainer.logger", "false"], run=False)
    checkpoint = torch.load(run / "checkpoints" / f"{which}.ckpt", map_location="cpu", weights_only=True)
    cli.model.load_state_dict(checkpoint["state_dict"], strict=False)
    cli.model.calibrator = None
    return cli.model, cli.datamodule


def table(run: Path, methods: list[str], which: str) -> list[dict[str, Any]]:
    """A row a method for one run."""
    module, data = load(run, which)
    data.prepare_data()
    data.setup("validate")
    data.setup("test")
    with tempfile.TemporaryDirectory() as folder:
        validation = collect(module, data.val_dataloader(), Path(folder) / "val")
        test = TestCases(module, data, Path(folder) / "test")
        first = {
            "data": getattr(data, "task", None) or type(data).__name__, "loss": type(module.loss).__name__,
            "val_cases": len(validation.names), "test_cases": len(test.grids),
        }  # fmt: skip
        rows = [{**first, "method": "none", **test.score(None), "fit_s": 0.0}]
        for method in methods:
            options = {"gamma": 2.0} if method == "dicepp_inverse" else {}
            calibrator = build(method, calibrator_arguments(method, options, module, data))
            start = time.process_time()
            calibrator.fit(validation)
            seconds = time.process_time() - start
            rows.append({**first, "method": method, **test.score(calibrator), "fit_s": seconds})
            sys.stderr.write(f"{run.name}: {method} fitted in {seconds:.0f} s\n")
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table a data set, with the losses side by side."""
    lines = []
    for name in dict.fromkeys(row["data"] for row in rows):
        of_set = [row for row in rows if row["data"] == name]
        found = list(dict.fromkeys(row["loss"] for row in of_set))
        first = of_set[0]
        lines += [f"{name}: {first['val_cases']} validation cases, {first['test_cases']} test cases", ""]
        heads = [f"{loss}: {label}" if label == "Dice" else label for loss in found for label in SHOWN.values()]
        lines += [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for method in dict.fromkeys(row["method"] for row in of_set):
            by_loss = {row["loss"]: row for row in of_set if row["method"] == method}
            cells = [f"{by_loss[loss][column]:.4f}" for loss in found for column in SHOWN]
            lines.append(f"| {method.replace('_', ' ')} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Score the runs and print, and where asked write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(CLASSES), choices=list(CLASSES))
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best")
    parser.add_argument("--output", type=Path, default=None, help="CSV file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = [row for run in arguments.runs for row in table(run, arguments.methods, arguments.checkpoint)]
    sys.stdout.write(markdown(rows))
    if arguments.output:
        with arguments.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
