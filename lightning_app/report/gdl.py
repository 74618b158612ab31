"""The Generalised Dice paper's tables 2 and 3 and figures 1 to 3, of a grid of networks, patches, rates and losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from lightning_app.report.compare import Comparison, label_of, varying
from lightning_app.report.figures import isoline_picture, picture
from lightning_app.report.page import Picture, file_name
from lightning_app.report.read import Run
from lightning_app.report.tables import Table, number, title_of
from metrics import plot

LAST_STEPS = 200
COLLAPSED = 0.01
GDL_SIZES = {51: "S", 56: "S", 63: "M", 64: "M", 85: "L", 87: "L", 88: "L"}
GDL_LOSSES = {"WCE": 0, "DL2": 1, "SS": 2, "GDL": 3}
GDL_NETS = {
    "UNet": "UNet",
    "ValidUNet": "UNet",
    "TwoPathCNN": "TwoPathCNN",
    "DeepMedic": "DeepMedic",
    "HighRes3DNet": "HighResNet",
}
GDL_VOLUMETRIC = ("DeepMedic", "HighRes3DNet")

# Sudre et al. 2017, tables 2 and 3: median(IQR) of the training Dice over the last 200 steps; by network, patch size
# and log10 of the learning rate, in the order WCE, DL2, SS, GDL_v.
GDL_PUBLISHED = {
    "UNet": {
        "S-5": ".71(.17) .73(.13) .37(.17) .75(.14)",
        "S-4": ".77(.18) .76(.13) .74(.16) .80(.12)",
        "S-3": ".70(.17) .72(.15) .39(.16) .72(.15)",
        "M-5": ".71(.23) .70(.22) .65(.25) .74(.19)",
        "M-4": ".73(.18) .70(.22) .61(.25) .72(.19)",
        "M-3": ".68(.23) .67(.21) .70(.26) .69(.22)",
        "L-5": ".63(.46) .62(.40) .49(.42) .56(.44)",
        "L-4": ".68(.34) .64(.44) .18(.24) .66(.39)",
        "L-3": ".59(.39) .57(.53) .16(.22) .59(.45)",
    },
    "TwoPathCNN": {
        "S-5": ".56(.48) 0(0) .53(.41) .49(.44)",
        "S-4": ".80(.12) .79(.11) .81(.12) .80(.12)",
        "S-3": "0(0) 0(0) .77(.11) .72(.15)",
        "M-5": "0(0) .73(.18) .69(.21) .73(.19)",
        "M-4": ".77(.16) .76(.17) .71(.18) .76(.17)",
        "M-3": "0(0) .71(.22) .67(.21) .72(.19)",
        "L-5": ".62(.50) .50(.41) .50(.38) .56(.35)",
        "L-4": ".64(.42) .59(.43) .52(.38) .64(.35)",
        "L-3": ".77(.12) .77(.14) .79(.12) .79(.11)",
    },
    "DeepMedic": {
        "S-5": ".49(.17) .44(.19) .42(.14) .46(.17)",
        "S-4": ".58(.20) .60(.15) .61(.22) .61(.18)",
        "S-3": ".61(.12) .59(.14) .63(.15) .60(.15)",
        "M-5": ".05(.07) .05(.07) .05(.06) .04(.06)",
        "M-4": ".09(.11) .07(.09) .08(.09) .08(.10)",
        "M-3": ".45(.31) .42(.31) .17(.24) .48(.32)",
        "L-5": ".01(.03) .01(.03) .01(.03) .01(.03)",
        "L-4": ".01(.04) .02(.04) .02(.04) .01(.04)",
        "L-3": ".21(.33) .18(.30) .05(.12) .20(.33)",
    },
    "HighResNet": {
        "S-5": "0(0) 0(0) .06(.15) .47(.32)",
        "S-4": "0(0) .71(.18) .34(.20) .74(.15)",
        "S-3": "0(0) 0(0) 0(0) 0(0)",
        "M-5": "0(0) .60(.27) .15(.13) .64(.19)",
        "M-4": "0(0) .71(.20) .20(.20) .69(.20)",
        "M-3": "0(0) 0(0) 0(0) .65(.23)",
        "L-5": "0(0) .54(.27) .03(.06) .50(.32)",
        "L-4": "0(0) .57(.32) .08(.19) .60(.30)",
        "L-3": "0(0) .62(.18) .22(.15) .49(.34)",
    },
}


def last_dice(run: Run) -> np.ndarray:
    """Training Dice of the last 200 steps; empty where it was not logged, less steps without any foreground."""
    values = np.asarray(run.curves.get("train/dice", (None, np.array([])))[1][-LAST_STEPS:])
    return values[~np.isnan(values)]


@dataclass(frozen=True)
class Grid:
    """The runs of one network on one data set.

    Args:
        data: The data set.
        net: The network, by the paper's name.
        runs: Loss, with the arguments in which runs of that loss differ -> its runs.
    """

    data: str
    net: str
    runs: dict[str, list[Run]]

    def values(self, factor: Callable[[Run], float]) -> list[float]:
        """The values that a factor has, in their order."""
        return sorted({factor(run) for runs in self.runs.values() for run in runs})

    def cell(self, loss: str, side: float, rate: float) -> list[Run]:
        """The seeds of one cell."""
        return [run for run in self.runs[loss] if (_patch(run), _rate(run)) == (side, rate)]


def grids(comparison: Comparison) -> list[Grid]:
    """The runs with one of the paper's losses and a logged training Dice; none where GDL itself is not among them."""
    runs = [run for run in comparison.runs if run.loss in GDL_LOSSES and len(last_dice(run))]
    if "GDL" not in {run.loss for run in runs}:
        return []
    found: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: (run.data, _net(run), GDL_LOSSES[run.loss])):
        alike = [other.loss_arguments for other in runs if other.loss == run.loss]
        loss = label_of({"loss": run.loss, **varying(run.loss_arguments, alike)})
        found.setdefault((run.data, _net(run)), {}).setdefault(loss, []).append(run)
    return [Grid(data, net, by_loss) for (data, net), by_loss in found.items()]


def grid_tables(comparison: Comparison) -> list[Table]:
    """Tables 2 and 3, one a data set and network: patch size and rate against the losses, and the published cells."""
    return [_grid_table(grid) for grid in grids(comparison)]


def _grid_table(grid: Grid) -> Table:
    published = GDL_PUBLISHED.get(grid.net, {})
    papers = list(dict.fromkeys(loss.split()[0] for loss in grid.runs)) if published else []
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for side, rate in product(grid.values(_patch), grid.values(_rate)):
        place, power = _size_letter(side), f"{round(np.log10(rate), 2):g}"
        cells = [_cell(grid.cell(loss, side, rate)) for loss in grid.runs]
        theirs = published.get(f"{place}{power}", "").split()
        shown = [theirs[GDL_LOSSES[loss]] if theirs else "" for loss in papers]
        rows.append([place, power, *(text for text, _ in cells), *shown])
        keys.append([side, float(power), *(mean for _, mean in cells), *(_first(text) for text in shown)])
    columns = ["Patch", "log10 rate", *grid.runs, *(f"{loss}, published" for loss in papers)]
    caption = (
        f"{grid.net} on {grid.data}: median (IQR) of the training Dice over the last 200 steps, as tables 2 and 3 of "
        "the GDL paper; mean over seeds; 0 (0): collapsed, median at most 0.01"
    )
    caption += ". Published: on the paper's data; order and pattern compare, numbers do not" if published else ""
    return Table(file_name(f"gdl {grid.data} {grid.net}"), caption, columns, rows, keys, fixed=2)


def _cell(seeds: list[Run]) -> tuple[str, float]:
    """Text and mean of medians of one cell of the table."""
    if not seeds:
        return "", np.nan
    values = [last_dice(run) for run in seeds]
    medians = np.array([np.median(own) for own in values])
    collapsed = int((medians <= COLLAPSED).sum())
    if collapsed == len(seeds):
        return "0 (0)", 0.0
    width = np.mean([np.subtract(*np.percentile(own, [75, 25])) for own in values])
    lost = f", {collapsed} of {len(seeds)} collapsed" if collapsed else ""
    return f"{medians.mean():.2f} ({width:.2f}){lost}", float(medians.mean())


def _first(text: str) -> float:
    """The median of a published cell."""
    return float(text.partition("(")[0]) if text else np.nan


def collapse_table(comparison: Comparison) -> Table | None:
    """Robustness of each loss over all grids: mean and least median, share of collapsed runs, means by rate."""
    medians: dict[str, list[tuple[float, float]]] = {}  # loss -> (rate, median)
    for grid in grids(comparison):
        for loss, runs in grid.runs.items():
            medians.setdefault(loss, []).extend((_rate(run), float(np.median(last_dice(run)))) for run in runs)
    rates = sorted({rate for pairs in medians.values() for rate, _ in pairs})
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for loss in sorted(medians, key=lambda loss: GDL_LOSSES[loss.split()[0]]):
        values = np.array([median for _, median in medians[loss]])
        lost = int((values <= COLLAPSED).sum())
        by_rate = [float(np.mean([m for at, m in medians[loss] if at == rate] or [np.nan])) for rate in rates]
        shown = [number(v, 3) for v in (values.mean(), values.min(), *by_rate)]
        rows.append([loss, str(len(values)), *shown[:2], f"{lost} ({lost / len(values):.0%})", *shown[2:]])
        keys.append([loss, float(len(values)), float(values.mean()), float(values.min()), float(lost), *by_rate])
    titles = ["Loss", "Runs", "Mean of medians", "Least median", "Collapsed", *(f"Mean at {rate:g}" for rate in rates)]
    caption = "Robustness over the grid: medians of the training Dice over the last 200 steps"
    return Table("gdl_collapse", caption, titles, rows, keys) if rows else None


def pictures(comparison: Comparison) -> list[Picture]:
    """Figures 1 and 2 (isolines of the medians over rate and patch size) and 3 (Dice of the cases by either)."""
    found = grids(comparison)
    maps = [_isolines(comparison, data, [grid for grid in found if grid.data == data]) for data in comparison.data]
    return [*(drawn for drawn in maps if drawn), *(box for grid in found for box in _boxes(comparison, grid))]


def _owners(comparison: Comparison, grid: Grid) -> list[str]:
    """The methods of a grid."""
    return [comparison.method(run) for runs in grid.runs.values() for run in runs]


def _isolines(comparison: Comparison, data: str, found: list[Grid]) -> Picture | None:
    panels = {}
    for grid in found:
        sides, rates = grid.values(_patch), grid.values(_rate)
        for loss in grid.runs:
            cells = [[_cell(grid.cell(loss, side, rate))[1] for rate in rates] for side in sides]
            if len(sides) > 1 and len(rates) > 1 and np.isfinite(cells).all():
                panels[f"{grid.net} {loss}"] = np.log10(rates), np.array(sides), np.array(cells)
    if not panels:
        return None
    shown = f"Median training Dice over the last 200 steps on {data}, as the GDL paper's figures 1 and 2"
    owners = [method for grid in found for method in _owners(comparison, grid)]
    return isoline_picture(panels, ("lr", "patch size"), f"Isolines of the training Dice, {data}", shown, owners, data)


def _boxes(comparison: Comparison, grid: Grid) -> Iterator[Picture]:
    caption = "A dot is a case of one run; pooled over {}, as the GDL paper's figure 3."
    for name, other, factor in (("patch size", "rates", _patch), ("rate", "patch sizes", _rate)):
        groups = grid.values(factor)
        values = {
            loss: [_dice(comparison, [run for run in runs if factor(run) == group]) for group in groups]
            for loss, runs in grid.runs.items()
        }
        if len(groups) > 1:
            labels = [f"{_size_letter(g)} ({g:g})" if factor is _patch else f"{g:g}" for g in groups]
            figure, _ = plot.box_plot(values, labels, ylabel=title_of("dice"), title=f"{grid.data}, {grid.net}: {name}")
            title = f"Dice by {name}, {grid.net} on {grid.data}"
            alt = "Box plots, a group a setting, a colour a loss."
            yield picture(figure, title, caption.format(other), alt, _owners(comparison, grid), grid.data)


def _dice(comparison: Comparison, runs: list[Run]) -> list[float]:
    return [case.scores.get(("dice", "all"), np.nan) for run in runs for case in comparison.cases(run)]


def _rate(run: Run) -> float:
    return float((run.config.get("optimizer") or {}).get("init_args", {}).get("lr", np.nan))


def _net(run: Run) -> str:
    """The paper's name of a network; one on images that the paper has on volumes has no published cell."""
    name = run.config["model"]["net"]["class_path"].rpartition(".")[2]
    flat = name in GDL_VOLUMETRIC and len((run.config["data"].get("init_args") or {}).get("patch_size") or ()) == 2
    return f"{GDL_NETS[name]} 2D" if flat else GDL_NETS.get(name, name)


def _patch(run: Run) -> float:
    arguments = run.config["data"].get("init_args") or {}
    patch = arguments.get("patch_size") or arguments.get("size") or 0
    return round(float(np.prod(patch)) ** (1 / np.size(patch)), 2)


def _size_letter(side: float) -> str:
    """S, M or L for the paper's patch sizes, else the size."""
    return GDL_SIZES.get(round(side), f"{side:g}")
