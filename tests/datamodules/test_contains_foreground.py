"""The Generalised Dice paper's sampling: exactly uniform over the patches that hold foreground."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from datamodules import ContainsForeground, DataError
from datamodules.patches import Target, admissible_starts, cut


def by_force(mask, size, window):
    """All starts whose central window holds foreground."""
    ranges = [range(max(n - side, 0) + 1) for n, side in zip(mask.shape, size, strict=True)]
    found = set()
    for index in product(*ranges):
        start = [i if n >= side else (n - side) // 2 for i, n, side in zip(index, mask.shape, size, strict=True)]
        inner = [s + (side - w) // 2 for s, side, w in zip(start, size, window, strict=True)]
        patch = cut(mask[None], inner, window, 0)
        if ((patch != 0) & (patch != 255)).any():
            found.add(tuple(start))
    return found


CASES = [
    ((9, 8), (4, 3), (4, 3)),
    ((9, 8), (5, 5), (1, 3)),
    ((6, 7, 8), (3, 3, 3), (3, 3, 3)),
    ((6, 7, 8), (4, 5, 4), (2, 1, 2)),
    ((3, 7, 8), (5, 3, 3), (5, 3, 3)),
    ((6, 7, 8), (1, 4, 4), (1, 2, 2)),
]


@pytest.mark.parametrize(("shape", "size", "window"), CASES)
def test_draws_are_uniform_over_exactly_the_admissible_patches(shape, size, window):
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(rng.integers(n // 3, n - n // 3, 3) for n in shape)] = 1
    mask[(0,) * len(shape)] = 255
    expected = by_force(mask, size, window)
    sampling = ContainsForeground(list(window))
    draws = 400 * len(expected)
    counts = Counter(tuple(sampling.start(Target("a", mask), size, rng)) for _ in range(draws))
    assert set(counts) == expected
    chi2 = sum((count - 400) ** 2 / 400 for count in counts.values())
    freedom = len(expected) - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom) + 10


def test_admissible_starts_have_the_shape_of_all_starts():
    mask = np.zeros((5, 9), np.uint8)
    mask[2, 4] = 1
    starts = admissible_starts(mask, (3, 4), (3, 4))
    assert starts.shape == (3, 6)
    assert starts.sum() == 3 * 4


def test_a_case_without_foreground_is_drawn_uniformly():
    counts = Counter(
        tuple(ContainsForeground().start(Target("a", np.zeros((4, 4), np.uint8)), (3, 3), np.random.default_rng(i)))
        for i in range(200)
    )
    assert len(counts) == 4


def test_a_window_larger_than_the_patch_is_refused():
    with pytest.raises(DataError, match="larger than the patch"):
        ContainsForeground([5, 5]).start(Target("a", np.ones((9, 9), np.uint8)), (3, 3), np.random.default_rng(0))


def test_the_patch_sequence_depends_on_the_seed_alone(tmp_path):
    from datamodules import Decathlon
    from tests.data.decathlon.make import make

    make(tmp_path)

    def sequence(seed, batch_size):
        data = Decathlon(
            root=str(tmp_path),
            patch_size=[4, 4, 4],
            sampling=ContainsForeground(),
            seed=seed,
            batch_size=batch_size,
            split="random",
            split_sizes=[8, 1, 1],
            augment=False,
        )
        data.setup()
        return [
            (case, float(image.sum()))
            for b in data.train_dataloader()
            for case, image in zip(b["case"], b["image"], strict=True)
        ]

    assert sequence(0, 2) == sequence(0, 4)
    assert sequence(0, 2) != sequence(1, 2)
