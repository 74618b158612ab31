"""A predictor that is calibrated by construction, and the same one flattened, in every region.

A disc whose radius is normal with mean 30 and deviation 2: P(R > |x|) is the true probability. The masks lie at even
quantiles of the radius, so that nothing is left to chance.
"""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import metrics


@pytest.fixture(scope="module")
def errors():
    """Pooled errors of temperature 1 and 2."""
    y, x = np.mgrid[:80, :80] - 39.5
    distance = np.hypot(y, x)
    masks = [torch.from_numpy((distance < r).astype(np.uint8)) for r in norm.ppf((np.arange(40) + 0.5) / 40, 30, 2)]
    logit = torch.logit(torch.from_numpy(norm.sf((distance - 30) / 2)).clamp(1e-9, 1 - 1e-9))
    found = []
    for temperature in (1, 2):
        p = torch.sigmoid(logit / temperature).float()
        scorer = metrics.Scorer(2)
        for mask in masks:
            scorer.update(torch.stack([1 - p, p])[None], mask[None])
        found.append({key: value.item() for key, value in scorer.compute().items()})
    return found


@pytest.mark.parametrize("key", ["ece", "ece_foreground", "ece_boundary", "ece_dilated"])
def test_regions_of_the_prediction_know_the_calibrated_one(errors, key):
    calibrated, flattened = (found[f"{key}_pooled"] for found in errors)
    assert calibrated < 0.004
    assert flattened > 5 * calibrated


def test_the_true_boundary_rewards_flattening(errors):
    """So its name says what it is: with halved logits it is smaller, though every honest measure is larger."""
    calibrated, flattened = (found["ece_reference_boundary_pooled"] for found in errors)
    assert calibrated > 0.05
    assert flattened < 0.7 * calibrated
