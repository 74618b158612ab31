"""Calibration, the one-pass evaluation and surface distances beside those of other libraries.

    python -m benchmarks.metrics                                  # all parts; about four minutes on one core
    python -m benchmarks.metrics --part stream --voxels 1e6 1e7 1e8
    python -m benchmarks.metrics --part images                    # or: evaluation, surface, bias

- stream: ns a voxel, bytes held and error against float64 of the expected calibration error over a stream of images;
  every candidate in a process of its own. Those that keep every voxel stop at `--largest-whole`, or where memory ends.
- images: the error of a calibrated model over 1 to 8 images of 512 x 512.
- evaluation: top-label and class-wise bins, confusion, Dice, NLL and Brier score, from logits.
- surface: HD95 of 128^3 masks.
- bias: what each estimator says of a known error, against sample size and number of bins; no peer.

Seconds are CPU seconds of one thread; pairs alternate, and medians of rounds are given. Writes strict JSON where
`--output` says.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import metrics
from benchmarks.surface_masks import distance_of_deepmind, distance_of_monai, distance_of_ours, surface_masks
from metrics import plot

BINS, IMAGE, DISTINCT = 15, 512, 16
PEERS = ("torchmetrics", "monai", "netcal", "scikit-learn", "surface-distance")
WHOLE = {"netcal": "netcal", "scikit-learn": "sklearn"}  # peers that need not be there, and the modules they install
# Peak bytes a voxel of those that keep every voxel, as measured at 1e7
PEAK_BYTES = {"netcal": 75, "scikit-learn": 45, "torchmetrics": 50, "torchmetrics, validate_args=False": 37}


def image(seed: int, classes: int = 2, shape: tuple[int, ...] = (IMAGE, IMAGE)) -> tuple[Tensor, Tensor]:
    """Logits (K, *S) of a calibrated model that is mostly certain of background, and labels (*S) drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, *shape, generator=generator)
    logits[0] += 9
    logits[0].view(-1)[: logits[0].numel() // 10] -= 10
    draw = torch.rand(shape, generator=generator).double()
    edges = logits.double().softmax(0).cumsum(0)
    return logits, (draw[None] > edges[:-1]).sum(0).to(torch.uint8)


def chunks(voxels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities (2, *S) and labels of as many images as the voxels need; a few distinct ones in turn."""
    for index in range(max(1, round(voxels / IMAGE**2))):
        yield probabilities(index % DISTINCT)


@cache
def probabilities(seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities (2, *S) and labels of one image."""
    logits, target = image(seed)
    return logits.softmax(0), target


def reference_sums(probs: Tensor, target: Tensor) -> np.ndarray:
    """Count, confidence and correctness by bin (3, BINS) of one image, by numpy in float64."""
    p = probs.double().numpy().reshape(2, -1)
    confidence, correct = p.max(0), p.argmax(0) == target.numpy().ravel()
    index = np.minimum(np.floor(confidence * BINS), BINS - 1).astype(int)
    return np.stack([np.bincount(index, weights, BINS) for weights in (None, confidence, correct.astype(float))])


def reference_error(voxels: int) -> float:
    """Expected calibration error of the stream in float64."""
    found: dict[int, np.ndarray] = {}
    total = np.zeros((3, BINS))
    for probs, target in chunks(voxels):
        if id(probs) not in found:
            found[id(probs)] = reference_sums(probs, target)
        total += found[id(probs)]
    return float(np.abs(total[1] - total[2]).sum() / total[0].sum())


def ours(**kwargs: Any) -> tuple[Callable[[Tensor, Tensor], None], Callable[[], float]]:
    """Update and compute of ours."""
    metric = metrics.ExpectedCalibrationError(2, num_bins=BINS, **kwargs)
    return lambda p, y: metric.update(p[None], y[None]), lambda: metric.compute().item()


def torchmetrics_top(validate: bool) -> tuple[Callable[[Tensor, Tensor], None], Callable[[], float]]:
    """Update and compute of torchmetrics' top-label error."""
    from torchmetrics.classification import MulticlassCalibrationError

    metric = MulticlassCalibrationError(2, n_bins=BINS, validate_args=validate)
    return lambda p, y: metric.update(p[None], y[None].long()), lambda: metric.compute().item()


def monai_item() -> tuple[Callable[[Tensor, Tensor], None], Callable[[], float]]:
    """Update and compute of MONAI's, which averages over items and classes: another quantity, its cost compared."""
    from monai.metrics import CalibrationErrorMetric

    metric = CalibrationErrorMetric(num_bins=BINS)

    def update(p: Tensor, y: Tensor) -> None:
        metric(p[None], torch.stack([1 - y, y]).float()[None])

    return update, lambda: float(metric.aggregate())


def whole_array(name: str) -> tuple[Callable[[Tensor, Tensor], None], Callable[[], float]]:
    """Update and compute of a function that takes all voxels at once."""
    confidence: list[np.ndarray] = []
    correct: list[np.ndarray] = []

    def update(p: Tensor, y: Tensor) -> None:
        top = p.max(0)
        confidence.append(top.values.numpy().ravel().copy())
        correct.append((top.indices == y).numpy().ravel())

    def compute() -> float:
        p, y = np.concatenate(confidence), np.concatenate(correct).astype(int)
        if name == "netcal":
            from netcal.metrics import ECE

            return float(ECE(BINS).measure(np.clip(p.astype(np.float64), 0, 1), y))
        from sklearn.calibration import calibration_curve

        calibration_curve(y, np.clip(p, 0, 1), n_bins=BINS)  # gives no counts, hence no error
        return float("nan")

    return update, compute


CANDIDATES: dict[str, Callable[[], tuple[Callable[[Tensor, Tensor], None], Callable[[], float]]]] = {
    "ours": ours,
    "ours, validate=False": lambda: ours(validate=False),
    "torchmetrics": lambda: torchmetrics_top(True),
    "torchmetrics, validate_args=False": lambda: torchmetrics_top(False),
    "monai": monai_item,
    "netcal": lambda: whole_array("netcal"),
    "scikit-learn": lambda: whole_array("scikit-learn"),
}


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure_stream(name: str, voxels: int) -> dict[str, float]:
    """Cost and value of one candidate over a stream, in this process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    update, compute = CANDIDATES[name]()
    for probs, target in chunks(IMAGE**2 * 2):  # warm up: libraries load, the allocator finds its size
        update(probs, target)
    compute()
    update, compute = CANDIDATES[name]()
    stream = chunks(voxels)
    first = next(stream)
    before, peak = resident(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.process_time()
    update(*first)
    number = first[1].numel()
    for probs, target in stream:
        update(probs, target)
        number += target.numel()
    held = resident() - before
    value = compute()
    seconds = time.process_time() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - peak
    return {"ns": seconds / number * 1e9, "held": max(held, 0), "peak": max(grown, 0), "value": value}


def reason_to_skip(name: str, voxels: int, largest_whole: float) -> str:
    """Why a candidate is not run at a size; empty if it is."""
    if name not in PEAK_BYTES:
        return ""
    if voxels > largest_whole:
        return f"keeps every voxel; --largest-whole is {largest_whole:g}"
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    need = PEAK_BYTES[name] * voxels
    return f"needs about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free" if need > free else ""


def run_stream(sizes: list[float], largest_whole: float) -> list[dict[str, Any]]:
    """A row a candidate and size."""
    context, rows = multiprocessing.get_context("fork"), []
    missing = {name for name in WHOLE if find_spec(WHOLE[name]) is None}
    for size in map(int, sizes):
        exact = reference_error(size)
        for name in CANDIDATES:
            absent = f"{name} is not installed: pip install '.[benchmarks]'" if name in missing else ""
            skipped = absent or reason_to_skip(name, size, largest_whole)
            if skipped:
                rows.append({"voxels": size, "candidate": name, "skipped": skipped})
                continue
            with context.Pool(1) as pool:
                row = pool.apply(measure_stream, (name, size))
            rows.append({"voxels": size, "candidate": name, "exact": exact, **row, "error": row["value"] - exact})
    return rows


def run_images() -> list[dict[str, Any]]:
    """The error over 1, 2, 4 and 8 images: exact, ours, torchmetrics."""
    rows = []
    for number in (1, 2, 4, 8):
        values = {}
        for name in ("ours", "torchmetrics, validate_args=False"):
            update, compute = CANDIDATES[name]()
            for probs, target in chunks(number * IMAGE**2):
                update(probs, target)
            values[name] = compute()
        rows.append({"images": number, "exact": reference_error(number * IMAGE**2), **values})
    return rows


def peers_evaluation(logits: Tensor, target: Tensor) -> list[Any]:
    """What users put together: torchmetrics' ECE and Dice, MONAI's class-wise error, NLL and Brier score."""
    from monai.metrics import CalibrationErrorMetric
    from torchmetrics.functional.classification import multiclass_calibration_error
    from torchmetrics.functional.segmentation import dice_score

    classes, labels = logits.shape[1], target.long()
    probs = logits.softmax(1)
    onehot = torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)
    by_class = CalibrationErrorMetric(num_bins=BINS)
    by_class(probs, onehot.float())
    return [
        multiclass_calibration_error(probs, labels, classes, n_bins=BINS, validate_args=False),
        dice_score(probs.argmax(1), labels, classes, average="none", input_format="index"),
        by_class.aggregate(),
        torch.nn.functional.cross_entropy(logits, labels),
        (probs - onehot).square().sum(1).mean(),
    ]


def our_evaluation(logits: Tensor, target: Tensor) -> list[Any]:
    """The same figures from one pass over each item."""
    rows = []
    for item, labels in zip(logits, target, strict=True):
        sums = metrics.sum_case(item, labels, regions=("all",), from_logits=True)
        rows.append((sums, metrics.errors.expected_calibration_error(sums.bins["all.classwise"], BINS)))
    return rows


def whole_cases(probs: Tensor, target: Tensor) -> list[Any]:
    """Everything that the program keeps of a case: three views, five regions, confusion, NLL and Brier score."""
    return [metrics.score_case(item, labels) for item, labels in zip(probs, target, strict=True)]


def alternate(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """CPU seconds of each call in alternating rounds: medians, and the median ratio of each to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    first = seconds[next(iter(calls))]
    ratio = {n: statistics.median(a / b for a, b in zip(s, first, strict=True)) for n, s in seconds.items()}
    return {"seconds": {name: statistics.median(s) for name, s in seconds.items()}, "ratio": ratio}


def run_evaluation(rounds: int) -> list[dict[str, Any]]:
    """Ns a voxel of the whole evaluation in 2D and 3D."""
    rows = []
    for shape, batch, classes in (((IMAGE, IMAGE), 8, 2), ((96, 96, 96), 2, 4)):
        items = [image(seed, classes, shape) for seed in range(batch)]
        logits, target = torch.stack([z for z, _ in items]), torch.stack([y for _, y in items])
        found = alternate(
            {
                "peers": partial(peers_evaluation, logits, target),
                "ours": partial(our_evaluation, logits, target),
                "whole case": partial(whole_cases, logits.softmax(1), target),
                "copy": logits.clone,
            },
            rounds,
        )
        ns = {name: s / target.numel() * 1e9 for name, s in found["seconds"].items()}
        rows.append({"shape": [batch, classes, *shape], "ns": ns, "ratio to peers": found["ratio"]})
    return rows


def run_surface(rounds: int) -> list[dict[str, Any]]:
    """HD95 at a spacing of 3 x 1 x 1 mm."""
    peers = {"monai": distance_of_monai, "ours": distance_of_ours, "surface-distance": distance_of_deepmind}
    rows = []
    there = find_spec("surface_distance") is not None
    for kind, (a, b) in surface_masks().items():
        names = [name for name in peers if name != "surface-distance" or (there and kind != "noise")]
        calls = {name: partial(peers[name], a, b, (3.0, 1.0, 1.0)) for name in names}
        found = alternate(calls, rounds if kind != "noise" else 1)
        rows.append({"masks": kind, "value": {name: call() for name, call in calls.items()}, **found})
    return rows


def run_bias() -> list[dict[str, Any]]:
    """Mean of each estimator over draws, and the true error, against sample size (15 bins) and bins (10,000 voxels)."""
    generator, rows = torch.Generator().manual_seed(0), []
    estimators = ("expected_calibration_error", "adaptive_calibration_error", "debiased_l2_error")
    for sharpness in (1.0, 1.3):
        for size, bins in [*((n, 15) for n in (100, 1000, 10_000, 100_000)), *((10_000, b) for b in (5, 50, 100, 300))]:
            values: dict[str, list[float]] = {}
            for _ in range(20):
                logits = 2 * torch.randn(size, generator=generator, dtype=torch.float64)
                truth, p = torch.sigmoid(logits), torch.sigmoid(sharpness * logits)
                labels = torch.rand(size, generator=generator, dtype=torch.float64) < truth
                probs, true = torch.stack([1 - p, p]), torch.stack([1 - truth, truth])
                found = metrics.bin_item(probs, labels.to(torch.uint8), "top_label")
                for name in estimators:
                    values.setdefault(name, []).append(getattr(metrics.errors, name)(found, bins).item())
                known = metrics.TrueCalibrationError(2, num_bins=bins)
                known.update(probs[None], true[None])
                values.setdefault("true error", []).append(known.compute().item())
            means = {name: statistics.mean(v) for name, v in values.items()}
            rows.append({"sharpness": sharpness, "voxels": size, "bins": bins, **means})
    return rows


def draw_bias(rows: list[dict[str, Any]], path: Path) -> None:
    """The estimators against sample size and against bins, for a calibrated and an over-confident model."""
    figure, axes = plot.style.new_figure(2, 2, size=(9.6, 6.6))
    names = {"expected_calibration_error": "ECE", "adaptive_calibration_error": "equal-mass ECE",
             "debiased_l2_error": "debiased L2", "true error": "true error"}  # fmt: skip
    for line, (sharpness, what) in zip(axes, ((1.0, "calibrated"), (1.3, "over-confident")), strict=True):
        mine = [row for row in rows if row["sharpness"] == sharpness]
        for ax, by, fixed in ((line[0], "voxels", ("bins", 15)), (line[1], "bins", ("voxels", 10_000))):
            part = [row for row in mine if row[fixed[0]] == fixed[1]]
            curves = {label: {row[by]: row[name] for row in part} for name, label in names.items()}
            plot.parameter_curves(curves, by, "error", f"{what}; {fixed[1]:,} {fixed[0]}", ax=ax)
            ax.set_xscale("log")
            ax.set_ylim(bottom=0)
            plot.style.legend(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def installed(name: str) -> str | None:
    """Version of a package, None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Run the parts asked for and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["stream", "images", "evaluation", "surface", "bias", "all"], default="all")
    parser.add_argument("--voxels", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--largest-whole", type=float, default=1e8, help="largest size for those that keep every voxel")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--figure", type=Path, help="picture of the part bias")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "stream": lambda: run_stream(args.voxels, args.largest_whole),
        "images": run_images,
        "evaluation": lambda: run_evaluation(args.rounds),
        "surface": lambda: run_surface(args.rounds),
        "bias": run_bias,
    }
    names = ("torch", "numpy", "scipy", *PEERS)
    found: dict[str, Any] = {"python": platform.python_version(), "versions": {name: installed(name) for name in names}}
    for part, run in parts.items():
        if args.part in (part, "all"):
            found[part] = run()
            for row in found[part]:
                print(part, json.dumps(row))
    if args.figure and "bias" in found:
        draw_bias(found["bias"], args.figure)
    if args.output:
        # a value that does not exist (no error without counts) is null: NaN is no JSON
        clean = json.loads(json.dumps(found), parse_constant=lambda _: None)
        args.output.write_text(json.dumps(clean, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
