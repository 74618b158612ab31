"""Tables in the papers' own layout, with the published number beside ours where one is known."""

import numpy as np

from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run
from lightning_app.report.tables import Table, number, title_of

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

# Murugesan et al. (MbLS-MedIA): the authors' numbers behind the radar plot, per volume; CE, FL, ECP, LS, SVLS, MbLS.
MBLS_METHODS = ("CE", "Focal", "ECP", "LS", "SVLS", "MbLS")
MBLS_PUBLISHED = {
    ("ACDC", "dice"): (0.8413, 0.7649, 0.7820, 0.8358, 0.7007, 0.8753),
    ("ACDC", "ece"): (0.086, 0.099, 0.109, 0.075, 0.188, 0.049),
    ("FLARE", "dice"): (0.8648, 0.8620, 0.8691, 0.8695, 0.8665, 0.8710),
    ("FLARE", "ece"): (0.045, 0.034, 0.037, 0.059, 0.039, 0.037),
    ("MRBrainS", "dice"): (0.7875, 0.7898, 0.8019, 0.7476, 0.7439, 0.8125),
    ("MRBrainS", "ece"): (0.089, 0.020, 0.048, 0.036, 0.060, 0.050),
    ("BraTS", "dice"): (0.6973, 0.7045, 0.7051, 0.6906, 0.6995, 0.7088),
    ("BraTS", "ece"): (0.128, 0.139, 0.107, 0.125, 0.128, 0.116),
    ("PROMISE", "dice"): (0.4980, 0.5456, 0.5401, 0.5320, 0.5814, 0.5835),
    ("PROMISE", "ece"): (0.3435, 0.1691, 0.2446, 0.2022, 0.2948, 0.1853),
}


def paper_tables(comparison: Comparison) -> list[Table]:
    """The layouts that the runs can fill."""
    candidates = [dscpp_table(comparison), gdl_table(comparison), collapse_table(comparison), mbls_table(comparison)]
    return [table for table in candidates if table]


def dscpp_table(comparison: Comparison) -> Table | None:
    """DSC++ paper: data set by loss, with NLL, Brier, Dice, IoU, precision, recall as mean and half interval."""
    if "DSC++" not in {run.loss for run in comparison.runs}:
        return None
    metrics = [m for m in ("nll", "brier", "dice", "iou", "precision", "recall") if m in comparison.metrics()]
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for data in comparison.data:
        for method in comparison.methods:
            cells = [comparison.cell(data, method, metric) for metric in metrics]
            if any(cells):
                texts = [f"{number(c.mean)} ± {number((c.high - c.low) / 2)}" if c else "" for c in cells]
                rows.append([data, method, *texts])
                keys.append([data, method, *(c.mean if c else np.nan for c in cells)])
    caption = "Layout of the DSC++ paper: mean ± half of the 95 % interval over cases (its own numbers are not at hand)"
    return Table("dscpp_layout", caption, ["Data", "Method", *map(title_of, metrics)], rows, keys)


def last_dice(run: Run) -> np.ndarray:
    """Training Dice of the last 200 steps; empty where it was not logged, less steps without any foreground."""
    values = np.asarray(run.curves.get("train/dice", (None, np.array([])))[1][-LAST_STEPS:])
    return values[~np.isnan(values)]


def gdl_table(comparison: Comparison) -> Table | None:
    """GDL paper, tables 2 and 3: median (IQR) of the training Dice over the last 200 steps, and the published."""
    runs = [run for run in comparison.runs if run.loss in GDL_LOSSES and len(last_dice(run))]
    if "GDL" not in {run.loss for run in runs}:
        return None
    cells: dict[tuple[str, ...], list[np.ndarray]] = {}
    for run in runs:
        key = (run.data, _net(run), _size_letter(run), f"{np.log10(_rate(run)):.0f}", run.loss)
        cells.setdefault(key, []).append(last_dice(run))
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for place, seeds in sorted(cells.items()):
        medians = [float(np.median(values)) for values in seeds]
        width = float(np.mean([np.subtract(*np.percentile(values, [75, 25])) for values in seeds]))
        collapsed = sum(median <= COLLAPSED for median in medians)
        ours = "0 (0)" if collapsed == len(seeds) else f"{np.mean(medians):.2f} ({width:.2f})"
        rows.append([*place, ours, f"{collapsed} of {len(seeds)}", _published(place)])
        keys.append([*place[:3], float(place[3]), place[4], float(np.mean(medians)), float(collapsed), ""])
    titles = ["Data", "Network", "Patch", "log10 rate", "Loss", "Median (IQR)", "Collapsed", "Published"]
    caption = (
        "GDL paper, tables 2 and 3: median (IQR) of the training Dice over the last 200 steps, mean over seeds; "
        "collapsed: median at most 0.01. Published: the paper's cell, on its own data: order and pattern "
        "compare, numbers do not"
    )
    return Table("gdl_layout", caption, titles, rows, keys)


def collapse_table(comparison: Comparison) -> Table | None:
    """Robustness of each loss over the whole grid: mean and least median, share of collapsed runs, means by rate."""
    runs = [run for run in comparison.runs if run.loss in GDL_LOSSES and len(last_dice(run))]
    if "GDL" not in {run.loss for run in runs}:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for loss in GDL_LOSSES:
        medians = {id(run): float(np.median(last_dice(run))) for run in runs if run.loss == loss}
        if not medians:
            continue
        values = np.array(list(medians.values()))
        lost = float((values <= COLLAPSED).mean())
        rates = sorted({_rate(run) for run in runs})
        by_rate = [
            np.mean([medians[id(r)] for r in runs if r.loss == loss and _rate(r) == rate] or [np.nan]) for rate in rates
        ]
        rows.append(
            [
                loss,
                str(len(values)),
                number(values.mean(), 3),
                number(values.min(), 3),
                f"{lost:.0%}",
                " ".join(f"{rate:g}: {number(float(v), 3)}" for rate, v in zip(rates, by_rate, strict=True)),
            ]
        )
        keys.append([loss, float(len(values)), float(values.mean()), float(values.min()), lost, ""])
    titles = ["Loss", "Runs", "Mean of medians", "Least median", "Collapsed", "Mean by learning rate"]
    return Table("gdl_collapse", "Robustness over the grid (training Dice, last 200 steps)", titles, rows, keys)


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
    return float(np.prod(patch)) ** (1 / np.size(patch))


def _size_letter(run: Run) -> str:
    """S, M or L for the paper's patch sizes, else the size."""
    return GDL_SIZES.get(round(_patch(run)), f"{_patch(run):g}")


def _published(key: tuple[str, ...]) -> str:
    _, net, size, rate, loss = key
    row = GDL_PUBLISHED.get(net, {}).get(f"{size}{rate}")
    return row.split()[GDL_LOSSES[loss]] if row else ""


def mbls_table(comparison: Comparison) -> Table | None:
    """MbLS, table 4.1: Dice and ECE of each method on each data set, then the published rows."""
    losses = {run.loss for run in comparison.runs}
    if "MbLS" not in losses:
        return None
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for data in comparison.data:
        for metric in ("dice", "ece"):
            cells = [comparison.cell(data, method, metric) for method in comparison.methods]
            rows.append([data, "ours", title_of(metric), *(number(c.mean) if c else "" for c in cells)])
            keys.append([data, "ours", metric, *(c.mean if c else np.nan for c in cells)])
    for (data, metric), values in MBLS_PUBLISHED.items():
        by_loss = dict(zip(MBLS_METHODS, values, strict=True))
        shown = [by_loss.get(method.split()[0], np.nan) for method in comparison.methods]
        rows.append([data, "published", title_of(metric), *map(number, shown)])
        keys.append([data, "published", metric, *shown])
    caption = "MbLS: Dice and ECE by method; published: the authors' numbers behind their radar plot, other data sets"
    return Table("mbls_layout", caption, ["Data set", "Source", "Metric", *comparison.methods], rows, keys)
