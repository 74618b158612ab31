"""What is said and done once, whatever the number of processes."""

import sys

from lightning.pytorch.utilities import rank_zero_only


def is_first_process() -> bool:
    """Whether this process is the one that writes; Lightning knows it from the launcher's environment."""
    return getattr(rank_zero_only, "rank", 0) == 0


def tell(message: str) -> None:
    """Tell the user something that does not stop the program: one line on standard error, once."""
    if is_first_process():
        sys.stderr.write(f"lightning_app: {message}\n")
        sys.stderr.flush()
