"""Damage to test images: graded, repeatable, of test images alone, in 2D and 3D."""

import pytest
import torch

from datamodules import Corruption, DataError, Phantom
from datamodules.corruption import LEVELS


def image(shape):
    """A smooth image with an edge, on the scale of a z-scored one."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    distance = torch.stack(axes).norm(dim=0)
    plain = torch.stack([(distance < 0.6) + 0.2 * distance, distance])
    return (plain - plain.mean()) / plain.std()


@pytest.mark.parametrize("shape", [(40, 48), (20, 24, 28)])
@pytest.mark.parametrize("kind", LEVELS)
def test_damage_grows_with_the_level_and_keeps_mean_and_spread(kind, shape):
    given = image(shape)
    far = []
    for level in range(1, 6):
        damaged = Corruption(kind, level)(given, "a")
        assert damaged.shape == given.shape
        assert damaged.dtype == given.dtype
        assert damaged.mean().item() == pytest.approx(given.mean().item(), abs=1e-4)
        assert damaged.std().item() == pytest.approx(given.std().item(), rel=1e-3)
        far.append((damaged - given).square().mean().item())
    assert far == sorted(far)
    assert far[0] > 0


@pytest.mark.parametrize("kind", ["noise", "bias_field"])
def test_it_is_a_function_of_seed_and_case(kind):
    given = image((24, 26))
    first = Corruption(kind, 3)(given, "a")
    torch.rand(7)  # what else drew does not matter
    assert torch.equal(first, Corruption(kind, 3)(given, "a"))
    if kind == "noise":
        assert not torch.equal(first, Corruption(kind, 3)(given, "b"))
        assert not torch.equal(first, Corruption(kind, 3, seed=1)(given, "a"))


def test_an_empty_image_stays():
    flat = torch.ones(1, 8, 8)
    assert torch.equal(Corruption("contrast", 5)(flat, "a"), flat)


def test_test_images_alone_are_damaged_and_labels_stay():
    plain, damaged = Phantom(size=32, num_cases=[2, 2, 2]), Phantom(size=32, num_cases=[2, 2, 2])
    damaged.corruption = Corruption("noise", 5)
    for data in (plain, damaged):
        data.setup()
    for subset, same in (("train", True), ("val", True), ("test", False)):
        one, two = plain.dataset(subset)[0], damaged.dataset(subset)[0]
        assert torch.equal(one["image"], two["image"]) == same
        assert torch.equal(one["mask"], two["mask"])


@pytest.mark.parametrize("text", ["fog:1", "noise", "noise:0", "noise:6", "noise:x", ""])
def test_what_is_unknown_is_refused(text):
    with pytest.raises(DataError, match="give one of noise"):
        Corruption.of(text)
