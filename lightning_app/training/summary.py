"""What the terminal shows when a run ends: a short table and the places of its files."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger

from lightning_app.files import read_csv
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.tracking import upload_lines
from metrics import catalogue

LINES = ("dice", "ece", "ece_true", "nll", "nll_lowest", "brier", "brier_lowest")
OF_OBJECTS = ("object_f1", "lesion_dice", "object_ece")
OF_RATERS = ("ece_raters", "ece_rater_mean", "dice_raters", "dice_inter_rater")


def print_summary(run: RunFolder, stages: Sequence[str], loggers: Iterable[Logger] = ()) -> None:
    """Print each stage's table, then the paths of its diagram and of the run, and the line that uploads it."""
    out = sys.stdout
    for stage in stages:
        out.write(table(run, stage))
        out.write(
            f"\nReliability diagram   {_quoted(run.stage(stage) / 'figures' / 'reliability_all_top_label.png')}\n"
        )
        out.write(f"Cases and classes     {_quoted(run.stage(stage) / 'per_case.csv')}\n")
    if (run.path / "progress.png").is_file():
        out.write(f"Training's progress   {_quoted(run.path / 'progress.png')}\n")
    out.write(f"Run folder            {_quoted(run.path)}\n")
    for line in upload_lines(loggers):
        out.write(f"Upload to W&B         {line}\n")
    if stages:
        command = shlex.join(["python", "-m", "lightning_app", "report", str(run)])
        out.write(f"Look next             {command}\n")
    out.flush()


def _quoted(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def table(run: RunFolder, stage: str) -> str:
    """The stage's means over cases with 95 % intervals, beside the pooled values, as text."""
    rows = {(row["metric"], row["class"]): row for row in read_csv(run.stage(stage) / "summary.csv")}
    cases = rows.get(("dice", "all"), {}).get("n", "0")
    part = {"val": "validation", "test": "test"}[stage]
    title = f"{part}: {cases} case{'s' * (cases != 1)}"
    lines = ["", f"{title:<26}{'mean of cases':>14}  {'95 % interval':<19}{'pooled':>9}"]
    for key in (*LINES, *OF_OBJECTS, *OF_RATERS):
        mean, pooled = rows.get((key, "all")), rows.get((f"{key}{catalogue.POOLED}", "all"))
        if mean is None or not mean["mean"]:
            continue
        interval = f"{float(mean['low']):.4f} to {float(mean['high']):.4f}" if mean["low"] else ""
        shown = f"{float(pooled['mean']):.4f}" if pooled else ""
        lines.append(f"{catalogue.title_of(key):<26}{float(mean['mean']):>14.4f}  {interval:<19}{shown:>9}".rstrip())
    return "\n".join(lines) + "\n"


def print_predictions(folder: Path, count: int) -> None:
    """Say what `predict` wrote, and where."""
    masks = "1 mask in" if count == 1 else f"{count} masks in"
    sys.stdout.write(f"\n{masks:<22}{folder / 'masks'}\n")
    for name in ("probabilities", "entropy", "mutual_information", "dicom_seg"):
        if (folder / name).is_dir():
            sys.stdout.write(f"{name.replace('_', ' ').capitalize() + ' in':<22}{folder / name}\n")
    told = "expected Dice and volume; calibrate --method cases adds intervals, and which cases to look at"
    sys.stdout.write(f"{'Numbers of each in':<22}{folder / 'cases.csv'} ({told})\n")
    sys.stdout.flush()
