"""Time, page faults and memory of a whole `test` on volumes, with and without what spares the system.

    python -m benchmarks.whole_test --size 192 192 96 --cases 3

A network in tiles over volumes of noise, each scored on its grid: `test` with glibc's allocator as it is
(SEGMENTATION_KEEP_MEMORY=0), with freed memory kept, and with a process that scores beside the next case's inference.
Each in a process of its own; writes a table.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS: dict[str, tuple[dict[str, str], list[str]]] = {
    "allocator as it is": ({"SEGMENTATION_KEEP_MEMORY": "0"}, []),
    "freed memory kept": ({"SEGMENTATION_KEEP_MEMORY": "1"}, []),
    "and a scoring process": ({"SEGMENTATION_KEEP_MEMORY": "1"}, ["--score_workers=1"]),
}


def make_volumes(root: Path, size: list[int], cases: int) -> None:
    """Decathlon's layout with balls in noise, two classes beside the background."""
    import json

    import nibabel
    import numpy as np

    rng, task = np.random.default_rng(0), root / "Task99_Balls"
    grid = np.meshgrid(*(np.arange(n) for n in size), indexing="ij", sparse=True)
    names = [f"ball_{index:03d}" for index in range(cases + 4)]
    for folder in ("imagesTr", "labelsTr"):
        (task / folder).mkdir(parents=True)
    for name in names:
        middle = [rng.uniform(0.35, 0.65) * n for n in size]
        far = sum((g - c) ** 2 for g, c in zip(grid, middle, strict=True)) ** 0.5
        labels = (far < min(size) / 4).astype(np.uint8) + (far < min(size) / 8).astype(np.uint8)
        image = (rng.normal(size=size) + labels).astype(np.float32)
        affine = np.diag([0.8, 0.8, 3.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(image, affine), task / "imagesTr" / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), task / "labelsTr" / f"{name}.nii.gz")
    described = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    (task / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Balls", "modality": {"0": "noise"}, "labels": {"0": "background", "1": "shell", "2": "core"},
                "numTraining": len(names), "numTest": 0, "training": described, "test": [],
            }
        )
    )  # fmt: skip


def run(arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Seconds, user and system seconds, page faults and peak memory of a command and what it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lightning_app", *arguments], env={**os.environ, **environment}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "s": time.monotonic() - start,
        "user s": after.ru_utime - before.ru_utime,
        "system s": after.ru_stime - before.ru_stime,
        "page faults": after.ru_minflt - before.ru_minflt,
        "peak MB (of all so far)": after.ru_maxrss / 1024,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[192, 192, 96])
    parser.add_argument("--cases", type=int, default=3, help="test cases")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_volumes(Path(folder) / "data", args.size, args.cases)
        common = [
            "--data=datamodules.Decathlon", f"--data.root={folder}/data", "--data.task=Task99_Balls",
            "--data.split=random",
            f"--data.split_sizes=[2,2,{args.cases}]", "--trainer.logger=false", "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu", f"--runs_dir={folder}/runs",
        ]  # fmt: skip
        net = ["--model.net=models.UNet", "--model.net.width=8", "--model.net.depth=2", "--data.patch_size=[32,32,32]"]
        tiles = ["--model.inference=models.SlidingWindow", "--model.inference.window=[64,64,64]"]
        fit = ["fit", *common, *net, *tiles, "--trainer.max_steps=1", "--run_name=one", "--trainer.limit_val_batches=0"]
        run(fit, {})
        for name, (environment, more) in WAYS.items():
            found = run(["test", *common, f"--ckpt_path={folder}/runs/one", *more], environment)
            print(f"{name:<24}" + "  ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
