"""Which case and which patch comes next, as a pure function of (seed, epoch, position)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import distributed
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One training draw.

    Args:
        epoch: Epoch number.
        position: Position in the epoch, counted over all processes.
        number: Number of the case.
    """

    epoch: int
    position: int
    number: int

    def rng(self, seed: int) -> np.random.Generator:
        """Random generator of this draw; independent of worker, process and batch size."""
        return np.random.default_rng([seed, self.epoch, self.position])


def rank_and_world() -> tuple[int, int]:
    """Number of this process and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class EpochSampler(Sampler[Draw]):
    """Shuffled draws for training; each process takes every `world`-th of the same sequence.

    The sequence of an epoch is a row of permutations of all cases, cut to `draws`, and to a multiple of the number of
    processes (which must do the same number of steps). Lightning calls `set_epoch`, also after a resume.

    Args:
        num_cases: Number of cases.
        seed: Seed.
        draws: Draws an epoch over all processes; every case once if None.
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(self, num_cases: int, seed: int = 0, draws: int | None = None, rank: int = 0, world: int = 1) -> None:
        self.num_cases, self.seed, self.rank, self.world = num_cases, seed, rank, world
        self.draws = max(world, (draws or num_cases) // world * world)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws // self.world

    def __iter__(self) -> Iterator[Draw]:
        epoch = self.epoch
        rng = np.random.default_rng([self.seed, epoch, 0, 1])
        rounds = -(-self.draws // self.num_cases)
        order = np.concatenate([rng.permutation(self.num_cases) for _ in range(rounds)])[: self.draws]
        for position in range(self.rank, self.draws, self.world):
            yield Draw(epoch, position, int(order[position]))


class ShardSampler(Sampler[int]):
    """Cases in order, every `world`-th for each process, none twice; shards may differ by one.

    Args:
        num_cases: Number of cases.
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(self, num_cases: int, rank: int = 0, world: int = 1) -> None:
        self.indices = range(rank, num_cases, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
