"""How good the numbers of single cases are: expected against true Dice, and what is promised of volumes.

    python -m benchmarks.cases runs/six runs/six_after --work runs/six_cases --output docs/results

Tests each run whose results have no expected Dice in a copy under `--work`, and writes `cases.md` and
`figures/cases.png` from the run folders: the error of the expected Dice, how well it ranks the cases (Spearman's rho
and the area under the risk-coverage curve, beside that of an order by chance and of the best), how often what a random
half of the cases promises holds in the other half, and how often a promise of which cases pass is broken.
"""

import argparse
import contextlib
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Formatter

import numpy as np
from scipy.stats import spearmanr

from benchmarks.posthoc_tables import markdown
from lightning_app.cli import main as program
from lightning_app.files import write_csv, write_text
from lightning_app.report.compare import Comparison
from lightning_app.report.expected import scatter
from lightning_app.report.read import Run, find_runs
from metrics.curves import case_risk_coverage
from metrics.selection import DiceBound, Passing, VolumeInterval, fewest_cases, fewest_passing

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.logger=false"]
SPLITS = 200
Ask = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[str, float]]  # of the halves: teach, then ask
WHOSE = {"data": "{data}", "class": "{class}", "method": "{method}", "cases": "{cases}"}
DICE = WHOSE | {
    "Dice": "{dice:.3f}", "error": "{error:.3f}", "bias": "{bias:+.3f}", "likely": "{likely:.3f}",
    "constant": "{constant:.3f}", "rho": "{rho:.2f}", "AURC": "{aurc:.3f} [{aurc_chance:.3f}; {aurc_best:.3f}]",
}  # fmt: skip
PROMISED = WHOSE | {
    "Dice held": "{dice_held:.3f}", "volumes held": "{held:.3f}", "factor": "{factor:.2f}", "cut": "{cut:.2f}",
    "broken": "{broken:.3f}", "pass": "{pass:.2f}",
}  # fmt: skip
DRAWS = 500
ABOUT = """# A number for every case

What the probabilities say of single cases, held against their labels; made by

```bash
{command}
```

from {runs} runs of one seed on six sets (the [small networks](dscpp.md#the-small-networks-of-other-pages)); `+
temperature` was fitted on the validation cases. What the numbers are and are not:
[trust](../trust.md#a-number-for-every-case).

![Expected against true Dice, a point a case](figures/cases.png)

## The Dice to expect

**error**: mean over the cases of |expected Dice - Dice|; **bias**: mean of expected Dice - Dice, above 0 where a
network promises itself too much. **likely**: the mean error of the likely Dice, which a random half of the cases taught
and the other half was asked, mean over {splits} splits; **constant**: that of one number for all, the first half's
median Dice, which knows nothing of the case. **rho**: Spearman's, of expected and true Dice over the cases; **AURC**:
mean 1 - Dice over all coverages when the cases of lowest expected Dice are left out first [in an order by chance; in
the best].

{dice}
## What is promised

**Dice held**, **volumes held**: share of the cases of the other half whose Dice is at least the bound, whose volume
lies inside the interval, 90 % promised of each; **factor**: how far the intervals reach. The rest is of the promise of
which cases pass without a look. As many cases as there are, drawn with replacement {draws} times, so that those at hand
are the truth; **cut**: share of the draws in which one was promised, **broken**: share of all draws whose cut lets
through more than 10 % of cases with a Dice below 0.8, at most 10 % promised; **pass**: share of the cases above the
cut, mean over the draws with one. Sets of fewer than 22 cases can promise no cut.

{promised}"""


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


def values(run: Run, key: str, label: str) -> np.ndarray:
    """A number of a class, a case each."""
    return np.array([case.scores[key, label] for case in run.cases("test")])


def measure(run: Run, method: str, label: str) -> dict[str, float | str]:
    """The row of a run and a class."""
    pairs = np.stack([values(run, key, label) for key in ("expected_dice", "dice")])
    expected, dice = pairs[:, np.isfinite(pairs).all(0)]
    volumes = values(run, "expected_volume", label), values(run, "true_volume", label)
    return {
        "data": run.data, "class": label, "method": method, "cases": len(dice), "dice": float(dice.mean()),
        "error": float(np.abs(expected - dice).mean()), "bias": float((expected - dice).mean()),
        "rho": float(spearmanr(expected, dice).statistic), "aurc": aurc(expected, dice),
        "aurc_chance": float((1 - dice).mean()), "aurc_best": aurc(dice, dice),
        **of_halves(bounds, expected, dice), **of_halves(intervals, *volumes), **look(expected, dice),
    }  # fmt: skip


def aurc(confidence: np.ndarray, dice: np.ndarray) -> float:
    """Area under the curve of 1 - Dice against the coverage."""
    return float(case_risk_coverage(confidence, 1 - dice)[1].mean())


def of_halves(ask: Ask, expected: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Means of what is asked over random halves of the cases; nothing where these are too small."""
    rng, half = np.random.default_rng(0), len(true) // 2
    if half < fewest_cases(0.9):
        return {}
    orders = [rng.permutation(len(true)) for _ in range(SPLITS)]
    found = [ask(expected[one[:half]], true[one[:half]], expected[one[half:]], true[one[half:]]) for one in orders]
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


def bounds(expected: np.ndarray, dice: np.ndarray, asked: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """How far the likely Dice is off, how often the least one holds, how far a constant is off."""
    made = DiceBound.of(expected, dice)
    low, likely = np.array([made.around(value) for value in asked]).T
    constant = float(np.abs(np.median(dice) - true).mean())
    return {"dice_held": (low <= true).mean(), "likely": np.abs(likely - true).mean(), "constant": constant}


def intervals(expected: np.ndarray, volumes: np.ndarray, asked: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """How often the intervals hold the volumes, and how far they reach."""
    made = VolumeInterval.of(expected, volumes)
    ends = np.array([made.around(value) for value in asked])
    return {"held": ((ends[:, 0] <= true) & (true <= ends[:, 1])).mean(), "factor": float(np.exp(made.reach))}


def look(expected: np.ndarray, dice: np.ndarray) -> dict[str, float]:
    """How often a cut is promised and broken, where the cases are drawn from those at hand; nothing of too few."""
    rng, passing, broken = np.random.default_rng(0), [], 0
    if len(dice) < fewest_passing(0.1, 0.9):
        return {}
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(dice), len(dice))
        with contextlib.suppress(ValueError):
            through = expected >= Passing.of(expected[drawn], dice[drawn]).cut
            passing.append(through.mean())
            broken += (dice[through] < 0.8).mean() > 0.1
    found = {"cut": len(passing) / DRAWS, "broken": broken / DRAWS}
    return found | ({"pass": float(np.mean(passing))} if passing else {})


def table(rows: Sequence[Mapping], columns: Mapping[str, str]) -> str:
    """The rows in Markdown.

    Args:
        rows: Of `measure`.
        columns: Heading to the format of a row's values.
    """
    cells = [[text.format_map(row) if fields_of(text) <= set(row) else "" for text in columns.values()] for row in rows]
    return markdown(list(columns), cells) + "\n"


def fields_of(text: str) -> set[str]:
    """The names that a format reads."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def first_class(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Expected and true Dice of the first foreground class."""
    label = run.classes("test")[0]
    return values(run, "expected_dice", label), values(run, "dice", label)


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
    rows = [measure(run, method, label) for method, run in named for label in run.classes("test")]
    rows.sort(key=lambda row: (str(row["data"]), str(row["class"])))
    write_csv(options.work / "cases.csv", rows)
    panels = {method: {run.data: first_class(run) for name, run in named if name == method} for method in place}
    picture = options.output / "figures" / "cases.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    scatter(panels).savefig(picture, dpi=100)
    command = "python -m benchmarks.cases runs/six runs/six_after --work runs/six_cases --output docs/results"
    tables = {"dice": table(rows, DICE), "promised": table(rows, PROMISED)}
    page = ABOUT.format(command=command, runs=len(runs), splits=SPLITS, draws=DRAWS, **tables)
    write_text(options.output / "cases.md", page)


if __name__ == "__main__":
    main()
