"""Regions in the module: each is, to the bit, the binary network that it would be alone."""

import pytest
import torch
from torch import nn

import losses
import metrics
import models
from datamodules import Geometry
from datamodules.geometry import Resize
from datamodules.regions import find_regions
from lightning_app.training.head import Head, RegionHead, head_of, make_head
from lightning_app.training.module import SegmentationModule

UNITED = {"whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}
CLASSES = ("background", "necrosis", "oedema", "enhancing tumour")
SHAPES = pytest.mark.parametrize("shape", [(12, 14), (6, 8, 10)], ids=["2d", "3d"])


def region_head():
    return RegionHead(CLASSES, find_regions(UNITED, 4))


def case(shape, items=2, seed=0):
    """Logits (B, R, *S) that saturate here and there, and a label map with ignored voxels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 12 * torch.randn(items, 3, *shape, generator=generator)
    mask = torch.randint(0, 4, (items, *shape), generator=generator).to(torch.uint8)
    mask[:, 0] = 255
    return logits, mask


def alone(logits, mask, region):
    """The region as two-class data under `--model.binary sigmoid`: probabilities and labels."""
    united = list(UNITED.values())[region]
    inside = sum((mask == number).long() for number in united)
    probs = Head(("background", "region"), "sigmoid").activation(logits[:, region, None])
    return probs, inside.masked_fill(mask == 255, 255)


@SHAPES
@pytest.mark.parametrize("loss", [losses.DicePlusPlusLoss, losses.CrossEntropyLoss, losses.UnifiedFocalPlusPlusLoss])
def test_loss_and_gradient_are_the_mean_of_the_binary_ones(shape, loss):
    logits, mask = case(shape)
    head = region_head()
    together = logits.clone().requires_grad_()
    value = head.objective(loss())(together, head.taught(mask))
    value.backward()
    expected, gradients = [], []
    for region in range(3):
        one = logits[:, region, None].clone().requires_grad_()
        expected.append(loss()(one, alone(logits, mask, region)[1]))
        expected[-1].backward()
        gradients.append(one.grad)
    torch.testing.assert_close(value, torch.stack(expected).mean())
    torch.testing.assert_close(together.grad, torch.cat(gradients, 1) / 3)


@SHAPES
def test_scores_are_those_of_the_binary_path(shape):
    logits, mask = case(shape)
    head = region_head()
    scorer = head.scorer()
    probs, labels, _ = head.scored(head.activation(logits), mask)
    scorer.update(probs, labels, names=["a", "b"])
    rows = [metrics.rows_from_sums(sums, head.names) for _, sums in scorer.records]
    for region in range(3):
        binary = metrics.Scorer(2, ["background", "region"])
        binary.update(*alone(logits, mask, region), names=["a", "b"])
        for found, (_, sums) in zip(rows, binary.records, strict=True):
            expected = metrics.rows_from_sums(sums, ["background", "region"])[-1]
            assert {k: v for k, v in found[region].items() if k not in ("class", "voxels")} == pytest.approx(
                {k: v for k, v in expected.items() if k not in ("class", "voxels")}, abs=0, nan_ok=True
            )


def test_nested_regions_keep_their_own_labels():
    mask = torch.tensor([[0, 1, 2, 3, 255]])
    assert region_head().taught(mask)[0].tolist() == [[0, 1, 1, 1, 255], [0, 1, 0, 1, 255], [0, 0, 0, 1, 255]]


def test_label_maps_are_painted_in_the_order_that_is_given():
    """As nnU-Net has it: of each region its class where its sigmoid is above a half, the later over the earlier."""
    inside = torch.tensor([[0.9, 0.9, 0.9, 0.2, 0.5], [0.1, 0.8, 0.8, 0.9, 0.5], [0.2, 0.3, 0.7, 0.2, 0.5]])
    probs = torch.stack([1 - inside, inside], 1).flatten(0, 1)
    head = region_head()
    assert head.label_map(probs).tolist() == [2, 1, 3, 1, 0]
    assert head.label_map(probs, [0.5, 0.95, 0.85, 0.25]).tolist() == [0, 3, 3, 1, 3]
    assert torch.equal(head.written(probs), inside)
    edges = metrics.axis_edges()
    cuts = [int((edges <= cut).sum()) for cut in (0.85, 0.85, 0.6)]
    assert head.label_map(probs, promised=cuts).tolist() == [2, 2, 3, 1, 0]
    assert head.sets(probs, cuts).tolist() == [
        [True, True, True, False, False], [False, False, False, True, False], [False, False, True, False, False]
    ]  # fmt: skip


@SHAPES
def test_logits_give_their_probabilities_back_where_float32_has_room(shape):
    logits, _ = case(shape)
    head = region_head()
    torch.testing.assert_close(head.logits(head.activation(logits)), logits, rtol=1e-5, atol=1e-5)


def test_restoring_another_grid_treats_each_region_by_itself():
    logits, _ = case((12, 14), items=1)
    head = region_head()
    geometry = Geometry("image", (24, 21), steps=[Resize((24, 21), (12, 14))])
    restored = head.restore(head.activation(logits)[0], geometry)
    for region in range(3):
        expected = geometry.restore(alone(logits, torch.zeros(1, 12, 14), region)[0][0])
        torch.testing.assert_close(restored[2 * region : 2 * region + 2], expected, rtol=0, atol=0)


def test_known_probabilities_of_classes_give_those_of_regions():
    true = torch.tensor([0.1, 0.2, 0.3, 0.4])[None, :, None]
    _, _, known = region_head().scored(torch.rand(1, 6, 1), torch.zeros(1, 1).long(), true)
    torch.testing.assert_close(known[0, :, 1, 0], torch.tensor([0.9, 0.6, 0.4]))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_tiles_are_blended_as_each_regions_alone(average):
    torch.manual_seed(0)
    net = nn.Conv2d(1, 3, 3, padding=1)
    image = torch.randn(1, 1, 20, 22)
    head = region_head()
    window = models.SlidingWindow([12, 12], average=average)
    window.activate_by(head.activation)
    found = window(image, net)
    for region in range(3):
        expected = models.SlidingWindow([12, 12], average=average)(image, lambda x, k=region: net(x)[:, k, None])
        torch.testing.assert_close(found[:, 2 * region : 2 * region + 2], expected, rtol=0, atol=1e-6)


def test_averaged_inference_sums_the_entropies_of_the_regions():
    net = nn.Conv2d(1, 3, 3, padding=1)
    head = region_head()
    inference = models.TestTimeAugmentation(axes=[0])
    module = SegmentationModule(
        net, losses.DiceLoss(), inference=inference, num_classes=4, class_names=CLASSES,
        regions=find_regions(UNITED, 4),
    )  # fmt: skip
    image = torch.randn(1, 1, 8, 8)
    found = inference.uncertainty(image, module._finest)
    with torch.no_grad():
        members = torch.stack([head.activation(net(image)), head.activation(net(image.flip(2))).flip(2)]).mean(0)
    torch.testing.assert_close(found.probs, members)
    inside = members[0, 1::2]
    expected = torch.distributions.Bernoulli(probs=inside).entropy().sum(0)
    torch.testing.assert_close(found.entropy[0], expected, rtol=1e-4, atol=1e-5)
    assert float(found.entropy.max()) <= head.largest_entropy


def test_an_inference_that_forms_a_softmax_of_its_own_is_refused():
    class Own(models.Inference):
        def __call__(self, image, predict):
            return predict(image).softmax(1)

    module = SegmentationModule(
        nn.Conv2d(1, 3, 1), losses.DiceLoss(), inference=Own(), num_classes=4, class_names=CLASSES,
        regions=find_regions(UNITED, 4),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"Own gives 3 maps, 6 are needed: .* self\.activation"):
        module.probabilities(torch.zeros(1, 1, 4, 4))


def test_calibrators_are_those_of_the_regions_alone():
    logits, _ = case((12, 14), items=1)
    head = region_head()
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    mask = head.label_map(head.activation(logits + 8 * noise)[0])[None]
    probs, labels, _ = head.scored(head.activation(logits), mask)
    together = models.MultiLabelCalibrator([models.TemperatureScaling(2) for _ in range(3)])
    together.fit([models.Case(probs.flatten(1, 2), labels)])
    for region, part in enumerate(together.parts):
        own = models.TemperatureScaling(2)
        own.fit([models.Case(*alone(logits, mask, region))])
        assert part.temperature == own.temperature
        torch.testing.assert_close(
            together(probs.flatten(1, 2))[:, 2 * region : 2 * region + 2], own(alone(logits, mask, region)[0])
        )


def test_odds_are_those_of_the_regions_alone():
    logits, mask = case((12, 14), items=1)
    odds = region_head().odds(region_head().activation(logits)[0], mask[0])
    for region in range(3):
        binary = Head(("background", "region"))
        probs, labels = alone(logits, mask, region)
        assert torch.equal(odds[:, 1 + region], binary.odds(probs[0], labels[0])[:, 1])
    assert int(odds[:, 0].sum()) == 0


def test_pictures_show_the_least_sure_region():
    inside = torch.tensor([[0.9, 0.6], [0.8, 0.1], [0.3, 0.1]])
    picture = region_head().picture(torch.stack([1 - inside, inside], 1).flatten(0, 1), torch.tensor([3, 255]))
    assert picture.truth.tolist() == [3, 255]
    assert picture.prediction.tolist() == [1, 2]
    torch.testing.assert_close(picture.probs.amax(0), torch.tensor([0.7, 0.6]))


def test_a_foreign_module_whose_last_layer_is_called_head_has_classes():
    class Foreign(nn.Module):
        class_names = ("background", "a")

        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(1, 2, 1)

    assert head_of(Foreign()).names == ("background", "a")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: make_head(4, CLASSES, find_regions(UNITED, 4), "sigmoid"), "regions have a sigmoid each as it is"),
        (lambda: make_head(3, CLASSES, None, "softmax"), "must name 3 classes"),
        (lambda: make_head(4, CLASSES, None, "sigmoid"), "needs data with two classes, these have 4"),
        (lambda: region_head().taught(torch.rand(1, 4, 2, 2)), "not the shares of several raters"),
        (lambda: region_head().objective(losses.ClassAdaptiveMarginLoss()), "take a loss without a state"),
        (
            lambda: region_head().check(models.Ensemble([nn.Conv2d(1, 3, 1)])),
            "for regions take models.CheckpointEnsemble",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
