"""Scoring beside the next case's inference, in processes of its own."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

import metrics
from lightning_app.system.workers import worker_context


class ScoringPool:
    """Processes that score cases; they are added to their scorer in the order in which they were given.

    What a case gives does not depend on the process, so the results are those of one process to the bit. At most one
    case more than there are workers is held.

    Args:
        workers: Number of processes.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"--score_workers {workers}: at least 1; leave it out to score in the main process")
        self.workers = workers
        self.processes = ProcessPoolExecutor(workers, worker_context(), torch.set_num_threads, (1,))
        self.waiting: deque[tuple[metrics.Scorer, str, Future[metrics.CaseSums]]] = deque()

    def submit(
        self,
        scorer: metrics.Scorer,
        name: str,
        probs: Tensor,
        target: Tensor,
        spacing: Sequence[float] | None,
        true_probs: Tensor | None,
        raters: Tensor | None = None,
    ) -> None:
        """Score a case, (K, *S) and (*S), later; waits while the processes are behind."""
        beside = {"true_probs": true_probs, "raters": raters}
        known = {name: _array(part) for name, part in beside.items() if part is not None}
        future = self.processes.submit(_score, _array(probs), _array(target), known, spacing, scorer.options())
        self.waiting.append((scorer, name, future))
        while len(self.waiting) > self.workers:
            self._take()

    def finish(self) -> None:
        """Wait for every case."""
        while self.waiting:
            self._take()

    def close(self) -> None:
        """End the processes."""
        self.waiting.clear()
        self.processes.shutdown(cancel_futures=True)

    def _take(self) -> None:
        scorer, name, future = self.waiting.popleft()
        scorer.add(future.result(), name)


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor as an array that can be sent; numpy has no bfloat16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _score(
    probs: np.ndarray, target: np.ndarray, known: dict[str, np.ndarray], spacing: Any, options: dict[str, Any]
) -> metrics.CaseSums:
    beside: Any = {name: torch.from_numpy(part) for name, part in known.items()}
    return metrics.score_case(torch.from_numpy(probs), torch.from_numpy(target), spacing, **beside, **options)
