"""Which of several processes tells of an error that meets them all."""

import os
import time

STARTED_BY = os.getppid()  # for a further process the first, or the launcher of all


def ends_untold(seconds: float = 5.0) -> bool:
    """Whether this is a further process, and the one that started it ends too: it met the same and has told of it.

    Args:
        seconds: How long to wait for that; after them the error is this process's own.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return False
    end = time.monotonic() + seconds
    while os.getppid() == STARTED_BY and time.monotonic() < end:
        time.sleep(0.05)
    return os.getppid() != STARTED_BY
