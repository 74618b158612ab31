"""The phantom's probabilities are the truth: labels follow them exactly, whatever the correlation."""

import numpy as np
import pytest
import torch

from datamodules import ContainsForeground, DataError, Phantom
from datamodules.phantom import draw_labels, smooth_field


@pytest.mark.parametrize("dims", [2, 3])
def test_batch_contract(dims):
    data = Phantom(spatial_dims=dims, num_classes=3, size=16, num_cases=(5, 2, 2), batch_size=2)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    grid = (16,) * dims
    assert batch["image"].shape == (2, 2, *grid)
    assert batch["mask"].shape == (2, *grid)
    assert batch["mask"].dtype == torch.uint8
    assert batch["true_probs"].shape == (2, 3, *grid)
    assert torch.allclose(batch["true_probs"].sum(1), torch.ones(2, *grid), atol=1e-6)
    whole = next(iter(data.val_dataloader()))
    assert whole["geometry"][0].kind == ("image" if dims == 2 else "volume")
    assert torch.equal(whole["original_mask"], whole["mask"])


@pytest.mark.parametrize("dims", [2, 3])
def test_training_patches_are_cut_alike_from_image_mask_and_truth_and_hold_foreground(dims):
    options = {"spatial_dims": dims, "size": 24, "num_cases": (4, 1, 1), "threshold": 1.2, "batch_size": 12}
    data = Phantom(**options, patch_size=[8] * dims, patches_per_case=3, sampling=ContainsForeground())
    data.setup("fit")
    (batch,) = data.train_dataloader()
    wholes = {
        sample["case"]: sample
        for sample in (data.dataset("train").pipeline.whole_item(c) for c in data.subsets["train"])
    }
    assert batch["image"].shape == (12, 1, *(8,) * dims)
    for i, case in enumerate(batch["case"]):
        assert batch["mask"][i].any()
        whole = wholes[case]
        places = torch.nonzero(whole["image"][0] == batch["image"][i, 0].flatten()[0])
        assert len(places) == 1  # white noise: no value twice
        inside = tuple(slice(int(first), int(first) + 8) for first in places[0])
        for name in ("image", "mask", "true_probs"):
            assert torch.equal(batch[name][i], whole[name][(..., *inside)])
    with pytest.raises(DataError, match="patch_size"):
        Phantom(size=24, patch_size=[25, 8])


@pytest.mark.parametrize("length", [0.0, 2.0])
def test_labels_have_exactly_the_given_marginals(length):
    probs = np.stack([np.full((24, 24), 0.6), np.full((24, 24), 0.3), np.full((24, 24), 0.1)])
    rng = np.random.default_rng(0)
    shares = [np.bincount(draw_labels(probs, length, rng).ravel(), minlength=3) / 576 for _ in range(300)]
    error = np.std(shares, axis=0) / np.sqrt(300)
    assert np.all(np.abs(np.mean(shares, axis=0) - [0.6, 0.3, 0.1]) < 4 * error)


def test_field_has_unit_variance_at_each_voxel_and_the_correlation_asked_for():
    rng = np.random.default_rng(1)
    fields = np.stack([smooth_field((20, 20), 2.0, rng) for _ in range(2000)])
    assert fields.var(axis=0).mean() == pytest.approx(1, abs=0.02)
    neighbour = (fields * np.roll(fields, 1, axis=1)).mean() / np.square(fields).mean()
    assert neighbour == pytest.approx(np.exp(-1 / (4 * 2.0**2)), abs=0.01)


def test_cases_repeat_with_the_seed_and_differ_between_seeds_and_subsets():
    def first(seed, subset):
        data = Phantom(size=16, num_cases=(2, 2, 2), seed=seed)
        data.setup()
        return data.dataset(subset)[0]["image"]

    assert torch.equal(first(0, "train"), first(0, "train"))
    assert not torch.equal(first(0, "train"), first(1, "train"))
    assert not torch.equal(first(0, "train"), first(0, "val"))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"spatial_dims": 4}, "spatial_dims=4"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"num_cases": (0, 1, 1)}, "case"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(DataError, match=match):
        Phantom(**arguments)


def test_a_higher_threshold_makes_foreground_rarer():
    def share(threshold):
        data = Phantom(size=64, num_cases=(8, 1, 1), threshold=threshold)
        data.setup()
        return np.mean([(sample["mask"] > 0).float().mean() for sample in data.dataset("train")])

    assert 0.1 < share(0.8) < 0.35
    assert share(2.5) < 0.03


def test_split_table_lists_every_case_once():
    data = Phantom(num_cases=(3, 2, 1))
    data.setup()
    assert [row["subset"] for row in data.split_table()] == ["train"] * 3 + ["val"] * 2 + ["test"]


def test_plot_shows_image_and_mask():
    data = Phantom(spatial_dims=3, size=8, num_cases=(1, 1, 1))
    data.setup()
    _, axes = data.plot(data.dataset("test")[0])
    assert [ax.get_title() for ax in axes] == ["test_0000", "mask (white: ignored)"]
    assert axes[0].images[0].get_array().shape == (8, 8)
