"""Losses beside their peers: time of a forward and backward pass, and peak memory, against torch's cross entropy.

One process, one thread, processor time; all candidates take turns in every round, and the ratio to cross entropy is the
median of the rounds' ratios. Memory is what torch's allocator hands out, in units of the logits; the gradient is 1.

    MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=8000000000 python -m benchmarks.losses --rounds 9
    ... python -m benchmarks.losses --part slopes    # losses with slopes by hand, beside themselves without

The two variables keep glibc from giving pages back between calls, which slows memory-hungry losses by up to a half.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import losses
from losses import SegmentationLoss
from losses.engine import Terms

WRAPPERS = ("WeightedSumLoss", "DeepSupervisionLoss", "MultiLabelLoss")
SHAPES = {"2D": (8, 2, 512, 512), "3D": (2, 4, 96, 96, 96)}


def naive_dsc_plus_plus(logits: Tensor, target: Tensor, gamma: float = 2.0, epsilon: float = 1e-7) -> Tensor:
    """The formula as one would write it down: one-hot labels, both clipped, a temporary for each step."""
    probs = torch.softmax(logits, 1).clamp(epsilon, 1 - epsilon)
    labels = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(probs.dtype).clamp(epsilon, 1 - epsilon)
    axes = tuple(range(2, logits.ndim))
    overlap = (labels * probs).sum(axes)
    missed = ((labels * (1 - probs)) ** gamma).sum(axes)
    spurious = (((1 - labels) * probs) ** gamma).sum(axes)
    return (1 - (2 * overlap + epsilon) / (2 * overlap + missed + spurious + epsilon)).mean()


def candidates(logits: Tensor, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Every loss of ours with uint8 labels, Dice and DSC++ with int64 too, and every peer that has the like."""
    from monai import losses as monai
    from segmentation_models_pytorch import losses as smp

    small, channel = labels.to(torch.uint8), labels[:, None]
    found: dict[str, Callable[[], Tensor]] = {"torch cross_entropy": lambda: F.cross_entropy(logits, labels)}
    ours = {name: getattr(losses, name)() for name in losses.__all__ if name not in WRAPPERS}
    ours["DicePlusPlusLoss(gamma=1.5)"] = losses.DicePlusPlusLoss(gamma=1.5)
    ours["DicePlusPlusLoss(gamma=3)"] = losses.DicePlusPlusLoss(gamma=3)
    ours["DicePlusPlusLoss(gamma=0.5)"] = losses.DicePlusPlusLoss(gamma=0.5)
    ours["AverageCalibrationLoss(soft)"] = losses.AverageCalibrationLoss("soft")
    for name, loss in ours.items():
        found[name] = lambda loss=loss: loss(logits, small)
    for name in ("DiceLoss", "DicePlusPlusLoss", "ComboLoss"):
        found[f"{name}, int64 labels"] = lambda loss=ours[name]: loss(logits, labels)
    options = {"softmax": True, "to_onehot_y": True}
    for name in ("DiceLoss", "GeneralizedDiceLoss", "TverskyLoss", "DiceCELoss"):
        peer = getattr(monai, name)(**options)
        found[f"MONAI {name}"] = lambda loss=peer: loss(logits, channel)
    focal = monai.FocalLoss(use_softmax=True, to_onehot_y=True)
    found["MONAI FocalLoss"] = lambda: focal(logits, channel)
    nacl = monai.NACLLoss(classes=logits.shape[1], dim=logits.ndim - 2)
    found["MONAI NACLLoss"] = lambda: nacl(logits, labels)
    for name in ("DiceLoss", "TverskyLoss", "FocalLoss"):
        peer = getattr(smp, name)("multiclass")
        found[f"smp {name}"] = lambda loss=peer: loss(logits, labels)
    found["torch cross_entropy, smoothed"] = lambda: F.cross_entropy(logits, labels, label_smoothing=0.1)
    found["DSC++ written naively"] = lambda: naive_dsc_plus_plus(logits, labels)
    return found


def slopes_by_hand() -> dict[str, tuple[SegmentationLoss, SegmentationLoss]]:
    """Losses with slopes by hand, each with its twin that leaves them to autograd, in all else the same."""
    made = {name: getattr(losses, name)() for name in losses.__all__ if name not in WRAPPERS}
    made["AverageCalibrationLoss(soft)"] = losses.AverageCalibrationLoss("soft")
    made["MarginLabelSmoothingLoss(squared_hinge)"] = losses.MarginLabelSmoothingLoss(1.0, penalty="squared_hinge")
    found = {}
    for name, loss in made.items():
        fast, twin = loss.fast(), copy.deepcopy(loss)
        if isinstance(fast, Terms) and fast.own and fast.own.factor:
            terms = fast._replace(own=fast.own._replace(factor=None))
            twin.fast = lambda terms=terms: terms
        elif callable(fast):
            twin.fast = lambda: None
        else:
            continue
        found[name] = loss, twin
    return found


def measure_slopes(shape: tuple[int, ...], rounds: int) -> list[tuple[str, float]]:
    """Name of each loss with slopes by hand, and how many times as long it takes without them."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator).to(torch.uint8)
    rows = []
    for name, pair in slopes_by_hand().items():
        times = []
        for _ in range(rounds + 1):
            start = time.process_time()
            pair[0](logits, labels).backward()
            middle = time.process_time()
            pair[1](logits, labels).backward()
            times.append((time.process_time() - middle) / (middle - start))
        rows.append((name, statistics.median(times[1:])))
    return rows


def peak_bytes(step: Callable[[], object]) -> int:
    """Largest number of bytes that a step holds beyond what was held before it, by torch's allocator."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(shape: tuple[int, ...], rounds: int) -> list[tuple[str, float, float, float]]:
    """Name, milliseconds, ratio to cross entropy and peak memory of each candidate."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    steps = candidates(logits, labels)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            logits.grad = None
            start = time.process_time()
            step().backward()
            if round_number:
                times[name].append(time.process_time() - start)
    base = times["torch cross_entropy"]
    rows = []
    for name, step in steps.items():
        logits.grad = None
        peak = peak_bytes(lambda step=step: step().backward()) / (logits.numel() * logits.element_size())
        ratio = statistics.median(own / other for own, other in zip(times[name], base, strict=True))
        rows.append((name, 1e3 * statistics.median(times[name]), ratio, peak))
    return rows


def main() -> None:
    """Print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds after one of warm-up")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--part", choices=["peers", "slopes"], default="peers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "slopes":
        for name in arguments.shape:
            print(f"\n| {name}, {'x'.join(map(str, SHAPES[name]))} | without slopes by hand |\n|---|---|")
            for loss, times in measure_slopes(SHAPES[name], arguments.rounds):
                print(f"| {loss} | {times:.2f} |")
        return
    import monai
    import segmentation_models_pytorch as smp

    peers = f"MONAI {monai.__version__}, smp {smp.__version__}"
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {peers}")
    for name in arguments.shape:
        print(f"\n| {name}, {'x'.join(map(str, SHAPES[name]))} | ms | ratio | peak memory |\n|---|---|---|---|")
        for row in measure(SHAPES[name], arguments.rounds):
            print("| {} | {:.1f} | {:.2f} | {:.2f} |".format(*row))


if __name__ == "__main__":
    main()
