"""Our losses behind nnU-Net's targets; the last test runs where nnU-Net is installed."""

import json

import pytest
import torch

import losses
from calibrated_segmentation.integrations.nnunet import TRAINERS, NNUNetLoss, build_loss
from calibrated_segmentation.integrations.nnunet.loss import trainable
from lightning_app.cli import main


@pytest.mark.parametrize("size", [(8, 6), (4, 6, 5)])
@pytest.mark.parametrize("name", ["DicePlusPlusLoss", "MarginLabelSmoothingLoss", "GeneralizedDiceLoss"])
def test_labels_with_an_ignore_label_give_our_value_and_gradient(name, size):
    logits = torch.randn(2, 3, *size, requires_grad=True)
    labels = torch.randint(0, 4, (2, 1, *size), dtype=torch.int16)  # 3 is nnU-Net's ignore label
    adapted = NNUNetLoss(build_loss(name, {}), ignore_label=3)(logits, labels)
    ours = getattr(losses, name)(ignore_index=3)(logits, labels[:, 0].long())
    assert adapted.item() == ours.item()
    pair = [torch.autograd.grad(value, logits)[0] for value in (adapted, ours)]
    torch.testing.assert_close(*pair, rtol=0, atol=0)


@pytest.mark.parametrize("ignored", [False, True])
def test_regions_are_two_class_problems_of_their_own(ignored):
    logits = torch.randn(2, 3, 8, 6)
    target = torch.randint(0, 2, (2, 3 + ignored, 8, 6))
    found = NNUNetLoss(losses.DicePlusPlusLoss(), ignore_label=9 if ignored else None, has_regions=True)(logits, target)
    two = torch.stack([torch.zeros_like(logits), logits], 2)  # background logit 0, region logit
    labels = target[:, :3].masked_fill(target[:, 3:].bool(), 255) if ignored else target
    expected = torch.stack([losses.DicePlusPlusLoss()(two[:, r], labels[:, r]) for r in range(3)]).mean()
    torch.testing.assert_close(found, expected)


def test_a_target_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="target must have 1 channels"):
        NNUNetLoss(losses.DiceLoss())(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"target must have 3 channels for logits .* of regions"):
        NNUNetLoss(losses.DiceLoss(), 9, True)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))


def test_loss_and_arguments_come_from_the_environment():
    loss = build_loss(None, {"CALSEG_LOSS": "losses.DicePlusPlusLoss", "CALSEG_LOSS_ARGS": json.dumps({"gamma": 3})})
    assert isinstance(loss, losses.DicePlusPlusLoss)
    assert loss.gamma == 3
    for environment, message in [
        ({}, "CALSEG_LOSS='' is no loss that trains alone; choose from .*DicePlusPlusLoss"),
        ({"CALSEG_LOSS": "DiceLoss", "CALSEG_LOSS_ARGS": "gamma=3"}, "CALSEG_LOSS_ARGS='gamma=3' is no JSON"),
        ({"CALSEG_LOSS": "DiceLoss", "CALSEG_LOSS_ARGS": "[3]"}, "must be a JSON object"),
        ({"CALSEG_LOSS": "DiceLoss", "CALSEG_LOSS_ARGS": '{"gama": 3}'}, "gama"),
    ]:
        with pytest.raises(ValueError, match=message):
            build_loss(None, environment)


def test_every_loss_that_trains_alone_has_a_trainer():
    names = trainable()
    assert {"DicePlusPlusLoss", "UnifiedFocalPlusPlusLoss", "MarginLabelSmoothingLoss", "GeneralizedDiceLoss"} <= set(
        names
    )
    assert all(build_loss(name, {}) is not None for name in names)


def test_folder_for_nnunet_is_printed(capsys):
    main(["nnunet-path"])
    assert capsys.readouterr().out.strip() == str(TRAINERS)
    assert (TRAINERS / "calibrated_trainers.py").is_file()


def test_nnunet_finds_the_trainer_and_wraps_the_loss(monkeypatch):
    find = pytest.importorskip("nnunetv2.utilities.find_objects")
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    trainer = find.recursive_find_trainer_class_by_name("nnUNetTrainerDicePlusPlus")
    assert trainer.loss_name == "DicePlusPlusLoss"
