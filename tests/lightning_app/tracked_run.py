"""A sitting of a tracked run with the real W&B client: rows of steps, and a word when they are logged."""

import logging
import sys
import time

from lightning_app.training.tracking import RunLogger, end_wandb, upload_lines


def sit(first: int, last: int, resume: str) -> None:
    """Log the steps from first to last - 1, and two more after a line that is sent."""
    logging.basicConfig(format="%(message)s")
    begun = time.monotonic()
    logger = RunLogger(project="p", id="R", save_dir="my run", resume=resume if resume != "new" else None)
    for step in range(first, last):
        logger.log_metrics({"val/ece": step / 10, "epoch": step}, step=step)
    sys.stdout.write(f"logged, after {time.monotonic() - begun:.1f} s\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for step in range(last, last + 2):
        logger.log_metrics({"val/ece": step / 10, "epoch": step}, step=step)
    for line in upload_lines([logger]):
        sys.stdout.write(f"upload: {line}\n")
    begun = time.monotonic()
    end_wandb(0)
    sys.stdout.write(f"ended, after {time.monotonic() - begun:.1f} s\n")
