"""Reading, comparing and tabling of run folders."""

import csv
from itertools import product

import numpy as np
import pytest

import metrics
from lightning_app.dashboard import calibration
from lightning_app.files import read_csv
from lightning_app.report import figures, gdl
from lightning_app.report.command import main
from lightning_app.report.compact_svg import svg_uri
from lightning_app.report.compare import Comparison
from lightning_app.report.gdl import GDL_PUBLISHED
from lightning_app.report.papers import paper_tables
from lightning_app.report.read import Run, find_runs
from lightning_app.report.tables import summary_table
from lightning_app.sweep.runner import read_metric
from lightning_app.training.run_folder import RunFolder
from metrics import catalogue
from tests.report.fakes import make_run, write_text_rows


@pytest.fixture(scope="module")
def comparison(runs):
    return Comparison(find_runs([runs]))


def test_a_number_added_to_the_catalogue_is_in_every_file_table_and_panel(tmp_path):
    """One row and one function, and nothing else is told of it."""

    def silence(sums, row):
        bins = sums.bins[f"{row.region}.{row.view}"]
        return metrics.errors.signed_calibration_error(bins).abs()

    row = catalogue.Number("haze", "Haze", "lower", silence, "mean gap", "foreground", "all", main=True)
    catalogue.add(row)
    try:
        for loss in ("DiceLoss", "FocalLoss"):
            make_run(tmp_path / loss, loss, cases=3)
        per_case, summary = (
            read_csv(tmp_path / "DiceLoss" / "test" / f"{name}.csv") for name in ("per_case", "summary")
        )
        assert float(per_case[1]["haze"]) > 0
        assert {"haze", "haze_pooled"} <= {line["metric"] for line in summary}
        assert read_metric(RunFolder(tmp_path / "DiceLoss"), "test/haze_pooled") is not None
        comparison = Comparison(find_runs([tmp_path]))
        assert "Haze ↓" in summary_table(comparison).columns
        assert comparison.cell("Phantom", "DSC", "haze").mean > 0
        assert "haze" in calibration()
    finally:
        catalogue.remove("haze")


def test_methods_are_what_differs_less_the_seed(comparison):
    assert comparison.stage == "test"
    assert comparison.data == ["Hippocampus", "Phantom"]
    assert comparison.methods == ["DSC", "DSC++ γ=1.5", "DSC++ γ=2.0", "DSC++ γ=3.0"]


def test_a_setting_that_differs_becomes_part_of_the_method(tmp_path):
    for lr in (1e-3, 1e-4):
        make_run(tmp_path / f"r{lr}", lr=lr, cases=2)
    assert Comparison(find_runs([tmp_path])).methods == ["DSC++ lr=0.0001", "DSC++ lr=0.001"]


def test_a_setting_is_told_only_of_losses_within_which_it_differs(tmp_path):
    for number, (loss, lr) in enumerate((("DiceLoss", 1e-3), ("CrossEntropyLoss", 1e-2), ("CrossEntropyLoss", 1e-3))):
        make_run(tmp_path / f"r{number}", loss, lr=lr, cases=2)
    assert Comparison(find_runs([tmp_path])).methods == ["CE lr=0.001", "CE lr=0.01", "DSC"]


def test_losses_are_called_as_a_person_would(tmp_path):
    parts = {"a": {"class_path": "losses.DiceCrossEntropyLoss"}, "b": {"class_path": "losses.AverageCalibrationLoss"}}
    make_run(tmp_path / "sum", "WeightedSumLoss", {"losses": parts, "weights": {"b": 0.5}}, cases=2)
    make_run(tmp_path / "one", "DicePlusPlusLoss", {"gamma": 1.0}, cases=2)
    make_run(tmp_path / "two", "DicePlusPlusLoss", {"gamma": 2.0}, cases=2)
    found = Comparison(find_runs([tmp_path])).methods
    assert sorted(found) == ["CE+DSC + 0.5 mL1-ACE", "DSC (γ=1)", "DSC++ γ=2.0"]


def test_of_settings_that_vary_together_one_names_the_method(tmp_path):
    for number, (lr, side) in enumerate([(1e-3, 32), (1e-3, 64), (1e-4, 32), (1e-4, 64)]):
        data = {"class_path": "datamodules.Phantom", "init_args": {"size": side, "batch_size": side // 8}}
        make_run(tmp_path / f"r{number}", lr=lr, cases=2, data=data)
    names = [f"DSC++ size={side} lr={lr}" for side in (32, 64) for lr in (0.0001, 0.001)]
    assert Comparison(find_runs([tmp_path])).methods == names


def test_pictures_of_single_methods_show_the_twelve_of_best_dice(tmp_path):
    for number in range(14):
        make_run(tmp_path / f"r{number:02}", "DicePlusPlusLoss", {"gamma": 1 + number / 10}, cases=3)
    comparison = Comparison(find_runs([tmp_path]))
    dice = {m: comparison.cell("Phantom", m, "dice").mean for m in comparison.methods}
    assert len(comparison.leading) == 12
    left_out = set(comparison.methods) - set(comparison.leading)
    assert max(dice[m] for m in left_out) <= min(dice[m] for m in comparison.leading)


@pytest.mark.parametrize(("columns", "lines"), [(3, True), (2, False)])
def test_isolines_are_drawn_where_a_grid_carries_them_else_dots_with_numbers(columns, lines, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "picture", lambda figure, *words: drawn.append(figure))
    x, y = np.log10([1e-4, 1e-3, 1e-2]), np.arange(columns) * 32.0 + 32
    values = np.arange(3.0 * columns).reshape(columns, 3) / 10
    figures.isoline_picture({"CE": (x, y, values)}, ("lr", "patch size"), "title", "Dice", ["CE"], "Phantom")
    ax = drawn[0].axes[0]
    numbers = [text.get_text() for text in ax.texts]
    assert ([f"{value:.3g}" for value in values.ravel()] == numbers) != lines
    if not lines:
        np.testing.assert_allclose(ax.collections[0].get_array(), values.ravel())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.0001", "0.001", "0.01"]


@pytest.mark.usefixtures("unpainted_here")
def test_isolines_of_five_losses_and_curves_of_a_metric_that_no_case_has(tmp_path):
    losses = ("DiceLoss", "CrossEntropyLoss", "FocalLoss", "GeneralizedDiceLoss", "TverskyLoss")
    for number, (loss, lr, side) in enumerate(product(losses, (1e-3, 1e-4, 1e-5), (32, 64))):
        data = {"class_path": "datamodules.Phantom", "init_args": {"size": side}}
        make_run(tmp_path / f"r{number}", loss, lr=lr, cases=2, data=data, sharpness=1 + number / 10)
    comparison = Comparison(find_runs([tmp_path]))
    (picture,) = figures.isolines(comparison, "nll")
    assert picture.title == "Isolines of NLL, Phantom"
    assert figures.isolines(comparison) == []  # sharpening changes no label: one Dice everywhere
    comparison = Comparison(find_runs([tmp_path]))
    for scores in comparison._scores.values():
        for case in scores:
            case.scores["nll", "all"] = np.nan
    assert comparison.cell("Phantom", comparison.methods[0], "nll") is None
    assert figures.parameter_curves(comparison)


@pytest.mark.usefixtures("unpainted_here")
def test_cases_of_one_name_but_other_images_are_kept_apart(tmp_path):
    for name, loss in (("a", "DiceLoss"), ("b", "DicePlusPlusLoss"), ("c", "DicePlusPlusLoss"), ("d", "FocalLoss")):
        make_run(tmp_path / name, loss, cases=7, classes=("background", "core") if name == "d" else ("background", "x"))
    table = tmp_path / "c" / "test" / "per_case.csv"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    rows[0]["voxels"] = int(rows[0]["voxels"]) + 1
    write_text_rows(table, rows)
    comparison = Comparison(find_runs([tmp_path]))
    assert [run.data for run in comparison.runs] == ["Phantom (1)", "Phantom (1)", "Phantom (2)", "Phantom (3)"]
    assert comparison.cell("Phantom (1)", "DSC", "nll")
    assert comparison.cell("Phantom (2)", "DSC", "nll") is None
    assert "Runs on Phantom see other images or classes under the same names" in comparison.notes[0]
    assert "(1: a, b; 2: c; 3: d)" in main_page(tmp_path)


def test_folds_and_shared_cases_stay_together(comparison):
    assert comparison.notes == []


def test_a_cell_is_the_mean_over_cases_of_means_over_seeds(comparison, runs):
    table = []
    for seed in (0, 1):
        with (runs / f"phantom-2-{seed}" / "test" / "per_case.csv").open() as file:
            table.append([float(row["nll"]) for row in csv.DictReader(file) if row["class"] == "all"])
    cell = comparison.cell("Phantom", "DSC++ γ=2.0", "nll")
    assert cell.mean == pytest.approx(np.mean(table))
    assert (cell.low, cell.high) == pytest.approx(metrics.bootstrap_interval(table))
    assert (cell.cases, cell.seeds) == (8, 2)
    assert cell.spread == pytest.approx(np.std(np.mean(table, axis=1), ddof=1))
    assert np.isnan(comparison.cell("Hippocampus", "DSC++ γ=2.0", "nll").spread)


def test_the_error_by_case_from_the_bins_is_the_one_that_was_written(comparison):
    (run, *_) = comparison.of("Phantom", "DSC")
    written = [case.scores["ece", "all"] for case in run.cases("test")]
    bins = run.reliability("test").by_case("all.top_label").values()
    assert [metrics.errors.expected_calibration_error(b, 15).item() for b in bins] == pytest.approx(written, abs=1e-12)


def test_the_table_shows_the_error_of_the_mean_case_and_of_all_voxels_together(comparison):
    """The pooled value of two seeds is the mean of theirs, here taken from the voxels' sums by hand."""
    by_seed = [run.reliability("test").pooled("all.top_label") for run in comparison.of("Phantom", "DSC")]
    expected = np.mean([metrics.errors.expected_calibration_error(bins, 15).item() for bins in by_seed])
    assert comparison.cell("Phantom", "DSC", "ece_pooled").mean == pytest.approx(expected, abs=1e-12)
    columns = summary_table(comparison).columns
    assert columns[columns.index("ECE ↓") :][:2] == ["ECE ↓", "ECE, pooled ↓"]


def test_every_picture_of_the_page_is_written_under_its_own_plain_name(page, runs):
    pictures = {path.name: path.read_bytes() for path in (runs / "figures").iterdir()}
    assert {"overview.svg", "results_against_gamma.svg", "training_phantom.svg"} <= pictures.keys()
    assert all(name.isascii() and data.startswith(b"<?xml") for name, data in pictures.items())
    html = page.read_text(encoding="utf-8")
    assert all(svg_uri(data) in html for data in pictures.values())
    assert len(pictures) == html.count('<img src="data:image/svg+xml,')


def test_tables_come_as_csv_markdown_and_latex(page, runs):
    folder = runs / "tables"
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[0]["cases"] == "8"
    assert float(rows[0]["ece_low"]) < float(rows[0]["ece"]) < float(rows[0]["ece_high"])
    assert {row["ece_seed_sd"] != "" for row in rows if row["data"] == "Phantom"} == {True}
    assert not set("★≈[±") & set((folder / "summary.csv").read_text())
    assert "| DSC++ γ=2.0 | Phantom |" in (folder / "summary.md").read_text()
    latex = (folder / "summary.tex").read_text()
    assert "γ" not in latex
    assert r"\underline{0." in latex


def test_classes_have_a_table_where_there_are_several(page, runs):
    text = (runs / "tables" / "classes.csv").read_text()
    assert "anterior" in text
    assert "Phantom" not in text


def make_gdl_grid(folder, seeds=(0,)):
    """Runs whose training Dice is a constant: .5 and more for GDL, rising from run to run, 0 for cross entropy."""
    cells = product(("GeneralizedDiceLoss", "WeightedCrossEntropyLoss"), (1e-3, 1e-4), (56, 64, 88), seeds)
    for number, (loss, lr, size, seed) in enumerate(cells):
        data = {"class_path": "datamodules.Phantom", "init_args": {"patch_size": [size, size]}}
        run = make_run(folder / f"r{number}", loss, lr=lr, data=data, net="ValidUNet", cases=2, seed=seed)
        dice = 0.0 if loss.startswith("Weighted") or (seed, size) == (1, 88) else 0.5 + number / 50
        write_text_rows(run / "metrics.csv", [{"step": i, "epoch": 0, "train/dice": dice} for i in range(250)])


def test_the_gdl_layout_holds_medians_collapse_and_the_published_cells(tmp_path):
    make_gdl_grid(tmp_path)
    found = {table.name: table for table in paper_tables(Comparison(find_runs([tmp_path])))}
    table = found["gdl_phantom_unet"]
    assert table.columns == ["Patch", "log10 rate", "WCE", "GDL", "WCE, published", "GDL, published"]
    rows = {tuple(row[:2]): row[2:] for row in table.rows}
    assert list(rows) == list(product("SML", ("-4", "-3")))
    assert rows["M", "-4"] == ["0 (0)", "0.58 (0.00)", ".73(.18)", ".72(.19)"]
    assert rows["L", "-3"] == ["0 (0)", "0.54 (0.00)", ".59(.39)", ".59(.45)"]
    assert [row[4] for row in found["gdl_collapse"].rows] == ["6 (100%)", "0 (0%)"]
    assert float(found["gdl_collapse"].rows[1][5]) == pytest.approx(0.58)  # at 1e-4


def test_the_gdl_layout_counts_the_seeds_that_collapsed(tmp_path):
    make_gdl_grid(tmp_path, seeds=(0, 1))
    (table,) = gdl.grid_tables(Comparison(find_runs([tmp_path])))
    rows = {tuple(row[:2]): row[2:] for row in table.rows}
    assert rows["L", "-3"][1] == "0.29 (0.00), 1 of 2 collapsed"
    assert rows["S", "-3"][:2] == ["0 (0)", "0.51 (0.00)"]


def test_the_gdl_layout_keeps_two_readings_of_one_loss_apart(tmp_path):
    make_gdl_grid(tmp_path)
    data = {"class_path": "datamodules.Phantom", "init_args": {"patch_size": [56, 56]}}
    for channels, dice in (("foreground", 0.1), ("all", 0.7)):
        arguments = {"channels": channels}
        run = make_run(
            tmp_path / channels, "SensitivitySpecificityLoss", arguments, data=data, net="ValidUNet", cases=2
        )
        write_text_rows(run / "metrics.csv", [{"step": i, "epoch": 0, "train/dice": dice} for i in range(250)])
    comparison = Comparison(find_runs([tmp_path]))
    (table,) = gdl.grid_tables(comparison)
    cells = dict(zip(table.columns, table.rows[1], strict=True))
    assert cells["SS channels=all"] == "0.70 (0.00)"
    assert cells["SS channels=foreground"] == "0.10 (0.00)"
    assert cells["SS, published"] == ".39(.16)"
    assert [row[0] for row in gdl.collapse_table(comparison).rows] == [
        "WCE",
        "SS channels=all",
        "SS channels=foreground",
        "GDL",
    ]


@pytest.mark.usefixtures("unpainted_here")
def test_the_gdl_papers_figures_show_training_medians_and_the_dice_of_cases(tmp_path, monkeypatch):
    make_gdl_grid(tmp_path, seeds=(0, 1))
    drawn, boxes = {}, {}
    monkeypatch.setattr(gdl, "isoline_picture", lambda grids, *words: drawn.update(grids))
    real = gdl.plot.box_plot
    monkeypatch.setattr(gdl.plot, "box_plot", lambda v, g, **w: (boxes.update({tuple(g): v}), real(v, g, **w))[1])
    comparison = Comparison(find_runs([tmp_path]))
    titles = [picture.title for picture in gdl.pictures(comparison) if picture]
    assert titles == ["Dice by patch size, UNet on Phantom", "Dice by rate, UNet on Phantom"]
    x, y, z = drawn["UNet GDL"]
    assert (x.tolist(), y.tolist()) == ([-4, -3], [56, 64, 88])
    np.testing.assert_allclose(z[2], [0.70 / 2, 0.58 / 2])
    by_size = boxes["S (56)", "M (64)", "L (88)"]
    dice = [c.scores["dice", "all"] for r in comparison.runs if r.loss == "GDL" and "'patch_size': [64" in str(r.config)
            for c in comparison.cases(r)]  # fmt: skip
    assert sorted(by_size["GDL"][1]) == sorted(dice)
    assert len(dice) == 8


@pytest.mark.usefixtures("unpainted_here")
@pytest.mark.usefixtures("unpainted_here")
def test_the_gdl_figures_are_on_the_page(tmp_path):
    make_gdl_grid(tmp_path)
    page = main_page(tmp_path)
    assert all(title in page for title in ("Isolines of the training Dice, Phantom", "Dice by rate, UNet on Phantom"))


def main_page(folder):
    main([str(folder)])
    return (folder / "report.html").read_text()


def test_the_published_table_has_its_144_cells_and_their_known_means():
    cells = [cell.split("(")[0] for net in GDL_PUBLISHED.values() for row in net.values() for cell in row.split()]
    assert len(cells) == 144
    means = np.array(cells, dtype=float).reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(means, [0.357, 0.475, 0.372, 0.547], atol=5e-4)


def test_the_margin_layout_stands_beside_the_published_rows(tmp_path):
    make_run(tmp_path / "a", "MarginLabelSmoothingLoss", {"margin": 10.0}, cases=2)
    make_run(tmp_path / "b", "CrossEntropyLoss", cases=2, sharpness=2.0)
    table = next(t for t in paper_tables(Comparison(find_runs([tmp_path]))) if t.name == "mbls_layout")
    published = {tuple(row[:3]): row[3:] for row in table.rows}
    assert published["ACDC", "published", "Dice ↑"] == ["0.8413", "0.8753"]
    assert published["mean rank", "published", "ECE ↓"] == ["4.80", "2.20"]
    own = [float(published["Phantom", "ours", "ECE ↓"][i]) for i in range(2)]
    assert published["mean rank", "ours", "ECE ↓"] == (["1.00", "2.00"] if own[0] < own[1] else ["2.00", "1.00"])


def test_the_run_list_holds_configuration_commit_and_command(page):
    text = page.read_text()
    assert text.count("<dt>commit</dt><dd>0123abc</dd>") == 12
    assert "python -m lightning_app fit --model.loss &lt;x&gt;" in text
    assert "class_path: losses.DicePlusPlusLoss" in text


def test_folders_without_results_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        main([str(tmp_path / "absent")])
    with pytest.raises(FileNotFoundError, match="no run in it was evaluated"):
        main([str(tmp_path)])


def test_a_stage_that_a_run_lacks_is_refused_by_name(tmp_path):
    make_run(tmp_path / "whole", cases=2)
    half = make_run(tmp_path / "half", "DiceLoss", cases=2)
    (half / "test" / "per_case.csv").unlink()
    assert Comparison(find_runs([tmp_path])).stage == "val"
    with pytest.raises(ValueError, match="no test results in half"):
        Comparison(find_runs([tmp_path]), "test")


@pytest.mark.usefixtures("unpainted_here")
def test_one_run_alone_makes_a_report(tmp_path):
    make_run(tmp_path / "only", cases=3)
    assert summary_table(Comparison([Run(tmp_path / "only")])).rows[0][0] == "DSC++"
    assert "1 runs: 1 methods" in main_page(tmp_path)
