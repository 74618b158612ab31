"""`python -m lightning_app dashboard`: write a W&B workspace whose panels answer a sweep's question.

Runs already group by themselves (metric prefixes make sections, `loss/name` and `loss/gamma` are columns); the
workspace adds the panels that a question needs: a parameter against calibration, calibration against overlap, pictures.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lightning_app.shipped import find_sweep, header
from lightning_app.sweep.file import SweepFile, class_of, init_args, load

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

TRAINING = ("train/loss", "train/dice", "val/loss", "train/lr", "train/images_per_second", "train/memory_gb")
X_AXIS = "trainer/global_step"
PICTURES = ("reliability_all_top_label", "reliability_boundary_top_label", "reliability_all_classwise")


def calibration() -> tuple[str, ...]:
    """Keys of the catalogue's main calibration errors and scores."""
    from metrics import catalogue  # torch, a second

    rows = [catalogue.NUMBERS[key] for key in catalogue.main_keys()]
    return tuple(row.key for row in rows if row.better == "lower" and row.function is not catalogue.beside)


def main(args: list[str]) -> int:
    """Write a workspace.

    Args:
        args: Arguments of the command line.

    Returns:
        0.

    Raises:
        ValueError: The project is not given as entity/project, the sweep file has a fault, or the package that writes
            workspaces is not installed.
    """
    options = _parser().parse_args(args)
    entity, slash, project = options.project.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise ValueError(f"give the project as entity/project, as in its address on W&B; got {options.project!r}")
    workspace = build(load(find_sweep(options.file)), entity, project, options.stage)
    if options.dry_run:
        sys.stdout.write(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n")
    else:
        workspace.save()
        sys.stdout.write(f"workspace  {workspace.url}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app dashboard",
        description="Write a W&B workspace for the runs of a sweep (needs the extra `dashboard`, a network and an "
        "account; without them: python -m lightning_app report).",
    )
    add = parser.add_argument
    add("file", help="sweep file, or the name of one that comes with the program, as dscpp_gamma")
    add("--project", required=True, metavar="ENTITY/PROJECT", help="where the runs are")
    add("--stage", choices=("val", "test"), default="val", help="whose results the panels show (default: val)")
    add("--dry-run", "--dry_run", action="store_true", dest="dry_run", help="print the workspace as JSON, send nothing")
    return parser


def axes(sweep: SweepFile) -> tuple[list[str], list[str]]:
    """Columns of a sweep's runs that its parameters vary, as they are logged.

    Args:
        sweep: The sweep file.

    Returns:
        Names (of losses, networks, data sets) and numbers (gamma, margin, learning rate, seed).
    """
    names: dict[str, None] = {}
    numbers: dict[str, None] = {}
    for parameter in sweep.varying:
        values = sweep.parameters[parameter].get("values", [])
        part = parameter.rpartition(".")[2]
        if parameter == "seed_everything":
            numbers["seed"] = None
        elif any(isinstance(value, dict) for value in values):
            names |= dict.fromkeys([f"{part}/name"] if len(set(map(class_of, values))) > 1 else [])
            numbers |= dict.fromkeys(f"{part}/{key}" for key in _varying_numbers(values))
        elif parameter == "config":
            names |= {"net/name": None, "data/name": None}
        elif all(isinstance(value, int | float) for value in values):
            head, _, tail = parameter.rpartition(".")
            numbers[f"cfg.{head}.init_args.{tail}" if head == "optimizer" else f"cfg.{parameter}"] = None
    return list(names), list(numbers)


def _varying_numbers(values: list[dict[str, Any]]) -> list[str]:
    seen: dict[str, set[float]] = {}
    for value in values:
        for key, item in init_args(value).items():
            if isinstance(item, int | float):
                seen.setdefault(key, set()).add(item)
    return [key for key, items in seen.items() if len(items) > 1]


def build(sweep: SweepFile, entity: str, project: str, stage: str = "val") -> "Workspace":
    """The workspace of a sweep, not yet sent.

    Args:
        sweep: The sweep file.
        entity: W&B's user or team.
        project: W&B's project.
        stage: `val` or `test`.

    Returns:
        A workspace with the sections Question, Calibration, Overlap, Training and Pictures.

    Raises:
        ValueError: The package that writes workspaces is not installed.
    """
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ValueError("dashboard needs the package wandb-workspaces: pip install 'wandb-workspaces>=0.4'") from error
    parts = {
        "Question": _question(sweep, stage),
        "Calibration": [_reliability(stage), *_lines(stage, calibration()), *_bars(sweep, stage, calibration())],
        "Overlap": _lines(stage, ("dice", "iou")) + _bars(sweep, stage, ("dice",)),
        "Training": _training(),
        "Pictures": _pictures(stage),
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"{sweep.name} ({stage})",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in parts.items()],
        settings=ws.WorkspaceSettings(x_axis=X_AXIS, max_runs=100),
    )


def question_of(sweep: SweepFile) -> str:
    """The question in a sweep file's header, up to its first empty comment line."""
    paragraph = header(sweep.path).partition("\n\n")[0]
    return " ".join(paragraph.split()) or sweep.name


def _question(sweep: SweepFile, stage: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names, numbers = axes(sweep)
    results = [f"{stage}/dice", *(f"{stage}/{name}" for name in calibration())]
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name), display_name=name) for name in (*names, *numbers)]
    columns += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(name), display_name=name) for name in results]
    dice, ece = wr.SummaryMetric(f"{stage}/dice"), wr.SummaryMetric(f"{stage}/ece")
    against = [
        wr.ScatterPlot(
            title=f"{stage}/{metric} against {number}", x=wr.Config(number), y=wr.SummaryMetric(f"{stage}/{metric}")
        )
        for number in numbers
        if number != "seed"
        for metric in ("ece", "nll", "dice")
    ]
    return [
        wr.MarkdownPanel(markdown=f"{question_of(sweep)}\n\n`wandb sweep {sweep.path}`"),
        wr.ParallelCoordinatesPlot(title="Parameters and results", columns=columns),
        wr.ScatterPlot(title="Calibration against overlap", x=dice, y=ece),
        *against,
        wr.ParameterImportancePlot(with_respect_to=f"{stage}/ece"),
    ]


def _lines(stage: str, names: tuple[str, ...]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.LinePlot(title=f"{stage}/{name}", x=X_AXIS, y=[f"{stage}/{name}"]) for name in names if stage == "val"]


def _bars(sweep: SweepFile, stage: str, names: tuple[str, ...]) -> list[Any]:
    """Means over the runs of each value of the sweep's first column."""
    import wandb_workspaces.reports.v2 as wr

    columns = [name for part in axes(sweep) for name in part if name != "seed"]
    if not columns:
        return []
    return [
        wr.BarPlot(
            title=f"{stage}/{name} by {columns[0]}",
            metrics=[wr.SummaryMetric(f"{stage}/{name}")],
            groupby=wr.Config(columns[0]),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )
        for name in names
    ]


def _reliability(stage: str) -> Any:
    """Accuracy against confidence, the curves of all runs over one another."""
    import wandb_workspaces.reports.v2 as wr

    from lightning_app.training.publish import CURVE, CURVE_AXES

    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{stage}/{CURVE}_table"}},
        chart_name="wandb/line/v0",
        chart_fields={"x": CURVE_AXES[0], "y": CURVE_AXES[1]},
        chart_strings={"title": f"{stage}: reliability of all runs"},
    )


def _training() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.LinePlot(title=name, x=X_AXIS, y=[name]) for name in TRAINING]


def _pictures(stage: str) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    diagrams = [f"{stage}/{name}" for name in PICTURES]
    cases = [f"{stage}_cases/{rank}" for rank in ("worst", "median", "best")]
    return [
        wr.MediaBrowser(title="Reliability", media_keys=diagrams, num_columns=3),
        wr.MediaBrowser(title="Worst, median and best case", media_keys=cases, num_columns=3),
    ]
