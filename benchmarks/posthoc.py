"""Every post-hoc calibrator on finished runs: fitted on their validation cases, scored on their test cases.

    python -m benchmarks.posthoc runs/a runs/b --output table.csv

The network predicts each case once; methods are fitted and scored on the network's grid (mask value 255 left out), with
the metrics of `test`: Dice (mean over foreground classes and cases), pooled top-label and class-wise ECE of 15 bins,
and NLL and Brier score over all voxels. Prints a Markdown table.
"""

import argparse
import csv
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

import metrics
from lightning_app.calibrate import CLASSES, CalibratingTrainer, Collector, build, calibrator_arguments
from lightning_app.training import run_training
from models import Calibrator

COLUMNS = ("dice", "ece", "ece_classwise", "nll", "brier")


def evaluate(calibrator: Calibrator | None, cases: Collector, class_names: tuple[str, ...]) -> dict[str, float]:
    """Metrics of calibrated test cases."""
    collection = metrics.build(len(class_names), class_names)
    for case in cases:
        probs = case.probs if calibrator is None else calibrator(case.probs, case.image)
        collection.update(probs, case.target)
    values = collection.compute()
    return {name: float(values[name]) for name in COLUMNS}


def collect(module, loader, folder: Path) -> Collector:
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


def load(run: Path, which: str = "best"):
    """The training module, with the weights of a checkpoint and no calibrator, and the data of a run."""
    cli = run_training(["fit", "--config", str(run / "config.yaml"), "--trainer.logger", "false"], run=False)
    checkpoint = torch.load(run / "checkpoints" / f"{which}.ckpt", map_location="cpu", weights_only=True)
    cli.model.load_state_dict(checkpoint["state_dict"], strict=False)
    cli.model.calibrator = None
    return cli.model, cli.datamodule


def table(run: Path, methods: list[str], which: str) -> list[dict[str, object]]:
    """A row a method for one run."""
    module, data = load(run, which)
    data.prepare_data()
    data.setup("validate")
    data.setup("test")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        validation = collect(module, data.val_dataloader(), Path(folder) / "val")
        test = collect(module, data.test_dataloader(), Path(folder) / "test")
        names = tuple(data.class_names)
        first = {"data": type(data).__name__, "loss": type(module.loss).__name__}
        rows.append({**first, "method": "none", **evaluate(None, test, names), "fit_s": 0.0})
        for method in methods:
            options = {"gamma": 2.0} if method == "dicepp_inverse" else {}
            calibrator = build(method, calibrator_arguments(method, options, module, data))
            start = time.process_time()
            calibrator.fit(validation)
            seconds = time.process_time() - start
            rows.append({**first, "method": method, **evaluate(calibrator, test, names), "fit_s": seconds})
            sys.stderr.write(f"{run.name}: {method} fitted in {seconds:.0f} s\n")
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    """The rows as a table."""
    lines = ["| loss | method | Dice | ECE | class-wise ECE | NLL | Brier |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(f"{row[name]:.4f}" for name in COLUMNS)
        lines.append(f"| {row['loss']} | {row['method']} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score the runs and print, and where asked write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(CLASSES), choices=list(CLASSES))
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best")
    parser.add_argument("--output", type=Path, default=None, help="CSV file; rows are appended to one that exists")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for run in arguments.runs:
        rows = table(run, arguments.methods, arguments.checkpoint)
        sys.stdout.write(markdown(rows))
        if arguments.output:
            new = not arguments.output.exists()
            with arguments.output.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
