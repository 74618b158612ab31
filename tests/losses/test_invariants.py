"""Properties that hold whatever the numbers: symmetries, limits, special cases, one path against the other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import losses
from losses.engine import chunks
from tests.losses.cases import random_pair, value_and_gradient
from tests.losses.test_contract import ALL, every_loss, looks_around

few = settings(max_examples=15, deadline=None)
cases = st.fixed_dictionaries(
    {
        "classes": st.integers(2, 5),
        "grid": st.sampled_from([(7,), (4, 5), (3, 4, 2)]),
        "items": st.integers(1, 3),
        "seed": st.integers(0, 10_000),
        "scale": st.sampled_from([0.1, 1.0, 4.0]),
    }
)
overlap_losses = st.sampled_from(
    [losses.DiceLoss, losses.DicePlusPlusLoss, losses.TverskyPlusPlusLoss, losses.FocalTverskyPlusPlusLoss]
)
close = {"rtol": 1e-9, "atol": 1e-12}


@every_loss
def test_order_of_the_items_does_not_matter(make):
    logits, labels = random_pair(items=3)
    torch.testing.assert_close(make()(logits.flip(0), labels.flip(0)), make()(logits, labels), **close)


@every_loss
def test_order_of_the_voxels_does_not_matter(make):
    loss = make()
    if looks_around(loss):
        pytest.skip("neighbours are the point")
    logits, labels = random_pair(grid=(6, 5))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = loss(logits.flatten(2)[..., order], labels.flatten(1)[..., order])
    torch.testing.assert_close(shuffled, loss(logits, labels), **close)


@every_loss
def test_mirrored_voxels_give_the_same(make):
    logits, labels = random_pair(grid=(6, 5))
    torch.testing.assert_close(make()(logits.flip(3), labels.flip(2)), make()(logits, labels), **close)


@every_loss
def test_a_common_shift_of_the_logits_does_not_matter(make):
    loss = make()
    if isinstance(loss, losses.NeighborAwareCalibrationLoss | losses.ConstrainedRegionLoss):
        pytest.skip("steers the raw logits")
    if getattr(loss, "normalize", None) == "largest":
        pytest.skip("divides by the raw logit")
    logits, labels = random_pair()
    torch.testing.assert_close(loss(logits + 3.7, labels), loss(logits, labels), rtol=1e-8, atol=1e-10)


@every_loss
def test_names_of_the_foreground_classes_do_not_matter(make):
    logits, labels = random_pair(4)
    names = torch.tensor([0, 3, 1, 2])
    renamed = make()(logits[:, names.argsort()], names[labels])
    torch.testing.assert_close(renamed, make()(logits, labels), **close)


@every_loss
def test_a_stack_of_slices_is_a_volume(make):
    loss = make()
    if looks_around(loss):
        pytest.skip("a volume's windows reach into the next slice")
    logits, labels = random_pair(3, (4, 5), items=3)
    volume = logits.movedim(0, 1)[None]
    flat = logits.movedim(0, 1).flatten(2, 3)[None].squeeze(2)
    torch.testing.assert_close(loss(volume, labels[None]), loss(flat.reshape(1, 3, -1), labels.reshape(1, -1)), **close)


@given(cases)
@few
def test_exponent_one_is_dice(case):
    logits, labels = random_pair(**case)
    plain = losses.DiceLoss(smooth=1e-7, clip=1e-7)
    torch.testing.assert_close(losses.DicePlusPlusLoss(gamma=1)(logits, labels), plain(logits, labels), **close)
    torch.testing.assert_close(
        losses.DicePlusPlusLoss(gamma=1, clip=0.0)(logits, labels),
        losses.DiceLoss()(logits, labels),
        rtol=0, atol=1e-5,
    )  # fmt: skip


@given(cases)
@few
def test_even_tversky_is_dice(case):
    logits, labels = random_pair(**case)
    for gamma in (1.0, 1.7, 2.0):
        tversky = losses.TverskyLoss(0.5, 0.5, gamma, smooth=5e-8)
        dice = losses.DicePlusPlusLoss(gamma)
        torch.testing.assert_close(tversky(logits, labels), dice(logits, labels), **close)


@given(cases)
@few
def test_special_cases_of_cross_entropy(case):
    logits, labels = random_pair(**case)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    for loss in (
        losses.CrossEntropyLoss(clip=0),
        losses.FocalLoss(0),
        losses.LabelSmoothingLoss(0),
        losses.EntropyPenaltyLoss(0),
        losses.MarginLabelSmoothingLoss(alpha=0),
        losses.MarginLabelSmoothingLoss(margin=1e3),
        losses.NeighborAwareCalibrationLoss(alpha=0),
        losses.ConfidenceAccuracyLoss(alpha=0),
        losses.ClasswiseConfidenceAccuracyLoss(beta=0, gamma=0),
        losses.ComboLoss(overlap_weight=0, clip=0.0),
        losses.AsymmetricFocalLoss(delta=0.5, exponent=0, clip=0.0),
    ):
        value = loss(logits, labels) * (2 if isinstance(loss, losses.AsymmetricFocalLoss) else 1)
        torch.testing.assert_close(value, expected, **close)


@given(cases)
@few
def test_compounds_are_the_sum_of_their_parts(case):
    logits, labels = random_pair(**case)
    cross_entropy = losses.CrossEntropyLoss()
    pairs = [
        (losses.ComboPlusPlusLoss(), losses.DicePlusPlusLoss()(logits, labels) + cross_entropy(logits, labels)),
        (
            losses.MarginDiceLoss(margin=1.0),
            losses.DiceLoss(include_background=False)(logits, labels)
            + losses.MarginLabelSmoothingLoss(margin=1.0)(logits, labels),
        ),
        (
            losses.UnifiedFocalPlusPlusLoss(),
            0.5 * losses.AsymmetricFocalTverskyLoss(0.6, 0.5, 2.0)(logits, labels)
            + 0.5 * losses.AsymmetricFocalLoss(0.6, 0.5)(logits, labels),
        ),
        (
            losses.WeightedSumLoss({"a": losses.DiceLoss(), "b": cross_entropy}, {"b": 0.3}),
            losses.DiceLoss()(logits, labels) + 0.3 * cross_entropy(logits, labels),
        ),
    ]
    for compound, expected in pairs:
        torch.testing.assert_close(compound(logits, labels), expected, **close)


@given(cases, overlap_losses)
@few
def test_losses_lie_between_zero_and_one(case, kind):
    logits, labels = random_pair(**case)
    for loss in (kind(), losses.GeneralizedDiceLoss(), losses.TwoClassDiceLoss(), losses.AverageCalibrationLoss()):
        assert -1e-12 <= loss(logits, labels).item() <= 1 + 1e-12


@pytest.mark.parametrize("size", [4, 16, 64])
@pytest.mark.parametrize("confidence", [-8.0, 0.0, 8.0])
def test_one_voxel_of_foreground_at_every_size(size, confidence):
    labels = torch.zeros(1, size, size, size, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 1
    logits = torch.zeros(1, 2, size, size, size)
    logits[:, 1] = confidence
    logits.requires_grad_()
    for name in ("DiceLoss", "DicePlusPlusLoss", "TverskyPlusPlusLoss", "GeneralizedDiceLoss", "TwoClassDiceLoss"):
        value, gradient = value_and_gradient(getattr(losses, name)(), logits, labels)
        assert 0 <= value <= 1, name
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0, name


@pytest.mark.slow
def test_one_voxel_of_foreground_in_sixteen_million():
    """Slow: 256^3 voxels, several losses."""
    labels = torch.zeros(1, 256, 256, 256, dtype=torch.uint8)
    labels[0, 0, 0, 0] = 1
    logits = torch.zeros(1, 1, 256, 256, 256, requires_grad=True)
    for name in ("DicePlusPlusLoss", "GeneralizedDiceLoss"):
        value, gradient = value_and_gradient(getattr(losses, name)(), logits, labels)
        assert 0 <= value <= 1, name
        assert torch.isfinite(gradient).all()


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_size_of_the_chunks_does_not_matter(make, classes, monkeypatch):
    logits, labels = random_pair(classes, (5, 4), items=3)
    labels[1, :2] = 255
    expected = value_and_gradient(make(), logits, labels)
    single = logits.detach().float().requires_grad_()
    expected_single = value_and_gradient(make(), single, labels)
    for elements in (1, 20, 100, 10**6):  # a voxel, a part of an item, some items, all
        monkeypatch.setattr(chunks, "CPU_ELEMENTS", elements)
        torch.testing.assert_close(value_and_gradient(make(), logits, labels), expected, rtol=1e-9, atol=1e-12)
        found = value_and_gradient(make(), single, labels)
        torch.testing.assert_close(found, expected_single, rtol=2e-5, atol=1e-7)


@every_loss
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_backward_twice_gives_the_same(make, classes):
    logits, labels = random_pair(classes, (9, 8))
    labels[0, 0] = 255
    single = logits.detach().float().requires_grad_()
    value = make()(single, labels)
    first = torch.autograd.grad(value, single, retain_graph=True)[0].clone()
    second = torch.autograd.grad(value, single)[0]
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-7)


@every_loss
def test_no_gradient_wanted_costs_no_graph(make):
    logits, labels = random_pair()
    with torch.no_grad():
        assert not make()(logits, labels).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(make()(logits.detach().clone(), labels), make()(logits, labels).detach())


@pytest.mark.parametrize("name", ["DicePlusPlusLoss", "CrossEntropyLoss", "ComboLoss", "MarginDiceLoss"])
@pytest.mark.parametrize("shape", [(2, 2, 96, 96), (1, 4, 24, 24, 24)])
def test_single_precision_is_right_to_a_tenth_of_a_millionth(name, shape):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    loss = getattr(losses, name)()
    single = logits.float().requires_grad_()
    value, gradient = value_and_gradient(loss, single, labels)
    exact, exact_gradient = value_and_gradient(loss, single.detach().double().requires_grad_(), labels)
    assert abs(value.item() - exact.item()) <= 1e-7 * max(1, exact.item())
    assert (gradient - exact_gradient).abs().max() <= 1e-6 * exact_gradient.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [ALL[name] for name in ("DicePlusPlusLoss", "DicePlusPlusLoss(1.5)", "ComboLoss", "MarginDiceLoss")],
    ids=["dsc", "dsc-1.5", "combo", "margin-dice"],
)
def test_compiled_equals_eager(make):
    """Slow: the compiler takes seconds a loss."""
    logits, labels = random_pair(3, (8, 8))
    single = logits.detach().float().requires_grad_()
    expected = value_and_gradient(make(), single, labels)
    torch._dynamo.reset()
    compiled = torch.compile(make())
    torch.testing.assert_close(value_and_gradient(compiled, single, labels), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@every_loss
def test_the_graph_for_a_compiler_is_whole_and_gives_the_same(make):
    """Slow: tracing takes a second a loss."""
    logits, labels = random_pair(2, (8, 8))
    labels[0, 0] = 255
    single = logits.detach().float().requires_grad_()
    expected = value_and_gradient(make(), single, labels)
    torch._dynamo.reset()
    traced = torch.compile(make(), backend="eager", fullgraph=True)
    torch.testing.assert_close(value_and_gradient(traced, single, labels), expected, rtol=1e-5, atol=1e-7)


def test_deep_supervision_halves_the_weight_from_level_to_level():
    logits, labels = random_pair(3, (8, 8))
    coarse, coarsest = random_pair(3, (4, 4), seed=1)[0], random_pair(3, (2, 2), seed=2)[0]
    loss = losses.DiceLoss()
    found = losses.DeepSupervisionLoss(loss)([logits, coarse, coarsest], labels)
    expected = (
        4 * loss(logits, labels) + 2 * loss(coarse, labels[:, 1::2, 1::2]) + loss(coarsest, labels[:, 2::4, 2::4])
    ) / 7
    torch.testing.assert_close(found, expected)
    weighted = losses.DeepSupervisionLoss(loss, [1, 0, 0])([logits, coarse, coarsest], labels)
    torch.testing.assert_close(weighted, loss(logits, labels))
    torch.testing.assert_close(losses.DeepSupervisionLoss(loss)(logits, labels), loss(logits, labels))
    with pytest.raises(ValueError, match="weights has 2 entries, but the network returned 3"):
        losses.DeepSupervisionLoss(loss, [1, 1])([logits, coarse, coarsest], labels)


def test_a_loss_from_elsewhere_gets_int64_labels_in_sums_and_under_deep_supervision():
    logits, labels = random_pair(3, (8, 8))
    outputs = [logits, random_pair(3, (4, 4), seed=1)[0]]
    theirs = losses.DeepSupervisionLoss(losses.WeightedSumLoss({"a": torch.nn.CrossEntropyLoss()}))
    ours = losses.DeepSupervisionLoss(losses.CrossEntropyLoss())
    torch.testing.assert_close(theirs(outputs, labels.to(torch.uint8)), ours(outputs, labels))


def test_deep_supervision_takes_soft_labels_and_odd_sizes():
    soft = torch.softmax(random_pair(3, (9, 7))[0].detach(), 1)
    outputs = [random_pair(3, (9, 7))[0], random_pair(3, (5, 4), seed=1)[0]]
    assert torch.isfinite(losses.DeepSupervisionLoss(losses.ComboLoss())(outputs, soft))


@pytest.mark.parametrize("kind", [losses.ClassAdaptiveMarginLoss, losses.ConstrainedRegionLoss])
@pytest.mark.parametrize("penalty", ["phr", "p2", "p3"])
def test_multipliers_are_the_mean_slopes(kind, penalty):
    loss = kind(margin=0.5, penalty=penalty, multiplier=0.1, rho=2.0, rho_every=1)
    logits, _ = random_pair(3, (9, 6))
    labels = (torch.arange(9) // 3).view(1, 9, 1).expand(2, 9, 6).contiguous()
    before = loss(logits, labels)
    loss.observe(logits, labels)
    loss.observe(logits, labels)
    loss.update_multipliers()
    seen = loss.multipliers[:, :3]
    assert (seen != 0.1).all()
    assert (loss.multipliers[:, 3:] == 0.1).all()
    assert (loss.rho[:, 3:] == 2.0).all()
    assert torch.isfinite(loss.violation[:, :3]).all()
    assert loss(logits, labels) != before
    if kind is losses.ClassAdaptiveMarginLoss and penalty == "phr":
        distance = logits.amax(1, keepdim=True) - logits - 0.5
        expected = (0.1 + 2.0 * distance).relu().mean((0, 2, 3))
        torch.testing.assert_close(seen[0], expected)


def test_penalty_parameters_grow_where_the_violation_stays():
    loss = losses.ClassAdaptiveMarginLoss(margin=0.1, rho_every=2)
    logits, labels = random_pair(3, (6, 6))
    for expected in (1.0, 1.0, 1.0, 1.2, 1.2, 1.44):
        loss.observe(logits, labels)
        loss.update_multipliers()
        torch.testing.assert_close(loss.rho[0, :3], torch.full((3,), expected, dtype=torch.float64))
    for _ in range(60):
        loss.observe(logits, labels)
        loss.update_multipliers()
    assert loss.rho.max() == 10


def test_normalised_constraints_are_divided_as_published():
    logits, labels = random_pair(3, (6, 5), scale=3.0)
    distance, largest = logits.amax(1, keepdim=True) - logits - 2.0, logits.amax(1, keepdim=True).clamp_min(1e-3)
    for normalize, divisor in (("none", 1.0), ("margin", 2.0), ("largest", largest)):
        loss = losses.ClassAdaptiveMarginLoss(2.0, normalize, multiplier=0.3, rho=1.5)
        expected = (((0.3 + 1.5 * distance / divisor).relu() ** 2 - 0.09) / 3.0).mean()
        torch.testing.assert_close(loss.components(logits, labels)["penalty"], expected)
    with pytest.raises(ValueError, match="margin must be in"):
        losses.ClassAdaptiveMarginLoss(0.0, "margin")


def test_weights_of_classes_follow_their_penalties():
    loss = losses.ClassAdaptiveHingeLoss(margin=1.0, alpha=0.5)
    logits, labels = random_pair(3, (6, 5), scale=3.0)
    hinge = (logits.amax(1, keepdim=True) - logits - 1.0).relu()
    torch.testing.assert_close(loss.components(logits, labels)["penalty"], 0.5 * hinge.mean())
    scores = []
    for scale in (1.0, 1.0, torch.tensor([2.0, 1.0, 0.5]).view(1, 3, 1, 1)):
        before = loss.multipliers.clone()
        loss.observe(logits * scale, labels)
        loss.update_multipliers()
        z = logits.detach() * scale
        scores.append((before[0, :3].view(1, 3, 1, 1) * (z.amax(1, keepdim=True) - z - 1.0).relu()).mean((0, 2, 3)))
        if len(scores) > 1:
            growth = torch.where(scores[-1] > 1.1 * scores[-2], 1.1, 1.0).double()
            growth = torch.where(scores[-1] < scores[-2] / 1.1, 1 / 1.1, growth)
            torch.testing.assert_close(loss.multipliers[0, :3], before[0, :3] * growth)
        else:
            assert torch.equal(loss.multipliers, before)
    assert (loss.multipliers[0, :3] != 0.5).any()
    assert (loss.multipliers[0, 3:] == 0.5).all()
