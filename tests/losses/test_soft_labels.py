"""Where losses are least with soft labels: at the labels with the semimetric form, at 0 and 1 with the product."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import losses
from tests.losses.cases import random_pair, value_and_gradient
from tests.losses.test_oracles import settle

SHARES = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
FAMILY = {
    "dice": lambda **o: losses.DiceLoss(**o),
    "dsc++": lambda **o: losses.DicePlusPlusLoss(**o),
    "dsc++ 1.5": lambda **o: losses.DicePlusPlusLoss(1.5, **o),
    "tversky": lambda **o: losses.TverskyLoss(**o),
    "tversky++": lambda **o: losses.TverskyPlusPlusLoss(**o),
    "focal tversky": lambda **o: losses.FocalTverskyLoss(exponent=1.5, **o),
    "focal tversky++": lambda **o: losses.FocalTverskyPlusPlusLoss(exponent=1.5, **o),
    "asymmetric": lambda **o: losses.AsymmetricFocalTverskyLoss(**o),
    "combo": lambda **o: losses.ComboLoss(**o),
    "combo++": lambda **o: losses.ComboPlusPlusLoss(**o),
}
every_member = pytest.mark.parametrize("make", FAMILY.values(), ids=FAMILY.keys())


def two_classes(foreground):
    return torch.stack([1 - foreground, foreground])[None]


def soft_pair(classes, grid=(4, 5), seed=0):
    logits, _ = random_pair(classes, grid, seed=seed, scale=1.0)
    return logits, torch.softmax(random_pair(classes, grid, seed=seed + 1)[0].detach(), dim=1)


@every_member
def test_the_semimetric_settles_at_the_labels(make):
    start = torch.tensor([[[0.3, -0.2, 0.4, -0.1]]], dtype=torch.float64)
    scores = settle(make(soft="semimetric"), start, two_classes(SHARES), steps=200, rate=0.1)
    np.testing.assert_allclose(torch.sigmoid(scores).flatten(), SHARES, atol=0.03)


def test_the_product_settles_at_nought_and_one():
    for loss in (losses.DiceLoss(), losses.DicePlusPlusLoss(1.0)):
        scores = settle(loss, torch.zeros(1, 1, 4, dtype=torch.float64), two_classes(SHARES), steps=400)
        np.testing.assert_allclose(torch.sigmoid(scores).flatten(), [0, 0, 1, 1], atol=0.02)


@given(st.integers(2, 4), st.sampled_from([(7,), (4, 5), (2, 3, 4)]), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_semimetric_is_nought_at_the_labels_and_above_elsewhere(classes, grid, seed):
    logits, soft = soft_pair(classes, grid, seed)
    for loss in (losses.DiceLoss(soft="semimetric"), losses.DicePlusPlusLoss(soft="semimetric")):
        assert loss(soft.log(), soft).item() == pytest.approx(0, abs=1e-9)
        assert loss(logits, soft).item() > 1e-4


@pytest.mark.parametrize("grid", [(4, 5), (2, 3, 4)], ids=["2d", "3d"])
def test_the_semimetric_of_one_norms(grid):
    """Written with the norms of the paper: twice the overlap is |p| + |q| - |p - q|."""
    logits, soft = soft_pair(3, grid)
    p, q = (part.flatten(2) for part in (logits.softmax(1), soft))
    overlap = (p.sum(2) + q.sum(2) - (p - q).abs().sum(2)) / 2
    dice = 1 - 2 * overlap / (p.sum(2) + q.sum(2))
    torch.testing.assert_close(losses.DiceLoss(smooth=0.0, soft="semimetric")(logits, soft), dice.mean())
    tversky = 1 - overlap / (overlap + 0.7 * (q.sum(2) - overlap) + 0.3 * (p.sum(2) - overlap))
    found = losses.TverskyLoss(smooth=0.0, clip=0.0, soft="semimetric")(logits, soft)
    torch.testing.assert_close(found, tversky.mean())


@every_member
@pytest.mark.parametrize("classes", [1, 3])
def test_both_forms_are_one_with_labels_of_nought_and_one(make, classes):
    logits, labels = random_pair(classes, (6, 5))
    hot = torch.nn.functional.one_hot(labels, max(classes, 2)).movedim(-1, 1).double()
    expected = value_and_gradient(make(), logits, labels)
    for target in (labels, hot):
        found = value_and_gradient(make(soft="semimetric"), logits, target)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # what is clipped differs by 1e-7


@every_member
def test_the_gradient_is_that_of_finite_differences(make):
    logits, soft = soft_pair(3)
    soft[0, :, 0] = 0
    loss = make(soft="semimetric")
    assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits, eps=1e-6, atol=1e-6, fast_mode=True)
