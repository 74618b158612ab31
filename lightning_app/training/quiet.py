"""Keeps the log to what concerns the run."""

import logging
import warnings

NOISE = (
    "💡",
    "GPU available",
    "TPU available",
    "Seed set to",
    "Restoring states",
    "Restored all states",
    "Loaded model weights",
    "`Trainer.",
)


class _NoNoise(logging.Filter):
    """Drops what the five first lines and the table say, and advertisements."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(NOISE)


def quieten() -> None:
    """Drop what the program says itself, and warnings of what is meant."""
    for room in ("lightning.pytorch", "lightning.fabric"):
        for name in (room, f"{room}.utilities.rank_zero", f"{room}.utilities.seed"):
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
