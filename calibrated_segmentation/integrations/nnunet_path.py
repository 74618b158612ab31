"""`python -m lightning_app nnunet-path`: the folder that nnU-Net is to search for trainers."""

import argparse
import sys
from pathlib import Path

TRAINERS = Path(__file__).parent / "nnunet" / "trainers"


def main(args: list[str]) -> int:
    """Print the folder, for `export nnUNet_extTrainer=$(calseg nnunet-path)`.

    Args:
        args: Arguments after the verb; there are none but `--help`.
    """
    argparse.ArgumentParser(
        prog="python -m lightning_app nnunet-path",
        description="Print the folder of our trainers: export nnUNet_extTrainer=$(calseg nnunet-path)",
    ).parse_args(args)
    sys.stdout.write(f"{TRAINERS}\n")
    return 0
