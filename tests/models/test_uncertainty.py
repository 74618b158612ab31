import math

import pytest
import torch
from torch import nn

from models import (
    CheckpointEnsemble,
    Ensemble,
    MonteCarloDropout,
    SlidingWindow,
    TestTimeAugmentation,
    UNet,
    WholeImage,
    combine,
)


class Recorder:
    """A pointwise network that remembers what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, image):
        self.seen.append(image)
        return torch.cat((image, -image), 1)


def test_members_that_agree_share_no_information():
    probs = torch.rand(1, 3, 5, 5).softmax(1)
    prediction = combine([probs, probs, probs])
    torch.testing.assert_close(prediction.probs, probs)
    torch.testing.assert_close(prediction.entropy, -(probs * probs.log()).sum(1))
    assert prediction.mutual_information.abs().max() < 1e-6


def test_members_that_are_sure_and_disagree_have_only_mutual_information():
    sure = torch.zeros(1, 2, 4)
    sure[:, 0] = 1
    prediction = combine([sure, sure.flip(1)])
    torch.testing.assert_close(prediction.entropy, torch.full((1, 4), math.log(2)))
    torch.testing.assert_close(prediction.mutual_information, prediction.entropy)


def test_no_member_is_refused():
    with pytest.raises(ValueError, match="at least one prediction"):
        combine([])


@pytest.mark.parametrize(
    ("arguments", "rank", "views"),
    [({}, 2, 4), ({}, 3, 8), ({"axes": [0]}, 2, 2), ({"axes": []}, 3, 1), ({"quarter_turns": True}, 2, 8),
     ({"axes": [], "quarter_turns": True}, 2, 4), ({"axes": [1], "quarter_turns": True}, 2, 8),
     ({"quarter_turns": True}, 3, 16)],
)  # fmt: skip
def test_each_symmetry_is_seen_once_and_undone(arguments, rank, views):
    image, net = torch.randn(1, 1, *[5] * rank), Recorder()
    probs = TestTimeAugmentation(**arguments)(image, net)
    assert len(net.seen) == views
    assert len({tuple(seen.flatten().tolist()) for seen in net.seen}) == views
    torch.testing.assert_close(probs, torch.cat((image, -image), 1).softmax(1))


def test_augmentation_makes_a_network_equivariant():
    torch.manual_seed(0)
    net, image = UNet(in_channels=1, width=4, depth=1).eval(), torch.randn(1, 1, 8, 8)
    average = TestTimeAugmentation()
    torch.testing.assert_close(average(image.flip(-1), net).flip(-1), average(image, net))
    assert (WholeImage()(image.flip(-1), net).flip(-1) - WholeImage()(image, net)).abs().max() > 1e-3


def test_augmentation_over_tiles_and_wrong_axes():
    image = torch.randn(1, 1, 9, 13)
    tiled = TestTimeAugmentation(inference=SlidingWindow([4, 4]))(image, Recorder())
    torch.testing.assert_close(tiled, torch.cat((image, -image), 1).softmax(1), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"axes must be among 0\.\.1"):
        TestTimeAugmentation(axes=[2])(image, Recorder())


class TestMonteCarloDropout:
    def test_samples_repeat_and_dropout_is_off_afterwards(self):
        torch.manual_seed(0)
        net, image = UNet(in_channels=1, width=4, depth=2, dropout=0.3).eval(), torch.randn(1, 1, 8, 8)
        sampled = MonteCarloDropout(samples=4)
        first, state = sampled.uncertainty(image, net), torch.random.get_rng_state()
        second = sampled.uncertainty(image, net.forward)
        assert torch.equal(first.probs, second.probs)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert first.mutual_information.max() > 1e-4
        assert not any(layer.training for layer in net.modules())

    def test_only_dropout_is_on(self):
        net = UNet(in_channels=1, width=4, depth=1, norm="batch", dropout=0.3).eval()
        before = {name: value.clone() for name, value in net.named_buffers()}
        MonteCarloDropout(2)(torch.randn(1, 1, 8, 8), net)
        assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())

    def test_network_without_dropout_is_refused(self):
        with pytest.raises(ValueError, match="no dropout"):
            MonteCarloDropout(2)(torch.randn(1, 1, 8, 8), UNet(in_channels=1, width=4, depth=1))
        with pytest.raises(ValueError, match="module's method"):
            MonteCarloDropout(2)(torch.randn(1, 1, 8, 8), lambda tiles: tiles)


class Owner(nn.Module):
    """What the training module looks like to an ensemble of checkpoints."""

    def __init__(self, seed, width=4):
        super().__init__()
        torch.manual_seed(seed)
        self.net = UNet(in_channels=1, width=width, depth=1)

    def predict(self, image):
        return self.net(image)


def test_checkpoints_average_and_the_loaded_weights_come_back(tmp_path):
    owners, image = [Owner(seed).eval() for seed in range(3)], torch.randn(1, 1, 8, 8)
    paths = [str(tmp_path / f"{i}.ckpt") for i in (1, 2)]
    for owner, path in zip(owners[1:], paths, strict=True):
        torch.save({"state_dict": owner.state_dict()}, path)
    expected = torch.stack([WholeImage()(image, owner.predict) for owner in owners]).mean(0)
    before = WholeImage()(image, owners[0].predict)
    torch.testing.assert_close(CheckpointEnsemble(paths)(image, owners[0].predict), expected)
    assert torch.equal(WholeImage()(image, owners[0].predict), before)
    torch.save({"state_dict": Owner(3, width=8).state_dict()}, paths[0])
    with pytest.raises(ValueError, match="another network"):
        CheckpointEnsemble(paths)(image, owners[0].predict)


def test_ensemble_of_networks_has_the_mean_as_its_softmax():
    nets, image = [Owner(seed).net.eval() for seed in range(3)], torch.randn(2, 1, 8, 8)
    expected = torch.stack([net(image).softmax(1) for net in nets]).mean(0)
    torch.testing.assert_close(Ensemble(nets).eval()(image).softmax(1), expected)
    with pytest.raises(ValueError, match="at least one network"):
        Ensemble([])
