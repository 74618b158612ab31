"""Scores the cases of a folder, one after the other or in processes, and goes on where it was stopped."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import metrics
from lightning_app.errors import UserError
from lightning_app.maps.folder import Folder
from lightning_app.maps.pairing import Pair
from lightning_app.maps.problems import names_of, problems_of
from lightning_app.maps.sums_file import Scored, read_scored, write_scored


def score(folder: Folder, parts: Path, surface: bool, jobs: int) -> list[Scored]:
    """Score every case, or take what an interrupted evaluation left of it; memory is that of the cases at work.

    Args:
        folder: Maps and labels.
        parts: Where the sums of scored cases are kept until all are done.
        surface: Measure surface distances too.
        jobs: Cases scored at once, each in a process.
    """
    stamp = json.dumps([asdict(folder.form), asdict(folder.coding), folder.hard, folder.resample, surface], default=str)
    work = partial(score_case, folder=folder, parts=parts, surface=surface, settings=stamp)
    cases = list(enumerate(folder.pairs.pairs))
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: give 1 or more")
    if jobs == 1:
        return list(_progress(map(work, cases), len(cases)))
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(_progress(_in_order(pool, work, cases, jobs), len(cases)))


def _in_order(pool: ProcessPoolExecutor, work: Any, cases: Sequence[Any], jobs: int) -> Iterator[Scored]:
    """Results in the order of the cases, with at most two cases a process under way."""
    waiting: list[Future[Scored]] = []
    for case in cases:
        waiting.append(pool.submit(work, case))
        if len(waiting) >= 2 * jobs:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _progress(scored: Iterator[Scored], total: int) -> Iterator[Scored]:
    from tqdm import tqdm

    return iter(tqdm(scored, total=total, unit="case", disable=not sys.stderr.isatty(), leave=False))


def score_case(numbered: tuple[int, Pair], folder: Folder, parts: Path, surface: bool, settings: str) -> Scored:
    """Score one case, or read what was kept of it under the same settings and unchanged files."""
    number, pair = numbered
    path, stamp = parts / f"{number}.pt", _stamp(pair, settings)
    kept = read_scored(path, stamp)
    if kept is not None:
        return kept
    case = folder.read(pair)
    sums = []
    for problem, (_, names) in zip(problems_of(case, folder.form), names_of(folder.form), strict=True):
        scorer = metrics.Scorer(len(names), names, surface=surface, validate=False)
        found = scorer.score(problem.probs, problem.target, case.label.spacing)
        sums.append(replace(found, bins={}) if folder.hard else found)  # hard masks have no calibration
    scored = Scored(pair.name, sums, case.map.found)
    write_scored(path, scored, stamp)
    return scored


def _stamp(pair: Pair, settings: str) -> str:
    """Digest of the settings and of name, size and time of a case's files."""
    paths = [*pair.maps.all, *pair.label.all, *([pair.valid] if pair.valid else [])]
    facts = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return hashlib.sha256(json.dumps([settings, facts]).encode()).hexdigest()
