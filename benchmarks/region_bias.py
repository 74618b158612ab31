"""What each region says of a predictor that is calibrated by construction, and of the same one flattened or sharpened.

    python -m benchmarks.region_bias --figure docs/figures/region_bias.svg

A disc whose radius nobody knows exactly: R ~ N(30, 2), 60 cases of 96 x 96, p(x) = P(R > |x|) is the true probability.
Its logits divided by a temperature are under-confident above 1, over-confident below. A sound measure is lowest at 1.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

import metrics
from metrics import catalogue, plot

RADIUS, SPREAD, SIDE, CASES = 30.0, 2.0, 96, 60
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.8)
SOUND = ("ece_pooled", "ece_boundary_pooled", "ece_dilated_pooled")
BIASED = ("ece_reference_boundary_pooled", "ece_reference_foreground_pooled")


def cases(spread: float = SPREAD, number: int = CASES) -> tuple[Tensor, list[Tensor]]:
    """The true probability of the disc (S, S) float64, and masks at even quantiles of the radius: no chance is left."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance, quantiles = np.hypot(y, x), (np.arange(number) + 0.5) / number
    masks = [torch.from_numpy((distance < r).astype(np.uint8)) for r in norm.ppf(quantiles, RADIUS, spread)]
    return torch.from_numpy(norm.sf((distance - RADIUS) / spread)), masks


def tempered(p: Tensor, temperature: float) -> Tensor:
    """Two-class probabilities (2, S, S) float32 of logits divided by a temperature."""
    p = torch.sigmoid(torch.logit(p.clamp(1e-9, 1 - 1e-9)) / temperature).float()
    return torch.stack([1 - p, p])


def measure(temperature: float) -> dict[str, float]:
    """Key to pooled error over all cases."""
    truth, masks = cases()
    scorer, probs = metrics.Scorer(2), tempered(truth, temperature)
    for mask in masks:
        scorer.update(probs[None], mask[None])
    values = scorer.compute()
    return {key: values[key].item() for key in (*SOUND, *BIASED)}


def draw(rows: dict[float, dict[str, float]], path: Path) -> None:
    """Two panels: regions by the prediction, regions by the annotation."""
    figure, axes = plot.style.new_figure(1, 2, size=(9.6, 3.9))
    panels = (
        ("voxels chosen by the prediction", SOUND),
        ("voxels chosen by the true label", BIASED),
    )
    for ax, (title, keys) in zip(axes, panels, strict=True):
        curves = {
            catalogue.title_of(key).removesuffix(", pooled"): {t: row[key] for t, row in rows.items()} for key in keys
        }
        plot.parameter_curves(curves, "temperature (1: calibrated, above: flattened)", "pooled ECE", title, ax=ax)
        ax.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        ax.set_ylim(bottom=0)
        plot.style.legend(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="picture to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {temperature: measure(temperature) for temperature in TEMPERATURES}
    for temperature, row in rows.items():
        print(temperature, json.dumps({key: round(value, 4) for key, value in row.items()}))
    if args.figure:
        draw(rows, args.figure)


if __name__ == "__main__":
    main()
