"""DSC++ against nnU-Net's own loss, inside nnU-Net: train both, predict, calibrate the default after training, compare.

    export nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=...      # as nnU-Net wants them; the data set planned
    python -m benchmarks.nnunet 4 --configuration 3d_fullres --output nnunet_hippocampus
    python -m benchmarks.nnunet 4 --epochs 1 --device cpu --output trial  # a trial, shorter by 1,000
    python -m benchmarks.nnunet 4 --print                                 # the commands alone

Needs nnU-Net 2.8 or newer beside this project, and a test set in `imagesTs` and `labelsTs`. The temperature is fitted
on the validation cases of the fold, which nnU-Net predicts with `--npz` at the end of the training. Sized for one GPU:
a fold of 1,000 epochs takes hours there. It was not run at that size.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from calibrated_segmentation.integrations.nnunet import TRAINERS

OURS = "nnUNetTrainerDicePlusPlus"
PROGRAM = [sys.executable, "-m", "lightning_app"]


def commands(args: argparse.Namespace) -> list[list[str]]:
    """Every command of the comparison, in order."""
    raw = data_folder(Path(os.environ["nnUNet_raw"]), args.dataset)  # noqa: SIM112 - nnU-Net's own spelling
    results = Path(os.environ["nnUNet_results"]) / raw.name  # noqa: SIM112
    default = f"nnUNetTrainer_{args.epochs}epoch{'s' if args.epochs > 1 else ''}" if args.epochs else "nnUNetTrainer"
    labels = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["labels"]
    classes = ",".join(sorted(labels, key=lambda name: labels[name]))
    fold, device = str(args.fold), ["-device", args.device]
    found: list[list[str]] = []
    for trainer, name in ((default, "default"), (OURS, "dscpp")):
        train = ["nnUNetv2_train", str(args.dataset), args.configuration, fold, "-tr", trainer, "--npz", *device]
        where = ["-d", str(args.dataset), "-c", args.configuration, "-f", fold, "-tr", trainer]
        out = args.output / name
        predict = [
            "nnUNetv2_predict",
            *where,
            "-i",
            str(raw / "imagesTs"),
            "-o",
            str(out),
            "--save_probabilities",
            *device,
        ]
        found += [train, predict, evaluate(out, raw, classes, name, args.output)]
    validation = results / f"{default}__nnUNetPlans__{args.configuration}" / f"fold_{fold}" / "validation"
    calibrator, calibrated = args.output / "temperature.ckpt", args.output / "calibrated"
    given = ["--probs", str(validation), "--labels", str(raw / "labelsTr"), "--classes", classes]
    found.append([*PROGRAM, "calibrate", *given, "--method", "temperature", "--out", str(calibrator)])
    found.append(
        [*PROGRAM, "apply", str(calibrator), "--probs", str(args.output / "default"), "--out", str(calibrated)]
    )
    found.append(evaluate(calibrated, raw, classes, "default_temperature", args.output))
    return [*found, [*PROGRAM, "report", str(args.output / "runs")]]


def evaluate(probs: Path, raw: Path, classes: str, name: str, output: Path) -> list[str]:
    """The command that scores a folder of predictions."""
    given = ["--probs", str(probs), "--labels", str(raw / "labelsTs"), "--classes", classes]
    return [*PROGRAM, "evaluate", *given, "--name", name, "--runs_dir", str(output / "runs")]


def data_folder(raw: Path, dataset: int) -> Path:
    """The data set's folder, by its number."""
    found = sorted(raw.glob(f"Dataset{dataset:03d}_*"))
    if len(found) != 1:
        raise SystemExit(f"{raw}: {len(found)} folders Dataset{dataset:03d}_*, one is needed")
    return found[0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=int, help="nnU-Net's number of the data set")
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=0, help="epochs of both trainings (default: nnU-Net's 1,000)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path("nnunet_comparison"))
    parser.add_argument("--print", action="store_true", help="print the commands and run nothing")
    args = parser.parse_args()
    environment = {**os.environ, "nnUNet_extTrainer": str(TRAINERS)}
    environment |= {"CALSEG_EPOCHS": str(args.epochs)} if args.epochs else {}
    for command in commands(args):
        sys.stdout.write(f"+ {shlex.join(command)}\n")
        sys.stdout.flush()
        if not args.print:
            subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
