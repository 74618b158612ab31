"""Pooled numbers of folds: of all their cases together, however the cases are dealt out."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import t

import metrics
from lightning_app.files import read_csv
from lightning_app.report import diagrams
from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run, find_runs
from lightning_app.report.tables import summary_table
from lightning_app.training.evaluation import write_stage
from metrics.catalogue import of_average
from tests.report.fakes import make_run

NAMES = ("background", "a", "b")
DEALT = ((0, 1, 2, 3), (4, 5), (6,))


def voxels(case, seed, regions):
    """Labels and probabilities of a case; cases differ in size, hardness and in which classes occur."""
    generator = np.random.default_rng([case, seed])
    side = 8 + 3 * case
    target = np.random.default_rng(case).integers(0, 2 + (case % 3 > 0), (side, side))
    target[: side // 2] = 0
    logits = generator.normal(size=(3, side, side)) + (1 + case / 3) * np.eye(3)[target].transpose(2, 0, 1)
    probs = np.exp(logits) / np.exp(logits).sum(0)
    if regions:
        target, inside = np.stack([target == 1, target > 0]).astype(int), np.stack([probs[1], probs[1] + probs[2]])
        probs = np.stack([1 - inside, inside], 1)
    return torch.from_numpy(target), torch.from_numpy(probs).float()


def evaluated(folder, cases, seed=0, regions=False):
    make_run(folder, seed=seed, cases=1, classes=NAMES)
    scored = []
    for case in cases:
        target, probs = voxels(case, seed, regions)
        sums = metrics.score_case(probs, target, objects=metrics.ObjectRule(), multilabel=regions)
        scored.append((f"case_{case}", sums))
    bins = metrics.merge_sums([sums for _, sums in scored]).channels
    write_stage(folder / "test", [(n, sums.coarse(metrics.CASE_BINS)) for n, sums in scored], bins, NAMES)
    return folder


def comparison_of(root, dealt, seeds=(0,), regions=False):
    for number, (seed, cases) in enumerate(product(seeds, dealt)):
        evaluated(root / str(number), cases, seed, regions)
    return Comparison(find_runs([root]))


def cell_of(comparison, key, label="all"):
    return comparison.cell("Phantom", "DSC++", key, label)


def error(parts):
    """ECE of 15 bins from (confidence, right) of many voxels, in float64."""
    confidence, right = (np.concatenate(p) for p in zip(*parts, strict=True))
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(place, confidence, 15) - np.bincount(place, right, 15)
    return np.abs(gaps).sum() / len(confidence)


def dice(parts):
    """Mean over the foreground classes that occur."""
    truth, claim = (np.concatenate(p) for p in zip(*parts, strict=True))
    common = [2 * ((truth == k) & (claim == k)).sum() / ((truth == k).sum() + (claim == k).sum()) for k in (1, 2)]
    return np.mean(common)


def nll(parts):
    return np.mean(np.concatenate(parts))


def brute(seed, key):
    """Value, low and high over the voxels of all cases, each case left out in turn."""
    parts = []
    for case in range(7):
        target, probs = (part.numpy() for part in voxels(case, seed, False))
        truth, p = target.ravel(), probs.reshape(3, -1).astype(float)
        claim, own = p.argmax(0), p[truth, np.arange(truth.size)]
        parts.append({"ece": (p.max(0), claim == truth), "dice": (truth, claim), "nll": -np.log(own)}[key])
    function = {"ece": error, "dice": dice, "nll": nll}[key]
    left = np.array([function(parts[:i] + parts[i + 1 :]) for i in range(7)])
    reach = t.ppf(0.975, 6) * np.sqrt(np.square(left - left.mean()).sum())
    return function(parts), reach


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    return comparison_of(tmp_path_factory.mktemp("folds"), DEALT)


def test_of_folds_the_pooled_number_and_its_interval_are_of_all_their_voxels(folds):
    for key in ("ece", "dice", "nll"):
        cell, (value, reach) = cell_of(folds, f"{key}_pooled"), brute(0, key)
        assert (cell.mean, cell.high) == pytest.approx((value, value + reach), rel=1e-6), key
        assert cell.low == pytest.approx(max(value - reach, 0), rel=1e-6), key
        assert (cell.cases, cell.seeds) == (7, 1)
        assert np.isnan(cell.spread)


def test_of_folds_and_seeds_it_is_the_mean_of_the_seeds_own(tmp_path):
    comparison = comparison_of(tmp_path, DEALT, seeds=(0, 1))
    for key in ("ece", "dice", "nll"):
        cell = cell_of(comparison, f"{key}_pooled")
        values, reaches = zip(*(brute(seed, key) for seed in (0, 1)), strict=True)
        expected = metrics.intervals.combine_seeds(values, reaches, 7, bounds=(0, np.inf if key == "nll" else 1))
        assert cell.mean == pytest.approx(np.mean(values), rel=1e-6), key
        assert (cell.low, cell.high) == pytest.approx(expected, rel=1e-4), key
        assert cell.spread == pytest.approx(np.std(values, ddof=1), rel=1e-4), key
        assert (cell.cases, cell.seeds) == (7, 2)


@pytest.mark.parametrize("regions", [False, True])
def test_every_pooled_number_of_folds_is_the_one_that_a_single_run_over_all_cases_wrote(tmp_path, regions):
    comparison = comparison_of(tmp_path / "folds", DEALT, regions=regions)
    written = Run(evaluated(tmp_path / "whole", range(7), regions=regions)).pooled("test")
    known = {place: row for place, row in written.items() if np.isfinite(row[0])}
    assert {key for key, _ in known} >= {row.key for row in of_average("pooled") if row.view not in ("true", "raters")}
    for place, row in known.items():
        cell = cell_of(comparison, *place)
        assert (cell.mean, cell.low, cell.high) == pytest.approx(row, rel=1e-6, abs=1e-9), place


def test_means_over_cases_and_their_number_are_of_all_cases_of_the_folds(folds):
    files = [read_csv(run.folder.stage("test") / "per_case.csv") for run in folds.runs]
    values = [float(row["nll"]) for rows in files for row in rows if row["class"] == "all"]
    cell = cell_of(folds, "nll")
    assert (cell.mean, cell.cases, cell.seeds) == (pytest.approx(np.mean(values)), 7, 1)
    assert (cell.low, cell.high) == pytest.approx(metrics.bootstrap_interval(values, bounds=(0, np.inf)))
    (record,) = summary_table(folds).records
    assert (record["cases"], record["seeds"], len(values)) == (7, 1, 7)


def test_the_table_has_the_error_and_interval_that_the_diagram_writes(folds):
    bins = diagrams.pooled(folds, "Phantom", "DSC++", diagrams.FULL)
    cell = cell_of(folds, "ece_pooled")
    assert cell.mean == pytest.approx(metrics.errors.expected_calibration_error(bins, 15).item(), rel=1e-12)
    interval = diagrams.spread(folds, "Phantom", "DSC++", diagrams.FULL, 0).interval
    assert (cell.low, cell.high) == pytest.approx(interval, rel=1e-12)


def test_runs_of_one_seed_that_share_a_case_stand_each_by_itself(tmp_path):
    comparison = comparison_of(tmp_path, [(0, 1), (1, 2), (2,)])
    assert [[run.name for run in whole] for whole in comparison.wholes("Phantom", "DSC++")] == [["0", "2"], ["1"]]


def test_folds_that_were_scored_before_their_sums_were_kept_are_named(tmp_path):
    comparison_of(tmp_path, [(0,), (1,)])
    path = tmp_path / "1" / "test" / "bins.npz"
    with np.load(path) as arrays:
        kept = {name: array for name, array in arrays.items() if not name.startswith("case_")}
    np.savez(path, **kept)
    comparison = Comparison(find_runs([tmp_path]))
    assert cell_of(comparison, "ece_pooled") is None
    assert [note for note in comparison.notes if "The folds 1 were scored before" in note and "run test" in note]
