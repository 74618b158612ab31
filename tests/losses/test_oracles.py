"""Numbers from elsewhere: unit vectors of the references, closed forms, the peers where they are right."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import losses
from losses.engine import Terms, voxel_sums
from losses.overlap import dice_loss, overlap_summands
from tests.losses.cases import random_pair, value_and_gradient

REFERENCE = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0]])
FOREGROUND = torch.tensor([[0.9, 0.6, 0.3, 0.1], [0.2, 0.8, 0.05, 0.4]], dtype=torch.float64)


def reference_pair():
    """The 2x4 sample of the references, as logits and labels."""
    probs = torch.stack([1 - FOREGROUND, FOREGROUND])
    return probs.log()[None].requires_grad_(), REFERENCE[None]


@pytest.mark.parametrize(
    ("gamma", "missed", "spurious", "foreground", "background"),
    [
        (1.0, 0.7, 1.05, 0.275591, 0.181347),
        (1.5, 0.374048, 0.549545, 0.167209, 0.104673),
        (2.0, 0.21, 0.3025, 0.100244, 0.060921),
        (3.0, 0.073, 0.100125, 0.036271, 0.021445),
    ],
)
def test_unit_vector_of_dsc_plus_plus(gamma, missed, spurious, foreground, background):
    s = voxel_sums(*reference_pair(), 255, partial(overlap_summands, gamma=gamma), Terms(gamma))
    assert s.overlap[0, 1].item() == pytest.approx(2.3)
    assert s.missed[0, 1].item() == pytest.approx(missed, abs=1e-6)
    assert s.spurious[0, 1].item() == pytest.approx(spurious, abs=1e-6)
    np.testing.assert_allclose(dice_loss(s, 0.0)[0].detach(), [background, foreground], atol=1e-6)
    loss = losses.DicePlusPlusLoss(gamma=gamma)
    assert loss(*reference_pair()).item() == pytest.approx((foreground + background) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "tversky", "focal"),
    [(1.0, 0.226157, 0.327288), (1.5, 0.134114, 0.221036), (2.0, 0.079359, 0.149059), (3.0, 0.028417, 0.068952)],
)
def test_unit_vector_of_tversky_plus_plus(gamma, tversky, focal):
    assert losses.TverskyPlusPlusLoss(gamma=gamma)(*reference_pair()).item() == pytest.approx(tversky, abs=1e-6)
    assert losses.FocalTverskyPlusPlusLoss(gamma=gamma)(*reference_pair()).item() == pytest.approx(focal, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (losses.CrossEntropyLoss(), 0.260828),
        (losses.BrierLoss(), 2 * 0.064063),
        (losses.WeightedCrossEntropyLoss("prediction"), 0.3015422061),
        (losses.WeightedCrossEntropyLoss("target"), 0.3307725934),
        (losses.TwoClassDiceLoss(printed=True), 0.2284672342),
        (losses.TwoClassDiceLoss(epsilon=0), 0.2284688507),
        (losses.SensitivitySpecificityLoss(), 0.0609748734),
        (losses.SensitivitySpecificityLoss(channels="all"), 0.1304996457),
        (losses.SensitivitySpecificityLoss(0.7, channels="all"), 0.1304996457),
        (losses.GeneralizedDiceLoss(), 0.2422638436),
        (losses.GeneralizedDiceLoss("simple"), 0.2306425041),
        (losses.GeneralizedDiceLoss("uniform"), 0.21875),
    ],
)
def test_unit_vector_of_generalised_dice(loss, value):
    assert loss(*reference_pair()).item() == pytest.approx(value, abs=1e-6)


def test_two_class_dice_of_nothing_is_zero_and_printed_is_not():
    logits = torch.tensor([[[60.0] * 8, [-60.0] * 8]], dtype=torch.float64)
    nothing = torch.zeros(1, 8, dtype=torch.long)
    assert losses.TwoClassDiceLoss()(logits, nothing).item() == pytest.approx(0, abs=1e-9)
    assert losses.TwoClassDiceLoss(printed=True)(logits, nothing).item() == pytest.approx(-0.5, abs=1e-5)


def test_printed_gradient_of_generalised_dice_has_the_wrong_sign():
    logits, labels = reference_pair()
    gradient = value_and_gradient(losses.GeneralizedDiceLoss(), logits, labels)[1][:, 1]
    p, r = FOREGROUND, REFERENCE.double()
    slope = gradient / (p * (1 - p))
    w1, w2 = 1 / r.sum() ** 2, 1 / (1 - r).sum() ** 2
    n, mass = r.numel(), (r + p).sum()
    top = (w1**2 - w2**2) * ((p * r).sum() - r * mass) + n * w2 * (w1 + w2) * (1 - 2 * r)
    printed = -2 * top / ((w1 - w2) * mass + 2 * n * w2) ** 2
    torch.testing.assert_close(slope, -printed[None])
    torch.testing.assert_close(slope[0, 0, 0].item(), -0.154219, atol=1e-6, rtol=0)
    torch.testing.assert_close(slope[0, 1, 0].item(), 0.122654, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("share", "stage", "expected"), [
    (0.15, "init", {"gdl": 0.50, "dl2": 0.29, "ss": 0.05, "ss_all": 0.50, "wce": 0.15}),
    (0.02, "init", {"gdl": 0.50, "dl2": 0.08, "ss": 0.05, "ss_all": 0.50, "wce": 0.02}),
    (0.003, "init", {"gdl": 0.50, "dl2": 0.014, "ss": 0.05, "ss_all": 0.50, "wce": 0.003}),
    (0.003, "empty", {"gdl": 0.56, "ss": 0.96, "ss_all": 1.00, "wce": 1.00}),
])  # fmt: skip
def test_share_of_the_gradient_on_the_foreground(share, stage, expected):
    generator = torch.Generator().manual_seed(0)
    voxels = 100_000
    labels = (torch.arange(voxels) < share * voxels).long()[None]
    noise = torch.randn(1, voxels, generator=generator, dtype=torch.float64)
    # "empty" predicts almost no foreground, a little more of it where there is some.
    score = 0.1 * noise if stage == "init" else -7 + noise + 0.5 * labels
    logits = torch.stack([torch.zeros_like(score), score], dim=1).requires_grad_()
    made = {
        "gdl": losses.GeneralizedDiceLoss(),
        "dl2": losses.TwoClassDiceLoss(),
        "ss": losses.SensitivitySpecificityLoss(),
        "ss_all": losses.SensitivitySpecificityLoss(channels="all"),
        "wce": losses.WeightedCrossEntropyLoss(),
    }
    for name, value in expected.items():
        gradient = value_and_gradient(made[name], logits, labels)[1][:, 1].abs()
        found = (gradient[labels == 1].sum() / gradient.sum()).item()
        assert found == pytest.approx(value, abs=0.02 if stage == "init" else 0.1), name


def settle(loss, logits, labels, steps=400, rate=0.2):
    """Train free logits, in steps that shrink to nothing, and return them."""
    logits = logits.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(logits, labels).backward()
        optimizer.step()
        schedule.step()
    return logits.detach()


def free_population(true_probs, copies=400):
    """Kinds of voxels with a true foreground probability each, as labels ``(kinds, copies)`` of exact frequency."""
    counts = (true_probs * copies).round().long()
    return (torch.arange(copies)[None] < counts[:, None]).long()


class SharedLogits(torch.nn.Module):
    """A loss of one foreground logit for each kind of voxel; only the foreground's overlap, as in the closed form."""

    def __init__(self, loss, copies):
        super().__init__()
        self.loss = loss
        self.copies = copies

    def forward(self, scores, labels):
        wide = scores[:, None].expand(-1, self.copies).reshape(1, 1, -1)
        return self.loss(wide, labels.reshape(1, -1))


def population_optimum(gamma, true_probs):
    """Settled probabilities of each kind and the soft overlap D that they reach."""
    labels = free_population(true_probs)
    loss = losses.DicePlusPlusLoss(gamma=gamma, include_background=False, clip=0.0)
    scores = settle(SharedLogits(loss, labels.shape[1]), torch.zeros(len(true_probs), dtype=torch.float64), labels)
    wide = scores[:, None].expand(labels.shape).reshape(1, 1, -1)
    return torch.sigmoid(scores), 1 - loss(wide, labels.reshape(1, -1)).item()


TRUE_PROBS = torch.tensor([0.05, 0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)


def test_dsc_plus_plus_settles_at_the_true_probability_over_the_overlap():
    probs, overlap = population_optimum(2.0, TRUE_PROBS)
    np.testing.assert_allclose(probs, (TRUE_PROBS / overlap).clamp(max=1), atol=0.02)


def test_dice_settles_at_a_step_at_half_the_overlap():
    probs, overlap = population_optimum(1.0, TRUE_PROBS)
    assert ((probs > 0.9) == (overlap / 2 < TRUE_PROBS)).all()
    assert ((probs > 0.9) | (probs < 0.1)).all()


def test_error_scaled_dice_settles_at_odds_that_half_the_overlap_cuts():
    labels = free_population(TRUE_PROBS)
    loss = losses.ErrorScaledDiceLoss(include_background=False)
    scores = settle(SharedLogits(loss, labels.shape[1]), torch.zeros(len(TRUE_PROBS), dtype=torch.float64), labels)
    overlap = 1 - loss(scores[:, None].expand(labels.shape).reshape(1, 1, -1), labels.reshape(1, -1)).item()
    odds = (2 - overlap) / overlap * TRUE_PROBS / (1 - TRUE_PROBS)
    np.testing.assert_allclose(torch.sigmoid(scores), odds / (1 + odds), atol=2e-3)
    shares = torch.stack([1 - TRUE_PROBS, TRUE_PROBS])[None]
    soft = settle(loss, torch.zeros(1, 1, len(TRUE_PROBS), dtype=torch.float64), shares)
    np.testing.assert_allclose(soft.flatten(), scores, atol=0.02)


@pytest.mark.parametrize("grid", [(4, 5), (2, 3, 4)], ids=["2d", "3d"])
def test_error_scaled_dice_multiplies_the_slope_of_each_class_by_its_error(grid):
    logits, labels = random_pair(3, grid)
    y = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    p = logits.detach().softmax(1).requires_grad_()
    volumes = [part.flatten(2).sum(2) for part in (y * p, y + p)]
    dice = (1 - 2 * volumes[0] / volumes[1]).mean()
    slope = torch.autograd.grad(dice, p)[0] * (p - y).abs()
    expected = p * (slope - (p * slope).sum(1, keepdim=True))
    value, gradient = value_and_gradient(losses.ErrorScaledDiceLoss(smooth=0.0), logits, labels)
    torch.testing.assert_close((value, gradient), (dice, expected))


@pytest.mark.parametrize("gamma", [1.5, 3.0])
def test_other_exponents_act_as_a_temperature(gamma):
    probs, overlap = population_optimum(gamma, TRUE_PROBS)
    inside = (probs > 0.02) & (probs < 0.95)
    p, pi = probs[inside], TRUE_PROBS[inside]
    left = (1 - pi) * p ** (gamma - 1) - pi * (1 - p) ** (gamma - 1)
    np.testing.assert_allclose(left, pi * (2 / overlap - 2) / gamma, atol=5e-3)


@pytest.mark.parametrize("classes", [2, 4, 5])
@pytest.mark.parametrize("margin", [0.0, 1.0, 3.0, 5.0])
def test_margin_caps_the_confidence(classes, margin):
    labels = torch.arange(classes)[None]
    loss = losses.MarginLabelSmoothingLoss(margin=margin, alpha=2.0)
    logits = settle(loss, torch.zeros(1, classes, classes, dtype=torch.float64), labels, steps=150)
    cap = 1 / (1 + (classes - 1) * math.exp(-margin))
    assert torch.softmax(logits, 1).amax().item() == pytest.approx(cap, abs=0.01)


def test_margin_gradient_pulls_the_largest_down_and_the_others_up():
    logits = torch.tensor([[[4.0], [1.0], [-2.0], [3.5]]], dtype=torch.float64, requires_grad=True)
    margin = losses.MarginLabelSmoothingLoss(margin=2.0, alpha=0.1)
    parts = margin.components(logits, torch.zeros(1, 1, dtype=torch.long))
    gradient = torch.autograd.grad(0.1 * parts["margin"], logits)[0].flatten()
    np.testing.assert_allclose(gradient, [2 * 0.1 / 4, -0.1 / 4, -0.1 / 4, 0], atol=1e-15)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("dims", [2, 3])
def test_own_label_has_half_the_weight_in_the_window(sigma, dims):
    labels = torch.zeros(1, *[5] * dims, dtype=torch.long)
    labels[(0, *[2] * dims)] = 1
    logits = torch.zeros(1, 2, *[5] * dims)
    shares = losses.SpatiallyVaryingLabelSmoothingLoss(sigma).shares(logits, labels)
    assert shares[(0, 1, *[2] * dims)].item() == pytest.approx(0.5)
    edge = {(0.5, 2): 0.110, (1.0, 2): 0.0778, (2.0, 2): 0.0664, (1.0, 3): 0.0308}
    if (sigma, dims) in edge:
        assert shares[(0, 1, 1, *[2] * (dims - 1))].item() == pytest.approx(edge[sigma, dims], abs=5e-4)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, *[5] * dims))


@pytest.mark.parametrize("kernel", ["mean", "gaussian"])
@pytest.mark.parametrize(("size", "grid"), [(3, (6, 7)), (5, (6, 7)), (3, (4, 5, 3))])
def test_window_equals_a_convolution(kernel, size, grid):
    _, labels = random_pair(3, grid)
    loss = losses.NeighborAwareCalibrationLoss(kernel=kernel, kernel_size=size, padding="zero")
    shares = loss.shares(torch.zeros(2, 3, *grid, dtype=torch.float64), labels)
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    mesh = torch.stack(torch.meshgrid(*[offsets] * len(grid), indexing="ij"))
    window = torch.ones([size] * len(grid), dtype=torch.float64)
    if kernel == "gaussian":
        window = torch.exp(-mesh.square().sum(0) / 2)
        window[(size // 2,) * len(grid)] = window.sum() - 1
    window /= window.sum()
    padded = F.pad(labels, [size // 2] * 2 * len(grid))
    hot = F.one_hot(padded, 3).movedim(-1, 1).double().flatten(0, 1)[:, None]
    conv = {2: F.conv2d, 3: F.conv3d}[len(grid)]
    expected = conv(hot, window[None, None]).view_as(shares)
    torch.testing.assert_close(shares, expected)


def test_ignored_neighbours_are_left_out_of_the_window():
    labels = torch.tensor([[[0, 1, 255], [1, 1, 255], [0, 0, 255]]])
    shares = losses.NeighborAwareCalibrationLoss(padding="replicate").shares(torch.zeros(1, 2, 3, 3), labels)
    assert shares[0, :, 1, 1].tolist() == pytest.approx([3 / 6, 3 / 6])
    assert (shares[..., 2] == 0).all()


def brute_calibration(probs, hot, soft, num_bins):
    """Average calibration error of one item and class, bin by bin."""
    weights = []
    for m in range(num_bins):
        if soft:
            distance = (probs * num_bins - 0.5).clamp(0, num_bins - 1) - m
            weights.append((1 - distance.abs()).clamp(min=0))
        else:
            weights.append(((probs * num_bins).floor().clamp(max=num_bins - 1) == m).double())
    gaps = [((w * probs).sum() / w.sum() - (w * hot).sum() / w.sum()).abs() for w in weights if w.sum() >= 0.01]
    return torch.stack(gaps).mean()


@pytest.mark.parametrize("binning", ["hard", "soft"])
@pytest.mark.parametrize("num_bins", [1, 2, 7, 20])
def test_average_calibration_equals_a_loop_over_bins(binning, num_bins):
    logits, labels = random_pair(3, (11, 9))
    labels[1][labels[1] == 2] = 0
    probs = torch.softmax(logits, 1)
    hot = F.one_hot(labels, 3).movedim(-1, 1).double()
    values = [
        brute_calibration(probs[b, k].flatten(), hot[b, k].flatten(), binning == "soft", num_bins)
        if hot[b, k].any() else torch.zeros((), dtype=torch.float64)
        for b in range(2) for k in range(3)
    ]  # fmt: skip
    expected = torch.stack(values).mean()
    value, gradient = value_and_gradient(losses.AverageCalibrationLoss(binning, num_bins), logits, labels)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_dual_focal_and_sample_dependent_focal_by_hand():
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64).T[None]
    labels = torch.tensor([[0, 0, 0]])
    own, below = torch.tensor([0.5, 0.1, 0.2]), torch.tensor([0.3, 0.0, 0.0])
    expected = ((1 - own + below) ** 5 * -own.log()).mean()
    assert losses.DualFocalLoss()(probs.log(), labels).item() == pytest.approx(expected.item(), rel=1e-6)
    power = torch.tensor([3.0, 5.0, 5.0])
    own = torch.tensor([0.5, 0.1, 0.15])
    probs = torch.stack([own, 0.7 - own, torch.full((3,), 0.3)])[None]
    expected = ((1 - own) ** power * -own.log()).mean()
    loss = losses.SampleDependentFocalLoss()
    assert loss(probs.log(), labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_confidence_accuracy_by_hand():
    logits, labels = random_pair(3, (9, 8))
    probs = torch.softmax(logits, 1)
    confidence, predicted = probs.max(1)
    gap = (confidence.mean() - (predicted == labels).double().mean()).abs()
    expected = F.cross_entropy(logits, labels) + 10 * gap
    torch.testing.assert_close(losses.ConfidenceAccuracyLoss()(logits, labels), expected)
    hot = F.one_hot(labels, 3).movedim(-1, 1).double()
    volume = (probs.mean((0, 2, 3)) - hot.mean((0, 2, 3))).abs().mean()
    focal = losses.FocalLoss(1.0)(logits, labels)
    torch.testing.assert_close(losses.ClasswiseConfidenceAccuracyLoss()(logits, labels), focal + volume)


def test_lagrangian_functions_have_the_published_slopes():
    from losses.adaptive import lagrangian

    h = torch.linspace(-3, 3, 41, dtype=torch.float64, requires_grad=True)
    m, rho = torch.tensor(0.7, dtype=torch.float64), torch.tensor(1.3, dtype=torch.float64)
    slope = torch.autograd.grad(lagrangian(h, m, rho, "phr").sum(), h)[0]
    torch.testing.assert_close(slope, (m + rho * h).clamp(min=0).detach())
    for kind, cubic in (("p2", rho**2 / 6), ("p3", 0)):
        expected = torch.where(h >= 0, m * h + m * rho * h**2 + cubic * h**3, m * h / (1 - rho * h))
        torch.testing.assert_close(lagrangian(h, m, rho, kind), expected)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("grid", [(16, 12), (8, 6, 5)])
def test_peers_agree_where_they_are_right(classes, grid):
    monai = pytest.importorskip("monai.losses")
    logits, labels = random_pair(classes, grid)
    channel = labels[:, None]
    options = {"softmax": True, "to_onehot_y": True}
    pairs = [
        (losses.DiceLoss(), monai.DiceLoss(**options)),
        (losses.DiceLoss(include_background=False), monai.DiceLoss(**options, include_background=False)),
        (losses.DiceLoss(pool="batch"), monai.DiceLoss(**options, batch=True)),
        (losses.TverskyLoss(), monai.TverskyLoss(**options, alpha=0.3, beta=0.7)),
        (losses.DiceCrossEntropyLoss(), monai.DiceCELoss(**options)),
        (losses.GeneralizedDiceLoss(), monai.GeneralizedDiceLoss(**options, smooth_nr=0, smooth_dr=0)),
        (losses.FocalLoss(2.0), monai.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0)),
    ]
    for ours, theirs in pairs:
        expected = theirs(logits, channel)
        if isinstance(theirs, monai.FocalLoss):
            expected = expected * classes  # MONAI divides by the number of classes too
        assert ours(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5), type(ours)


@pytest.mark.parametrize("classes", [2, 4])
def test_torch_and_smp_agree(classes):
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, labels = random_pair(classes, (16, 12))
    weights = torch.rand(classes, dtype=torch.float64) + 0.5
    exact = losses.CrossEntropyLoss(clip=0, class_weights=weights.tolist())
    torch.testing.assert_close(exact(logits, labels), F.cross_entropy(logits, labels, weights))
    smoothing = losses.LabelSmoothingLoss(0.2)(logits, labels)
    torch.testing.assert_close(smoothing, F.cross_entropy(logits, labels, label_smoothing=0.2))
    dice = losses.DiceLoss(pool="batch", smooth=0.0)(logits, labels)
    torch.testing.assert_close(dice, smp.DiceLoss("multiclass")(logits, labels))
    tversky = losses.TverskyLoss(0.7, 0.3, pool="batch", clip=0.0, smooth=0.0)(logits, labels)
    torch.testing.assert_close(tversky, smp.TverskyLoss("multiclass", alpha=0.3, beta=0.7)(logits, labels))
