"""Stars, differences and verdicts on tables of cases whose values are given; recomputed with scipy."""

import csv
import json

import numpy as np
import pytest
import scipy.stats
import yaml

import metrics
from lightning_app.report import figures
from lightning_app.report.command import main
from lightning_app.report.compare import Comparison
from lightning_app.report.pairs import difference_table, pair_table
from lightning_app.report.read import find_runs
from lightning_app.report.tables import summary_table

RNG = np.random.default_rng(0)
STATE = {"status": "finished", "commit": "a" * 40, "versions": {"torch": "2.15.0", "numpy": "2.4.6"}}


def run(folder, loss, values, data="DRIVE", seed=0, state=None):
    """A run folder with the values of some numbers by case: key -> values."""
    (folder / "test").mkdir(parents=True)
    model = {"net": {"class_path": "models.UNet"}, "loss": {"class_path": f"losses.{loss}"}}
    config = {"seed_everything": seed, "trainer": {}, "model": model, "data": {"class_path": f"datamodules.{data}"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "state.json").write_text(json.dumps(STATE | (state or {})))
    with (folder / "test" / "per_case.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "class", *values])
        writer.writerows([f"c{i:02}", "all", *row] for i, row in enumerate(zip(*values.values(), strict=True)))


def compare(folder, **values):
    """Two runs, DSC and DSC++ unless the names say otherwise, by the values of their numbers."""
    for name, own in values.items():
        run(folder / name, {"a": "DiceLoss", "b": "DicePlusPlusLoss", "c": "FocalLoss"}[name[0]], own)
    return Comparison(find_runs([folder]))


def column(table, title):
    return [row[table.columns.index(title)] for row in table.rows]


def test_no_star_against_the_direction_of_the_test(tmp_path):
    """Eighteen of twenty cases say A, two outliers give B the better mean: nobody is best."""
    b = np.linspace(0.05, 0.1, 20)
    a = b - 0.02
    a[:2] = 0.9
    comparison = compare(tmp_path, a={"ece": a}, b={"ece": b})
    assert scipy.stats.wilcoxon(a, b).pvalue < 0.05
    assert a.mean() > b.mean()
    assert all(text.endswith("≈") for text in column(summary_table(comparison), "ECE ↓"))
    assert column(pair_table(comparison), "ECE ↓") == ["1 of 1 (0 better, 0 worse, 1 disagree)"]
    assert column(difference_table(comparison), "Verdict") == ["mean and test disagree"]


@pytest.mark.parametrize(("metric", "sign"), [("ece", -1), ("dice", 1)])
def test_the_star_is_for_the_better_side(tmp_path, metric, sign):
    a = RNG.uniform(0.3, 0.6, 20)
    b = a + sign * RNG.uniform(0.01, 0.05, 20)
    comparison = compare(tmp_path, a={metric: a}, b={metric: b})
    table = summary_table(comparison)
    texts = dict(zip(column(table, "Method"), [row[-1] for row in table.rows], strict=True))
    assert texts["DSC++"].endswith("★")
    assert not texts["DSC"].endswith(("★", "≈"))
    assert [record["verdict"] for record in difference_table(comparison).records] == ["better"]
    title = {"ece": "ECE", "dice": "Dice"}[metric]
    assert figures.best_value(comparison, metric) == f"{title}: DSC++ is best on DRIVE."


def test_a_difference_is_shown_with_its_interval_and_the_test(tmp_path):
    a, b = RNG.uniform(0.1, 0.2, (2, 12))
    comparison = compare(tmp_path, a={"ece": a, "nll": a}, b={"ece": b, "nll": a + 0.01})
    table = difference_table(comparison)
    records = {record["metric"]: record for record in table.records}
    p_values = [scipy.stats.wilcoxon(a, b).pvalue, scipy.stats.wilcoxon(a, a + 0.01).pvalue]
    assert records["ece"]["difference"] == pytest.approx((b - a).mean())
    assert (records["ece"]["low"], records["ece"]["high"]) == metrics.difference_interval(b, a)
    assert records["ece"]["p_value"] == pytest.approx(p_values[0])
    assert records["nll"]["p_holm"] == pytest.approx(2 * p_values[1])
    low, high = (records["ece"][name] for name in ("low", "high"))
    shown = dict(zip(column(table, "Metric"), column(table, "Difference"), strict=True))["ECE ↓"]
    assert shown == f"{(b - a).mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    assert records["nll"]["verdict"] == "worse"


def test_holm_is_over_everything_that_the_table_claims(tmp_path):
    """A p-value that suffices for one number does not among five."""
    a = RNG.uniform(0.2, 0.4, 20)
    b = a - 0.004 + RNG.normal(0, 0.007, 20)
    p = scipy.stats.wilcoxon(a, b).pvalue
    assert 0.01 < p < 0.05
    assert metrics.difference_interval(b, a)[1] < 0
    others = {key: RNG.permutation(a) for key in ("nll", "brier", "ece_classwise", "ece_foreground")}
    alone = compare(tmp_path / "alone", a={"ece": a}, b={"ece": b})
    among = compare(tmp_path / "among", a={"ece": a, **others}, b={"ece": b, **others})
    assert sum(text.endswith("★") for text in column(summary_table(alone), "ECE ↓")) == 1
    assert sum(text.endswith("★") for text in column(summary_table(among), "ECE ↓")) == 0


def test_no_verdict_on_fewer_than_eight_cases(tmp_path):
    a = RNG.uniform(0.3, 0.6, 7)
    comparison = compare(tmp_path, a={"ece": a}, b={"ece": a - 0.1})
    table = summary_table(comparison)
    assert not any(text.endswith(("★", "≈")) for text in column(table, "ECE ↓"))
    assert table.caption.endswith("Too few cases for intervals that hold 95 %, and for verdicts: DRIVE (7)")
    assert column(difference_table(comparison), "Verdict") == ["too few cases"]


@pytest.mark.parametrize(
    ("loss", "noise", "verdict", "count"),
    [
        (0.0005, 0.004, "not worse by 0.01", "0 better, 0 worse, 1 not worse"),
        (0.004, 0.003, "worse, by less than 0.01", "0 better, 1 worse, 1 not worse"),
        (0.02, 0.004, "worse", "0 better, 1 worse, 0 not worse"),
        (0.0005, 0.1, "not told apart", "0 better, 0 worse, 0 not worse"),
        (-0.02, 0.004, "better", "1 better, 0 worse, 1 not worse"),
    ],
)
def test_dice_is_not_worse_by_more_than_a_hundredth_where_that_is_shown(tmp_path, loss, noise, verdict, count):
    a = RNG.uniform(0.7, 0.9, 20)
    b = a - loss + noise * np.linspace(-1, 1, 20)
    comparison = compare(tmp_path, a={"dice": a}, b={"dice": b})
    (record,) = difference_table(comparison).records
    assert record["verdict"] == verdict
    shown = scipy.stats.wilcoxon(b - a + 0.01, alternative="greater").pvalue < 0.05 and record["low"] > -0.01
    assert shown == count.endswith("1 not worse")
    assert count in column(pair_table(comparison), "Dice ↑")[0]


def test_seeds_that_differ_take_the_star_away(tmp_path):
    """Over cases alone the better one is sure; its seeds say that another training could have lost."""
    a = RNG.uniform(0.2, 0.4, 30)
    for name, shift in (("steady", (0.0, 0.001, -0.001)), ("unsteady", (-0.09, 0.06, 0.01))):
        for seed in range(3):
            rest = RNG.normal(0, 0.002, 30)
            run(tmp_path / name / f"a{seed}", "DiceLoss", {"ece": a + rest}, seed=seed)
            run(tmp_path / name / f"b{seed}", "DicePlusPlusLoss", {"ece": a - 0.01 + shift[seed] - rest}, seed=seed)
    steady, unsteady = (Comparison(find_runs([tmp_path / name])) for name in ("steady", "unsteady"))
    assert column(difference_table(steady), "Verdict") == ["better"]
    assert column(difference_table(unsteady), "Verdict") == ["not told apart"]
    text = column(summary_table(unsteady), "ECE ↓")[1]
    assert f"± {unsteady.cell('DRIVE', 'DSC++', 'ece').spread:.4f} [" in text
    assert "±: standard deviation over the seeds" in summary_table(unsteady).caption


def test_folds_are_one_seed(tmp_path):
    values = RNG.uniform(0.2, 0.4, 20)
    for fold, part in enumerate((slice(0, 10), slice(10, 20))):
        run(
            tmp_path / f"f{fold}",
            "DiceLoss",
            {"ece": np.where(np.isin(np.arange(20), range(20)[part]), values, np.nan)},
        )
    cell = Comparison(find_runs([tmp_path])).cell("DRIVE", "DSC", "ece")
    assert (cell.cases, cell.seeds) == (20, 1)
    assert (cell.low, cell.high) == metrics.bootstrap_interval(values, bounds=(0, np.inf))


def test_mixtures_of_commits_and_versions_are_told(tmp_path, capsys):
    a = RNG.uniform(0.3, 0.6, 9)
    other = {"commit": "b" * 40 + "+", "versions": {"torch": "2.14.0", "numpy": "2.4.6"}}
    run(tmp_path / "a0", "DiceLoss", {"ece": a})
    run(tmp_path / "a1", "DiceLoss", {"ece": a}, seed=1, state=other)
    run(tmp_path / "b0", "DicePlusPlusLoss", {"ece": a}, state={"evaluated": {"test": "c" * 40, "val": "d" * 40}})
    comparison = Comparison(find_runs([tmp_path]))
    code, torch = comparison.notes
    assert "aaaaaaa: a0; bbbbbbb+: a1; aaaaaaa, scored by ccccccc: b0" in code
    assert code.endswith("Single cells mix them: DSC on DRIVE.")
    assert torch == "These runs come from different versions of torch (2.15.0: a0, b0; 2.14.0: a1)."
    assert main([str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    assert f"warning: {code}" in capsys.readouterr().err
    assert "bbbbbbb+" in (tmp_path / "page.html").read_text()


def test_runs_of_one_commit_are_no_mixture(tmp_path):
    values = {"ece": RNG.uniform(0.3, 0.6, 9)}
    assert compare(tmp_path, a=values, b=values).notes == []


def test_pooled_numbers_of_several_seeds_take_the_seeds_into_the_interval():
    values, reaches = np.array([0.0064, 0.0108, 0.0145]), np.array([0.001, 0.001, 0.001])
    low, high = metrics.intervals.combine_seeds(values, reaches, 20, bounds=(0, 1))
    of_cases, of_seeds = (0.001 / scipy.stats.t.ppf(0.975, 19)) ** 2, values.var(ddof=1) / 3
    variance = of_cases + of_seeds
    freedom = variance**2 / (of_cases**2 / 19 + of_seeds**2 / 2)
    reach = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (low, high) == (pytest.approx(values.mean() - reach), pytest.approx(values.mean() + reach))
    assert metrics.intervals.combine_seeds(values[:1], reaches[:1], 20) == pytest.approx((0.0054, 0.0074))
