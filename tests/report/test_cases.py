"""Cases as the page shows them: which, and the slices of volumes."""

import html

import numpy as np
import pytest

from lightning_app.report import cases
from lightning_app.report.cases import _strip, _that_shows, slice_browser
from lightning_app.report.compare import Comparison
from lightning_app.report.read import find_runs
from metrics.plot import style


@pytest.fixture
def volume():
    truth = np.zeros((2, 200, 200), np.uint8)
    truth[1, 50:100, 50:100], truth[1, 150:, 150:], truth[0] = 1, 2, 255
    said = truth.copy()
    said[1, 50:60, 50:100], said[1, 150:160, 150:], said[1, :10, :10] = 0, 1, 2
    image = np.full_like(truth, 100)
    return {"image": image, "truth": truth, "prediction": said, "confidence": np.full_like(truth, 255)}


def rgb(colour):
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def test_every_colour_means_one_thing(volume):
    strip = _strip(volume, 3).reshape(2, 200, 5, 200, 3)[1]
    image, truth, said, sure, error = np.moveaxis(strip, 1, 0)
    assert (image == 100).all()
    assert (truth[20, 120] == 100).all()  # background shows the image
    assert abs(truth[75, 75] - (0.4 * 100 + 0.6 * np.array(rgb(style.CLASS_COLOURS[0])))).max() <= 1
    assert (said[155, 155] == truth[75, 75]).all()
    np.testing.assert_allclose(sure[0, 0], [254, 232, 55.5], atol=1)  # the bright end of cividis
    assert error[55, 75].tolist() == rgb(style.MISSED)
    assert error[5, 5].tolist() == rgb(style.CLAIMED)
    assert error[155, 155].tolist() == rgb(style.CONFUSED)
    assert (error[75, 75] == 40).all()  # right: the image, dimmed


def test_the_browser_tells_case_dice_classes_and_the_range_of_confidence(volume, tmp_path):
    path = tmp_path / "case_worst.npz"
    np.savez(path, case="<17>", **volume)
    page = slice_browser(path, "worst", ["background", "head", "tail"], {"<17>": 0.8123})
    assert "<strong>worst case &lt;17&gt;, Dice 0.812.</strong>" in page
    assert all(f"<span>{name}</span>" in page for name in ("image", "truth", "prediction", "confidence", "error"))
    assert all(f"</span>{name}</span>" in page for name in ("head", "tail", "claimed", "missed", "other class"))
    assert "confidence 0.33" in page
    assert "Dice" not in slice_browser(path, "worst", ["background", "head", "tail"])


@pytest.mark.parametrize(("most", "methods"), [(24, 4), (5, 2), (1, 1)])
def test_of_many_runs_the_cases_of_the_best_methods_are_shown_and_that_is_said(runs, monkeypatch, most, methods):
    comparison = Comparison(find_runs([runs]))
    monkeypatch.setattr(cases, "MAX_RUNS", most)
    titles = [part.partition("<summary>")[2].partition("</summary>")[0] for part in cases.case_details(comparison)]
    for data in comparison.data:
        dice = {m: np.mean(list(comparison.values(data, m, "dice").values())) for m in comparison.methods}
        best = sorted(dice, key=dice.get, reverse=True)[:methods]
        assert sorted(t for t in titles if t.startswith(data)) == sorted(html.escape(f"{data}: {m}") for m in best)
    said = cases.introduction(comparison)
    assert (f"the {methods} methods of best Dice" in said) == (methods < 4)
    assert ("test/figures" in said) == (methods < 4)


def test_of_folds_the_case_is_shown_that_ranks_so_among_all_of_them():
    dice = {
        "one": {"a": 0.5, "b": 0.6, "c": 0.95},
        "two": {"d": 0.2, "e": float("nan"), "f": 0.7, "g": 0.71},
        "three": {"h": 0.9, "i": 0.91, "j": 0.92},
    }
    whole = sorted(value for own in dice.values() for value in own.values() if value == value)
    assert {rank: _that_shows(rank, dice) for rank in ("worst", "best")} == {"worst": "two", "best": "one"}
    assert np.median(whole) == 0.71
    assert _that_shows("median", dice) == "two"  # whose median 0.7 is nearest to 0.71; 0.6 and 0.91 are not
    assert _that_shows("worst", {"only": {"a": float("nan")}}) == "only"
