"""The catalogue: a row added is everywhere, and the page of the documentation is made of it."""

from pathlib import Path

import pytest

import metrics
from metrics import catalogue
from tests.metrics.data import segmentation


@pytest.fixture
def extra():
    """A number of one's own: signed error of the foreground probability."""
    row = catalogue.Number(
        "haze", "Haze", "lower", signed, "mean of 1 - p_0 where nothing is", "foreground", "all", main=True
    )
    catalogue.add(row)
    yield row
    catalogue.remove("haze")


def signed(sums, row):
    return metrics.errors.signed_calibration_error(sums.bins[f"{row.region}.{row.view}"])


def test_keys_and_directions():
    assert {"ece", "ece_pooled", "ece_classwise", "ece_foreground", "ece_boundary", "ece_dilated"} < set(
        catalogue.NUMBERS
    )
    assert {"ece_reference_foreground", "ece_reference_boundary", "ece_true", "dice_pooled"} < set(catalogue.NUMBERS)
    assert catalogue.higher_is_better("val/dice_pooled/liver")
    assert not catalogue.higher_is_better("test/ece_boundary")
    assert catalogue.find("train/loss") is None
    for name in ("train/loss", "nll_lowest"):
        with pytest.raises(ValueError, match=name):
            catalogue.higher_is_better(name)
    for row in catalogue.NUMBERS.values():  # every calibration error and score in both averages
        assert not row.view or (row.key.removesuffix("_pooled") + "_pooled") in catalogue.NUMBERS


def test_an_added_number_is_in_rows_scorer_and_tables(extra):
    probs, target = segmentation()
    expected = (1 - probs[0].double()).mean() - (target != 0).double().mean()
    row = metrics.evaluate_case(probs, target, list("abc"))[-1]
    scorer = metrics.Scorer(3)
    scorer.update(probs[None], target[None])
    values = scorer.compute()
    for value in (row["haze"], values["haze"], values["haze_pooled"]):
        assert float(value) == pytest.approx(expected.item(), abs=1e-12)
    assert "haze" in catalogue.main_keys()
    assert catalogue.title_of("test/haze", arrow=True) == "Haze ↓"
    assert "| `haze` |" in catalogue.markdown()


def test_shares_end_at_one_whichever_side_is_better():
    for key in ("dice", "dice_raters", "dice_inter_rater", "expected_dice", "uncertain_share"):
        assert catalogue.bounds_of(key) == (0.0, 1.0), key


def test_a_key_is_taken_once(extra):
    for row in (extra, catalogue.Number("a/b", "A", "", signed)):
        with pytest.raises(ValueError, match="choose another name"):
            catalogue.add(row)


def test_the_documentation_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert catalogue.markdown() in page, "put what metrics.catalogue.markdown() gives there"
