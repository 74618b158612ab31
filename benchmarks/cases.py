"""How good the numbers of single cases are: expected against true Dice, and what is promised of volumes.

    python -m benchmarks.cases runs/six runs/six_after --work runs/six_cases --output docs/results

Tests each run whose results have no expected Dice in a copy under `--work`, and writes `cases.md` and
`figures/cases.png` from the run folders: the error of the expected Dice, how well it ranks the cases (Spearman's rho
and the area under the risk-coverage curve, beside that of an order by chance and of the best), and how often intervals
made from a random half of the cases hold the volumes of the other half.
"""

import argparse
import contextlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from lightning_app.cli import main as program
from lightning_app.files import write_csv, write_text
from lightning_app.report.compare import Comparison
from lightning_app.report.expected import scatter
from lightning_app.report.read import Run, find_runs
from metrics.curves import case_risk_coverage
from metrics.selection import VolumeInterval, fewest_cases

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.logger=false"]
SPLITS = 200
ABOUT = """# A number for every case

What the probabilities say of single cases, held against their labels; made by

    {command}

from {runs} runs of one seed on six whole sets (those of [dscpp](dscpp.md#six-whole-sets-one-seed)), first foreground
class; `+ temperature` was fitted on the validation cases. What the numbers are and are not:
[trust](../trust.md#a-number-for-every-case).

**error**: mean over the cases of |expected Dice - Dice|; **bias**: mean of expected Dice - Dice, above 0 where a
network promises itself too much. **rho**: Spearman's, of expected and true Dice over the cases; **AURC**: mean 1 - Dice
over all coverages when the cases of lowest expected Dice are left out first [in an order by chance; in the best].
**held**: share of the volumes of a random half of the cases inside intervals of 90 % made from the other half, mean
over {splits} splits; **factor**: how far these reach.

![Expected against true Dice, a point a case](figures/cases.png)

"""


def tested(run: Run, work: Path) -> Run:
    """The run, or a copy of it tested anew where its results know no expected Dice."""
    if any(metric == "expected_dice" for case in run.cases("test")[:1] for metric, _ in case.scores):
        return run
    folder = work / run.name
    if not (folder / "test" / "per_case.csv").is_file():
        ignored = shutil.ignore_patterns("wandb", "figures", "test*", "last.ckpt", "predictions")
        shutil.copytree(run.folder.path, folder, ignore=ignored, dirs_exist_ok=True)
        threshold = ["--threshold=calibrated"] if run.folder.post_hoc("test").get("cuts") else []
        with contextlib.redirect_stdout(io.StringIO()):
            program(["test", f"--ckpt_path={folder}", *threshold, *QUIET])
    return Run(folder)


def values(run: Run, key: str) -> np.ndarray:
    """A number of the first foreground class, a case each."""
    label = run.classes("test")[0]
    return np.array([case.scores[key, label] for case in run.cases("test")])


def measure(run: Run, method: str) -> dict[str, float | str]:
    """The row of a run."""
    expected, dice = values(run, "expected_dice"), values(run, "dice")
    known = np.isfinite(expected) & np.isfinite(dice)
    expected, dice = expected[known], dice[known]
    held, reach = coverage(values(run, "expected_volume"), values(run, "true_volume"))
    return {
        "data": run.data, "method": method, "cases": int(known.sum()), "dice": float(dice.mean()),
        "error": float(np.abs(expected - dice).mean()), "bias": float((expected - dice).mean()),
        "rho": float(spearmanr(expected, dice).statistic), "aurc": aurc(expected, dice),
        "aurc_chance": float((1 - dice).mean()), "aurc_best": aurc(dice, dice),
        "held": held, "factor": reach,
    }  # fmt: skip


def aurc(confidence: np.ndarray, dice: np.ndarray) -> float:
    """Area under the curve of 1 - Dice against the coverage."""
    return float(case_risk_coverage(confidence, 1 - dice)[1].mean())


def coverage(expected: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Share of held volumes over random halves, and the median factor of the intervals; NaN where these are small."""
    rng, half = np.random.default_rng(0), len(true) // 2
    held, factors = [], []
    for _ in range(SPLITS if half >= fewest_cases(0.9) else 0):
        order = rng.permutation(len(true))
        made = VolumeInterval.of(expected[order[:half]], true[order[:half]])
        ends = np.array([made.around(value) for value in expected[order[half:]]])
        held.append(float(((ends[:, 0] <= true[order[half:]]) & (true[order[half:]] <= ends[:, 1])).mean()))
        factors.append(np.exp(made.reach))
    return (float(np.mean(held)), float(np.median(factors))) if held else (float("nan"), float("nan"))


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown."""
    heads = ["data", "method", "cases", "Dice", "error", "bias", "rho", "AURC [chance; best]", "held", "factor"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        held = ("", "") if np.isnan(row["held"]) else (f"{row['held']:.3f}", f"{row['factor']:.2f}")
        aurc = f"{row['aurc']:.3f} [{row['aurc_chance']:.3f}; {row['aurc_best']:.3f}]"
        cells = [row["data"], row["method"], str(row["cases"]), f"{row['dice']:.3f}", f"{row['error']:.3f}"]
        lines.append("| " + " | ".join([*cells, f"{row['bias']:+.3f}", f"{row['rho']:.2f}", aurc, *held]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Test, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders of run folders")
    parser.add_argument("--work", type=Path, required=True, help="folder for copies that are tested anew")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    runs = [tested(run, options.work) for run in find_runs(options.runs)]
    comparison = Comparison(runs, "test")
    place = {method: number for number, method in enumerate(comparison.methods)}
    named = sorted(((comparison.method(run), run) for run in runs), key=lambda one: place[one[0]])
    rows = sorted((measure(run, method) for method, run in named), key=lambda row: str(row["data"]))
    write_csv(options.work / "cases.csv", rows)
    panels = {
        method: {run.data: (values(run, "expected_dice"), values(run, "dice")) for name, run in named if name == method}
        for method in place
    }
    picture = options.output / "figures" / "cases.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    scatter(panels).savefig(picture, dpi=100)
    command = "python -m benchmarks.cases runs/six runs/six_after --work runs/six_cases --output docs/results"
    write_text(options.output / "cases.md", ABOUT.format(command=command, runs=len(runs), splits=SPLITS) + table(rows))


if __name__ == "__main__":
    main()
