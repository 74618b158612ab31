"""Finished runs again with what their validation cases give after training: a temperature, and a cut of best Dice.

    python -m benchmarks.after_training runs/drive --output runs/drive_after --losses CrossEntropyLoss DiceLoss

For each run a copy `<run>+temperature`, calibrated and tested, and with `--cut` for the losses named there a copy
`<run>+temperature+cut`, whose masks are those of the cut. In two classes a temperature moves no mask at the cut of
1/2, and the best cut after it makes the mask of the best cut before it. A copy that is tested is not made again.
"""

import argparse
import contextlib
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_app.cli import main as program
from lightning_app.errors import UserError
from lightning_app.report.read import Run, find_runs

QUIET = ["--trainer.enable_progress_bar=false"]
LEFT_OUT = shutil.ignore_patterns("wandb", "figures", "test*", "last.ckpt", "predictions")


def made_again(run: Run, output: Path, cut: bool) -> Path:
    """The run's copy, calibrated and tested."""
    folder = output / f"{run.name}+temperature{'+cut' if cut else ''}"
    if (folder / "test" / "per_case.csv").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run.folder.path, folder, ignore=LEFT_OUT)
    quietly(["calibrate", f"--ckpt_path={folder}", "--method=temperature", *QUIET])
    threshold = ["--threshold=calibrated"] if cut else []
    quietly(["test", f"--ckpt_path={folder}", "--trainer.logger=false", *threshold, *QUIET])
    return folder


def quietly(args: list[str]) -> None:
    """Run a verb of the program without its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        program(args)


def main(args: Sequence[str] | None = None) -> int:
    """Copy, calibrate, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--output", type=Path, required=True, help="folder for the copies")
    parser.add_argument("--losses", nargs="+", required=True, help="classes of the losses that get a temperature")
    parser.add_argument("--cut", nargs="*", default=[], help="classes of those that get a cut too")
    options = parser.parse_args(args)
    for run in find_runs(options.runs):
        loss = run.config["model"]["loss"]["class_path"].rpartition(".")[2]
        for cut in [False] * (loss in options.losses) + [True] * (loss in options.cut):
            print(made_again(run, options.output, cut), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (FileNotFoundError, UserError) as error:
        sys.exit(str(error))
