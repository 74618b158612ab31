"""What every loss promises, whatever its formula: precision, ignored voxels, absent classes, extremes, gradients."""

import inspect
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import losses
from tests.losses.cases import random_pair, value_and_gradient

#: Losses that the user builds from others.
WRAPPERS = {"DeepSupervisionLoss", "MultiLabelLoss", "WeightedSumLoss"}
BASIC = sorted(set(losses.__all__) - WRAPPERS)
#: Variants whose formulas differ from the defaults'.
VARIANTS = {
    "DicePlusPlusLoss(0.5)": lambda: losses.DicePlusPlusLoss(gamma=0.5),
    "DicePlusPlusLoss(1.5)": lambda: losses.DicePlusPlusLoss(gamma=1.5),
    "DicePlusPlusLoss(3)": lambda: losses.DicePlusPlusLoss(gamma=3),
    "DicePlusPlusLoss(batch)": lambda: losses.DicePlusPlusLoss(pool="batch"),
    "DiceLoss(foreground, skip)": lambda: losses.DiceLoss(include_background=False, absent="skip"),
    "DiceLoss(smooth 0)": lambda: losses.DiceLoss(smooth=0.0),
    "DiceLoss(semimetric)": lambda: losses.DiceLoss(soft="semimetric"),
    "ComboPlusPlusLoss(semimetric)": lambda: losses.ComboPlusPlusLoss(soft="semimetric"),
    "UnifiedFocalLoss(semimetric)": lambda: losses.UnifiedFocalLoss(soft="semimetric"),
    "TverskyLoss(0.6)": lambda: losses.TverskyLoss(gamma=0.6),
    "FocalLoss(0.5)": lambda: losses.FocalLoss(gamma=0.5),
    "FocalLoss(0)": lambda: losses.FocalLoss(gamma=0),
    "LabelSmoothingLoss(others)": lambda: losses.LabelSmoothingLoss(variant="others"),
    "CrossEntropyLoss(exact)": lambda: losses.CrossEntropyLoss(clip=0),
    "EntropyPenaltyLoss(sum)": lambda: losses.EntropyPenaltyLoss(scaling="sum"),
    "MarginLabelSmoothingLoss(squared_hinge)": lambda: losses.MarginLabelSmoothingLoss(1.0, penalty="squared_hinge"),
    "MarginLabelSmoothingLoss(equality)": lambda: losses.MarginLabelSmoothingLoss(1.0, penalty="equality"),
    "MarginDiceLoss(1)": lambda: losses.MarginDiceLoss(margin=1.0),
    "GeneralizedDiceLoss(zero)": lambda: losses.GeneralizedDiceLoss(absent="zero"),
    "GeneralizedDiceLoss(simple, foreground)": lambda: losses.GeneralizedDiceLoss("simple", include_background=False),
    "WeightedCrossEntropyLoss(target)": lambda: losses.WeightedCrossEntropyLoss("target"),
    "WeightedCrossEntropyLoss(attached)": lambda: losses.WeightedCrossEntropyLoss(detach=False, largest=100),
    "ErrorScaledDiceLoss(batch)": lambda: losses.ErrorScaledDiceLoss(pool="batch", include_background=False),
    "TwoClassDiceLoss(printed)": lambda: losses.TwoClassDiceLoss(printed=True),
    "TwoClassDiceLoss(printed, batch)": lambda: losses.TwoClassDiceLoss(printed=True, pool="batch"),
    "SensitivitySpecificityLoss(all)": lambda: losses.SensitivitySpecificityLoss(channels="all"),
    "NeighborAwareCalibrationLoss(gaussian, l2)": lambda: losses.NeighborAwareCalibrationLoss(
        kernel="gaussian", distance="l2", kernel_size=5
    ),
    "AverageCalibrationLoss(soft)": lambda: losses.AverageCalibrationLoss("soft"),
    "ClassAdaptiveMarginLoss(margin)": lambda: losses.ClassAdaptiveMarginLoss(0.5, "margin", multiplier=0.5),
    "ClassAdaptiveMarginLoss(largest)": lambda: losses.ClassAdaptiveMarginLoss(0.5, "largest", multiplier=0.5),
    "ClassAdaptiveMarginLoss(p2)": lambda: losses.ClassAdaptiveMarginLoss(1.0, penalty="p2", multiplier=0.5),
    "ClassAdaptiveMarginLoss(p3)": lambda: losses.ClassAdaptiveMarginLoss(1.0, penalty="p3", multiplier=0.5),
}
ALL = {name: getattr(losses, name) for name in BASIC} | VARIANTS
#: Their gradient is not that of their value: a weight is taken as a constant, a slope is scaled.
DETACHED = {"WeightedCrossEntropyLoss", "ErrorScaledDiceLoss", "ErrorScaledDiceLoss(batch)"}
every_loss = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


smooth_loss = pytest.mark.parametrize(
    "make", [make for name, make in ALL.items() if name not in DETACHED], ids=[n for n in ALL if n not in DETACHED]
)


def looks_around(loss: nn.Module) -> bool:
    return hasattr(loss, "shares") or isinstance(loss, losses.ConstrainedRegionLoss)


def soft_labels(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """One-hot labels, all 0 where a voxel does not count."""
    hot = nn.functional.one_hot(labels.clamp(0, max(classes, 2) - 1), max(classes, 2)).movedim(-1, 1).float()
    return hot * (labels != 255).unsqueeze(1)


@smooth_loss
@pytest.mark.parametrize("grid", [(4, 5), (3, 4, 2)], ids=["2d", "3d"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_gradient_is_that_of_finite_differences(make, grid, classes):
    logits, labels = random_pair(classes, grid, scale=1.0)
    labels[0, 0] = 255
    loss = make()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits, eps=1e-6, atol=1e-6, fast_mode=True)


@smooth_loss
def test_soft_labels_have_the_gradient_of_finite_differences(make):
    loss = make()
    if isinstance(loss, losses.DualFocalLoss):
        pytest.skip("has no form for soft labels, and says so")
    logits, _ = random_pair(3, (4, 5), scale=1.0)
    soft = torch.softmax(random_pair(3, (4, 5), seed=1)[0].detach(), dim=1)
    soft[0, :, 0] = 0
    assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits, eps=1e-6, atol=1e-6, fast_mode=True)


@every_loss
def test_one_hot_soft_labels_equal_integer_labels(make):
    loss = make()
    if isinstance(loss, losses.DualFocalLoss):
        pytest.skip("has no form for soft labels, and says so")
    logits, labels = random_pair()
    soft = nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    torch.testing.assert_close(value_and_gradient(loss, logits, soft), value_and_gradient(loss, logits, labels))


@every_loss
def test_label_types_agree(make):
    logits, labels = random_pair()
    labels[0, 0] = 255
    expected = value_and_gradient(make(), logits, labels)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        torch.testing.assert_close(value_and_gradient(make(), logits, labels.to(dtype)), expected, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("grid", [(64,), (7, 9), (3, 4, 5)])
def test_ignored_voxels_have_no_gradient_and_no_influence(make, grid):
    logits, labels = random_pair(3, grid)
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(3)) < 0.3] = 255
    value, gradient = value_and_gradient(make(), logits, labels)
    ignored = (labels == 255).unsqueeze(1).expand_as(logits)
    assert (gradient[ignored] == 0).all()
    changed = torch.where(ignored, logits.detach() * -3 + 1, logits.detach())
    assert make()(changed, labels) == pytest.approx(value.item(), rel=1e-12)


@every_loss
def test_ignoring_equals_cropping(make):
    loss = make()
    if looks_around(loss):
        pytest.skip("labels beyond the crop are part of the window: see test_neighbours")
    logits, labels = random_pair(3, (8, 6))
    cropped = logits.detach()[:, :, 2:].requires_grad_()
    value, gradient = value_and_gradient(loss, cropped, labels[:, 2:])
    labels[:, :2] = 255
    ignored_value, ignored_gradient = value_and_gradient(loss, logits, labels)
    torch.testing.assert_close((ignored_value, ignored_gradient[:, :, 2:]), (value, gradient))


@every_loss
def test_all_ignored_is_zero_with_zero_gradient(make):
    logits, labels = random_pair()
    value, gradient = value_and_gradient(make(), logits, torch.full_like(labels, 255))
    assert value == 0
    assert (gradient == 0).all()


@every_loss
@pytest.mark.parametrize("ignore_index", [0, -100, 2, 77])
def test_any_ignore_index(make, ignore_index):
    logits, labels = random_pair()
    expected = value_and_gradient(make(), logits, torch.where(labels == 1, 255, labels))
    if ignore_index in (0, 2):
        labels = torch.where(labels == ignore_index, 255, labels)
        expected = value_and_gradient(make(), logits, labels)
        labels = torch.where(labels == 255, ignore_index, labels)
    else:
        labels = torch.where(labels == 1, ignore_index, labels)
    loss = make()
    loss.ignore_index = ignore_index
    torch.testing.assert_close(value_and_gradient(loss, logits, labels), expected)


@every_loss
@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["moderate", "1e4"])
@pytest.mark.parametrize("sign", [1, -1], ids=["perfect", "wrong"])
def test_extremes_are_finite_for_every_subset_of_classes(make, scale, sign):
    for present in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]):
        _, draws = random_pair(len(present), (6, 6))
        labels = torch.tensor(present)[draws % len(present)]
        hot = nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
        logits = (sign * scale * hot).requires_grad_()
        value, gradient = value_and_gradient(make(), logits, labels)
        assert torch.isfinite(value), present
        assert torch.isfinite(gradient).all(), present


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_huge_logits_are_finite_beside_ignored_voxels(make, classes):
    logits, labels = random_pair(classes, (6, 5))
    labels[0, :3] = 255
    for huge in (logits.detach().sign() * 1e4, logits.detach() * 1e4, torch.full_like(logits, -1e4)):
        for target in (labels, soft_labels(labels, classes)):
            if target.is_floating_point() and isinstance(make(), losses.DualFocalLoss):
                continue
            value, gradient = value_and_gradient(make(), huge.float().requires_grad_(), target)
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(make, dtype, classes):
    logits, labels = random_pair(classes, (9, 7))
    some = labels.clone()
    some[0, :4] = 255
    for scale in (1.0, 1e-4, 1e4):
        half = (logits.detach() * scale).clamp(-1e4, 1e4).to(dtype).requires_grad_()
        single = half.detach().float().requires_grad_()
        for target in (labels, some, some.to(torch.uint8)):
            value, gradient = value_and_gradient(make(), half, target)
            expected, expected_gradient = value_and_gradient(make(), single, target)
            assert value.dtype == torch.float32
            assert value == expected
            assert gradient.dtype == dtype
            assert torch.isfinite(expected_gradient).all()
            # A gradient beyond the range of half precision is infinite there, which is what a gradient scaler looks at.
            tolerance = 2 * torch.finfo(dtype).eps
            torch.testing.assert_close(gradient, expected_gradient.to(dtype), rtol=tolerance, atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_ignoring_equals_cropping_in_half_precision(make, classes, dtype):
    loss = make()
    if looks_around(loss):
        pytest.skip("labels beyond the crop are part of the window: see test_neighbours")
    logits, labels = random_pair(classes, (8, 6))
    half, labels = logits.detach().to(dtype), labels.to(torch.uint8)
    value, gradient = value_and_gradient(loss, half[:, :, 2:].clone().requires_grad_(), labels[:, 2:])
    labels[:, :2] = 255
    found, found_gradient = value_and_gradient(loss, half.requires_grad_(), labels)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
    assert (found_gradient[:, :, :2] == 0).all()
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(found_gradient[:, :, 2:], gradient, rtol=tolerance, atol=1e-6)


@every_loss
def test_autocast_changes_nothing(make):
    logits, labels = random_pair(3, (9, 7))
    single = logits.detach().float().requires_grad_()
    expected = value_and_gradient(make(), single, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(value_and_gradient(make(), single, labels), expected, rtol=0, atol=0)


@every_loss
def test_double_stays_double_and_single_agrees(make):
    logits, labels = random_pair(3, (9, 7))
    value, gradient = value_and_gradient(make(), logits, labels)
    single, single_gradient = value_and_gradient(make(), logits.detach().float().requires_grad_(), labels)
    assert value.dtype == gradient.dtype == torch.float64
    assert single.dtype == single_gradient.dtype == torch.float32
    torch.testing.assert_close(single.double(), value, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(single_gradient.double(), gradient, rtol=1e-4, atol=1e-6)


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)], ids=["2d", "3d"])
def test_memory_layout_does_not_matter(make, classes, grid):
    logits, labels = random_pair(classes, grid)
    labels[0, 0] = 255
    single = logits.detach().float()
    expected = value_and_gradient(make(), single.clone().requires_grad_(), labels)
    layouts = [
        single.contiguous(memory_format=torch.channels_last if len(grid) == 2 else torch.channels_last_3d),
        single.mT.contiguous().mT,
        torch.cat([single, single], dim=-1)[..., : grid[-1]],
        single.movedim(0, -1).contiguous().movedim(-1, 0),
    ]
    for layout in layouts:
        for target in (labels, labels.mT.contiguous().mT.to(torch.uint8)):
            found = value_and_gradient(make(), layout.detach().requires_grad_(), target)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    one = single[:1].clone().requires_grad_()
    spread = torch.autograd.grad(make()(one.expand_as(single), labels), one)[0]
    copied = value_and_gradient(make(), single[:1].expand_as(single).contiguous().requires_grad_(), labels)[1]
    torch.testing.assert_close(spread, copied.sum(0, keepdim=True), rtol=1e-4, atol=1e-7)


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_one_graph_can_hold_a_loss_many_times(make, classes):
    logits, labels = random_pair(classes, (7, 6))
    other = labels.flip(1)
    single, loss = logits.detach().float().requires_grad_(), make()
    before = single.detach().clone()
    outputs = [single, single[..., ::2, ::2]]
    supervised = losses.DeepSupervisionLoss(loss)(outputs, labels)
    total = loss(single, labels) + 2 * loss(single * 0.5, other) + loss(single, labels) + supervised
    found = torch.autograd.grad(total, single)[0]
    double = logits.detach().requires_grad_()
    reference = losses.DeepSupervisionLoss(make())([double, double[..., ::2, ::2]], labels)
    expected = torch.autograd.grad(2 * make()(double, labels) + 2 * make()(double * 0.5, other) + reference, double)[0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)
    assert torch.equal(single, before)


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_an_item_without_a_counted_voxel_is_as_if_it_were_not_there(make, classes):
    logits, labels = random_pair(classes, (6, 5))
    labels[0] = 255
    single = logits.detach().float().requires_grad_()
    value, gradient = value_and_gradient(make(), single, labels)
    alone = value_and_gradient(make(), single[1:].detach().requires_grad_(), labels[1:])
    assert (gradient[0] == 0).all()
    torch.testing.assert_close((value, gradient[1:]), alone, rtol=1e-5, atol=1e-7)


@every_loss
def test_one_channel_means_a_background_logit_of_zero(make):
    logits, labels = random_pair(1, (6, 5))
    two = torch.cat([torch.zeros_like(logits), logits], dim=1).detach().requires_grad_()
    value, gradient = value_and_gradient(make(), logits, labels)
    expected, expected_gradient = value_and_gradient(make(), two, labels)
    torch.testing.assert_close((value, gradient), (expected, expected_gradient[:, 1:]))


@every_loss
def test_class_weights_are_saved_and_used(make):
    loss = make()
    if isinstance(loss, losses.TwoClassDiceLoss):
        pytest.skip("its halves weigh alike by definition: it takes no class weights")
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    loss.register_buffer("class_weights", weights)
    logits, labels = random_pair()
    heavy = loss(logits, labels)
    assert "class_weights" in loss.state_dict()
    assert heavy != make()(logits, labels)


@every_loss
def test_class_weights_of_the_wrong_number_are_refused(make):
    loss = make()
    if isinstance(loss, losses.TwoClassDiceLoss):
        pytest.skip("its halves weigh alike by definition: it takes no class weights")
    loss.register_buffer("class_weights", torch.ones(5))
    with pytest.raises(ValueError, match="class_weights has 5 entries, but the logits have 3 classes"):
        loss(*random_pair())


@every_loss
def test_wrong_inputs_are_named(make):
    logits, labels = random_pair()
    with pytest.raises(ValueError, match="target"):
        make()(logits, labels[:, :-1])
    with pytest.raises(ValueError, match="target holds the label 7"):
        make()(logits, torch.full_like(labels, 7))
    with pytest.raises(ValueError, match="target holds the label -1"):
        make()(logits, labels - 1)
    with pytest.raises(ValueError, match="logits"):
        make()(labels, labels)


@every_loss
def test_components_add_up_to_what_can_be_logged(make):
    loss = make()
    if not hasattr(loss, "components"):
        pytest.skip("a single term")
    parts = loss.components(*random_pair())
    assert len(parts) > 1
    assert all(part.ndim == 0 and torch.isfinite(part) for part in parts.values())


@every_loss
def test_repr_and_state_survive(make):
    loss = make()
    assert type(loss).__name__ in repr(loss)
    copy = make()
    copy.load_state_dict(loss.state_dict())


@pytest.mark.parametrize("name", losses.__all__)
def test_every_argument_is_in_the_signature_and_documented(name):
    cls = getattr(losses, name)
    parameters = inspect.signature(cls).parameters.values()
    assert all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters)
    for parameter in parameters:
        assert f"        {parameter.name}: " in cls.__doc__


@pytest.mark.parametrize("name", BASIC)
def test_every_loss_takes_an_ignore_index_and_an_example_shows_it_at_work(name):
    cls = getattr(losses, name)
    assert "ignore_index" in inspect.signature(cls).parameters
    assert f">>> losses.{name}(" in cls.__doc__.replace("loss = ", "")


def test_every_loss_stands_in_the_table_of_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    table = page.partition("## Which loss")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+Loss)`", table)) == set(losses.__all__) - {"OverlapLoss"}


def test_defaults_of_the_design():
    expected = {
        "DiceLoss": {"gamma": 1.0},
        "DicePlusPlusLoss": {"gamma": 2.0},
        "TverskyLoss": {"fn_weight": 0.7, "fp_weight": 0.3, "gamma": 1.0},
        "TverskyPlusPlusLoss": {"fn_weight": 0.7, "fp_weight": 0.3, "gamma": 2.0},
        "FocalTverskyLoss": {"exponent": 0.75, "gamma": 1.0},
        "FocalTverskyPlusPlusLoss": {"exponent": 0.75, "gamma": 2.0},
        "UnifiedFocalLoss": {"weight": 0.5, "delta": 0.6, "exponent": 0.5, "gamma": 1.0},
        "UnifiedFocalPlusPlusLoss": {"weight": 0.5, "delta": 0.6, "exponent": 0.5, "gamma": 2.0},
        "GeneralizedDiceLoss": {"weighting": "square", "absent": "max"},
        "MarginLabelSmoothingLoss": {"margin": 10.0, "alpha": 0.1, "penalty": "l1"},
        "NeighborAwareCalibrationLoss": {"alpha": 0.1, "kernel": "mean"},
        "AverageCalibrationLoss": {"binning": "hard", "num_bins": 20},
    }
    for name, values in expected.items():
        loss = getattr(losses, name)()
        assert {key: getattr(loss, key) for key in values} == values
        assert loss.ignore_index == 255


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.DicePlusPlusLoss(gamma=0), "gamma must be in"),
        (lambda: losses.DicePlusPlusLoss(gamma=float("nan")), "gamma must be in"),
        (lambda: losses.DiceLoss(pool="volume"), "pool must be one of image, batch, got 'volume'"),
        (lambda: losses.DiceLoss(absent="no"), "absent must be one of"),
        (lambda: losses.DiceLoss(class_weights=[-1.0, 2.0]), "class_weights"),
        (lambda: losses.GeneralizedDiceLoss("cubic"), "weighting must be one of"),
        (lambda: losses.FocalLoss(-1), "gamma must be in"),
        (lambda: losses.FocalLoss(alpha=[-1.0, 1.0]), "alpha"),
        (lambda: losses.MarginLabelSmoothingLoss(penalty="l3"), "penalty must be one of"),
        (lambda: losses.SpatiallyVaryingLabelSmoothingLoss(kernel_size=2), "kernel_size must be odd"),
        (lambda: losses.AverageCalibrationLoss(num_bins=0), "num_bins must be in"),
        (lambda: losses.WeightedSumLoss({}), "losses must name"),
        (lambda: losses.WeightedSumLoss({"a": losses.DiceLoss()}, {"b": 1.0}), "weights names"),
        (lambda: losses.DeepSupervisionLoss(losses.DiceLoss(), []), "weights must be"),
    ],
)
def test_arguments_are_validated(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_loss_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in ALL.values():
            value_and_gradient(make(), *random_pair())


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 2)], ids=["2d", "3d"])
def test_nan_in_is_nan_out(make, classes, grid):
    """A loss that hides a NaN would pass the trainer's stop for losses that are not finite."""
    logits, labels = random_pair(classes, grid)
    logits.data[(1, -1, *[1] * len(grid))] = torch.nan
    for dtype in (torch.float32, torch.float64):
        for target in (labels, soft_labels(labels, classes).to(dtype)):
            if not (target.is_floating_point() and isinstance(make(), losses.DualFocalLoss)):
                assert torch.isnan(make()(logits.to(dtype), target))


@every_loss
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (0, 2, 4, 4, 4)])
def test_an_empty_batch_is_refused(make, shape):
    with pytest.raises(ValueError, match="at least one item and one voxel, got the shape"):
        make()(torch.zeros(shape, requires_grad=True), torch.zeros(shape[0], *shape[2:], dtype=torch.long))


#: Every class alone, every pair, all three; and a class that fills the image but for one voxel.
FILLINGS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2), "0 but one", "1 but one", "2 but one"]


@every_loss
@pytest.mark.parametrize("grid", [(24, 24), (6, 8, 7)], ids=["2d", "3d"])
@pytest.mark.parametrize("classes", [2, 3])
def test_single_precision_has_the_gradient_of_double_whichever_classes_fill_the_image(make, classes, grid):
    logits, draws = random_pair(classes, grid, scale=1.0)
    logits = logits.detach().float()
    for filling in FILLINGS:
        present = torch.tensor([k for k in range(classes) if str(k) in str(filling)] or [0])
        labels = present[draws % len(present)]
        if isinstance(filling, str):
            labels.view(2, -1)[:, 0] = (present[0] + 1) % classes
        value, gradient = value_and_gradient(make(), logits.clone().requires_grad_(), labels)
        exact, exact_gradient = value_and_gradient(make(), logits.double().requires_grad_(), labels)
        assert value.item() == pytest.approx(exact.item(), rel=5e-5, abs=1e-7), filling
        error = (gradient - exact_gradient).abs().max() / exact_gradient.abs().max().clamp_min(1e-12)
        assert error <= 2e-5, filling
