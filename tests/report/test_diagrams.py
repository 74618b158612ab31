"""What the report's reliability diagrams say of their cases: a case is a case whatever its place in a file."""

import re

import numpy as np
import pytest
from scipy.stats import t

from lightning_app.files import read_csv, write_csv
from lightning_app.report import diagrams
from lightning_app.report.compare import Comparison
from lightning_app.report.read import Run, find_runs
from tests.report.fakes import make_run

CASES = 7


def keep(folder, places):
    """Leave a run these of its test cases, in this order."""
    table, sums = folder / "test" / "per_case.csv", folder / "test" / "bins.npz"
    rows = read_csv(table)
    with np.load(sums) as arrays:
        kept = {n: a[places] if n == "cases" or "case_" in n else a for n, a in arrays.items()}
    np.savez(sums, **kept)
    write_csv(table, [row for name in kept["cases"] for row in rows if row["case"] == name])
    return folder


def runs_of(folder, *orders, seeds=(0, 1)):
    paths = (make_run(folder / str(i), seed=seed, cases=CASES) for i, seed in enumerate(seeds))
    return [Run(keep(path, list(order))) for path, order in zip(paths, orders, strict=True)]


def spread_of(runs):
    return diagrams.spread(Comparison(runs), "Phantom", "DSC++", diagrams.FULL, 0)


def band_of(runs):
    return np.stack(spread_of(runs).band)


def expected(runs):
    """Student's t of the frequencies that leave out one name in turn, from the sums that lie in the files."""
    found = {}
    for run in runs:
        with np.load(run.folder.stage("test") / "bins.npz") as arrays:
            sums = [arrays[f"{diagrams.FULL}.case_{field}"][:, 0] for field in ("count", "correct")]
            for place, name in enumerate(arrays["cases"]):
                coarse = np.array([part[place].reshape(15, -1).sum(1) for part in sums], dtype=float)
                found[name] = found.get(name, 0) + coarse
    low, high = np.full((2, 15), np.nan)
    for bin_ in range(15):
        own = [case[:, bin_] for case in found.values() if case[0, bin_]]
        if len(own) > 1:
            (count, correct) = np.sum(own, axis=0)
            left = [(correct - one[1]) / (count - one[0]) for one in own]
            reach = t.ppf(0.975, len(own) - 1) * np.sqrt(np.sum((np.array(left) - correct / count) ** 2))
            low[bin_], high[bin_] = correct / count - reach, correct / count + reach
    return np.stack([low.clip(0, 1), high.clip(0, 1)])


def test_seeds_whose_cases_are_written_in_another_order_have_the_same_band(tmp_path):
    order = range(CASES)
    alike, turned = runs_of(tmp_path / "a", order, order), runs_of(tmp_path / "b", order, [3, 0, 6, 1, 5, 2, 4])
    assert np.isfinite(expected(alike)).any()
    np.testing.assert_allclose(band_of(alike), expected(alike), rtol=1e-9)
    np.testing.assert_allclose(band_of(turned), band_of(alike), rtol=1e-12)


@pytest.mark.parametrize("first", [[0, 1, 2], [0, 2, 4, 6]])
def test_folds_have_the_band_of_one_run_over_all_their_cases(tmp_path, first):
    second = [place for place in range(CASES) if place not in first]
    folds = runs_of(tmp_path / "folds", first, second, seeds=(0, 0))
    whole = runs_of(tmp_path / "whole", range(CASES), seeds=(0,))
    np.testing.assert_allclose(band_of(folds), band_of(whole), rtol=1e-12)
    np.testing.assert_allclose(band_of(folds), expected(whole), rtol=1e-9)
    written = Run(whole[0].folder.path).pooled("test")["ece_pooled", "all"]
    assert spread_of(folds).interval == pytest.approx(written[1:], rel=1e-9)


@pytest.mark.parametrize("cases", [CASES, 1])
def test_each_of_the_diagrams_side_by_side_writes_the_interval_that_its_run_wrote(tmp_path, monkeypatch, cases):
    drawn = []
    monkeypatch.setattr(diagrams, "picture", lambda figure, *words: drawn.append(figure))
    for loss, sharpness in (("DiceLoss", 4.0), ("DicePlusPlusLoss", 1.0)):
        make_run(tmp_path / loss, loss, sharpness=sharpness, cases=cases)
    comparison = Comparison(find_runs([tmp_path]))
    diagrams.reliability(comparison)
    written = []
    for method in ("DSC", "DSC++"):
        ece, low, high = comparison.of("Phantom", method)[0].pooled("test")["ece_pooled", "all"]
        ends = f" [{low:.4f}, {high:.4f}]" if cases > 1 else ""
        written.append(f"ECE {ece:.4f}{ends}")
    titles = [ax.get_title() for ax in drawn[-1].axes]
    assert [re.search(r"ECE [^,]+(, [\d.]+])?", title)[0] for title in titles] == written
