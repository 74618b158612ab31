"""Regions that may overlap: the mean of what each region's two-class loss is alone, for every loss there is."""

import pytest
import torch

import losses
from losses.adaptive import AdaptiveMultiplierLoss
from tests.losses.cases import random_pair, value_and_gradient
from tests.losses.test_contract import ALL


def regions(grid=(6, 5), number=3):
    """Logits (B, R, *S) and nested labels (B, R, *S) with a row that does not count."""
    logits, labels = random_pair(number, grid)
    target = torch.stack([(labels >= k).long() for k in range(number)], 1)
    target[:, :, 0] = 255
    return logits, target


@pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)], ids=["2d", "3d"])
def test_it_is_the_mean_of_the_regions_alone(make, grid):
    if isinstance(make(), AdaptiveMultiplierLoss):
        with pytest.raises(ValueError, match="regions have none: take a loss without a state"):
            losses.MultiLabelLoss(make())
        return
    logits, target = regions(grid)
    value, gradient = value_and_gradient(losses.MultiLabelLoss(make()), logits, target)
    alone = [value_and_gradient(make(), logits[:, k, None], target[:, k]) for k in range(3)]
    torch.testing.assert_close(value, sum(own for own, _ in alone) / 3, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, torch.cat([own for _, own in alone], 1) / 3, rtol=1e-12, atol=1e-15)
    assert (gradient[:, :, 0] == 0).all()


def test_other_libraries_losses_get_one_channel():
    logits, target = regions()
    found = losses.MultiLabelLoss(torch.nn.BCEWithLogitsLoss())(logits, target)
    counted = target != 255
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[counted], target[counted].double())
    torch.testing.assert_close(found, expected)


def test_parts_are_means_over_the_regions_too():
    logits, target = regions()
    logits = logits.detach()
    loss = losses.DiceCrossEntropyLoss()
    found = losses.MultiLabelLoss(loss).components(logits, target)
    alone = [loss.components(logits[:, k, None], target[:, k]) for k in range(3)]
    assert found == pytest.approx({name: float(sum(own[name] for own in alone) / 3) for name in alone[0]})
    assert losses.MultiLabelLoss(losses.DiceLoss()).components(logits, target) == {}


def test_deep_supervision_takes_regions_at_every_level():
    logits, target = regions((8, 8))
    coarse = logits.detach()[:, :, ::2, ::2]
    loss = losses.MultiLabelLoss(losses.DiceLoss())
    found = losses.DeepSupervisionLoss(loss, [1, 1])([logits, coarse], target)
    expected = (loss(logits, target) + loss(coarse, losses.wrappers.nearest_grid(target, (4, 4)))) / 2
    torch.testing.assert_close(found, expected)


def test_labels_of_the_wrong_form_are_refused():
    logits, target = regions()
    loss = losses.MultiLabelLoss(losses.DiceLoss())
    for wrong in (target[:, 0], target.double()):
        with pytest.raises(ValueError, match="target must hold integer labels of each region"):
            loss(logits, wrong)
