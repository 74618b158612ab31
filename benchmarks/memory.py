"""Memory of a long evaluation: what scoring and pictures of one case after the other leave behind, from /proc.

python -m benchmarks.memory                 # 1e8 voxels in 2D and in 3D, some minutes
python -m benchmarks.memory --voxels 1e7    # a look
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

import metrics
from lightning_app.training.evaluation import CaseEvaluation
from lightning_app.training.figures import StageFigures
from lightning_app.training.run_folder import RunFolder

SHAPES = {"2D": (1024, 1024), "3D": (128, 128, 128)}


def resident() -> float:
    """Memory of this process, in MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


def evaluate(shape: tuple[int, ...], voxels: float, folder: Path) -> list[tuple[int, float]]:
    """(Cases, memory) after each tenth of the voxels; every case is another one."""
    run = RunFolder(folder)
    scorer = metrics.Scorer(2, ("background", "foreground"))
    figures = StageFigures(run, CaseEvaluation(run))
    size = torch.Size(shape).numel()
    count = max(10, int(-(-voxels // size)))
    marks = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        foreground = torch.rand(shape, generator=generator)
        probs = torch.stack([1 - foreground, foreground])[None]
        mask = (torch.rand(shape, generator=generator) < foreground).to(torch.uint8)[None]
        scorer.update(probs, mask, spacing=[1.0] * len(shape), names=[f"c{number}"])
        batch = {"image": torch.rand(1, 1, *shape, generator=generator), "mask": mask, "case": [f"c{number}"]}
        figures._keep({"probs": probs}, batch)
        if (number + 1) * 10 // count > number * 10 // count:
            marks.append((number + 1, resident()))
    figures._drop()
    return marks


def main() -> None:
    """Print a table a dimension, and what the last nine tenths added."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=float, default=1e8)
    options = parser.parse_args()
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            marks = evaluate(shape, options.voxels, Path(folder))
        cases, voxels = marks[-1][0], marks[-1][0] * torch.Size(shape).numel()
        shown = " ".join(f"{memory:.0f}" for _, memory in marks)
        sys.stdout.write(f"{name}: {cases} cases of {shape}, {voxels:.1e} voxels; MB after each tenth: {shown}\n")
        sys.stdout.write(f"{name}: {marks[-1][1] - marks[0][1]:+.0f} MB from the first tenth to the last\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
