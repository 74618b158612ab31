"""Keeps the log to what concerns the run."""

import logging
import os
import re
import warnings

from lightning_app.training.processes import is_first_process

NOISE = (
    "💡",
    "GPU available",
    "TPU available",
    "Seed set to",
    "Restoring states",
    "Restored all states",
    "Loaded model weights",
    "`Trainer.",
    "-" * 100,  # around the kind of connection and the number of processes, which stands under Device
)
FIRST_ALONE = "Initializing distributed"  # what a start waits for that hangs
RANK = re.compile(r"^\[rank: \d+\] ")


class _NoNoise(logging.Filter):
    """Drops what the five first lines and the table say, and advertisements."""

    def filter(self, record: logging.LogRecord) -> bool:
        noise = NOISE if os.environ.get("LOCAL_RANK", "0") == "0" else (*NOISE, FIRST_ALONE)
        return not RANK.sub("", record.getMessage()).startswith(noise)


def quieten() -> None:
    """Drop what the program says itself, and warnings of what is meant."""
    for room in ("lightning.pytorch", "lightning.fabric"):
        for name in (room, *(f"{room}.utilities.{part}" for part in ("rank_zero", "seed", "distributed"))):
            logging.getLogger(name).addFilter(_NoNoise())
    # Lightning 2.6.6 with torch 2.15: its own use of a name that torch renamed.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
    # A process without a case is what the samplers give where there are more processes than cases.
    warnings.filterwarnings("ignore", message=r"Total length of .* across ranks is zero", category=UserWarning)
    # A process without a case has nothing of its own to add to the sums of all.
    warnings.filterwarnings("ignore", message=r"The ``compute`` method of metric", category=UserWarning)
    # Every run that is gone on with has one.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty", category=UserWarning)
    # A training without validation has no best checkpoint; a name that nothing logs was refused before.
    warnings.filterwarnings("ignore", message=r"`ModelCheckpoint\(monitor=.*could not find", category=UserWarning)
    # The loaders have the number of workers that the data module's author chose or the user asked for.
    warnings.filterwarnings("ignore", message=r".*does not have many workers", category=UserWarning)
    if not is_first_process():  # each process makes the same data and network, and the first has told of them
        warnings.filterwarnings("ignore", module=r"datamodules\b", category=UserWarning)
        warnings.filterwarnings("ignore", message="MONAI's HighResNet ends", category=UserWarning)
