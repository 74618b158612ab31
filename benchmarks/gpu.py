"""What only a GPU can show of losses and metrics: time, peak memory, compilation, waits for the device, determinism.

    python -m benchmarks.gpu --output gpu.json                    # one GPU, ten minutes
    python -m benchmarks.gpu --device cpu --small                 # checks the script
    python -m benchmarks.results docs/results/gpu.md --runs_dir FOLDER_OF_GPU_JSON

A loss is timed forward and backward, in float32 and bfloat16, eager and compiled, beside torch's cross entropy and the
Dice losses of MONAI and segmentation-models-pytorch where these are installed. Then `update` of the scorer, and whether
it waits for the device; a CT of 512 x 512 x 200, predicted by tiles and scored; a training step of the program beside a
loop of one's own; determinism, and agreement with float64 on a CPU; and, where $SEGMENTATION_DATA holds it, the
minutes of the hippocampus recipe. Each part stands alone: one that fails is written down with its error, and what was
measured stays in the file. What an H100 showed is in docs/results/gpu.md.
"""

import argparse
import functools
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

import losses
import metrics
import models
from lightning_app.files import write_text
from lightning_app.training.module import SegmentationModule

Row = dict[str, Any]
Loss = Callable[[Tensor, Tensor], Tensor]
OURS = ("CrossEntropyLoss", "FocalLoss", "DiceLoss", "DicePlusPlusLoss", "DiceCrossEntropyLoss", "GeneralizedDiceLoss")
SHOWN = ("part", "name", "dtype", "way", "ms", "mib", "ratio", "minutes", "waits", "same", "off", "error")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Module(SegmentationModule):
    """The training module with the optimiser of the loop beside it."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.net.parameters(), lr=1e-4)


def pair(classes: int, side: int, device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Normal logits (1, K, side, side, side) that take a gradient, and uniform labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, classes, side, side, side, generator=generator).to(device, dtype)
    labels = torch.randint(0, classes, (1, side, side, side), generator=generator).to(device)
    return logits.requires_grad_(), labels


def wait(device: str) -> None:
    """Let the device come to an end."""
    if device == "cuda":
        torch.cuda.synchronize()


def milliseconds(step: Callable[[], object], device: str, rounds: int) -> float:
    """Median time of a step after one that warms up."""
    step()
    times = []
    for _ in range(rounds):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def peak_mib(step: Callable[[], object], device: str) -> float | None:
    """Largest memory that a step holds beyond what was held before it; nothing where the device does not count."""
    if device != "cuda":
        return None
    wait(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    wait(device)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def candidates(device: str) -> Iterator[tuple[str, Loss]]:
    """Our losses and those peers that are installed."""
    yield "torch cross_entropy", F.cross_entropy
    for name in OURS:
        yield name, getattr(losses, name)().to(device)
    try:
        from monai.losses import DiceLoss as MonaiDice
    except ImportError:
        warnings.warn("MONAI is not installed: its rows are left out", stacklevel=1)
    else:
        monai = MonaiDice(softmax=True, to_onehot_y=True)
        yield "MONAI DiceLoss", lambda logits, labels: monai(logits, labels[:, None])
    try:
        from segmentation_models_pytorch.losses import DiceLoss as SmpDice
    except ImportError:
        warnings.warn("segmentation-models-pytorch is not installed: its rows are left out", stacklevel=1)
    else:
        yield "smp DiceLoss", SmpDice("multiclass")


def loss_cost(loss: Loss, dtype: str, compiled: bool, options: argparse.Namespace) -> Row:
    """Milliseconds and MiB of a loss and its gradient."""
    logits, labels = pair(options.classes, options.side, options.device, DTYPES[dtype])
    if compiled:
        torch.compiler.reset()  # what was compiled before counts against a limit, beyond which nothing is compiled
        loss = torch.compile(loss)

    def step() -> None:
        logits.grad = None
        loss(logits, labels).backward()

    return {"ms": milliseconds(step, options.device, options.rounds), "mib": peak_mib(step, options.device)}


def loss_parts(options: argparse.Namespace, compiled: bool) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Each loss in each precision, eager or compiled."""
    for (name, loss), dtype in itertools.product(candidates(options.device), DTYPES):
        row = {"part": "loss", "name": name, "dtype": dtype, "way": "compiled" if compiled else "eager"}
        yield row, functools.partial(loss_cost, loss, dtype, compiled, options)


def scoring(options: argparse.Namespace) -> Row:
    """Time of `update` of the scorer on a whole volume, and whether it waits for the device."""
    logits, labels = pair(options.classes, options.side, options.device)
    probs = logits.detach().softmax(1)
    scorer = metrics.Scorer(options.classes).to(options.device)
    row: Row = {"ms": milliseconds(lambda: scorer.update(probs, labels), options.device, options.rounds)}
    if options.device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            scorer.update(probs, labels)
            row["waits"] = "no"
        except RuntimeError as error:
            row["waits"] = str(error).splitlines()[0]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return row


def whole_ct(options: argparse.Namespace) -> Row:
    """Seconds to predict a CT by tiles and to score it, and the peak of both."""
    torch.manual_seed(0)
    net = models.UNet(3, 1, options.classes, width=16, depth=4).to(options.device).eval()
    window = models.SlidingWindow([options.tile] * 3, overlap=0.5, batch_size=2)
    image = torch.randn(1, 1, *options.ct, device=options.device)
    labels = torch.randint(0, options.classes, (1, *options.ct), device=options.device)
    scorer = metrics.Scorer(options.classes).to(options.device)
    seconds: Row = {}

    def evaluate() -> None:
        start = time.perf_counter()
        with torch.no_grad(), torch.autocast(options.device, torch.bfloat16):
            probs = window(image, net)
        wait(options.device)
        predicted = time.perf_counter()
        scorer.update(probs.to(options.device), labels)
        wait(options.device)
        seconds.update(predict_s=predicted - start, score_s=time.perf_counter() - predicted)

    mib = peak_mib(evaluate, options.device)
    if mib is None:
        evaluate()
    return {"ms": 1e3 * sum(seconds.values()), "mib": mib, **seconds}


class StepWatch(lightning.pytorch.Callback):
    """When each step of a training ended."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []

    def begin(self) -> None:
        """Forget the training before."""
        self.ends = []

    def step(self) -> None:
        """A step has ended."""
        wait(self.device)
        self.ends.append(time.perf_counter())

    def milliseconds(self) -> float:
        """Median time from one end to the next: of steps, without what comes before the first."""
        return 1e3 * statistics.median(after - before for before, after in itertools.pairwise(self.ends))

    def on_train_start(self, *_: Any) -> None:
        """Lightning's hook."""
        self.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        """Lightning's hook."""
        self.step()


def step_pair(options: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], float]]:
    """Trainings of some steps of two patches, by the program and by a loop of one's own; each gives ms a step."""
    length, side = options.rounds + 2, options.tile
    torch.manual_seed(0)
    image, mask = torch.randn(2, 1, side, side, side), torch.randint(0, 4, (2, side, side, side), dtype=torch.uint8)
    batches = [{"image": image, "mask": mask, "case": ["a", "b"]}] * length
    nets = [models.UNet(3, 1, 4, width=16, depth=3) for _ in range(2)]
    module = Module(nets[0], losses.DicePlusPlusLoss(), class_names=tuple("abcd"), num_classes=4)
    loss_of, net = losses.DicePlusPlusLoss(), nets[1].to(options.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)

    watch = StepWatch(options.device)

    def program() -> float:
        trainer = lightning.pytorch.Trainer(
            accelerator="gpu" if options.device == "cuda" else "cpu", devices=1, max_epochs=1, logger=False,
            enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False, precision="bf16-mixed",
            callbacks=[watch],
        )  # fmt: skip
        with warnings.catch_warnings(action="ignore"):  # there is no validation here
            trainer.fit(module, DataLoader(batches, batch_size=None))
        return watch.milliseconds()

    def bare() -> float:
        watch.begin()
        for batch in DataLoader(batches, batch_size=None):
            with torch.autocast(options.device, torch.bfloat16):
                loss = loss_of(net(batch["image"].to(options.device)), batch["mask"].to(options.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            watch.step()
        return watch.milliseconds()

    return program, bare


def step_cost(options: argparse.Namespace) -> Row:
    """Milliseconds of a training step by the program, and as a ratio to a loop of one's own, in alternating rounds."""
    program, bare = step_pair(options)
    times = [(program(), bare()) for _ in range(5)]
    ratio = statistics.median(one / other for one, other in times)
    return {"ms": statistics.median(one for one, _ in times), "ratio": ratio}


def recipe(options: argparse.Namespace) -> Row:
    """Minutes of the hippocampus recipe, training and test; of its first step where the script is only checked."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ["--trainer.fast_dev_run=1"] if options.small else ["--test_after=true"]
        command = [sys.executable, "-m", "lightning_app", "fit", "--config", "hippocampus", f"--runs_dir={folder}"]
        start = time.perf_counter()
        subprocess.run([*command, *asked, "--trainer.logger=false"], check=True, stdout=subprocess.DEVNULL)
        return {"minutes": (time.perf_counter() - start) / 60}


def determinism(options: argparse.Namespace) -> Row:
    """Whether two passes of DSC++ give the same loss and gradient to the bit."""
    loss, seen = losses.DicePlusPlusLoss(), []
    for _ in range(2):
        logits, labels = pair(options.classes, options.side, options.device)
        value = loss(logits, labels)
        seen.append((value.detach(), torch.autograd.grad(value, logits)[0]))
    return {"same": all(torch.equal(one, other) for one, other in zip(*seen, strict=True))}


def agreement(name: str, options: argparse.Namespace) -> Row:
    """Largest error of a loss's gradient against float64 on a CPU, as a share of the largest slope."""
    off = 0.0
    for classes in (2, options.classes):
        logits, labels = pair(classes, 16, "cpu")
        labels[:, 0] = 255
        slopes = []
        for device, dtype in (("cpu", torch.float64), (options.device, torch.float32)):
            asked = logits.detach().to(device, dtype).requires_grad_()
            value = getattr(losses, name)().to(device)(asked, labels.to(device))
            slopes.append(torch.autograd.grad(value, asked)[0].cpu().double())
        off = max(off, float((slopes[0] - slopes[1]).abs().max() / slopes[0].abs().max()))
    return {"off": off}


def measured(options: argparse.Namespace) -> Iterator[Row]:
    """Every row; of a part that fails its error."""
    parts = [
        *loss_parts(options, compiled=False),
        ({"part": "scorer", "name": "update"}, functools.partial(scoring, options)),
        ({"part": "CT", "name": "x".join(map(str, options.ct))}, functools.partial(whole_ct, options)),
        ({"part": "step", "name": f"UNet, {options.tile}^3"}, functools.partial(step_cost, options)),
        ({"part": "determinism", "name": "DicePlusPlusLoss"}, functools.partial(determinism, options)),
        *(({"part": "agreement", "name": name}, functools.partial(agreement, name, options)) for name in OURS),
    ]
    if (Path(os.environ.get("SEGMENTATION_DATA", "")) / "decathlon").is_dir():
        parts.append(({"part": "recipe", "name": "hippocampus"}, functools.partial(recipe, options)))
    parts += loss_parts(options, compiled=True)  # last: compilers take their time
    for row, run in parts:
        try:
            yield {**row, **run()}
        except Exception as error:  # the others go on
            yield {**row, "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def line(row: Row) -> str:
    """A row of the printed table."""
    return "| " + " | ".join(shown(key, row.get(key)) for key in SHOWN) + " |"


def shown(key: str, value: Any) -> str:
    """A measured value as text, nothing where there is none."""
    if isinstance(value, float):
        return f"{value:.0e}" if key == "off" else f"{value:.2f}"
    return "" if value is None else str(value)


def table(runs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of what several runs of this script measured, the numbers of all runs beside each other."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in itertools.chain.from_iterable(run["rows"] for run in runs):
        found.setdefault(tuple(row.get(key, "") for key in SHOWN[:4]), []).append(row)
    columns = [key for key in SHOWN[4:] if any(row.get(key) is not None for rows in found.values() for row in rows)]
    lines = []
    for names, rows in found.items():
        texts = ([shown(key, row.get(key)) for row in rows] for key in columns)
        lines.append([*names, *(", ".join(dict.fromkeys(filter(None, text))) for text in texts)])
    return [*SHOWN[:4], *columns], lines


def main() -> None:
    """Print the table as it grows and keep it in a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, one step of the recipe: checks the script")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    options = parser.parse_args()
    options.classes, options.side, options.rounds = (4, 24, 2) if options.small else (14, 128, 20)
    options.tile, options.ct = (32, (64, 64, 40)) if options.small else (96, (512, 512, 200))
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "CPU"
    print(f"{name}, torch {torch.__version__}, {options.classes} classes at {options.side}^3")
    print("| " + " | ".join(SHOWN) + " |\n" + "|---" * len(SHOWN) + "|")
    rows: list[Row] = []
    for row in measured(options):
        rows.append(row)
        print(line(row), flush=True)
        head = {"device": name, "torch": torch.__version__, "classes": options.classes, "side": options.side}
        write_text(options.output, json.dumps({**head, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
