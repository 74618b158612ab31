"""Keep freed memory in the process: volumes ask for hundreds of MB again and again, and each new page is a fault.

glibc gives blocks of more than 128 kB (at most 32 MB) back to the system as soon as they are freed, so that the same
case is paged in anew at every step. With its thresholds raised a `test` on volumes spends its time on arithmetic
(docs/metrics.md). `SEGMENTATION_KEEP_MEMORY=0` leaves the allocator as it is.
"""

import ctypes
import os
import sys

SWITCH = "SEGMENTATION_KEEP_MEMORY"
TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
SIZES = (2**31 - 1, 32 * 2**20)  # bytes; glibc before 2.35 refuses more than the second
INHERITED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Raise the thresholds of this process, and of those it starts; on Linux with glibc only.

    Processes that are forked (a loader's workers) inherit them, others read the environment. Where the user has set
    them already, nothing is done.

    Returns:
        Whether they were raised.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux") or os.environ.keys() & set(INHERITED):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    raised = next((size for size in SIZES if mallopt(MMAP, size)), 0)
    if not raised or not mallopt(TRIM, raised):
        return False
    os.environ.update(dict.fromkeys(INHERITED, str(raised)))
    return True
