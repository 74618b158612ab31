"""Expected against true Dice in reports: the points are those of the table of cases."""

import csv
import re

import numpy as np
import pytest

from lightning_app.report.build import sections
from lightning_app.report.compare import Comparison
from lightning_app.report.expected import expected_dice, points_of, scatter
from lightning_app.report.read import find_runs
from tests.report.fakes import CLASSES, make_run


def expect(run):
    """Add an expected Dice to the table of cases of a run, 0.05 above the Dice, and none for the first case."""
    path = run / "test" / "per_case.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        known = row["dice"] and row["case"] != rows[0]["case"]
        row["expected_dice"] = str(float(row["dice"]) + 0.05) if known else ""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.fixture
def runs(tmp_path):
    made = [make_run(tmp_path / loss, loss, classes=CLASSES) for loss in ("DiceLoss", "DicePlusPlusLoss")]
    return made, [expect(run) for run in made]


def test_points_are_those_of_the_table(runs):
    (first, _), (rows, _) = runs
    comparison = Comparison(find_runs([first]))
    points = points_of(comparison, "Phantom", "DSC")
    assert list(points) == list(CLASSES[1:])
    own = [row for row in rows if row["class"] == CLASSES[1] and row["expected_dice"]]
    assert np.allclose(np.sort(points[CLASSES[1]][1]), np.sort([float(row["dice"]) for row in own]))
    assert np.allclose(points[CLASSES[1]][0] - points[CLASSES[1]][1], 0.05)


def test_points_of_folds_are_those_of_all_their_cases(tmp_path):
    rows = []
    for fold in ("one", "two"):
        run = make_run(tmp_path / fold, "DiceLoss", classes=CLASSES)
        (run / "test" / "bins.npz").unlink()
        path = run / "test" / "per_case.csv"
        path.write_text(re.sub(r"^(?!case,)(?=.)", f"{fold}-", path.read_text(), flags=re.MULTILINE))
        rows += expect(run)
    points = points_of(Comparison(find_runs([tmp_path / "one", tmp_path / "two"])), "Phantom", "DSC")
    own = [float(row["dice"]) for row in rows if row["class"] == CLASSES[1] and row["expected_dice"]]
    assert len(own) == 14
    assert np.allclose(np.sort(points[CLASSES[1]][1]), np.sort(own))


def test_a_panel_a_method_and_a_colour_a_class(runs):
    comparison = Comparison(find_runs(runs[0]))
    found = {method: points_of(comparison, "Phantom", method) for method in comparison.methods}
    figure = scatter(found)
    assert [ax.get_title() for ax in figure.axes] == ["DSC", "DSC++"]
    for ax, points in zip(figure.axes, found.values(), strict=True):
        assert len(ax.lines) == 1 + len(points)  # the diagonal first
        assert np.array_equal(ax.lines[1].get_xydata(), np.stack(points[CLASSES[1]], 1))
        assert ax.lines[1].get_color() != ax.lines[2].get_color()
    assert [text.get_text() for text in figure.legends[0].texts] == list(CLASSES[1:])


def test_the_page_has_it_where_it_was_measured(runs, tmp_path):
    def titles(folders):
        return [p.title for part in sections(Comparison(find_runs(folders))) for p in part.pictures]

    assert "Expected against true Dice on Phantom" in titles(runs[0])
    silent = make_run(tmp_path / "silent", "DiceLoss")
    assert expected_dice(Comparison(find_runs([silent]))) == []
