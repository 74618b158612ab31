"""`calibrate --probs`: fit a post-hoc calibrator to stored maps, judge it by cross-fitting, keep it in a file."""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import metrics
import models
from lightning_app.calibration.registry import build
from lightning_app.calibration.risk import Wish, case_odds, make_promises
from lightning_app.calibration.risk import describe as describe_promises
from lightning_app.errors import UserError
from lightning_app.maps.cases import promise_of_cases
from lightning_app.maps.fitted import FittedCalibrator
from lightning_app.maps.folder import Case, Folder, describe, findings, open_folder, views
from lightning_app.maps.pairing import Pair
from lightning_app.maps.problems import above_zero, names_of, problems_of, traits_of
from lightning_app.maps.scale import check_scale
from lightning_app.training import drift
from models import Calibrator

FOLDS = 5
TABLE = ("dice", "nll", "brier", "ece", "ece_classwise", "ece_foreground", "ece_raters")
LOWER = ("nll", "brier", "ece")  # that no calibration may make worse unsaid


def calibrate_maps(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Run the command.

    Args:
        options: What was asked for.
        rest: Arguments of the method's class.

    Raises:
        UserError: If maps and labels do not fit, or the fit runs off.
    """
    arguments = _method_options(rest)
    folder = open_folder(options)
    if folder.hard:
        raise UserError(f"--probs {options.probs}: hard masks hold no probabilities to calibrate")
    say(*describe(folder, options), *check_scale((pair.maps for pair in folder.pairs.pairs), folder.form))
    if options.method == "risk":
        promise_of_maps(folder, options)
        return
    if options.method == "cases":
        promise_of_cases(folder, options)
        return
    if options.raters:
        say("fitted    to the share of the raters, each counting alike")
    arguments = calibrator_arguments(options.method, arguments, folder)
    fits = CrossFit(folder, options.method, arguments)
    fits.run()
    final = fits.final
    before, after = fits.judge()
    say(*findings(fits.found, len(fits.cases)), "", *comparison(options.method, before, after, folder))
    out = Path(options.out)
    FittedCalibrator.of(options.method, folder, arguments=arguments, calibrators=final).save(out)
    kept = shlex.quote(str(out))
    say(f"kept in   {kept}; python -m lightning_app apply {kept} --probs TEST_MAPS --out CALIBRATED_MAPS")


def promise_of_maps(folder: Folder, options: argparse.Namespace) -> None:
    """Find cuts that keep a risk on the maps as they are, and keep them in a file.

    Raises:
        UserError: If it cannot be promised.
    """
    odds: list[list[Tensor]] = []
    traits: list[dict[str, float]] = []
    found: Counter[str] = Counter()
    for pair in folder.pairs.pairs:
        case = folder.read(pair)
        found += case.map.found
        odds.append([case_odds(*problem) for problem in problems_of(case, folder.form)])
        traits.append(traits_of(case.map, folder.form))
    say(*findings(found, len(odds)))
    names = [names for _, names in names_of(folder.form)]
    wish = Wish(options.risk, options.level, options.confidence, options.by, options.of_class)
    if folder.form.regions and wish.of_class:
        raise UserError("--of_class: regions are promised of all together; leave it out")
    promises = [make_promises(own, n, wish) for own, n in zip(zip(*odds, strict=True), names, strict=True)]
    out = Path(options.out)
    kept = drift.columns(traits)
    FittedCalibrator.of("risk", folder, promises=promises, traits=kept).save(out)
    usage = "apply writes its sets, evaluate --promise checks it"
    sys.stdout.write(describe_promises({k: v for one in promises for k, v in one.items()}, str(out), usage))


def _method_options(rest: Sequence[str]) -> dict[str, Any]:
    """`--options.NAME VALUE` pairs.

    Raises:
        UserError: For any other argument.
    """
    found: dict[str, Any] = {}
    words = [part for word in rest for part in word.split("=", 1)]
    for name, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if not name.startswith("--options.") or not value:
            raise UserError(f"calibrate --probs does not know {name}; --help lists what it knows")
        found[name.removeprefix("--options.")] = yaml.safe_load(value)
    return found


def calibrator_arguments(method: str, options: dict[str, Any], folder: Folder) -> dict[str, Any]:
    """What each calibrator is built with.

    Raises:
        UserError: If the method needs what only the user can tell.
    """
    arguments: dict[str, Any] = {"num_classes": 2 if folder.form.regions else len(folder.form.classes)}
    if method in ("image_temperature", "local_temperature"):
        arguments |= {"in_channels": 0, "spatial_dims": folder.form.dims}
    if method == "dicepp_inverse" and "gamma" not in options:
        raise UserError("--method dicepp_inverse undoes the DSC++ loss: give its exponent, as --options.gamma 2")
    return arguments | options


class CrossFit:
    """Calibrators fitted on all cases but those of a fold, and one on all.

    Args:
        folder: Maps and labels.
        method: Name of the method.
        arguments: What each calibrator is built with.
    """

    def __init__(self, folder: Folder, method: str, arguments: dict[str, Any]) -> None:
        self.folder = folder
        self.cases = folder.pairs.pairs
        self.folds = min(FOLDS, len(self.cases)) if len(self.cases) > 1 else 0
        self.problems = names_of(folder.form)
        self.calibrators = [[build(method, arguments) for _ in self.problems] for _ in range(self.folds + 1)]
        self.found: Counter[str] = Counter()

    @property
    def final(self) -> list[Calibrator]:
        """Fitted on all cases, one a problem."""
        return self.calibrators[-1]

    def fold(self, index: int) -> int:
        """The fold that a case is judged in; every case has one."""
        return index % self.folds if self.folds else -1

    def run(self) -> None:
        """Fit all, in one pass over the cases where the method needs no more.

        Raises:
            UserError: If a fit runs off, or tells less than the frequencies of the classes.
        """
        reports = self._passes() if isinstance(self.final[0], models.LocalTemperatureScaling) else self._one_pass()
        for (name, _), calibrator, report in zip(self.problems, self.final, reports, strict=True):
            of = f"{name}: " if name else ""
            if calibrator.runaway:
                raise UserError(f"{of}{calibrator.runaway}; nothing was kept")
            if report.nll_before > report.nll_frequencies and report.nll_after > 0.999 * report.nll_frequencies:
                raise UserError(
                    f"{of}the maps tell less of the labels than the frequencies of the classes do (NLL "
                    f"{report.nll_before:.4f} and {report.nll_frequencies:.4f}): are classes or cases mixed up?"
                )

    def _one_pass(self) -> list[models.FitReport]:
        samples = [[calibrator.begin() for calibrator in own] for own in self.calibrators]
        for index, pair in enumerate(self.cases):
            case = self.folder.read(pair)
            for fold, (calibrators, sums) in enumerate(zip(self.calibrators, samples, strict=True)):
                if fold == self.folds or fold != self.fold(index):
                    for view in views(case):
                        for calibrator, sample, one in zip(
                            calibrators, sums, fit_cases(view, self.folder), strict=True
                        ):
                            calibrator.add(one, sample)
        return [
            [calibrator.finish(sample) for calibrator, sample in zip(calibrators, sums, strict=True)]
            for calibrators, sums in zip(self.calibrators, samples, strict=True)
        ][-1]

    def _passes(self) -> list[models.FitReport]:
        """Fits that pass over the cases many times read them anew each time."""
        reports = []
        for fold, calibrators in enumerate(self.calibrators):
            kept = [c for index, c in enumerate(self.cases) if fold == self.folds or fold != self.fold(index)]
            reports = [c.fit(Stream(self.folder, kept, number)) for number, c in enumerate(calibrators)]
        return reports

    def judge(self) -> tuple[list[dict[str, float]], list[dict[str, float]] | None]:
        """The numbers of each problem before, and after by calibrators that did not see the case; None for one case."""
        before = [metrics.Scorer(len(names), names) for _, names in self.problems]
        after = [metrics.Scorer(len(names), names) for _, names in self.problems]
        for index, pair in enumerate(self.cases):
            case = self.folder.read(pair)
            self.found += case.map.found
            for view in views(case):
                self._judge(view, self.calibrators[self.fold(index)], before, after)
        return _numbers(before), _numbers(after) if self.folds else None

    def _judge(
        self, case: Case, of_fold: Sequence[Calibrator], before: list[metrics.Scorer], after: list[metrics.Scorer]
    ) -> None:
        """Score a case before and after, against its label: by views of a case the means are those over its raters."""
        given = problems_of(case, self.folder.form)
        several = None if case.raters is None else torch.from_numpy(case.raters)
        for k, (problem, one) in enumerate(zip(given, fit_cases(case, self.folder), strict=True)):
            against: dict[str, Any] = {"target": problem.target, "spacing": case.label.spacing, "raters": several}
            before[k].add(before[k].score(problem.probs, **against))
            if self.folds:
                after[k].add(after[k].score(of_fold[k](one.probs)[0], **against))


class Stream:
    """Cases of one problem, read anew each time they are passed over."""

    def __init__(self, folder: Folder, cases: Sequence[Pair], problem: int) -> None:
        self.folder, self.cases, self.problem = folder, cases, problem

    def __iter__(self) -> Iterator[models.Case]:
        for pair in self.cases:
            for view in views(self.folder.read(pair)):
                yield fit_cases(view, self.folder)[self.problem]


def fit_cases(case: Case, folder: Folder) -> list[models.Case]:
    """Each problem of a case as calibrators take it."""
    dtype = case.map.stored[0][1].array.dtype
    return [models.Case(above_zero(p.probs, dtype)[None], p.target[None]) for p in problems_of(case, folder.form)]


def _numbers(scorers: Sequence[metrics.Scorer]) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in scorer.compute().items()} for scorer in scorers]


def comparison(
    method: str, before: list[dict[str, float]], after: list[dict[str, float]] | None, folder: Folder
) -> list[str]:
    """The table before and after, and what is to be said of it."""
    if after is None:
        return ["WARNING   one case: there is none to judge the fit by; give more cases"]
    lines: list[str] = []
    for (name, _), old, new in zip(names_of(folder.form), before, after, strict=True):
        cases = len(folder.pairs.pairs)
        raters = len(folder.pairs.pairs[0].raters)
        by = f" by each of {1 + raters} raters" if raters else ""
        head = f"{name + ': ' if name else ''}{method}, {cases} cases{by}, each judged by a fit without it"
        lines += [f"{head:<44}{'before':>10}{'after':>10}"]
        keys = [key for row in TABLE for key in (row, f"{row}_pooled") if key in old]
        lines += [f"  {key:<42}{old[key]:>10.5f}{new[key]:>10.5f}" for key in keys]
        lines += warnings_of(old, new)
    return lines


def warnings_of(old: dict[str, float], new: dict[str, float]) -> list[str]:
    """A line for each proper score and ECE that gets worse, for a Dice that falls, and where nothing helps."""
    keys = [key for row in LOWER for key in (row, f"{row}_pooled")]
    told = [
        f"WARNING   {key} gets worse: {old[key]:.5f} to {new[key]:.5f}" for key in keys if new[key] > old[key] * 1.0001
    ]
    if new["dice"] < old["dice"] - 0.001:
        told.append(f"WARNING   Dice falls: {old['dice']:.4f} to {new['dice']:.4f}")
    if not any(new[key] < old[key] * 0.99 for key in keys):
        told.append("keep it as it is: neither NLL, Brier score nor ECE gains one percent")
    return told


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
