"""Run folders as the training program leaves them, made in milliseconds: true probabilities, sharpened by a factor."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

import metrics
from lightning_app.training.evaluation import write_stage as write_results

CLASSES = ("background", "anterior", "posterior")


def make_run(
    folder: Path,
    loss: str = "DicePlusPlusLoss",
    arguments: dict | None = None,
    seed: int = 0,
    sharpness: float = 1.0,
    data: dict | None = None,
    lr: float = 1e-3,
    net: str = "UNet",
    classes: tuple[str, ...] = CLASSES[:2],
    cases: int = 8,
    slices: bool = False,
) -> Path:
    """Write a finished run; `sharpness` 1 is calibrated, above it over-confident."""
    folder.mkdir(parents=True)
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 4, "precision": "32-true", "logger": [{"class_path": "WandbLogger"}]},
        "model": {
            "net": {"class_path": f"models.{net}", "init_args": {"width": 8}},
            "loss": {"class_path": f"losses.{loss}", "init_args": arguments or {}},
        },
        "data": data or {"class_path": "datamodules.Phantom", "init_args": {"size": 24, "seed": 0}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr}},
        "checkpoint": {"dirpath": str(folder)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "command.txt").write_text("python -m lightning_app fit --model.loss <x>\n")
    state = {"status": "finished", "wall_seconds": 12.5, "versions": {"torch": "2.15"}, "commit": "0123abc"}
    (folder / "state.json").write_text(json.dumps(state))
    write_curves(folder)
    for stage in ("val", "test"):
        (folder / stage).mkdir()
        for name, content in stage_files(stage, seed, sharpness, classes, cases).items():
            (folder / stage / name).write_bytes(content)
        write_pictures(folder / stage / "figures", slices)
    return folder


def write_curves(folder: Path) -> None:
    rows = [
        {
            "step": i,
            "epoch": i // 10,
            "train/loss": 1 / (i + 1),
            "train/dice": i / 40,
            "val/dice": "" if i % 10 else i / 40,
        }
        for i in range(40)
    ]
    write_text_rows(folder / "metrics.csv", rows)


def write_text_rows(path: Path, rows: list[dict]) -> None:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


@functools.cache
def stage_files(stage: str, seed: int, sharpness: float, classes: tuple[str, ...], cases: int) -> dict[str, bytes]:
    """Files of a stage by name: runs that differ elsewhere have the same."""
    scored = []
    for number in range(cases):
        truth = torch.Generator().manual_seed(number + 1000 * (stage == "test"))
        logits = 2.0 * torch.randn(len(classes), 24, 24, generator=truth)
        labels = torch.distributions.Categorical(logits=logits.movedim(0, -1))
        torch.manual_seed(number)
        target = labels.sample()
        noise = 0.3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
        probs = (sharpness * (logits + noise)).softmax(0)
        name = f"{stage}_{number:02d}"
        scored.append((name, metrics.score_case(probs, target)))
    pooled = metrics.merge_sums([sums for _, sums in scored]).bins
    with tempfile.TemporaryDirectory() as folder:
        found = [(name, sums.coarse(metrics.CASE_BINS)) for name, sums in scored]
        write_results(Path(folder), found, pooled, classes)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def write_pictures(folder: Path, slices: bool) -> None:
    folder.mkdir(parents=True)
    for shade, rank in enumerate(("worst", "median", "best")):
        Image.new("L", (48, 12), 80 * shade + 40).save(folder / f"case_{rank}.png")
        if slices:
            volume = (np.arange(6 * 10 * 12).reshape(6, 10, 12) % 200).astype(np.uint8)
            np.savez(
                folder / f"case_{rank}.npz",
                image=volume,
                truth=volume > 99,
                prediction=volume > 120,
                confidence=volume,
                case=f"case of {rank}",
            )
