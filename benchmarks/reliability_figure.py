"""Reliability diagrams of several runs side by side, as in the README.

python -m benchmarks.reliability_figure docs/figures/hippocampus.png Dice=runs/dice DSC++=runs/dscpp
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import metrics
from lightning_app.report.read import Run
from metrics import plot

REGIONS = {"all": "all voxels", "boundary": "predicted boundary", "reference_boundary": "true boundary"}


def draw(runs: dict[str, Path], region: str) -> Figure:
    """A panel a run, of its test."""
    key = f"{region}.top_label"
    figure = Figure(figsize=(4.8 * len(runs), 5.2))
    figure.subplots_adjust(wspace=0.35)
    for ax, (name, run) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        sums = Run(run).reliability("test")
        (low,), (high,) = metrics.error_interval(list(sums.by_case(key).values()))
        title = f"{name}, {REGIONS[region]}"
        plot.reliability_diagram(sums.pooled(key), title=title, ax=ax, interval=(low, high))
    return figure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("runs", nargs="+", help="NAME=RUN_FOLDER, each tested")
    parser.add_argument("--region", choices=list(REGIONS), default="all", help="voxels that are counted")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs = {name: Path(path) for name, _, path in (run.partition("=") for run in args.runs)}
    draw(runs, args.region).savefig(args.out, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
