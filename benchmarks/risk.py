"""Does the promised level hold? Random splits of the stored cases of finished runs and evaluations.

    python -m benchmarks.risk runs/a/test runs/b/test --risk fnr --level 0.1 --output table.csv

Each folder is a stage with `bins.npz`. In each split, part of the cases gives the cut and the others show the risk at
it. A row a folder and class: mean risk of the others with its simulation error, how often it was above the level, how
often no cut could be promised, and the price: voxels claimed over true ones.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metrics.risk import promise, relative_size, risk_at


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", type=Path)
    parser.add_argument("--risk", choices=("fnr", "fdr", "precision"), default="fnr")
    parser.add_argument("--level", type=float, default=0.1)
    parser.add_argument("--confidence", type=float)
    parser.add_argument("--by", choices=("case", "voxel"), default="case")
    parser.add_argument("--share", type=float, default=0.5, help="share of the cases that gives the cut")
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = [row for stage in options.stages for row in rows_of(stage, options)]
    with options.output.open("w", newline="") if options.output else sys.stdout as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def rows_of(stage: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a foreground class of a stage."""
    with np.load(stage / "bins.npz") as file:
        odds, names = torch.from_numpy(file["all.classwise.case_odds"]), file["class_names"].tolist()
    return [
        {"stage": str(stage), "class": name, "cases": len(odds), **simulate(odds[:, :, k], options)}
        for k, name in enumerate(names)
        if k > 0
    ]


def simulate(odds: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """What random splits of cases (n, 2, AXIS_BINS) show."""
    rng, risks, sizes = np.random.default_rng(0), [], []
    first = round(options.share * len(odds))
    for _ in range(options.splits):
        order = rng.permutation(len(odds))
        own, rest = odds[order[:first]], odds[order[first:]]
        try:
            kept = promise(own, options.risk, options.level, options.confidence, options.by)
        except ValueError:
            continue
        risks.append(risk_at(rest, options.risk, options.by, kept.cut))
        sizes.append(relative_size(rest, kept.cut))
    found = np.array(risks, dtype=float)
    return {
        "level": options.level,
        "risk": float(found.mean()) if len(found) else np.nan,
        "error": float(found.std() / len(found) ** 0.5) if len(found) else np.nan,
        "above": float((found > options.level).mean()) if len(found) else np.nan,
        "refused": 1 - len(found) / options.splits,
        "size": float(np.median(sizes)) if len(sizes) else np.nan,
    }


if __name__ == "__main__":
    main()
