"""One, two and three processes with uneven shards; and a long stream in constant memory."""

import gc
import resource

import pytest
import torch
import torch.distributed
import torch.multiprocessing

import metrics
from tests.metrics.data import segmentation
from tests.processes import context

CASES = 5
SHARDS = {3: [[3], [], [1, 0, 2, 4]], 2: [[4, 0, 2], [1, 3]]}  # by number of processes, uneven, one empty


def make():
    collection = metrics.Scorer(3, ["background", "a", "b"], objects=metrics.ObjectRule(iou=0.2))
    others = {
        "presets": metrics.preset("barfoot", 3),
        "surface": metrics.HausdorffDistance95(3),
        "volume": metrics.SoftVolumeBias(3),
        "bins": metrics.ReliabilityBins(3, view="classwise"),
        "regions": metrics.Scorer(3, ["background", "a", "a or b"], multilabel=True),
    }
    return collection, others


def feed(collection, others, cases):
    for probs, target in cases:
        collection.update(probs[None], target[None], raters=torch.stack([target, target.flip(0)])[None])
        for name, metric in others.items():
            metric.update(*(regions(probs, target) if name == "regions" else (probs[None], target[None])))
    values = {**collection.compute(), **others["presets"].compute()}
    values |= {f"regions {name}": value for name, value in others["regions"].compute().items()}
    return values | {name: others[name].compute() for name in ("surface", "volume", "bins")}


def regions(probs, target):
    """The second class, and it or the third, as regions that overlap."""
    inside = torch.stack([probs[1], probs[1] + probs[2]]).clamp(max=1)
    return torch.stack([1 - inside, inside], 1)[None], torch.stack([target == 1, target > 0])[None].long()


def work(rank, folder, cases):
    for number, shards in SHARDS.items():
        if rank < number:
            meet = f"file://{folder}/meet{number}"
            torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=number)
            torch.save(feed(*make(), [cases[index] for index in shards[rank]]), f"{folder}/{number}_{rank}.pt")
            torch.distributed.destroy_process_group()


@pytest.mark.slow  # starts three processes that each import torch
def test_processes_agree(tmp_path):
    # Made once: softmax may round the last bit differently in a process with another number of threads.
    cases = [segmentation((24, 20 + seed), seed=seed) for seed in range(CASES)]
    context()  # whose server has torch
    torch.multiprocessing.start_processes(work, (str(tmp_path), cases), nprocs=max(SHARDS), start_method="forkserver")
    alone = feed(*make(), cases)
    for path in sorted(tmp_path.glob("*.pt")):
        found = torch.load(path, weights_only=False)
        bins, expected = metrics.Bins(*found.pop("bins")), alone["bins"]
        assert torch.equal(bins.count, expected.count)
        for a, b in zip(bins[1:], expected[1:], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        for name, value in found.items():
            assert value.item() == pytest.approx(alone[name].item(), abs=1e-12), name


def test_a_stream_of_voxels_keeps_memory_flat():
    """50 images of 2 million voxels: 100 million in all; what a list of confidences would hold is 400 MB."""
    probs, target = segmentation((1024, 2048), classes=2)
    probs, target = probs[None], target[None]
    metric = metrics.ExpectedCalibrationError(2)
    metric.update(probs, target)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(49):
        metric.update(probs, target)
    assert metric.count.sum() == 50 * target.numel()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert sum(getattr(metric, name).nbytes for name in metric._defaults) < 200_000
