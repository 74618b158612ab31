"""Calibrators on the phantom, whose true probabilities are known."""

import pytest
import torch

import models
from datamodules import Phantom
from metrics import TrueCalibrationError
from models import Case


@pytest.fixture(scope="module")
def phantom() -> list[dict]:
    """Validation cases of the phantom."""
    data = Phantom(num_cases=[1, 12, 1], num_workers=0)
    data.prepare_data()
    data.setup("validate")
    return [data.val_dataloader().dataset[i] for i in range(12)]


def true_error(probs: list[torch.Tensor], true: list[torch.Tensor]) -> float:
    metric = TrueCalibrationError(2)
    for p, t in zip(probs, true, strict=True):
        metric.update(p.float(), t.float())
    return float(metric.compute())


def test_known_temperature_is_recovered(phantom):
    cases = [Case((3 * s["true_probs"].log()).softmax(0)[None], s["mask"][None]) for s in phantom]
    calibrator = models.TemperatureScaling(2)
    calibrator.fit(cases)
    true = [s["true_probs"][None] for s in phantom]
    assert calibrator.temperature == pytest.approx(3.0, rel=0.1)
    assert true_error([case.probs for case in cases], true) > 0.05
    assert true_error([calibrator(case.probs) for case in cases], true) < 0.01


def test_inverse_of_dicepp_brings_the_true_error_of_an_unsaturated_optimum_to_zero(phantom):
    generator = torch.Generator().manual_seed(0)
    chances = [0.5 * s["true_probs"][1].double() for s in phantom]  # below D everywhere: nothing saturates
    dice = float((sum((c**2).sum() for c in chances) / sum(c.sum() for c in chances)) ** 0.5)
    assert max(float(c.max()) for c in chances) < dice
    true = [torch.stack((1 - c, c))[None] for c in chances]
    cases = [
        Case(torch.stack((1 - c / dice, c / dice))[None], torch.bernoulli(c, generator=generator).long()[None])
        for c in chances
    ]
    calibrator = models.DicePlusPlusInverse(2)
    calibrator.fit(cases)
    assert float(calibrator.soft_dice[1]) == pytest.approx(dice, abs=0.01)
    before = true_error([case.probs for case in cases], true)
    after = true_error([calibrator(case.probs) for case in cases], true)
    assert before > 0.03
    assert after < 0.1 * before
    calibrator.soft_dice[1] = dice  # the population's own coefficient, without the chance of the labels
    assert true_error([calibrator(case.probs) for case in cases], true) < 1e-6
