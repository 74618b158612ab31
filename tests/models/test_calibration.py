"""Post-hoc calibrators against what they must recover, keep and refuse."""

import io
from typing import NamedTuple

import pytest
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

import models
from models import Case
from models.calibrator import VoxelSample, log_probabilities

KEEPS = ["TemperatureScaling", "EnsembleTemperatureScaling", "SelectiveScaling"]
MAPS = ["ImageTemperatureScaling", "LocalTemperatureScaling"]
CHANGES = [
    "VectorScaling",
    "DirichletCalibration",
    "HistogramCalibration",
    "IsotonicCalibration",
    "DicePlusPlusInverse",
]


class Population(NamedTuple):
    """Cases whose true class probabilities are known, and a network that is too sure by a known temperature."""

    cases: list[Case]
    true_probs: Tensor


def population(num_classes=3, temperature=2.5, size=(48, 48), cases=4, seed=0) -> Population:
    """True logits are smooth noise; labels are drawn from them; the network shows `temperature` times the logits."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(cases, num_classes, *[n // 8 for n in size], generator=generator) * 1.5
    mode = "bilinear" if len(size) == 2 else "trilinear"
    logits = torch.nn.functional.interpolate(coarse, size=size, mode=mode)
    true = logits.softmax(1)
    flat = true.movedim(1, -1).reshape(-1, num_classes)
    labels = torch.multinomial(flat, 1, generator=generator).view(cases, *size).to(torch.uint8)
    shown = (temperature * logits).softmax(1)
    image = torch.randn(cases, 1, *size, generator=generator)
    return Population([Case(*(t[i : i + 1] for t in (shown, labels, image))) for i in range(cases)], true)


def build(name: str, num_classes: int = 3, dims: int = 2):
    extra = {"spatial_dims": dims, "epochs": 2, "patch": 16} if name in MAPS else {}
    return getattr(models, name)(num_classes, **extra)


def error(calibrator, people: Population) -> float:
    """Mean distance between calibrated and true probabilities."""
    calibrated = torch.cat([calibrator(case.probs, case.image) for case in people.cases])
    return float((calibrated - people.true_probs).abs().mean())


@pytest.mark.parametrize("name", KEEPS + MAPS + CHANGES)
class TestEveryCalibrator:
    def test_changes_nothing_before_it_is_fitted(self, name):
        case = population().cases[0]
        torch.testing.assert_close(build(name)(case.probs, case.image), case.probs, atol=1e-6, rtol=1e-5)

    def test_gives_probabilities_and_a_lower_nll(self, name):
        people = population()
        calibrator = build(name)
        report = calibrator.fit(people.cases)
        calibrated = calibrator(people.cases[0].probs, people.cases[0].image)
        assert (calibrated >= 0).all()
        torch.testing.assert_close(calibrated.sum(1), torch.ones(1, 48, 48))
        assert report.voxels == 4 * 48 * 48
        if name != "DicePlusPlusInverse":  # these networks were not trained with DSC++
            assert report.nll_after < report.nll_before

    def test_state_restores_it(self, name):
        people, calibrator, other = population(), build(name), build(name)
        calibrator.fit(people.cases)
        file = io.BytesIO()
        torch.save(calibrator.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        case = people.cases[1]
        assert torch.equal(other(case.probs, case.image), calibrator(case.probs, case.image))

    def test_fitting_twice_gives_the_same(self, name):
        people, calibrator = population(), build(name)
        first = calibrator.fit(people.cases)
        torch.manual_seed(1)  # must not matter
        before = calibrator(people.cases[0].probs, people.cases[0].image)
        assert calibrator.fit(people.cases).nll_after == pytest.approx(first.nll_after, abs=1e-5)
        torch.testing.assert_close(calibrator(people.cases[0].probs, people.cases[0].image), before, atol=2e-3, rtol=0)

    def test_certain_and_impossible_probabilities_stay_finite(self, name):
        people, calibrator = population(), build(name)
        calibrator.fit(people.cases)
        probs = torch.zeros(1, 3, 8, 8)
        probs[:, 1] = 1
        calibrated = calibrator(probs, torch.zeros(1, 1, 8, 8))
        assert calibrated.isfinite().all()
        torch.testing.assert_close(calibrated.sum(1), torch.ones(1, 8, 8))

    def test_ignored_voxels_do_not_count(self, name):
        people = population()
        case = people.cases[0]
        target = case.target.clone()
        target[:, :, 24:] = 255
        ignored = [Case(case.probs, target, case.image)]
        lied = case.probs.clone()
        lied[..., 24:] = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        a, b = build(name), build(name)
        assert a.fit(ignored).voxels == 48 * 24
        if name not in MAPS:  # a local map sees the neighbourhood of what counts
            b.fit([Case(lied, target, case.image)])
            assert torch.equal(a(case.probs), b(case.probs))

    def test_wrong_inputs_are_named(self, name):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            build(name, num_classes=1)
        with pytest.raises(ValueError, match=r"probabilities \(batch, 3, \.\.\.\), got"):
            build(name)(torch.full((1, 2, 8, 8), 0.5), torch.zeros(1, 1, 8, 8))
        case = population().cases[0]
        with pytest.raises(ValueError, match="nothing to fit"):
            build(name).fit([Case(case.probs, torch.full_like(case.target, 255), case.image)])
        with pytest.raises(ValueError, match="label 7, but there are 3 classes"):
            build(name).fit([Case(case.probs, torch.full_like(case.target, 7), case.image)])


@pytest.mark.parametrize("name", KEEPS + MAPS)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_argmax_is_kept_where_promised(name, temperature):
    people = population(temperature=temperature)
    calibrator = build(name)
    calibrator.fit(people.cases)
    assert calibrator.keeps_argmax
    for case in people.cases:
        assert torch.equal(calibrator(case.probs, case.image).argmax(1), case.probs.argmax(1))


@pytest.mark.parametrize("name", MAPS)
def test_maps_fit_volumes(name):
    people = population(size=(16, 16, 24), cases=2)
    report = build(name, dims=3).fit(people.cases)
    assert report.nll_after < report.nll_before


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_known_temperature_is_recovered(temperature, num_classes):
    people = population(num_classes, temperature, size=(96, 96), cases=6)
    calibrator = models.TemperatureScaling(num_classes)
    calibrator.fit(people.cases)
    assert calibrator.temperature == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize(
    ("name", "least"),
    [("TemperatureScaling", 0.01), ("VectorScaling", 0.015), ("DirichletCalibration", 0.02),
     ("EnsembleTemperatureScaling", 0.015), ("LocalTemperatureScaling", 0.03), ("ImageTemperatureScaling", 0.03),
     ("IsotonicCalibration", 0.06), ("HistogramCalibration", 0.06), ("SelectiveScaling", 0.115)],
)  # fmt: skip
def test_calibrated_probabilities_approach_the_true_ones(name, least):
    people = population(temperature=2.5, size=(96, 96), cases=4)
    calibrator = build(name)
    assert error(calibrator, people) > 0.12
    calibrator.fit(people.cases)
    assert error(calibrator, people) < least


def test_isotonic_equals_scikit_learn_to_the_width_of_a_bin():
    people = population(2, 3.0, size=(64, 64))
    calibrator = models.IsotonicCalibration(2)
    calibrator.fit(people.cases)
    shown = torch.cat([case.probs[:, 1].flatten() for case in people.cases]).double().numpy()
    labels = torch.cat([case.target.flatten() for case in people.cases]).double().numpy()
    oracle = torch.from_numpy(IsotonicRegression(out_of_bounds="clip").fit(shown, labels).predict(shown))
    ours = torch.cat([calibrator(case.probs)[:, 1].flatten() for case in people.cases]).double()
    assert (ours - oracle).abs().mean() < 2e-3


def test_histogram_gives_frequencies_of_its_bins():
    probs = torch.tensor([0.05, 0.05, 0.05, 0.05, 0.95, 0.95]).view(1, 1, 6)
    case = Case(torch.cat((1 - probs, probs), 1), torch.tensor([[0, 0, 0, 1, 1, 1]]))
    calibrator = models.HistogramCalibration(2, num_bins=10)
    calibrator.fit([case])
    torch.testing.assert_close(calibrator(case.probs)[0, 1], torch.tensor([0.25] * 4 + [1.0] * 2))


def test_local_map_finds_where_the_network_is_too_sure():
    left, right = population(2, 1.0, size=(64, 64), cases=3), population(2, 5.0, size=(64, 64), cases=3, seed=1)
    cases = []
    for a, b in zip(left.cases, right.cases, strict=True):
        image = torch.cat((torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)), 3)
        cases.append(Case(torch.cat((a.probs, b.probs), 3), torch.cat((a.target, b.target), 2), image))
    calibrator = models.LocalTemperatureScaling(2, epochs=30, learning_rate=0.03)
    calibrator.fit(cases)
    with torch.no_grad():
        map_ = calibrator.temperatures(log_probabilities(cases[0].probs), cases[0].image)[0, 0]
    assert map_[:, 96:].mean() > 1.7 * map_[:, :32].mean()


@pytest.mark.parametrize(("channels", "size"), [(0, (11, 9)), (2, (11, 9)), (1, (6, 9, 7))])
def test_joined_convolutions_are_the_tree_of_its_layers(channels, size):
    torch.manual_seed(0)
    calibrator = models.LocalTemperatureScaling(3, in_channels=channels, spatial_dims=len(size))
    for p in calibrator.parameters():
        torch.nn.init.normal_(p, std=0.05)
    logs, image = torch.randn(2, 3, *size).log_softmax(1), torch.randn(2, channels, *size)
    a, b, c, d = calibrator.leaves(logs).split(1, 1)
    top, left, right = calibrator.gates(logs).sigmoid().split(1, 1)
    mixed = top * (left * a + (1 - left) * b) + (1 - top) * (right * c + (1 - right) * d)
    if channels:
        gate = calibrator.image_gate(torch.cat((image, logs), 1)).sigmoid()
        mixed = gate * mixed + (1 - gate) * calibrator.image_leaf(image)
    torch.testing.assert_close(calibrator.temperatures(logs, image), (1 + mixed).relu() + 1e-8)


def test_maps_that_read_the_image_say_so():
    case = population().cases[0]
    with pytest.raises(ValueError, match="reads the image"):
        build("LocalTemperatureScaling")(case.probs)
    free = models.LocalTemperatureScaling(3, in_channels=0)
    torch.testing.assert_close(free(case.probs), case.probs)


def test_selective_scaling_leaves_voxels_held_to_be_right():
    people = population(temperature=3.0)
    calibrator = build("SelectiveScaling")
    calibrator.fit(people.cases)
    probs = people.cases[0].probs
    changed = (calibrator(probs) - probs).abs().amax(1) > 1e-5
    assert 0.05 < changed.float().mean() < 0.95
    assert calibrator.temperature > 1
    assert probs.amax(1)[changed].mean() < probs.amax(1)[~changed].mean()


class TestDicePlusPlusInverse:
    @staticmethod
    def optimum(true: Tensor, gamma: float) -> tuple[Tensor, float]:
        """What minimises the population's DSC++ loss of one channel, by fixed point on D, and D."""
        dice = 0.9
        for _ in range(100):
            p = TestDicePlusPlusInverse.best(true, gamma, dice)
            errors = (true * (1 - p) ** gamma + (1 - true) * p**gamma).sum()
            dice = float(2 * (true * p).sum() / (2 * (true * p).sum() + errors))
        return p, dice

    @staticmethod
    def best(true: Tensor, gamma: float, dice: float) -> Tensor:
        """Root of (1-pi) p^(g-1) - pi (1-p)^(g-1) = pi (2/D-2)/g in p, by bisection."""
        low, high = torch.zeros_like(true), torch.ones_like(true)
        for _ in range(60):
            p = (low + high) / 2
            above = (1 - true) * p ** (gamma - 1) - true * (1 - p) ** (gamma - 1) > true * (2 / dice - 2) / gamma
            low, high = torch.where(above, low, p), torch.where(above, p, high)
        return (low + high) / 2

    @pytest.mark.parametrize("gamma", [1.5, 2.0, 3.0])
    def test_true_probabilities_come_back_from_an_unsaturated_optimum(self, gamma):
        true = torch.cat((torch.linspace(0, 0.02, 500), torch.linspace(0.6, 0.7, 500))).double()
        p, dice = self.optimum(true, gamma)
        assert p.max() < 1
        if gamma == 2:
            torch.testing.assert_close(p, true / dice)
        calibrator = models.DicePlusPlusInverse(2, gamma)
        calibrator.soft_dice[1] = dice
        calibrator.fitted.fill_(True)
        shown = torch.stack((1 - p, p))[None]
        torch.testing.assert_close(calibrator(shown)[0, 1], true, atol=1e-6, rtol=1e-5)

    def test_true_calibration_error_goes_to_zero_with_the_coefficient_of_drawn_labels(self):
        true = torch.linspace(0.0, 0.6, 512, dtype=torch.float64).repeat(800)
        labels = torch.bernoulli(true, generator=torch.Generator().manual_seed(0))
        p, dice = self.optimum(torch.linspace(0.0, 0.6, 512, dtype=torch.float64), 2.0)
        p = p.repeat(800)
        case = Case(torch.stack((1 - p, p))[None], labels[None].long())
        calibrator = models.DicePlusPlusInverse(2)
        calibrator.fit([case])
        assert float(calibrator.soft_dice[1]) == pytest.approx(dice, abs=2e-3)
        assert (p - true).abs().mean() > 0.1
        assert (calibrator(case.probs)[0, 1] - true).abs().mean() < 2e-3

    def test_at_gamma_two_the_foreground_is_multiplied_by_the_coefficient(self):
        case = population(3).cases[0]
        calibrator = models.DicePlusPlusInverse(3)
        calibrator.fit([case])
        expected = case.probs[:, 1:] * calibrator.soft_dice[1:].view(1, 2, 1, 1)
        torch.testing.assert_close(calibrator(case.probs)[:, 1:], expected)

    def test_saturated_voxels_come_back_as_the_coefficient(self):
        calibrator = models.DicePlusPlusInverse(2)
        calibrator.soft_dice[1] = 0.7
        calibrator.fitted.fill_(True)
        assert float(calibrator(torch.tensor([[[0.0], [1.0]]]))[0, 1, 0]) == pytest.approx(0.7)

    def test_gamma_one_is_refused(self):
        with pytest.raises(ValueError, match="gamma must be above 1, got 1"):
            models.DicePlusPlusInverse(2, gamma=1.0)


class TestVoxelSample:
    def test_small_streams_are_kept_whole(self):
        people = population()
        sample = VoxelSample(3, 100_000)
        for case in people.cases:
            sample.update(case.probs, case.target)
        assert sample.log_probs.shape == (1, 3, 4 * 48 * 48)
        assert float(sample.weights.max() / sample.weights.min()) == pytest.approx(1)

    def test_memory_is_bounded_and_weighted_sums_are_unbiased(self):
        people = population(temperature=4.0, size=(96, 96))
        exact = torch.cat([-case.probs.log().gather(1, case.target.long()[:, None]).flatten() for case in people.cases])
        estimates, errors = [], []
        for seed in range(20):
            sample = VoxelSample(3, 2_000, seed)
            for case in people.cases:
                sample.update(case.probs, case.target)
            assert sample.labels.numel() <= 2_000
            nll = -sample.log_probs.gather(1, sample.labels[:, None])[0, 0]
            estimates.append(float((sample.weights[0] * nll).sum()))
            errors.append(sample.report(models.TemperatureScaling(3)).nll_before)
        spread = torch.tensor(estimates).std()
        assert torch.tensor(estimates).mean() == pytest.approx(float(exact.mean()), abs=float(3 * spread / 20**0.5))
        assert errors == pytest.approx(estimates)

    def test_stated_error_is_that_of_repeated_samples(self):
        people = population(temperature=4.0, size=(96, 96))
        fitted = models.TemperatureScaling(3)
        fitted.fit(people.cases)
        reports = []
        for seed in range(30):
            sample = VoxelSample(3, 1_000, seed)
            for case in people.cases:
                sample.update(case.probs, case.target)
            reports.append(sample.report(fitted))
        gains = torch.tensor([report.nll_before - report.nll_after for report in reports])
        assert float(gains.std()) == pytest.approx(reports[0].sampling_error, rel=0.5)

    def test_shapes_must_fit(self):
        with pytest.raises(ValueError, match="don't fit"):
            VoxelSample(2).update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 5))


@pytest.mark.parametrize("kind", [models.TemperatureScaling, models.EnsembleTemperatureScaling])
def test_a_network_worse_than_chance_does_not_run_off(kind):
    generator = torch.Generator().manual_seed(0)
    target = (torch.arange(20_000) < 10_000).long()
    likely = torch.rand(20_000, generator=generator) * 0.4 + 0.05  # of the true class: always below a half
    foreground = torch.where(target == 1, likely, 1 - likely)
    probs = torch.stack([1 - foreground, foreground])[None]
    calibrator = kind(2)
    with pytest.warns(UserWarning, match="worse than chance"):
        calibrator.fit([Case(probs, target[None])])
    assert calibrator.temperature == pytest.approx(100, rel=1e-6)
    assert calibrator.runaway
    assert (calibrator(probs).argmax(1) == probs.argmax(1)).all()


def test_a_fit_in_steps_is_the_fit():
    generator = torch.Generator().manual_seed(1)
    cases = [
        Case(
            torch.rand(1, 3, 9, 8, generator=generator).softmax(1), torch.randint(0, 3, (1, 9, 8), generator=generator)
        )
        for _ in range(3)
    ]
    whole, steps = models.VectorScaling(3), models.VectorScaling(3)
    report = whole.fit(cases)
    sample = steps.begin()
    for case in cases:
        steps.add(case, sample)
    assert steps.finish(sample) == report
    assert torch.equal(whole.slope, steps.slope)
    counts = torch.bincount(torch.cat([case.target.flatten() for case in cases])).double()
    shares = counts / counts.sum()
    assert report.nll_frequencies == pytest.approx(float(-(shares * shares.log()).sum()), rel=1e-12)
