"""What shift does to overlap, calibration and the promise of risk control: every level of damage, and another data set.

    python -m benchmarks.shift RUN ... [--levels 1,3,5] [--limit 30] --out docs/results

Runs `calibrate --method risk --risk fnr` (level 0.1, or 0.2 of few cases) where a run has no promise yet, then `test`
under every condition that has no results yet, and writes `shift.csv`, `shift.md` and `figures/shift.png` from the run
folders.
"""

import argparse
import contextlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from datamodules.corruption import LEVELS
from lightning_app.cli import main as program
from lightning_app.files import read_csv, write_csv, write_text
from lightning_app.report.read import Run
from lightning_app.training.shift import stage_name
from metrics.plot.style import finish, legend, new_figure, series_style

PARTNERS = {"DRIVE": "stare", "CVCClinicDB": "kvasir_seg", "ISIC2016": "ph2", "DSB2018": "dsb2018_stained"}
PROMISES = (0.1, 0.2)  # the second where the validation cases are too few for the first
NUMBERS = {"dice": "Dice", "ece_pooled": "ECE, pooled", "risk": "Missed share", "size": "Claimed over true voxels"}
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
ABOUT = """# Shift

What networks say of images that are not drawn as those that they were trained on. Made by
`{command}`:
one seed, small networks, {cases} test cases at most a run, the first in the order of their files: a look at the
direction, no benchmark. The cut was promised
on validation cases to miss at most a share of the true voxels, 0.1 on average over cases (0.2 where they are too few:
DRIVE; `calibrate --method risk --risk fnr`). **Under shift nothing is promised: the table of the missed share shows by
how much it fails.** What few cases promise costs size: four cases can promise 0.2 only where none of them misses a
voxel, so that on DRIVE nearly all is claimed and nothing can be missed. Columns
"damage" are the mean over {kinds}, at that level.

![Dice, ECE and missed share against the level of damage](figures/shift.png)

Level 0 are the run's own test cases; the mark on the right is the other data set
({partners}).

"""


class Condition(NamedTuple):
    """What the test cases are: of another data set, damaged (`noise:3`), or the run's own where both are None."""

    data: str | None = None
    corrupt: str | None = None


def conditions(run: Run, levels: Sequence[int]) -> list[Condition]:
    """Own cases, the other data set where there is one, every kind of damage at the levels."""
    partner = PARTNERS.get(run.data)
    damage = [Condition(None, f"{kind}:{level}") for kind in LEVELS for level in levels]
    return [Condition(), *([Condition(partner)] if partner else []), *damage]


def measure(run: Run, condition: Condition, limit: int) -> dict[str, float | str]:
    """The numbers of a run under a condition, from its folder; tested first where they are not there."""
    folder = run.folder.path / stage_name(*condition)
    if not (folder / "risk.csv").is_file():
        asked = [f"--{name}={value}" for name, value in zip(("test_data", "corrupt"), condition, strict=True) if value]
        _quietly(["test", f"--ckpt_path={run.folder}", f"--trainer.limit_test_batches={limit}", *asked, *QUIET])
    means = {
        row["metric"]: float(row["mean"] or "nan") for row in read_csv(folder / "summary.csv") if row["class"] == "all"
    }
    risks = read_csv(folder / "risk.csv")
    names = ("level", "happened", "relative_size")
    promised, missed, size = (fmean(float(row[name]) for row in risks) for name in names)
    kind, _, level = (condition.corrupt or ("other set:" if condition.data else "own:0")).partition(":")
    start = {"data": run.data, "loss": run.loss, "condition": condition.data or kind, "level": level}
    return {
        **start,
        "dice": means["dice"],
        "ece_pooled": means["ece_pooled"],
        "risk": missed,
        "promised": promised,
        "size": size,
    }


def promise(run: Run) -> None:
    """Make the promise, where no test of the run shows one yet."""
    if any(run.folder.path.glob("test*/risk.csv")):
        return
    for level in PROMISES:
        with contextlib.suppress(SystemExit):  # too few cases
            _quietly(["calibrate", f"--ckpt_path={run.folder}", "--method=risk", f"--level={level}", *QUIET])
            return


def _quietly(args: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        program(args)


def curve(rows: Iterable[dict], data: str, loss: str, number: str, levels: Sequence[int]) -> list[float]:
    """Values of a loss at level 0 and the levels, the mean over the kinds of damage."""
    mine = [row for row in rows if (row["data"], row["loss"]) == (data, loss) and row["level"] != ""]
    return [fmean(row[number] for row in mine if row["level"] == str(level)) for level in (0, *levels)]


def other(rows: Iterable[dict], data: str, loss: str, number: str) -> float | None:
    """The value on the other data set."""
    found = [row[number] for row in rows if (row["data"], row["loss"], row["level"]) == (data, loss, "")]
    return found[0] if found else None


def table(rows: list[dict], levels: Sequence[int]) -> str:
    """A row a data set and loss: own cases, the other set, each level."""
    titles = ["own", "other set", *(f"damage {level}" for level in levels)]
    lines = []
    for number, title in NUMBERS.items():
        lines += ["", f"## {title}", "", f"| data | loss | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
        for data, loss in dict.fromkeys((row["data"], row["loss"]) for row in rows):
            own, *damaged = curve(rows, data, loss, number, levels)
            there = other(rows, data, loss, number)
            cells = [f"{own:.3f}", "" if there is None else f"{there:.3f}", *(f"{value:.3f}" for value in damaged)]
            lines.append(f"| {data} | {loss} | {' | '.join(cells)} |")
    return "\n".join(lines).lstrip() + "\n"


def draw(rows: list[dict], levels: Sequence[int], path: Path) -> None:
    """A row of panels a data set, a column a number, a line a loss."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    figure, axes = new_figure(len(sets), len(NUMBERS), size=(3.2 * len(NUMBERS), 2.6 * len(sets)), squeeze=False)
    for line, data in zip(axes, sets, strict=True):
        for ax, (number, title) in zip(line, NUMBERS.items(), strict=True):
            for index, loss in enumerate(dict.fromkeys(row["loss"] for row in rows if row["data"] == data)):
                style = series_style(index)
                ax.plot([0, *levels], curve(rows, data, loss, number, levels), label=loss, **style)
                if (there := other(rows, data, loss, number)) is not None:
                    ax.plot([levels[-1] + 1.5], [there], **style | {"linestyle": "", "markersize": 7})
            if number == "risk":
                promised = max(row["promised"] for row in rows if row["data"] == data)
                ax.axhline(promised, color="#666666", linestyle=":", linewidth=1.2)
            finish(ax, data if number == "dice" else "", "level of damage", title)
            ax.set_xticks([0, *levels, levels[-1] + 1.5], [*map(str, (0, *levels)), PARTNERS.get(data, "")])
    legend(axes[0][0])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Test, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--levels", default="1,3,5", help="levels of damage, of 1 to 5")
    parser.add_argument("--limit", type=int, default=30, help="most test cases of a run")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    levels = [int(level) for level in options.levels.split(",")]
    rows = []
    for run in map(Run, options.runs):
        promise(run)
        rows += [measure(run, condition, options.limit) for condition in conditions(run, levels)]
        write_csv(options.out / "shift.csv", rows)
    partners = ", ".join(f"{data}: {name}" for data, name in PARTNERS.items() if data in {row["data"] for row in rows})
    command = f"python -m benchmarks.shift RUN ... --levels {options.levels} --limit {options.limit}"
    about = ABOUT.format(command=command, cases=options.limit, kinds=", ".join(LEVELS), partners=partners)
    draw(rows, levels, options.out / "figures" / "shift.png")
    write_text(options.out / "shift.md", about + table(rows, levels))


if __name__ == "__main__":
    main()
