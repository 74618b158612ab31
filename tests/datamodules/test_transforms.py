"""Augmentation moves image and mask together, repeats with its seed, and has the strength it says."""

import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from datamodules import DSB2018, Augment2D, Augment3D
from datamodules.transforms import normalise
from tests.data.common import blob, generator


def pair(dims):
    shape = (64, 80) if dims == 2 else (20, 24, 28)
    mask = blob(shape, generator(), 0.3).astype(np.uint8)
    image = mask.astype(np.float32) * 2 - 1
    return (image[..., None] if dims == 2 else image[None]), mask


STRONG = {
    2: Augment2D(probability=1.0, brightness=(1.0, 1.0)),
    3: Augment3D(probability=1.0, brightness=(1.0, 1.0), elastic=4.0),
}


@pytest.mark.parametrize("dims", [2, 3])
def test_image_and_mask_move_together(dims):
    image, mask = pair(dims)
    for seed in range(8):
        moved, labels = STRONG[dims](image, mask, seed)
        plane = moved[..., 0] if dims == 2 else moved[0]
        known = labels != 255
        agreement = ((plane > 0) == (labels == 1))[known].mean()
        assert agreement > 0.97
        assert moved.shape == image.shape
        assert (moved.dtype, labels.dtype) == (np.float32, np.uint8)
        assert set(np.unique(labels)) <= {0, 1, 255}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_seed_decides_everything_also_after_pickling(dims):
    image, mask = pair(dims)
    augmentation = STRONG[dims]
    first = augmentation(image, mask, 5)[0]
    np.random.default_rng(0).random(10)
    torch.rand(3)
    again = pickle.loads(pickle.dumps(augmentation))(image, mask, 5)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, augmentation(image, mask, 6)[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_without_chance_only_mirroring_is_left(dims):
    image, mask = pair(dims)
    augmentation = Augment2D(probability=0.0) if dims == 2 else Augment3D(probability=0.0)
    seen = set()
    for seed in range(40):
        moved, labels = augmentation(image, mask, seed)
        assert moved.sum() == pytest.approx(image.sum())
        assert labels.sum() == mask.sum()
        seen.add(labels.tobytes())
    assert len(seen) == 2**dims


@pytest.mark.parametrize("dims", [2, 3])
def test_each_axis_has_its_own_chance_of_mirroring(dims):
    image, mask = pair(dims)
    chances = (1.0, 0.0) if dims == 2 else (0.0, 1.0, 0.0)
    augmentation = (Augment2D if dims == 2 else Augment3D)(probability=0.0, mirror=chances)
    for seed in range(10):
        assert np.array_equal(augmentation(image, mask, seed)[1], np.flip(mask, chances.index(1.0)))
    still = (Augment2D if dims == 2 else Augment3D)(probability=0.0, mirror=0.0)
    assert all(np.array_equal(still(image, mask, seed)[1], mask) for seed in range(10))


def test_what_comes_in_from_outside_is_the_mean_and_ignored():
    image, mask = np.ones((64, 64, 1), np.float32), np.ones((64, 64), np.uint8)
    shrink = Augment2D(
        probability=1.0, scale=(0.5, 0.5), rotation=0.0, elastic_strength=(0.0, 0.0), brightness=(1.0, 1.0)
    )
    moved, labels = shrink(image, mask, 0)
    assert (labels == 255).mean() == pytest.approx(0.75, abs=0.05)
    assert moved[0, 0, 0] == 0


def test_elastic_displacement_is_like_smoothed_uniform_noise():
    from datamodules.warp import coarse_displacement, enlarge

    def field():
        return enlarge(*coarse_displacement((192, 192), 450.0, 11.0, rng), (192, 192)).transpose(2, 0, 1)

    rng = np.random.default_rng(0)
    ours = np.concatenate([field() for _ in range(30)])
    ours = ours[:, 32:-32, 32:-32]
    noise = rng.uniform(-1, 1, (20, 200, 200))
    reference = 450 * np.stack([ndimage.gaussian_filter(plane, 11.0) for plane in noise])[:, 36:-36, 36:-36]
    assert ours.std() == pytest.approx(450 * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * 11), rel=0.08)
    assert reference.std() == pytest.approx(450 * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * 11), rel=0.08)
    lag = 11
    correlation = [np.corrcoef(f[..., lag:].ravel(), f[..., :-lag].ravel())[0, 1] for f in (ours, reference)]
    assert correlation[0] == pytest.approx(correlation[1], abs=0.06)


@pytest.mark.parametrize(
    ("method", "mean", "deviation"), [("zscore", 0, 1), ("channel", 0, 1), ("minmax", 0.5, None), ("none", 130, None)]
)
def test_normalisation(method, mean, deviation):
    image = np.random.default_rng(0).integers(10, 250, (50, 50, 3), dtype=np.uint8)
    result = normalise(image, method)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(mean, abs=0.02 if method != "none" else 3)
    if deviation is not None:
        assert result.std() == pytest.approx(deviation, abs=1e-3)
    if method == "minmax":
        assert (result.min(), result.max()) == (0, 1)


def test_a_flat_image_is_not_divided_by_zero():
    assert np.isfinite(normalise(np.full((4, 4, 3), 7, np.uint8), "zscore")).all()


class Invert:
    """An augmentation of the user's own."""

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return -image, mask


def test_a_users_own_augmentation_is_used(tmp_path):
    from tests.data.dsb2018.make import make

    make(tmp_path)
    images = {}
    for name, options in (("own", {"augmentation": Invert()}), ("none", {"augment": False})):
        data = DSB2018(root=str(tmp_path), size=[32, 32], split_sizes=[6, 0, 0], **options)
        data.setup()
        images[name] = data.dataset("train")[0]["image"]
    assert torch.equal(images["own"], -images["none"])


def test_rotation_added_on_the_coarse_grid_is_the_rotation_of_every_pixel():
    """With no displacement left, the warp with an elastic part gives what the warp without it gives."""
    import cv2

    from datamodules.warp import ComposedWarp

    maps = []
    for seed in range(4):
        warp = ComposedWarp(1.0, 0.5, 15.0, (0.85, 1.25), (0.0, 0.0), (9.0, 13.0))
        warp.set_random_seed(seed)
        maps.append(warp.get_params_dependent_on_data({"shape": (150, 220, 3)}, {}))
        angle, factor = redraw(seed)
        matrix = cv2.getRotationMatrix2D((109.5, 74.5), angle, factor)
        inverse = cv2.invertAffineTransform(matrix)
        x, y = np.meshgrid(np.arange(220), np.arange(150))
        expected = np.stack([inverse[i, 0] * x + inverse[i, 1] * y + inverse[i, 2] for i in range(2)], -1)
        if maps[-1]["mirror"][1]:
            expected[..., 0] = 219 - expected[..., 0]
        if maps[-1]["mirror"][0]:
            expected[..., 1] = 149 - expected[..., 1]
        assert maps[-1]["coordinates"] == pytest.approx(expected, abs=2e-3)
    assert len({tuple(m["mirror"]) for m in maps}) > 1


def redraw(seed):
    """Angle and zoom as the warp draws them."""
    from datamodules.warp import ComposedWarp

    warp = ComposedWarp(1.0, 0.5, 15.0, (0.85, 1.25), (0.0, 0.0), (9.0, 13.0))
    warp.set_random_seed(seed)
    rng = warp.random_generator
    rng.random(2), rng.random(3)
    return rng.uniform(-15.0, 15.0), rng.uniform(0.85, 1.25)
