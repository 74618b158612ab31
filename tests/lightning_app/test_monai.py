"""Our losses, metrics and calibrators in MONAI's own loops."""

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd, Compose

import losses
import metrics
import models
from calibrated_segmentation.integrations.monai import (
    CalibratedProbabilities,
    CalibratedProbabilitiesd,
    CalibrationMetric,
    MONAILoss,
)


@pytest.mark.parametrize("size", [(8, 6), (4, 6, 5)])
def test_labels_with_a_channel_and_one_hot_labels_give_our_value(size):
    logits, labels = torch.randn(2, 3, *size), torch.randint(0, 3, (2, 1, *size))
    one_hot = torch.zeros(2, 3, *size).scatter_(1, labels, 1)
    ours = losses.DicePlusPlusLoss()(logits, labels[:, 0])
    for target in (labels, labels.float(), labels[:, 0], one_hot):
        torch.testing.assert_close(MONAILoss(losses.DicePlusPlusLoss())(logits, target), ours)


def test_metric_over_maps_of_any_sizes_is_the_pooled_one():
    ours, adapted = (metrics.ExpectedCalibrationError(num_classes=3) for _ in range(2))
    adapted = CalibrationMetric(adapted)
    values = []
    for size in [(8, 6), (5, 9)]:
        probs, labels = torch.randn(3, *size).softmax(0), torch.randint(0, 3, (1, *size))
        adapted(y_pred=[probs], y=[labels])
        ours.update(probs[None], labels)
        alone = metrics.ExpectedCalibrationError(num_classes=3)
        alone.update(probs[None], labels)
        values.append(float(alone.compute()))
    assert float(adapted.aggregate()) == float(ours.compute())
    assert adapted.get_buffer().flatten().tolist() == pytest.approx(values)
    adapted.reset()
    adapted(y_pred=torch.eye(3)[None], y=torch.tensor([[[0, 1, 2]]]))  # (1, 3, 3): right and sure everywhere
    assert float(adapted.aggregate()) == 0


def test_calibrator_as_a_post_transform_keeps_the_metadata():
    calibrator = models.TemperatureScaling(3)
    calibrator.log_temperature.data.fill_(0.7)
    logits = torch.randn(3, 4, 5)
    post = Compose([Activationsd("pred", softmax=True), CalibratedProbabilitiesd("pred", calibrator)])
    found = post({"pred": MetaTensor(logits, affine=2 * torch.eye(4))})["pred"]
    torch.testing.assert_close(found.as_tensor(), (logits / calibrator.temperature).softmax(0))
    assert torch.equal(found.affine, 2 * torch.eye(4, dtype=found.affine.dtype))
    assert type(CalibratedProbabilities(calibrator)(logits.softmax(0))) is torch.Tensor


def test_supervised_trainer_and_handler_run():
    pytest.importorskip("ignite")
    from monai.engines import SupervisedEvaluator, SupervisedTrainer
    from monai.handlers import IgniteMetricHandler, from_engine

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 1, 8, 8, generator=generator)
    batches = [{"image": image[i : i + 2], "label": (image[i : i + 2] > 0).long()} for i in (0, 2)]
    net = torch.nn.Conv2d(1, 2, 1)
    before = [p.clone() for p in net.parameters()]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=2, train_data_loader=batches, network=net,
        optimizer=torch.optim.SGD(net.parameters(), 1.0), loss_function=MONAILoss(losses.DicePlusPlusLoss()),
    )  # fmt: skip
    trainer.run()
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    handler = IgniteMetricHandler(
        CalibrationMetric(metrics.ExpectedCalibrationError(num_classes=2)),
        output_transform=from_engine(["pred", "label"]),
    )
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=batches, network=net, key_val_metric={"ece": handler},
        postprocessing=Activationsd("pred", softmax=True),
    )  # fmt: skip
    evaluator.run()
    expected = metrics.ExpectedCalibrationError(num_classes=2)
    for batch in batches:
        expected.update(net(batch["image"]).softmax(1).detach(), batch["label"][:, 0])
    assert evaluator.state.metrics["ece"] == pytest.approx(float(expected.compute()))
