"""Losses of other libraries: each sees its labels as it wants them, or is refused in one line with the cure."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import losses
from losses.wrappers import call
from tests.losses.cases import random_pair

monai = pytest.importorskip("monai.losses")
smp = pytest.importorskip("segmentation_models_pytorch").losses
HOT = {"softmax": True, "to_onehot_y": True}
HALVES = torch.tensor([0.2, 0.8, 0.5], dtype=torch.float64)
#: A loss that can leave voxels out, and what it is on those that count.
IGNORING = {
    "torch": (nn.CrossEntropyLoss(), lambda z, t: F.cross_entropy(z, t)),
    "torch, weights": (nn.CrossEntropyLoss(weight=HALVES), lambda z, t: F.cross_entropy(z, t, HALVES)),
    "smp": (smp.DiceLoss("multiclass", ignore_index=255), smp.DiceLoss("multiclass")),
    "monai": (monai.DiceLoss(**HOT, ignore_index=255), lambda z, t: monai.DiceLoss(**HOT)(z, t[:, None])),
}


def pair(classes=3, grid=(6, 5), ignored=False):
    logits, labels = random_pair(classes, grid)
    if ignored:
        labels[:, 0] = 255
    return logits, labels.to(torch.uint8)


@pytest.mark.parametrize(("loss", "expected"), IGNORING.values(), ids=IGNORING.keys())
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)], ids=["2d", "3d"])
def test_ignored_voxels_are_as_if_cropped(loss, expected, grid):
    logits, labels = pair(grid=grid, ignored=True)
    torch.testing.assert_close(call(loss, logits, labels), expected(logits[:, :, 1:], labels[:, 1:].long()))


@pytest.mark.parametrize("name", ["DiceLoss", "DiceCELoss", "GeneralizedDiceLoss", "TverskyLoss", "DiceFocalLoss"])
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)], ids=["2d", "3d"])
def test_monai_gets_its_channel_axis(name, grid):
    logits, labels = pair(grid=grid)
    loss = getattr(monai, name)(**HOT)
    torch.testing.assert_close(call(loss, logits, labels), loss(logits, labels.long()[:, None]))


def test_monais_neighbours_need_no_channel_axis():
    logits, labels = pair(3, (8, 8))
    loss = monai.NACLLoss(3, 2)
    torch.testing.assert_close(call(loss, logits.float(), labels), loss(logits.float(), labels.long()))


@pytest.mark.parametrize("channels", [1, 2])
def test_binary_cross_entropy_is_that_of_the_counted_voxels(channels):
    logits, labels = pair(channels, ignored=True)
    found = call(nn.BCEWithLogitsLoss(), logits, labels)
    torch.testing.assert_close(found, losses.CrossEntropyLoss(clip=0)(logits, labels))
    with pytest.raises(ValueError, match="it has two classes, the logits more"):
        call(nn.BCEWithLogitsLoss(), *pair(3))


@pytest.mark.parametrize(
    ("loss", "channels", "ignored", "message"),
    [
        (monai.DiceCELoss(**HOT), 3, True, r"DiceCELoss counts every voxel.*: take one of ours, as losses\.DiceLoss"),
        (monai.DiceLoss(**HOT), 3, True, r"counts every voxel.*: add --model\.loss\.ignore_index 255"),
        (smp.FocalLoss("multiclass"), 3, True, r"counts every voxel.*: add --model\.loss\.ignore_index 255"),
        (monai.DiceLoss(to_onehot_y=True), 3, False, r"would get logits; add --model\.loss\.softmax true"),
        (
            monai.DiceLoss(softmax=True),
            3,
            False,
            r"refuses logits \(2, 3, 6, 5\) with labels \(2, 6, 5\): ground truth",
        ),
        (monai.FocalLoss(use_softmax=True, to_onehot_y=True), 1, False, "there is no softmax of one channel"),
        (nn.CrossEntropyLoss(weight=HALVES[:2]), 3, False, "CrossEntropyLoss refuses logits .*: weight tensor"),
        (nn.CrossEntropyLoss(), 1, False, "CrossEntropyLoss refuses .*: Target 1 is out of bounds"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(loss, channels, ignored, message):
    with pytest.raises(ValueError, match=message) as error:
        call(loss, *pair(channels, ignored=ignored))
    assert "\n" not in str(error.value)


def test_a_loss_of_the_users_own_gets_255_as_it_is():
    class Mine(nn.Module):
        def forward(self, logits, target):
            assert target.dtype == torch.int64
            return (target == 255).sum()

    assert call(Mine(), *pair(ignored=True)) == 10


@pytest.mark.parametrize(
    "loss", [losses.DicePlusPlusLoss(), losses.AverageCalibrationLoss(), losses.NeighborAwareCalibrationLoss()]
)
def test_targets_of_other_shapes_are_refused_with_the_cure(loss):
    logits, labels = random_pair()
    hot = F.one_hot(labels, 3).movedim(-1, 1)
    for target, cure in (
        (labels[:, None], r"pass target\[:, 0\]$"),
        (labels[:, None].float(), r"pass target\[:, 0\]\.long\(\)$"),
        (labels.float(), r"pass labels as integers, target\.long\(\)"),
        (hot, r"pass one-hot labels as target\.argmax\(1\), or as soft labels, target\.float\(\)"),
        (hot * 2.0, "must lie between 0 and 1, found values from 0 to 2"),
        (hot * 0.5, "must sum to 1, or to 0 where a voxel does not count; found 0.5 at 60 voxels"),
    ):
        with pytest.raises(ValueError, match=cure):
            loss(logits, target)
