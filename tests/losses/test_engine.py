"""What runs fast gives what the formulas of the families give, and says what it can not do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import losses
from losses.base import LossOfParts, SegmentationLoss, mean_of_items
from losses.cross_entropy import OwnCostLoss
from losses.engine import Cost, Summed, Terms
from losses.engine.fast import Pick
from losses.engine.inputs import flatten_pair
from tests.losses.cases import random_pair, value_and_gradient
from tests.losses.test_contract import ALL, every_loss

#: More exponents and compounds than the contract's variants hold.
MORE = {
    "DiceLoss(gamma 2, clip)": lambda: losses.DiceLoss(gamma=2.0, clip=1e-7),
    "DiceLoss(gamma 2.5)": lambda: losses.DiceLoss(gamma=2.5),
    "TverskyPlusPlusLoss(1.5)": lambda: losses.TverskyPlusPlusLoss(0.9, 0.1, 1.5),
    "ComboPlusPlusLoss(3)": lambda: losses.ComboPlusPlusLoss(gamma=3.0),
    "UnifiedFocalPlusPlusLoss(1.7)": lambda: losses.UnifiedFocalPlusPlusLoss(gamma=1.7, exponent=0.3),
    "MarginDiceLoss(1, all)": lambda: losses.MarginDiceLoss(margin=0.5, include_background=True),
    "NeighborAwareCalibrationLoss(l2)": lambda: losses.NeighborAwareCalibrationLoss(distance="l2"),
    "ConstrainedRegionLoss(p2)": lambda: losses.ConstrainedRegionLoss(margin=0.5, penalty="p2", multiplier=0.5),
    "ClassAdaptiveMarginLoss(phr)": lambda: losses.ClassAdaptiveMarginLoss(0.5, multiplier=0.5),
}
RUN = ALL | MORE


@pytest.mark.parametrize("make", RUN.values(), ids=RUN.keys())
@pytest.mark.parametrize(("classes", "grid"), [(1, (7, 6)), (2, (4, 5, 3)), (4, (7, 6)), (3, (4, 5, 3))])
def test_fast_path_equals_the_formula(make, classes, grid, monkeypatch):
    logits, labels = random_pair(classes, grid, scale=1.5)
    weights = torch.rand(max(classes, 2), dtype=torch.float64) + 0.5
    loss = make()
    if not isinstance(loss, losses.TwoClassDiceLoss):
        loss.register_buffer("class_weights", weights)
    for ignored in (False, True):
        if ignored:
            labels[0, :2], labels[1, 0] = 255, 255
        fast = value_and_gradient(loss, logits, labels)
        with monkeypatch.context() as patch:
            patch.setattr(type(loss), "fast", lambda self: None)
            formula = value_and_gradient(loss, logits, labels)
        # Clipped labels leak by the first terms of a series where the exponent is neither 1 nor 2.
        torch.testing.assert_close(fast, formula, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_is_held_to_its_formula(name):
    kind = getattr(losses, name)
    if issubclass(kind, SegmentationLoss) and name not in ("OverlapLoss", "SegmentationLoss", "LossOfParts"):
        assert name in RUN


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(outside=numbers, inside=numbers)
@settings(max_examples=50, deadline=None)
def test_a_pick_is_exact_on_both_sides(outside, inside):
    pair = [torch.tensor([[v]], dtype=torch.float64) for v in (outside, inside)]
    labels = torch.tensor([[[0.0, 1.0]]])
    found = Pick.of(*pair, torch.float32)(slice(0, 1), labels, torch.empty(1, 1, 2))
    torch.testing.assert_close(found.double().flatten(), torch.cat(pair).flatten(), rtol=2e-6, atol=1e-30)


class Spherical(SegmentationLoss):
    """A formula that the engine has never seen, without slopes."""

    def summands(self, voxels):
        size = voxels.probs.square().sum(1, keepdim=True).sqrt()
        return {"voxels": voxels.counted, "score": (voxels.labels * voxels.probs / size).sum(1, keepdim=True)}

    def value(self, sums, weights):
        return mean_of_items(1 - sums.score[:, 0] / sums.voxels[:, 0].clamp_min(1), sums.voxels)


def test_a_formula_without_slopes_works():
    logits, labels = random_pair(3, (6, 5))
    labels[0, 0] = 255
    assert torch.autograd.gradcheck(lambda z: Spherical()(z, labels), logits)
    probs = logits.softmax(1)
    own = (probs.gather(1, labels.clamp(0, 2)[:, None])[:, 0] / probs.square().sum(1).sqrt()) * (labels != 255)
    expected = (1 - own.flatten(1).sum(1) / (labels != 255).flatten(1).sum(1)).mean()
    torch.testing.assert_close(Spherical()(logits, labels), expected)


class Polynomial(OwnCostLoss):
    """A cost of the own log probability without a factor for its slope: (1 - p) l^2."""

    def own_cost(self):
        return Cost(0.0, lambda nll, rest, foreground: rest * nll.square())


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_cost_without_a_slope_works(classes):
    logits, labels = random_pair(classes, (6, 5), scale=1.0)
    labels[0, 0] = 255
    assert torch.autograd.gradcheck(lambda z: Polynomial()(z, labels), logits)


def test_parts_that_are_summed_already_keep_their_axis():
    class Moments(LossOfParts):
        def summands(self, voxels):
            powers = torch.stack([voxels.probs * voxels.labels, voxels.probs.square() * voxels.labels], dim=-1)
            return {"volume": voxels.labels, "moments": Summed(powers.sum(2))}

        def parts(self, sums, weights):
            first, second = (sums.moments.sum((0, 1)) / sums.volume.sum()).unbind()
            return {"first": 1 - first, "second": 1 - second}

    logits, labels = random_pair(3, (6, 5))
    own = logits.softmax(1).gather(1, labels[:, None])
    parts = Moments().components(logits, labels)
    torch.testing.assert_close(parts, {"first": 1 - own.mean(), "second": 1 - own.square().mean()})
    torch.testing.assert_close(Moments()(logits, labels), 2 - own.mean() - own.square().mean())


@every_loss
def test_a_second_derivative_is_refused_in_words(make):
    logits, labels = random_pair(2, (4, 4))
    loss = make()
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits, create_graph=True)
    torch.testing.assert_close(gradient.detach(), value_and_gradient(loss, logits, labels)[1])
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("transform", [lambda f, z: torch.func.vmap(f)(z), lambda f, z: torch.func.grad(f)(z[0])])
def test_transforms_of_functions_are_refused_in_words(transform):
    logits, labels = random_pair(3, (4, 4))
    loss = losses.DicePlusPlusLoss()
    with pytest.raises(NotImplementedError, match=r"no rules for torch\.func .*: loop over the items"):
        transform(lambda z: loss(z[None], labels[:1]), logits.detach())


class OnMps:
    """As much of a tensor on an Apple GPU as the check of the inputs looks at."""

    shape, ndim, dtype, device = (1, 2, 4, 4), 4, torch.float32, torch.device("mps")

    def is_floating_point(self):
        return True

    def numel(self):
        return 32


def test_a_device_without_double_precision_is_refused_in_words(monkeypatch):
    monkeypatch.setattr("losses.engine.inputs.Tensor", OnMps)
    with pytest.raises(ValueError, match=r"double precision, which mps lacks: .* --trainer\.accelerator cpu"):
        flatten_pair(OnMps(), torch.zeros(1, 4, 4, dtype=torch.long))


def test_numbers_in_double_precision_stay_so_when_the_module_is_cast():
    weights = [0.1, 0.9]
    loss = losses.WeightedSumLoss(
        {"a": losses.CrossEntropyLoss(class_weights=weights), "b": losses.ClassAdaptiveMarginLoss(1.0)}
    ).bfloat16()
    assert loss.losses["a"].class_weights.tolist() == weights
    assert loss.losses["b"].multipliers.dtype == torch.float64
    assert loss.half().to("cpu").losses["a"].class_weights.dtype == torch.float64


def test_terms_say_what_they_sum():
    loss = losses.MarginDiceLoss(margin=3.0)
    assert loss.fast() == Terms(1.0, 0.0, True, Cost(), 3.0)
