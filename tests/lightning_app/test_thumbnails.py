"""Small pictures of cases: what is thin stays, what is dim is seen."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from lightning_app.training.head import Head
from lightning_app.training.thumbnails import dice, grey, shrink, shrink_labels, thin_volume, thumbnail

HEAD = Head(("background", "vessel"))


def batch_of(truth, confidence=0.9):
    probs = torch.where(truth == 1, confidence, 1 - confidence)
    batch = {"image": torch.rand(1, 1, *truth.shape), "mask": truth[None].to(torch.uint8), "case": ["a"]}
    return batch, torch.stack([1 - probs, probs])[None]


def test_a_vessel_one_pixel_wide_is_whole_after_shrinking():
    truth = torch.zeros(1000, 900, dtype=torch.long)
    truth[:, 431], truth[555, :] = 1, 1
    shown = thumbnail(*batch_of(truth), HEAD, size=320)
    assert shown["truth"].shape == (250, 225) == shown["probs"].shape[1:]
    assert (shown["truth"][:, 431 // 4] == 1).all()
    assert (shown["truth"][555 // 4] == 1).all()
    assert int(shown["truth"].sum()) == 250 + 225 - 1
    assert shown["dice"] == 1
    assert shown["names"] == ("background", "vessel")


def test_blocks_are_means_and_labels_foreground_before_ignored():
    values, labels = torch.arange(25.0).reshape(1, 5, 5), torch.zeros(5, 5, dtype=torch.long)
    labels[:2, :2], labels[0, 2], labels[3, 3], labels[2, 2] = 255, 255, 1, 2
    assert shrink(values, 2)[0].tolist() == [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]
    assert shrink_labels(labels, 2).tolist() == [[255, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert shrink(values, 1).data_ptr() != values.data_ptr()


def test_dice_is_that_of_another_library_and_leaves_out_what_is_ignored():
    generator = torch.Generator().manual_seed(0)
    truth, said = (torch.randint(0, 3, (20, 30), generator=generator) for _ in range(2))
    ignored = torch.rand(20, 30, generator=generator) < 0.2
    known = ~ignored
    expected = f1_score(truth[known].numpy(), said[known].numpy(), labels=[1, 2], average="macro")
    assert dice(said, truth.masked_fill(ignored, 255)) == pytest.approx(expected)
    assert np.isnan(dice(torch.zeros(4, 4).long(), torch.zeros(4, 4).long()))


def test_a_volume_tells_its_slice_and_keeps_thin_lines():
    truth = torch.zeros(5, 200, 40, dtype=torch.long)
    truth[3, :, 21] = 1
    shown = thumbnail(*batch_of(truth), HEAD)
    assert shown["slice"] == "slice 4 of 5"
    volume = thin_volume(torch.rand(1, *truth.shape), truth, truth, torch.rand(2, *truth.shape))
    assert volume["truth"].shape == (5, 67, 14)
    assert (volume["truth"][3, :, 7] == 1).all()


def test_the_mask_is_that_of_the_cuts():
    truth = torch.zeros(6, 8, dtype=torch.long)
    truth[2:4] = 1
    batch, probs = batch_of(truth)
    probs = torch.where(truth == 1, 0.35, 0.1)[None].expand(2, -1, -1).clone()
    probs[0] = 1 - probs[1]
    shown, plain = (thumbnail(batch, probs[None], HEAD, cuts) for cuts in ((0.5, 0.3), None))
    assert (shown["prediction"] == truth).all()
    assert shown["cuts"] == "cut at 0.3"
    assert not plain["prediction"].any()
    assert plain["cuts"] == ""


def test_a_bright_voxel_leaves_the_rest_visible():
    values = torch.linspace(0, 1, 10_000)
    values[-1] = 1e4
    assert grey(values).float().std() > 60
    assert grey(torch.zeros(9)).tolist() == [0] * 9
