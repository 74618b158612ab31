"""What is drawn depends on seed, epoch and position alone."""

from collections import Counter

import numpy as np
import pytest
import torch

from datamodules import Foreground, Phantom, Uniform
from datamodules.patches import Target, around, cut, foreground_index
from datamodules.sampling import Draw, EpochSampler, ShardSampler


def test_an_epoch_is_a_permutation_that_differs_between_epochs_and_repeats():
    sampler = EpochSampler(10, seed=1)
    first = list(sampler)
    assert sorted(draw.number for draw in first) == list(range(10))
    sampler.set_epoch(1)
    second = list(sampler)
    assert [d.number for d in second] != [d.number for d in first]
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("draws", [3, 10, 25])
def test_processes_share_one_sequence(draws):
    single = list(EpochSampler(10, 1, draws))
    parts = [list(EpochSampler(10, 1, draws, rank, 2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1])
    together = sorted(parts[0] + parts[1], key=lambda draw: draw.position)
    assert together == single[: draws // 2 * 2]


@pytest.mark.parametrize(("cases", "world"), [(5, 2), (1, 2), (7, 3)])
def test_evaluation_shards_hold_every_case_once(cases, world):
    shards = [list(ShardSampler(cases, rank, world)) for rank in range(world)]
    assert sorted(number for shard in shards for number in shard) == list(range(cases))


def test_workers_and_persistence_do_not_change_the_batches():
    def batches(workers):
        data = Phantom(size=16, num_cases=(6, 1, 1), batch_size=2, num_workers=workers)
        data.setup()
        loader = data.train_dataloader()
        result = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            result += [batch["image"] for batch in loader]
        return torch.cat(result)

    assert torch.equal(batches(0), batches(2))


def test_draw_generators_are_independent():
    values = {Draw(e, p, 0).rng(s).integers(1 << 40).item() for e in range(4) for p in range(4) for s in range(4)}
    assert len(values) == 64


def test_uniform_patches_cover_all_positions_evenly():
    mask, rng = np.zeros((6, 5), np.uint8), np.random.default_rng(0)
    counts = Counter(tuple(Uniform().start(Target("a", mask), (4, 4), rng)) for _ in range(6000))
    assert set(counts) == {(i, j) for i in range(3) for j in range(2)}
    assert max(counts.values()) / min(counts.values()) < 1.2


def test_foreground_patches_hold_foreground():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[18:, 0, 5] = 1
    sampling, rng = Foreground(1.0), np.random.default_rng(0)
    for _ in range(20):
        start = sampling.start(Target("a", mask), (6, 6, 6), rng)
        assert cut(mask[None], start, (6, 6, 6), 0).any()


def test_a_patch_larger_than_the_volume_is_padded_about_it():
    assert around((0, 0), (4, 4), (8, 2)) == [-2, 0]
    window = cut(np.ones((1, 4, 4)), [-2, 0], (8, 4), 7)
    assert window[0, :, 0].tolist() == [7, 7, 1, 1, 1, 1, 7, 7]


def test_foreground_index_is_limited_and_leaves_out_ignored_voxels():
    mask = np.full((30, 30), 255, np.uint8)
    mask[5:25, 5:25] = 1
    index = foreground_index(mask, limit=100)
    assert len(index) == 100
    assert (mask.ravel()[index] == 1).all()
