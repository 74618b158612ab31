"""Scores the cases of a folder, one after the other or in processes, and goes on where it was stopped."""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import metrics
from datamodules import DataError
from lightning_app.errors import UserError
from lightning_app.maps.fitted import stamp
from lightning_app.maps.folder import Case, Folder
from lightning_app.maps.pairing import Pair
from lightning_app.maps.problems import channels_of, head_of, traits_of
from lightning_app.maps.sums_file import Scored, read_scored, write_scored
from lightning_app.system.workers import worker_context


@dataclass(frozen=True)
class Measure:
    """What is measured of every case.

    Attributes:
        surface: Surface distances too.
        cuts: How masks are made for overlap and surfaces: a cut of each foreground class, or of each region; none for
            the largest probability.
        objects: Objects too, found by this rule.
        traits: What the maps say without a label too, to tell whether they look like those of a promise.
    """

    surface: bool = False
    cuts: tuple[float, ...] = ()
    objects: metrics.ObjectRule | None = None
    traits: bool = False


def score(folder: Folder, parts: Path, measure: Measure, jobs: int) -> Iterator[Scored]:
    """Score every case, or take what an interrupted evaluation left of it; memory is that of the cases at work.

    Args:
        folder: Maps and labels.
        parts: Where the sums of scored cases are kept until all are done.
        measure: What is measured.
        jobs: Cases scored at once, each in a process.
    """
    settings = [asdict(folder.form), asdict(folder.coding), folder.hard, folder.resample, asdict(measure)]
    work = partial(score_case, folder=folder, parts=parts, measure=measure, settings=json.dumps(settings, default=str))
    cases = list(enumerate(folder.pairs.pairs))
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: give 1 or more")
    if jobs == 1:
        yield from _progress(map(work, cases), len(cases))
        return
    with ProcessPoolExecutor(jobs, worker_context(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from _progress(_in_order(pool, work, cases, jobs), len(cases))


def _in_order(pool: ProcessPoolExecutor, work: Any, cases: Sequence[Any], jobs: int) -> Iterator[Scored]:
    """Results in the order of the cases, with at most two cases a process under way."""
    waiting: list[Future[Scored]] = []
    for case in cases:
        waiting.append(pool.submit(work, case))
        if len(waiting) >= 2 * jobs:
            yield _result(waiting.pop(0))
    for future in waiting:
        yield _result(future)


def _result(future: Future[Scored]) -> Scored:
    """What a process found.

    Raises:
        UserError: For a file that is not what it should be; the process's own traceback is lost on the way.
    """
    try:
        return future.result()
    except DataError as error:
        raise UserError(str(error)) from error


def _progress(scored: Iterator[Scored], total: int) -> Iterator[Scored]:
    from tqdm import tqdm

    return iter(tqdm(scored, total=total, unit="case", disable=not sys.stderr.isatty(), leave=False))


def score_case(numbered: tuple[int, Pair], folder: Folder, parts: Path, measure: Measure, settings: str) -> Scored:
    """Score one case, or read what was kept of it under the same settings and unchanged files."""
    number, pair = numbered
    path, stamp = parts / f"{number}.pt", _stamp(pair, settings)
    kept = read_scored(path, stamp)
    if kept is not None:
        return kept
    case = folder.read(pair)
    traits = traits_of(case.map, folder.form) if measure.traits else {}
    scored = Scored(pair.name, case_sums(case, folder, measure), case.map.found, traits)
    write_scored(path, scored, stamp)
    return scored


def case_sums(case: Case, folder: Folder, measure: Measure) -> metrics.CaseSums:
    """The sums of a case; overlap, surfaces and objects of the mask that the cuts make, where there are cuts."""
    head = head_of(folder.form)
    scorer = head.scorer()
    scorer.surface, scorer.objects, scorer.validate = measure.surface, measure.objects, False
    scorer.expectations = not folder.hard
    scorer.cuts = (0.5, *measure.cuts) if measure.cuts else None
    probs, labels, _ = head.scored(*(part[None] for part in channels_of(case, folder.form)))
    raters = None if case.raters is None else torch.from_numpy(case.raters)
    found = scorer.score(probs[0], labels[0], case.label.spacing, raters=raters)
    return replace(found, bins={}) if folder.hard else found  # hard masks have no calibration


def _stamp(pair: Pair, settings: str) -> str:
    """Digest of the settings and of name, size and time of a case's files."""
    paths = [
        *pair.maps.all,
        *pair.label.all,
        *(path for files in pair.raters for path in files.all),
        *([pair.valid] if pair.valid else []),
    ]
    return stamp(paths, settings)
