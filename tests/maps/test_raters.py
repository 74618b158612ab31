"""`evaluate --raters`: what most say is scored, and the numbers of several raters are those of the arrays."""

import re

import numpy as np
import pytest
import torch

import metrics
from lightning_app.cli import main
from lightning_app.maps.fitted import FittedCalibrator
from tests.lightning_app.test_raters import best_temperature
from tests.maps.fakes import images, save_png
from tests.maps.test_evaluate import CELLS, rows, run, summary


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A folder of maps with the labels of three raters; its root, probabilities and labels (3, *S) by case, the run."""
    root = tmp_path_factory.mktemp("rated")
    rng, made = np.random.default_rng(0), {}
    for name, (probs, labels) in images(root).items():
        others = [np.where(rng.random(labels.shape) < share, 1 - labels, labels) for share in (0.1, 0.3)]
        for rater, other in enumerate(others, 2):
            save_png(root / f"rater{rater}" / f"{name}.png", other.astype(np.uint8) * np.uint8(255))
        made[name] = torch.from_numpy(probs), torch.from_numpy(np.stack([labels, *others]).astype(np.int64))
    run_ = run(root, *CELLS, "--raters", root / "rater2", root / "rater3/{name}.png")
    return root, made, run_


def test_numbers_are_those_of_the_arrays(rated):
    _, made, run_ = rated
    expected = [metrics.score_case(p, (y.sum(0) > 1).long(), raters=y) for p, y in made.values()]
    found = summary(run_)
    for key in ("dice", "ece_raters", "ece_rater_mean", "dice_raters", "dice_inter_rater"):
        row = metrics.catalogue.NUMBERS[key]
        assert found[key, "all"] == pytest.approx(np.mean([float(row.value(s)[0]) for s in expected]), abs=1e-6)
    by_rater = rows(run_.folder.stage("test") / "raters.csv")
    assert [(row["case"], row["rater"]) for row in by_rater] == [(name, r) for name in made for r in "123"]
    told = [[float(row["ece"]), float(row["dice"])] for row in by_rater]
    assert np.array(told) == pytest.approx(np.concatenate([s.beside["by_rater"][:, :2] for s in expected]), abs=1e-6)


def test_figures_and_report_have_them(rated, capsys):
    root, _, run_ = rated
    assert (run_.folder.stage("test") / "figures" / "reliability_all_raters.png").is_file()
    main(["report", str(run_.folder.path), "--out", str(root / "r.html")])
    page = (root / "r.html").read_text(encoding="utf-8")
    assert 'id="raters"' in page
    assert "raters with each other" in page or "Dice with the raters" in page


def test_a_calibrator_is_fitted_to_the_share_and_judged_against_each(rated, capsys):
    """Against -sum_k q_k log p_k^(1/T); with hard labels of what most say it would be another."""
    root, made, _ = rated
    maps = ["--probs", str(root / "probs"), "--labels", str(root / "labels"), *CELLS]
    others = ["--raters", str(root / "rater2"), str(root / "rater3")]
    main(["calibrate", *maps, *others, "--method", "temperature", "--out", str(root / "t.ckpt")])
    out = capsys.readouterr().out
    (calibrator,) = FittedCalibrator.load(root / "t.ckpt").calibrators
    probs = np.concatenate([np.maximum(p.numpy().reshape(2, -1), 0.5 / 255) for p, _ in made.values()], 1)
    votes = np.concatenate([torch.stack([(y == k).sum(0) for k in (0, 1)]).reshape(2, -1) for _, y in made.values()], 1)
    logs = np.log(probs.astype(np.float64) / probs.sum(0, dtype=np.float64))
    assert calibrator.temperature == pytest.approx(best_temperature(logs, votes), rel=1e-3)
    assert abs(calibrator.temperature / best_temperature(logs, votes == votes.max(0)) - 1) > 0.02
    assert "temperature, 3 cases by each of 3 raters" in out
    assert "fitted    to the share of the raters" in out
    scored = [metrics.score_case(p, one, raters=y) for p, y in made.values() for one in y]
    for key in ("nll", "brier", "ece_raters"):
        value = np.mean([float(metrics.catalogue.NUMBERS[key].value(sums)[0]) for sums in scored])
        assert re.search(rf"  {key} +{value:.5f} ", out)


@pytest.mark.parametrize(
    ("options", "told"),
    [(["none"], "none: no such folder"), (["few"], "few: no label for 2 of 3 cases, first b"), (["small"], "shape")],
)
def test_raters_that_do_not_fit_are_refused(rated, capsys, options, told):
    root = rated[0]
    save_png(root / "few" / "a.png", np.zeros((21, 17), np.uint8))
    for name in "abc":
        save_png(root / "small" / f"{name}.png", np.zeros((20, 17), np.uint8))
    with pytest.raises(SystemExit) as stop:
        run(root, *CELLS, "--raters", *(str(root / option) for option in options), name="refused")
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
