"""Whole-volume inference beside MONAI's, and what the training program adds to a bare training step.

    python -m benchmarks.inference                 # both parts, about ten minutes on one core
    python -m benchmarks.inference --part tiles    # or: steps
    python -m benchmarks.inference --part blending --run runs/a --window 32 32 32

Seconds are CPU seconds of the process on one thread; each pair is run in alternating rounds and the median of the
rounds' ratios is given with its quartiles. Peak memory is that of a process of its own that does one inference, less
what it held before. `blending` scores the test cases of a finished run under both ways to average overlapping tiles.
Writes strict JSON where `--output` says.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import losses
import metrics
import models
from lightning_app.training.module import SegmentationModule

SIZE, WINDOW, CLASSES = (96, 96, 96), (48, 48, 48), 3
MEMORY_SIZE = (192, 192, 160)  # large enough for the peak to stand out from the tiles'
NETS = {
    "1x1 convolution (tiling alone)": lambda: nn.Conv3d(1, CLASSES, 1),
    "UNet, width 4, depth 2": lambda: models.UNet(3, 1, CLASSES, width=4, depth=2),
}
STEP_MODES = ("float32", "bf16", "channels_last", "bf16 + channels_last", "compiled")


def ours(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Our sliding window: blended probabilities."""
    return models.SlidingWindow(list(WINDOW), overlap=0.5, batch_size=1)(image, net)


def monais(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """MONAI's, with the same tiles and blending of probabilities."""
    from monai.inferers import sliding_window_inference

    def predict(tiles: torch.Tensor) -> torch.Tensor:
        return net(tiles).softmax(1)

    return sliding_window_inference(image, WINDOW, 1, predict, overlap=0.5, mode="gaussian", sigma_scale=0.125)


def ratios(first: Callable[[], object], second: Callable[[], object], rounds: int) -> dict[str, float]:
    """CPU seconds of both in alternating rounds: medians, and median and quartiles of first / second."""
    first(), second()
    a, b = [], []
    for index in range(rounds):
        for job, times in ((first, a), (second, b))[:: 1 if index % 2 else -1]:
            start = time.process_time()
            job()
            times.append(time.process_time() - start)
    quotients = [x / y for x, y in zip(a, b, strict=True)]
    low, middle, high = statistics.quantiles(quotients, n=4)
    return {
        "first_s": statistics.median(a),
        "second_s": statistics.median(b),
        "ratio": middle,
        "low": low,
        "high": high,
    }


def peak_memory(name: str, way: str) -> float:
    """MiB that one inference adds to its process at most."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, way))


def _peak(name: str, way: str) -> float:
    torch.set_num_threads(1)
    net, image = NETS[name]().eval(), torch.randn(1, 1, *MEMORY_SIZE)
    job = {"ours": ours, "MONAI": monais}[way]
    with torch.no_grad():
        job(net, image[..., :48, :48, :48].contiguous())  # imports and small buffers
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        job(net, image)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def tiles(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, memory and agreement of both ways on a volume."""
    results = {}
    for name, build in NETS.items():
        torch.manual_seed(0)
        net, image = build().eval(), torch.randn(1, 1, *SIZE)
        with torch.no_grad():
            difference = float((ours(net, image) - monais(net, image)).abs().max())
            result = ratios(lambda net=net, image=image: ours(net, image), lambda n=net, i=image: monais(n, i), rounds)
        memory = {way: peak_memory(name, way) for way in ("ours", "MONAI")}
        results[name] = {**result, "ours_MiB": memory["ours"], "MONAI_MiB": memory["MONAI"], "difference": difference}
    return results


class Fixed(Dataset):
    """The same batch again and again."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.image = torch.randn(3, 192, 192, generator=generator)
        self.mask = (self.image[0] > 0.5).to(torch.uint8)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        return {"image": self.image, "mask": self.mask, "case": str(index)}


class Clock(lightning.pytorch.Callback):
    """CPU time of each training step, from the end of the last one."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.last = 0.0

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """Note the time since the last step."""
        now = time.process_time()
        self.times.append(now - self.last)
        self.last = now


def network(mode: str) -> nn.Module:
    """The network of the step benchmark."""
    torch.manual_seed(0)
    net = models.UNet(2, 3, 2, width=16, depth=4)
    if "channels_last" in mode:
        net = net.to(memory_format=torch.channels_last)
    return torch.compile(net) if mode == "compiled" else net


def bare(mode: str, steps: int) -> Callable[[], list[float]]:
    """A loop of one's own: network, loss, AdamW."""
    net = network(mode)
    loss_of, optimiser = losses.DicePlusPlusLoss(), torch.optim.AdamW(net.parameters(), lr=1e-4)
    loader = DataLoader(Fixed(4 * (steps + 1)), batch_size=4)
    autocast = torch.autocast("cpu", torch.bfloat16) if "bf16" in mode else nullcontext()

    def run() -> list[float]:
        times, last = [], 0.0
        for batch in loader:
            image = batch["image"]
            if "channels_last" in mode:
                image = image.contiguous(memory_format=torch.channels_last)
            with autocast:
                loss = loss_of(net(image), batch["mask"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            now = time.process_time()
            times.append(now - last)
            last = now
        return times[1:]

    return run


class Module(SegmentationModule):
    """The training module with the optimiser that the command line would give it."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.net.parameters(), lr=1e-4)


def program(mode: str, steps: int) -> Callable[[], list[float]]:
    """The same step through the training module and Lightning's Trainer, with its logging and metrics."""
    module = Module(network(mode), losses.DicePlusPlusLoss(), channels_last="channels_last" in mode, num_classes=2)
    loader = DataLoader(Fixed(4 * (steps + 1)), batch_size=4)

    def run() -> list[float]:
        clock = Clock()
        trainer = lightning.pytorch.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, callbacks=[clock], enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False,
            precision="bf16-mixed" if "bf16" in mode else "32-true",
        )  # fmt: skip
        trainer.fit(module, loader)
        return clock.times[1:]

    return run


def steps(rounds: int, modes: list[str], count: int = 5) -> dict[str, dict[str, float]]:
    """What the program adds to a bare step, mode by mode."""
    results = {}
    for mode in modes:
        first, second = program(mode, count), bare(mode, count)
        first(), second()
        a, b = [], []
        for index in range(rounds):
            for job, times in ((first, a), (second, b))[:: 1 if index % 2 else -1]:
                times.append(statistics.median(job()))
        low, middle, high = statistics.quantiles([x / y for x, y in zip(a, b, strict=True)], n=4)
        seconds = {"program_s": statistics.median(a), "bare_s": statistics.median(b)}
        results[mode] = {**seconds, "ratio": middle, "low": low, "high": high}
    return results


def blending(run: Path, window: list[int]) -> dict[str, dict[str, float]]:
    """Test metrics of a run whose overlapping tiles are averaged as probabilities, and as logits."""
    from benchmarks.posthoc import COLUMNS, load

    module, data = load(run)
    module.eval()
    data.prepare_data()
    data.setup("test")
    names, results = tuple(data.class_names), {}
    for average in ("probabilities", "logits"):
        inference = models.SlidingWindow(window, overlap=0.5, average=average)
        collection = metrics.Scorer(len(names), names)
        for batch in data.test_dataloader():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                probs = inference(batch["image"], module)
            collection.update(probs, batch["mask"])
        values = collection.compute()
        results[average] = {name: float(values[name]) for name in COLUMNS}
    return results


def main() -> None:
    """Run the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["tiles", "steps", "all", "blending"], default="all")
    parser.add_argument("--run", type=Path, default=None, help="finished run, for blending")
    parser.add_argument("--window", type=int, nargs="+", default=[32, 32, 32], help="for blending")
    parser.add_argument("--modes", nargs="+", choices=STEP_MODES, default=list(STEP_MODES), help="for steps")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module=r"lightning|monai|torch")
    results: dict[str, object] = {
        "torch": torch.__version__, "lightning": lightning.__version__, "machine": platform.processor() or "unknown",
        "python": platform.python_version(), "rounds": arguments.rounds,
    }  # fmt: skip
    if arguments.part in ("tiles", "all"):
        results["tiles"] = table = tiles(arguments.rounds)
        sys.stdout.write(f"{'whole volume':<34}{'ours s':>9}{'MONAI s':>9}{'ratio':>7}{'ours MiB':>10}{'MONAI':>8}\n")
        for name, row in table.items():
            sys.stdout.write(
                f"{name:<34}{row['first_s']:>9.2f}{row['second_s']:>9.2f}{row['ratio']:>7.2f}"
                f"{row['ours_MiB']:>10.0f}{row['MONAI_MiB']:>8.0f}   differ by {row['difference']:.1e}\n"
            )
    if arguments.part in ("steps", "all"):
        results["steps"] = table = steps(arguments.rounds, arguments.modes)
        sys.stdout.write(f"{'training step':<34}{'ours s':>9}{'bare s':>9}{'ratio':>7}   quartiles\n")
        for name, row in table.items():
            sys.stdout.write(
                f"{name:<34}{row['program_s']:>9.3f}{row['bare_s']:>9.3f}{row['ratio']:>7.3f}"
                f"   {row['low']:.3f} to {row['high']:.3f}\n"
            )
    if arguments.part == "blending":
        results["blending"] = table = blending(arguments.run, arguments.window)
        sys.stdout.write(f"{'average of':<20}" + "".join(f"{name:>15}" for name in table["logits"]) + "\n")
        for name, row in table.items():
            sys.stdout.write(f"{name:<20}" + "".join(f"{value:>15.5f}" for value in row.values()) + "\n")
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
