import torch

import metrics
from tests.metrics.data import segmentation

NAMES = ["background", "liver", "tumour"]
KEYS = {
    "dice",
    "dice/liver",
    "dice/tumour",
    "iou",
    "precision",
    "recall",
    "nll",
    "brier",
    "ece",
    "ace",
    "mce",
    "ece_classwise",
    "ece_foreground",
    "ece_per_case",
}


def test_names_and_values_agree_with_single_metrics():
    collection = metrics.build(3, NAMES)
    single = {
        "ace": metrics.AverageCalibrationError(3),
        "nll": metrics.NegativeLogLikelihood(3),
        "iou": metrics.JaccardIndex(3),
        "ece_per_case": metrics.ExpectedCalibrationError(3, average="per_case"),
        "ece_foreground": metrics.ExpectedCalibrationError(3, view="foreground"),
    }
    for seed in range(3):
        probs, target = segmentation(seed=seed)
        collection.update(probs[None], target[None])
        for metric in single.values():
            metric.update(probs[None], target[None])
    values = collection.compute()
    assert set(values) == KEYS
    assert all(value.ndim == 0 for value in values.values())
    for name, metric in single.items():
        assert values[name] == metric.compute(), name


def test_an_empty_first_batch_merges_nothing():
    """Grouping by equal values would take all metrics that are still zero for one."""
    first, later = metrics.build(3, NAMES), metrics.build(3, NAMES)
    probs, target = segmentation()
    first.update(probs[None], torch.full_like(target, 255)[None])
    for collection in (first, later):
        collection.update(probs[None], target[None])
    a, b = first.compute(), later.compute()
    assert all(torch.equal(a[name], b[name]) for name in KEYS)
    assert len({a[name].item() for name in ("ece", "ace", "mce", "nll", "brier")}) == 5


def test_a_clone_with_a_prefix_counts_for_itself():
    train = metrics.build(3, NAMES).clone(prefix="train/")
    val = train.clone(prefix="val/")
    probs, target = segmentation()
    train.update(probs[None], target[None])
    assert set(train.compute()) == {f"train/{k}" for k in KEYS}
    assert not val["ece"].update_called
    train.reset()
    assert train["ece"].count.sum() == 0
