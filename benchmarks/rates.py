"""The learning rate of each loss on each data set that validates best, and the sweeps of all seeds at those rates.

    python -m benchmarks.rates sweeps/bench_dscpp_lr.yaml --template sweeps/bench_dscpp.yaml --output runs/rates

Reads the finished runs of a sweep over rates, whose parameters are `config`, `model.loss` and `optimizer.lr`.
`rates.csv` lists each with its Dice and NLL on the validation cases and whether it was chosen: the best mean Dice, of
equals the lower NLL. For each data set whose runs are all finished it writes `<set>/<loss>.yaml`, the set's
configuration with loss and rate, and `<set>.yaml`, the template's command and seeds over them. The test cases are not
looked at. With `--chosen FOLDER` the runs that won are copied there, ready to be compared, and the sweeps leave out the
seeds that they have.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_app.errors import UserError
from lightning_app.files import read_csv, read_yaml, write_csv, write_text
from lightning_app.sweep.file import Cell, SweepFile, cell_name, grid_cells, load


@dataclass(frozen=True)
class Tried:
    """One rate of one loss on one data set.

    Args:
        config: The data set's configuration file.
        loss: The loss, class and arguments.
        rate: Learning rate.
        seed: The run's seed.
        dice: Mean Dice on the validation cases.
        nll: Their mean negative log-likelihood.
        run: The run folder's name.
    """

    config: str
    loss: dict[str, Any]
    rate: float
    seed: int
    dice: float
    nll: float
    run: str

    @property
    def cell(self) -> tuple[str, str]:
        """Data set and loss: what one rate is chosen for."""
        return Path(self.config).stem, loss_name(self.loss)


def loss_name(loss: Mapping[str, Any]) -> str:
    """A loss's class, and for a sum those of its parts: `DiceLoss`, `DiceCrossEntropyLoss+AverageCalibrationLoss`."""
    parts = (loss.get("init_args") or {}).get("losses")
    return "+".join(map(loss_name, parts.values())) if parts else loss["class_path"].rpartition(".")[2]


def tried(folder: Path, cell: Cell) -> Tried | None:
    """What the run of a cell says of the validation cases; nothing where it is not finished."""
    state = folder / "state.json"
    if not state.is_file() or json.loads(state.read_text(encoding="utf-8"))["status"] != "finished":
        return None
    means = {row["metric"]: row["mean"] for row in read_csv(folder / "val" / "summary.csv") if row["class"] == "all"}
    figures = float(means["dice"]), float(means["nll"])
    rate, seed = float(cell["optimizer.lr"]), int(cell.get("seed_everything", 0))
    return Tried(cell["config"], cell["model.loss"], rate, seed, *figures, folder.name)


def read_runs(sweep: SweepFile, runs: Path) -> tuple[list[Tried], list[str]]:
    """The finished runs of a sweep over rates.

    Args:
        sweep: The sweep.
        runs: Where the sweeps' runs lie.

    Returns:
        The runs, and the data sets that are complete.
    """
    cells = grid_cells(sweep.parameters)
    found = [tried(runs / sweep.name / cell_name(cell, sweep.parameters), cell) for cell in cells]
    unfinished = {cell["config"] for cell, one in zip(cells, found, strict=True) if one is None}
    complete = dict.fromkeys(Path(cell["config"]).stem for cell in cells if cell["config"] not in unfinished)
    return [one for one in found if one], list(complete)


def best(rates: Sequence[Tried]) -> Tried:
    """The rate with the best Dice; of equals the lower NLL, then the lower rate."""
    return max(rates, key=lambda one: (one.dice, -one.nll, -one.rate))


def by_cell(rates: Sequence[Tried]) -> dict[tuple[str, str], list[Tried]]:
    """The rates that were tried for each data set and loss."""
    groups: dict[tuple[str, str], list[Tried]] = defaultdict(list)
    for one in rates:
        groups[one.cell].append(one)
    return dict(groups)


def table(groups: Mapping[tuple[str, str], Sequence[Tried]]) -> list[dict[str, Any]]:
    """A row a run: data, loss, rate, Dice, NLL, whether it was chosen, run folder."""
    return [
        {"data": data, "loss": loss, "lr": one.rate, "val_dice": one.dice, "val_nll": one.nll,
         "chosen": "yes" if one == best(group) else "no", "run": one.run}
        for (data, loss), group in groups.items()
        for one in sorted(group, key=lambda one: one.rate)
    ]  # fmt: skip


def chosen_config(one: Tried) -> dict[str, Any]:
    """The data set's configuration with the loss, and the rate in its optimiser."""
    config = read_yaml(one.config)
    config.setdefault("model", {})["loss"] = one.loss
    config["optimizer"]["init_args"]["lr"] = one.rate
    return config


def copy_runs(chosen: Sequence[Tried], runs: Path, output: Path) -> None:
    """Copy the folders of runs into another folder, without what W&B holds; one that is there is left as it is."""
    for one in chosen:
        if not (output / one.run).exists():
            shutil.copytree(runs / one.run, output / one.run, ignore=shutil.ignore_patterns("wandb", "last.ckpt"))


def write_sweep(name: str, chosen: Sequence[Tried], template: Path, output: Path, seeds: Sequence[int]) -> Path:
    """Write the sweep of a data set, and beside it the configurations that it runs.

    Args:
        name: The data set.
        chosen: Its losses at their rates.
        template: Sweep file whose command is taken.
        output: The folder.
        seeds: The seeds to run.

    Returns:
        The sweep file.
    """
    files = []
    for one in chosen:
        text = yaml.safe_dump(chosen_config(one), sort_keys=False)
        files.append(str(write_text(output / name / f"{one.cell[1]}.yaml", text)))
    sweep = read_yaml(template)
    sweep["parameters"] = {"seed_everything": {"values": list(seeds)}, "config": {"values": files}}
    return write_text(output / f"{name}.yaml", yaml.safe_dump(sweep, sort_keys=False))


def main(args: Sequence[str] | None = None) -> int:
    """Read the runs, write the table and the sweeps, say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="file of the sweep over rates")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where the sweeps' runs lie")
    parser.add_argument("--template", type=Path, required=True, help="sweep file whose command and seeds are taken")
    parser.add_argument("--output", type=Path, required=True, help="folder for table, configurations and sweeps")
    parser.add_argument(
        "--data", nargs="*", help="data sets whose sweeps are written; by default all that are complete"
    )
    parser.add_argument("--seeds", type=int, help="how many of the template's seeds; by default all")
    parser.add_argument("--chosen", type=Path, help="folder that gets a copy of each run that won")
    options = parser.parse_args(args)
    file = load(options.sweep)
    rates, complete = read_runs(file, options.runs_dir)
    if missing := sorted(set(options.data or []) - set(complete)):
        raise UserError(f"--data {' '.join(missing)}: not all of its runs are finished; finish {options.sweep} first")
    groups = by_cell(rates)
    print(write_csv(options.output / "rates.csv", table(groups)))
    seeds = read_yaml(options.template)["parameters"]["seed_everything"]["values"][: options.seeds]
    for name in options.data or complete:
        chosen = [best(group) for (data, _), group in groups.items() if data == name]
        left = seeds
        if options.chosen:
            copy_runs(chosen, options.runs_dir / file.name, options.chosen)
            left = [seed for seed in seeds if seed not in {one.seed for one in chosen}]
        if not left:
            continue
        sweep = write_sweep(name, chosen, options.template, options.output, left)
        print(f"python -m lightning_app sweep {sweep}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(str(error))
