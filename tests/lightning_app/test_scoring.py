"""Scoring in processes of its own against the main process; the allocator's thresholds."""

import platform
import subprocess
import sys

import pytest
import torch

import metrics
from lightning_app.system.memory import keep_freed_memory
from lightning_app.training.scoring import ScoringPool
from tests.metrics.data import segmentation


@pytest.fixture(scope="module")
def pool():
    pool = ScoringPool(2)
    yield pool
    pool.close()


def test_processes_give_the_same_to_the_bit_in_order(pool):
    """Three volumes of different sizes, two workers; surfaces, objects, known truth and raters too."""
    here, there = (metrics.Scorer(3, surface=True, objects=metrics.ObjectRule(0.1)) for _ in range(2))
    for number, shape in enumerate([(30, 34, 31), (6, 9, 5), (12, 10, 11)]):
        probs, target = segmentation(shape, seed=number)
        target[0] = 255
        raters = torch.stack([target, target.flip(1)])
        here.update(probs[None], target[None], (3.0, 1.0, 1.0), probs[None], [f"c{number}"], raters[None])
        pool.submit(there, f"c{number}", probs, target, (3.0, 1.0, 1.0), probs, raters)
        assert len(pool.waiting) <= 2
    pool.finish()
    assert [name for name, _ in there.records] == ["c0", "c1", "c2"]
    mine, theirs = here.compute(), there.compute()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert mine["objects_matched"] > 0
    for (_, a), (_, b) in zip(here.records, there.records, strict=True):
        assert all(torch.equal(p, q) for key in a.bins for p, q in zip(a.bins[key], b.bins[key], strict=True))
        assert torch.equal(a.nll, b.nll)
        assert torch.equal(a.beside["by_rater"], b.beside["by_rater"])


def test_an_error_of_a_case_is_that_of_the_main_process(pool):
    pool.submit(metrics.Scorer(2), "a", torch.full((2, 4, 4), 0.3), torch.zeros(4, 4, dtype=torch.uint8), None, None)
    with pytest.raises(ValueError, match="sum to 1"):
        pool.finish()


def test_no_number_of_threads_changes_a_bit():
    probs, target = segmentation((70, 80, 60), classes=4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(metrics.sum_case(probs, target))
    finally:
        torch.set_num_threads(before)
    one, three = found
    assert torch.equal(one.nll, three.nll)
    assert all(torch.equal(a, b) for key in one.bins for a, b in zip(one.bins[key], three.bins[key], strict=True))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.parametrize(("switch", "raised"), [("1", True), ("0", False)])
def test_freed_memory_is_kept_unless_switched_off(switch, raised):
    """20 buffers of 40 MB: each is paged in anew, about 10,000 faults, or only the first. In a process of its own."""
    code = (
        "import resource\n"
        "from lightning_app.system.memory import keep_freed_memory\n"
        "print(keep_freed_memory())\n"
        "import ctypes\n"
        "c = ctypes.CDLL('libc.so.6'); c.malloc.restype = ctypes.c_void_p\n"
        "c.malloc.argtypes = [ctypes.c_size_t]; c.free.argtypes = [ctypes.c_void_p]\n"
        "for _ in range(20):\n"
        "    p = c.malloc(40 << 20); ctypes.memset(p, 1, 40 << 20); c.free(p)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
    )
    environment = {"SEGMENTATION_KEEP_MEMORY": switch, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    said, faults = done.stdout.split()
    assert said == str(raised)
    assert (int(faults) < 60_000) == raised, faults


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert keep_freed_memory() is False
