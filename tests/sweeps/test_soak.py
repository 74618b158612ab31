"""A short soak of the queue; the long one is `python -m tests.sweeps.soak` (its figures: docs/reliability.md)."""

import pytest

from tests.sweeps.soak import soak


@pytest.mark.slow  # twenty seconds of starting and killing processes
@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_every_cell_finishes_once_though_runners_are_killed_at_random(tmp_path, storage):
    account = soak(tmp_path, storage, seconds=8, seed=1, cells=16, length=0.2)
    assert account.wrong == []
    assert account.cells == 16 * account.campaigns
    assert sum(account.disturbed.values()) >= 3
