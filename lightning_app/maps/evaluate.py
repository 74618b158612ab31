"""`evaluate`: score a folder of probability maps into ordinary run folders."""

import argparse
import json
import math
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import yaml
from lightning.pytorch.loggers import Logger

import metrics
from lightning_app.errors import UserError
from lightning_app.files import read_yaml, write_csv, write_text
from lightning_app.maps.folder import Folder, add_options, describe, findings, flag, open_folder
from lightning_app.maps.pairing import root_of
from lightning_app.maps.pictures import draw_cases
from lightning_app.maps.problems import names_of
from lightning_app.maps.scoring import score
from lightning_app.training.evaluation import write_stage
from lightning_app.training.figures import draw_diagrams
from lightning_app.training.record import commit, versions
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.summary import print_summary
from lightning_app.training.tracking import RunLogger, end_wandb

PROJECT = "calibrated-segmentation"


def main(args: list[str]) -> int:
    """Run the command.

    Args:
        args: Arguments after `evaluate`.

    Raises:
        UserError: If maps and labels do not fit, or the run folder holds another evaluation.
        DataError: If a file is not what it should be.
    """
    options = _parser().parse_args(args)
    folder = open_folder(options)
    _say(*describe(folder, options), "")
    name = options.name or root_of(options.probs).resolve().name
    runs = [
        (RunFolder.named(options.runs_dir, f"{name}-{of}" if of else name), names)
        for of, names in names_of(folder.form)
    ]
    for (run, _), (of, _names) in zip(runs, names_of(folder.form), strict=True):
        _begin(run, _config(options, folder, name, of), args)
    try:
        scored = score(folder, runs[0][0].stage("test") / "parts", options.surface or folder.hard, options.jobs)
    except BaseException as error:
        for run, _ in runs:
            run.write_state(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    found = sum((case.found for case in scored), Counter[str]())
    _say(*findings(found, len(scored)))
    for number, (run, names) in enumerate(runs):
        _write(run, names, [(case.name, case.sums[number]) for case in scored], folder, number, options)
    shutil.rmtree(runs[0][0].stage("test") / "parts", ignore_errors=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app evaluate",
        allow_abbrev=False,
        description="Score a folder of probability maps, made by whatever program, against labels: overlap, "
        "calibration, diagrams, as an ordinary run folder that `report` compares with others, paired by case.",
    )
    add_options(parser)
    add = parser.add_argument
    add("--images", metavar="DIR|PATTERN", help="images to draw cases on; else they are drawn on the map")
    add("--name", help="name of the method and its run folder (default: the folder of the maps)")
    add("--data", help="name of the data set in reports (default: the folder of the labels)")
    add("--runs_dir", default="runs", metavar="DIR", help="folder that run folders are made in")
    add("--surface", type=flag, default=False, metavar="true|false", help="surface distances too: HD95, ASSD, NSD")
    add("--jobs", type=int, default=1, metavar="N", help="cases scored at once")
    add(
        "--wandb", type=flag, default=True, metavar="true|false", help="log to W&B, offline unless WANDB_MODE says else"
    )
    return parser


def _config(options: argparse.Namespace, folder: Folder, name: str, region: str) -> dict[str, Any]:
    """The run's configuration: what was scored, in the words in which a report tells methods apart."""
    data = options.data or root_of(options.labels).resolve().name
    form = {key: value for key, value in asdict(folder.form).items() if value not in (None, False, ())}
    given = {key: value for key, value in vars(options).items() if value is not None and key not in ("jobs", "wandb")}
    return {
        "seed_everything": 0,
        "model": {"loss": {"class_path": name}, "net": {"class_path": "predictions"}},
        "data": {"class_path": f"{data} ({region})" if region else data},
        "evaluate": json.loads(json.dumps({**given, "form": form, "hard": folder.hard})),
    }


def _begin(run: RunFolder, config: dict[str, Any], args: Sequence[str]) -> None:
    """Make the run folder, or go on in that of the same evaluation.

    Raises:
        UserError: If the folder holds something else.
    """
    if run.config.is_file():
        if read_yaml(run.config) != config:
            raise UserError(f"run folder {run} holds another evaluation: choose another --name")
    else:
        run.make()
        write_text(run.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_text(run.path / "command.txt", shlex.join(["python", "-m", "lightning_app", "evaluate", *args]) + "\n")
    run.write_state(status="running", error=None, commit=commit(), versions=versions())


def _write(
    run: RunFolder,
    names: Sequence[str],
    cases: list[tuple[str, metrics.CaseSums]],
    folder: Folder,
    number: int,
    options: argparse.Namespace,
) -> None:
    """Files, figures and W&B of one run."""
    scorer = metrics.Scorer(len(names), names, surface=options.surface or folder.hard)
    for name, sums in cases:
        scorer.add(sums, name)
    values = {key: float(value) for key, value in scorer.compute().items()}
    pooled, stage = {} if folder.hard else scorer.over_all().bins, run.stage("test")
    write_csv(run.split, [{"case": name, "subset": "test"} for name, _ in cases])
    write_stage(stage, scorer.records, pooled, names)
    config = read_yaml(run.config)
    loggers = _loggers(run, config["data"]["class_path"]) if options.wandb else []

    for logger in loggers:
        logger.log_hyperparams({"cfg": config})
        logger.log_metrics({f"test/{key}": value for key, value in values.items() if not math.isnan(value)}, 0)
    if not folder.hard:
        draw_diagrams(scorer.records, pooled, names, stage, loggers, 0, run.name)
    draw_cases(folder, number, cases, stage / "figures", loggers)
    run.write_state(status="finished")
    print_summary(run, ["test"], loggers)
    for logger in loggers:
        logger.finalize("success")
    end_wandb(0)


def _loggers(run: RunFolder, data: str) -> list[Logger]:
    options = {"job_type": "evaluate", "tags": [data], "resume": "allow"}
    return [RunLogger(project=PROJECT, save_dir=str(run), id=run.name, name=run.name, **options)]


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
