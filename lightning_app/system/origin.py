"""What a run's numbers come from: the commit of the code and the versions of the packages below it."""

import subprocess
import sys
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers."""
    from importlib.metadata import version

    names = ("torch", "lightning", "torchmetrics", "monai", "segmentation-models-pytorch", "albumentations", "numpy")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def commit() -> str | None:
    """Commit of the code where it runs from a git checkout, with `+` where tracked files have changed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe"]
    options = ["--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
