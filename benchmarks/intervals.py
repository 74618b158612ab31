"""How often the intervals of `metrics.intervals` contain the true value: the tables of docs/statistics.md.

    python -m benchmarks.intervals [--part values|seeds|pooled] [--samples 1000]

Values: samples of distributions whose mean is known, beside Student's t and the percentile bootstrap. Seeds: seeds by
cases, a spread of the seeds in units of that of the cases. Pooled: the ECE of all voxels together, cases of unequal
size whose gaps between confidence and frequency differ.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metrics import intervals

SIZES = (4, 8, 12, 20, 40)
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
Interval = Callable[[Floats, int], tuple[float, float]]
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda g, n: g.normal(size=n), 0.0),
    "Dice-like, beta(8, 2)": (lambda g, n: g.beta(8, 2, n), 0.8),
    "Dice-like, beta(20, 2)": (lambda g, n: g.beta(20, 2, n), 20 / 22),
    "ECE-like, beta(2, 20)": (lambda g, n: g.beta(2, 20, n), 2 / 22),
    "log-normal, sigma 0.5": (lambda g, n: g.lognormal(0, 0.5, n), float(np.exp(0.125))),
    "exponential": (lambda g, n: g.exponential(size=n), 1.0),
    "log-normal, sigma 1": (lambda g, n: g.lognormal(0, 1, n), float(np.exp(0.5))),
    "Dice, one case in ten failed": (
        lambda g, n: np.where(g.random(n) < 0.1, g.beta(1, 4, n), g.beta(20, 3, n)),
        0.1 * 0.2 + 0.9 * 20 / 23,
    ),
}
BINS = 15
MIDDLE = (np.arange(BINS) + 0.5) / BINS
SETTINGS = ((0.1, 0.03, 0.2), (0.1, 0.05, 0.5), (0.05, 0.05, 0.5), (0.02, 0.05, 0.5), (0.1, 0.1, 1.0))
MASS = np.where(np.isin(np.arange(BINS), (0, BINS - 1)), 6.0, 0.6)


def student(values: Floats, seed: int) -> tuple[float, float]:
    """Student's t."""
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - reach, values.mean() + reach


def percentile(values: Floats, seed: int) -> tuple[float, float]:
    """Percentile bootstrap."""
    drawn = values[np.random.default_rng(seed).integers(len(values), size=(1000, len(values)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def ours(values: Floats, seed: int) -> tuple[float, float]:
    """The project's."""
    return intervals.bootstrap_interval(values, seed=seed, resamples=600)


def coverage(draw: Callable[[np.random.Generator], Floats], truth: float, found: Interval, samples: int) -> float:
    """Share of samples, in per cent, whose interval contains the truth."""
    generator = np.random.default_rng(0)
    hits = [low <= truth <= high for low, high in (found(draw(generator), seed) for seed in range(samples))]
    return 100 * float(np.mean(hits))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    print("\n".join("| " + " | ".join(row) + " |" for row in rows), flush=True)


def run_values(samples: int) -> None:
    """Coverage of one seed's mean: ours (Student's t, percentile)."""
    rows = []
    for name, (draw, truth) in DISTRIBUTIONS.items():
        cells = []
        for n in SIZES:
            shares = [coverage(lambda g, d=draw, n=n: d(g, n), truth, f, samples) for f in (ours, student, percentile)]
            cells.append("**{:.1f}** ({:.0f}, {:.0f})".format(*shares))
        rows.append([name, *cells])
    print_table(["", *(f"n = {n}" for n in SIZES)], rows)


def run_seeds(samples: int) -> None:
    """Coverage of the mean over seeds and cases, against the spread of the seeds."""
    spreads, rows = (0.0, 0.1, 0.3, 0.6), []
    for seeds, n in product((2, 3, 5), (8, 20, 40)):

        def draw(g: np.random.Generator, s: int = seeds, n: int = n, spread: float = 0.0) -> Floats:
            return g.normal(size=n) + g.normal(0, 1, (s, 1)) * spread + g.normal(0, 0.3, (s, n))

        cells = [coverage(lambda g, d=draw, k=k: d(g, spread=k), 0.0, ours, samples) for k in spreads]
        rows.append([str(seeds), str(n), *(f"{cell:.1f}" for cell in cells)])
    print_table(["seeds", "cases", *(f"spread {k}" for k in spreads)], rows)


def draw_sums(g: np.random.Generator, n: int, gap: float, spread: float, size: float) -> Floats:
    """Sums of gaps in each bin, and the number of voxels, (n, BINS + 1)."""
    voxels, mass = g.lognormal(0, size, (n, 1)), g.gamma(np.broadcast_to(MASS, (n, BINS)))
    off = gap + g.normal(0, spread, (n, 1)) + g.normal(0, spread, (n, BINS))
    shares = mass / mass.sum(1, keepdims=True)
    return np.concatenate([voxels * shares * off * 4 * MIDDLE * (1 - MIDDLE), voxels], axis=1)


def pooled_error(sums: Floats) -> Floats:
    """ECE of sums (..., BINS + 1)."""
    return np.abs(sums[..., :-1]).sum(-1) / sums[..., -1]


def ours_pooled(sums: Floats, seed: int) -> tuple[float, float]:
    """The project's interval of a pooled error."""
    low, high = intervals.jackknife_interval([lambda weights: pooled_error(weights @ sums)], len(sums))
    return float(low), float(high)


def percentile_pooled(sums: Floats, seed: int) -> tuple[float, float]:
    """Percentile bootstrap of a pooled error."""
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), 600)
    low, high = np.quantile(pooled_error(weights @ sums), [0.025, 0.975])
    return float(low), float(high)


def run_pooled(samples: int) -> None:
    """Coverage of the pooled ECE: ours (percentile)."""
    rows = []
    for gap, spread, size in (
        (0.1, 0.03, 0.2),
        (0.1, 0.05, 0.5),
        (0.05, 0.05, 0.5),
        (0.02, 0.05, 0.5),
        (0.1, 0.1, 1.0),
    ):
        truth = float(pooled_error(draw_sums(np.random.default_rng(1), 400_000, gap, spread, size).sum(0)))
        cells = []
        for n in SIZES:
            shares = [
                coverage(lambda g, n=n, a=(gap, spread, size): draw_sums(g, n, *a), truth, f, samples)
                for f in (ours_pooled, percentile_pooled)
            ]
            cells.append("**{:.1f}** ({:.0f})".format(*shares))
        rows.append([f"{truth:.4f}", str(spread), str(size), *cells])
    print_table(["true ECE", "spread of gaps", "spread of sizes", *(f"n = {n}" for n in SIZES)], rows)


PARTS = {"values": run_values, "seeds": run_seeds, "pooled": run_pooled}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intervals", description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), default=None)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    for name in [options.part] if options.part else PARTS:
        PARTS[name](options.samples)


if __name__ == "__main__":
    main()
