"""Processes that work beside the main one."""

import multiprocessing
from multiprocessing.context import BaseContext

PRELOADED = ["lightning_app.maps.scoring", "lightning_app.training.scoring"]


def worker_context() -> BaseContext:
    """How processes are started that score cases: forked from a server that has imported what they need, once for all.

    A fork of the main process, which has threads, may hang; where there is no such server each starts anew, in seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
