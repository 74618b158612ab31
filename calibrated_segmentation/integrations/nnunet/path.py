"""`python -m lightning_app nnunet-path`: the folder that nnU-Net is to search for trainers."""

import sys
from pathlib import Path

TRAINERS = Path(__file__).parent / "trainers"


def main(args: list[str]) -> int:
    """Print the folder, for `export nnUNet_extTrainer=$(calseg nnunet-path)`.

    Raises:
        ValueError: If an argument is given.
    """
    if args:
        raise ValueError(f"nnunet-path takes no arguments, got {' '.join(args)}")
    sys.stdout.write(f"{TRAINERS}\n")
    return 0
