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
from pathlib import Path
from typing import IO, Any

import yaml
from lightning.pytorch.loggers import Logger

import metrics
from lightning_app.errors import UserError
from lightning_app.files import read_yaml, write_csv, write_text
from lightning_app.maps.apply import check_unseen
from lightning_app.maps.cases import label_unit
from lightning_app.maps.fitted import FittedCalibrator
from lightning_app.maps.folder import Folder, describe, findings, open_folder
from lightning_app.maps.labels import read_label
from lightning_app.maps.pairing import root_of
from lightning_app.maps.pictures import draw_cases
from lightning_app.maps.problems import head_of
from lightning_app.maps.scale import check_scale
from lightning_app.maps.scoring import Measure, score
from lightning_app.system.lock import claim
from lightning_app.training import drift
from lightning_app.training.evaluation import write_stage
from lightning_app.training.figures import draw_diagrams
from lightning_app.training.promises import hold
from lightning_app.training.record import commit, versions
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.summary import print_summary
from lightning_app.training.tracking import RunLogger, end_wandb

PROJECT = "calibrated-segmentation"


def evaluate_maps(options: argparse.Namespace, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        options: What was asked for.
        args: The same as it was typed, for the run folder.

    Raises:
        UserError: If maps and labels do not fit, or the run folder holds another evaluation.
        DataError: If a file is not what it should be.
    """
    folder = open_folder(options)
    scale = [] if folder.hard else check_scale((pair.maps for pair in folder.pairs.pairs), folder.form)
    _say(*describe(folder, options), *scale, "")
    objects = metrics.ObjectRule(options.object_iou, options.object_connectivity) if options.objects else None
    promised = _promised(options, folder)  # a file that does not fit is refused before hours are spent
    cuts = cuts_of(options.threshold, folder)
    measure = Measure(options.surface or folder.hard, cuts, objects, promised is not None)
    name = options.name or root_of(options.probs).resolve().name
    run = RunFolder.named(options.runs_dir, name)
    with _begin(run, _config(options, folder, name), args):
        _evaluate(folder, run, measure, promised, options)


def _evaluate(
    folder: Folder,
    run: RunFolder,
    measure: Measure,
    promised: FittedCalibrator | None,
    options: argparse.Namespace,
) -> None:
    """Score the cases and write the run, and what was promised beside what happened."""
    scorer = head_of(folder.form).scorer()
    scorer.cuts = (0.5, *measure.cuts) if measure.cuts else None
    found: Counter[str] = Counter()
    traits: list[dict[str, float]] = []
    parts = run.stage("test") / "parts"
    try:
        for case in score(folder, parts, measure, options.jobs):
            found += case.found
            traits.append(case.traits)
            scorer.add(case.sums, case.name)
    except BaseException as error:
        run.write_state(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    _say(*findings(found, len(folder.pairs.pairs)), *unseen_classes(scorer))
    _write(run, scorer, folder, options)
    if promised is not None:
        risks = {name: one for promises in promised.promises for name, one in promises.items()}
        largest = scorer.cuts is None
        hold(run.stage("test"), scorer.records, scorer.class_names or [], risks, promised.cases, largest)
        drift.check(run.stage("test"), promised.traits, traits)
    shutil.rmtree(parts, ignore_errors=True)


def _promised(options: argparse.Namespace, folder: Folder) -> FittedCalibrator | None:
    """What was promised, after a look that the cases are others than those it was made from.

    Raises:
        UserError: If the file holds no promise, or one of other classes.
    """
    if options.promise is None:
        return None
    fitted = FittedCalibrator.load(Path(options.promise))
    if not (fitted.promises or fitted.cases) or folder.hard:
        raise UserError(f"--promise {options.promise}: needs a file of calibrate --method risk or cases, and maps")
    if (fitted.form.classes, fitted.form.regions) != (folder.form.classes, folder.form.regions):
        raise UserError(f"--promise {options.promise}: is of the classes {', '.join(fitted.form.classes)}")
    first = folder.pairs.pairs[0]
    label = read_label(first.label, folder.coding, first.valid)
    fitted.check_unit(label_unit(label), f"--promise {options.promise}")
    fitted.check_view(first.valid is not None, f"--promise {options.promise}")
    check_unseen({pair.name: pair.maps for pair in folder.pairs.pairs}, fitted)
    return fitted


def _config(options: argparse.Namespace, folder: Folder, name: str) -> dict[str, Any]:
    """The run's configuration: what was scored, in the words in which a report tells methods apart."""
    data = options.data or root_of(options.labels).resolve().name
    form = {key: value for key, value in asdict(folder.form).items() if value not in (None, False, ())}
    given = {key: value for key, value in vars(options).items() if value is not None and key not in ("jobs", "wandb")}
    return {
        "seed_everything": 0,
        "model": {"loss": {"class_path": name}, "net": {"class_path": "predictions"}},
        "data": {"class_path": data},
        "evaluate": json.loads(json.dumps({**given, "form": form, "hard": folder.hard})),
    }


def _begin(run: RunFolder, config: dict[str, Any], args: Sequence[str]) -> IO[str]:
    """Make the run folder, or go on in that of the same evaluation; it is claimed until what this gives is closed.

    Raises:
        UserError: If the folder holds something else, or another process works there.
    """
    if run.config.is_file():
        if read_yaml(run.config) != config:
            raise UserError(f"run folder {run} holds another evaluation: choose another --name")
        taken = claim(run.path, "an evaluation runs")
    else:
        taken = run.make()
        write_text(run.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_text(run.path / "command.txt", shlex.join(["python", "-m", "lightning_app", "evaluate", *args]) + "\n")
    run.write_state(status="running", error=None, commit=commit(), versions=versions())
    return taken


def cuts_of(threshold: str, folder: Folder) -> tuple[float, ...]:
    """The cuts of `--threshold`; none for argmax.

    Raises:
        UserError: If they are no numbers in (0, 1), or too few or too many.
    """
    if threshold == "argmax":
        return ()
    names = list(folder.form.regions or folder.form.classes[1:])
    try:
        cuts = tuple(float(part) for part in threshold.strip("[] ").split(","))
    except ValueError:
        cuts = ()
    if len(cuts) != len(names) or not all(0 < cut < 1 for cut in cuts) or folder.hard:
        raise UserError(f"--threshold {threshold}: give argmax, or a cut in (0, 1) of each of {', '.join(names)}")
    return cuts


def unseen_classes(scorer: metrics.Scorer) -> list[str]:
    """A line for each class that no label holds, and where one fills them all."""
    sums, names = scorer.over_all(), scorer.class_names or []
    total, true = int(sums.voxels.max()), sums.confusion.sum(-1)
    held = (names[1:], true[:, 1]) if sums.multilabel else (names, true)
    counts = {name: int(count) for name, count in zip(*held, strict=True)}
    absent = [f"WARNING   no label holds {name}" for name, count in counts.items() if not count]
    full = [f"WARNING   {name} fills every label: is the coding right?" for name, n in counts.items() if n == total]
    return [*absent, *full] if total else ["WARNING   no voxel counts: all labels are ignored"]


def _write(run: RunFolder, scorer: metrics.Scorer, folder: Folder, options: argparse.Namespace) -> None:
    """Files, figures and W&B of the run."""
    cases, names = scorer.records, scorer.class_names or []
    values = {key: float(value) for key, value in scorer.compute().items()}
    pooled, stage = {} if folder.hard else scorer.over_all().channels, run.stage("test")
    write_csv(run.split, [{"case": name, "subset": "test"} for name, _ in cases])
    write_stage(stage, cases, pooled, names)
    config = read_yaml(run.config)
    loggers = _loggers(run, config["data"]["class_path"]) if options.wandb else []

    for logger in loggers:
        logger.log_hyperparams({"cfg": config})
        logger.log_metrics({f"test/{key}": value for key, value in values.items() if not math.isnan(value)}, 0)
    if not folder.hard:
        draw_diagrams(scorer.records, pooled, names, stage, loggers, 0, run.name)
    draw_cases(folder, cases, stage / "figures", loggers, scorer.cuts)
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
