"""Presets against the protocols' formulas, written as loops, and against examples computed by hand."""

import itertools
import random

import numpy as np
import pytest
import torch

import metrics
from metrics import presets
from tests.metrics.data import segmentation


def gap_sum(confidence, correct, edges, keep_zero=False):
    """Sum over bins (lo, hi] of n |conf - acc|, and the gap and number of each bin."""
    total, gaps, numbers = 0.0, [], []
    for m, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (confidence > low) & (confidence <= high)
        if keep_zero and m == 0:
            inside |= confidence <= low
        if inside.any():
            gap = abs(confidence[inside].astype(float).mean() - correct[inside].mean())
            total += inside.sum() * gap
            gaps.append(gap)
            numbers.append(inside.sum())
    return total, np.array(gaps), np.array(numbers)


def even(n):
    return torch.linspace(0, 1, n + 1).numpy()


def equal_mass_edges(x, n):
    return np.interp(np.linspace(0, len(x), n + 1), np.arange(len(x)), np.sort(x.astype(float))).astype(np.float32)


def arrays(seed=0, shape=(23, 24)):
    probs, target = segmentation(shape, seed=seed)
    return probs.numpy().reshape(3, -1), target.numpy().ravel(), probs, target


def run(name, *cases, **kwargs):
    metric = metrics.preset(name, 3, **kwargs)
    for probs, target in cases:
        metric.update(probs[None], target[None])
    return {key: value.item() for key, value in metric.compute().items()}


def test_mbls():
    p, y, probs, target = arrays()
    values = run("mbls", (probs, target))
    p, y = p[:, y != 0], y[y != 0]
    top, right, n = p.max(0), (p.argmax(0) == y).astype(float), (y != 0).sum()
    assert values["ece"] == pytest.approx(gap_sum(top, right, even(15))[0] / n, abs=1e-12)
    classes = [gap_sum(p[k], (y == k).astype(float), even(15))[0] / n for k in range(y.max() + 1)]
    assert values["cece"] == pytest.approx(np.mean(classes), abs=1e-12)
    kept = [p[k] > 1e-3 for k in range(y.max() + 1)]
    thresholded = [gap_sum(p[k][i], (y == k)[i].astype(float), even(15))[0] / i.sum() for k, i in enumerate(kept)]
    assert values["tcece"] == pytest.approx(np.mean(thresholded), abs=1e-12)
    assert values["aece"] == pytest.approx(gap_sum(top, right, equal_mass_edges(top, 15))[0] / n, abs=1e-12)
    assert values["nll"] == pytest.approx(-np.log(p[y, np.arange(n)].astype(float)).mean(), abs=1e-12)


def test_mbls_drops_high_classes_that_are_absent_and_cases_without_foreground():
    _, _, probs, target = arrays()
    low = target.clamp(max=1)
    cut = torch.stack([probs[0], probs[1] + probs[2]])
    assert run("mbls", (probs, low))["cece"] != pytest.approx(run("mbls", (probs, target))["cece"])
    two = metrics.preset("mbls", 2)
    two.update(cut[None], low[None])
    assert run("mbls", (probs, low), (probs, torch.zeros_like(low))) == run("mbls", (probs, low))


def test_mbls_bins_are_closed_on_the_right():
    """An edge of 15 bins lies in the bin below it; 0 in none, or in the first."""
    p = torch.linspace(0, 1, 16)[9]
    bins = presets.right_closed_bins(
        torch.tensor([p, 0.0, 1.0]), torch.tensor([True, True, True]), presets.even_edges(15)
    )
    assert bins.count[0].nonzero().flatten().tolist() == [8, 14]
    kept = presets.right_closed_bins(torch.zeros(2), torch.ones(2), presets.even_edges(15), keep_zero=True)
    assert kept.count[0, 0] == 2


def test_dscpp_by_hand():
    foreground = torch.tensor([0.8, 0.4, 0.0, 0.6])
    probs, target = torch.stack([1 - foreground, foreground]), torch.tensor([1, 0, 1, 0])
    metric = metrics.preset("dscpp", 2)
    metric.update(probs[None], target[None])
    values = metric.compute()
    assert values["nll_paper"].item() == pytest.approx(-(np.log(0.8) + np.log(1e-7)) / 4, rel=1e-7)
    assert values["brier_paper"].item() == pytest.approx((0.04 + 0.16 + 1 + 0.36) / 4, rel=1e-6)
    assert values["brier"].item() == pytest.approx(2 * (0.04 + 0.16 + 1 + 0.36) / 4, rel=1e-6)
    assert values["nll"].item() == pytest.approx(-np.log([0.8, 0.6, 1e-12, 0.4]).mean(), rel=1e-6)


def test_dscpp_with_labels_as_truth():
    p, y, probs, target = arrays()
    values = run("dscpp", (probs, target), raw_labels=True)
    p = p[1:].astype(float)
    assert values["brier_paper"] == pytest.approx(((y - p) ** 2).mean(), abs=1e-12)
    assert values["nll_paper"] == pytest.approx(-(y * np.log(p.clip(1e-7))).mean(), abs=1e-12)


def test_barfoot():
    cases = [arrays(seed, (15, 16 + seed)) for seed in range(3)]
    values = run("barfoot", *((probs, target) for _, _, probs, target in cases))
    per = [[gap_sum(p[k], (y == k).astype(float), even(20), True) for k in (1, 2)] for p, y, _, _ in cases]
    sizes = [len(y) for _, y, _, _ in cases]
    assert values["ece_macro"] == pytest.approx(
        np.mean([[c[0] / n for c in case] for case, n in zip(per, sizes, strict=True)]), abs=1e-12
    )
    assert values["ace_macro"] == pytest.approx(np.mean([[c[1].mean() for c in case] for case in per]), abs=1e-12)
    assert values["mce_macro"] == pytest.approx(np.mean([[c[1].max() for c in case] for case in per]), abs=1e-12)
    p, y = np.concatenate([c[0] for c in cases], 1), np.concatenate([c[1] for c in cases])
    pooled = [gap_sum(p[k], (y == k).astype(float), even(20), True) for k in (1, 2)]
    assert values["ece_micro"] == pytest.approx(np.mean([c[0] / len(y) for c in pooled]), abs=1e-12)
    assert values["ece_micro_published"] == pytest.approx(published_micro(cases), abs=1e-12)


def published_micro(cases):
    result = []
    for k in (1, 2):
        total = 0.0
        for m in range(20):
            confidences, hits, number = [], 0, 0
            for p, y, _, _ in cases:
                inside = (p[k] > even(20)[m]) & (p[k] <= even(20)[m + 1])
                if inside.any():
                    confidences.append(p[k][inside].astype(float).mean())
                    hits, number = hits + (y[inside] == k).sum(), number + inside.sum()
            if number:
                total += number * abs(np.mean(confidences) - hits / number)
        result.append(total / sum(len(y) for _, y, _, _ in cases))
    return np.mean(result)


def test_svls():
    p, y, probs, target = arrays()
    values = run("svls", (probs, target))
    inside = y != 0
    top, right = p.max(0)[inside], (p.argmax(0) == y)[inside].astype(float)
    assert values["ece"] == pytest.approx(gap_sum(top, right, even(10))[0] / inside.sum(), abs=1e-12)
    classes = []
    for k in (1, 2):
        order = np.argsort(p[k], kind="stable")
        order = order[p[k][order] > 1e-3]
        size, gaps = len(order) // 10, []
        for m in range(10):
            chunk = order[m * size : (m + 1) * size if m < 9 else None]
            gaps.append(len(chunk) / len(order) * abs((y[chunk] == k).mean() - p[k][chunk].astype(float).mean()))
        classes.append(sum(gaps))
    assert values["tace"] == pytest.approx(np.mean(classes), abs=1e-12)
    assert values["tace_published"] == pytest.approx(np.mean(classes) / 10, abs=1e-12)


def test_svls_chunks_by_hand():
    """23 voxels in ten bins: nine of two, the last of five."""
    p = torch.linspace(0.1, 0.9, 23).flip(0)
    bins = presets.equal_count_bins(p, p > 0.5, 10)
    assert bins.count[0].tolist() == [2] * 9 + [5]
    assert bins.confidence[0, 0].item() == pytest.approx(p[-2:].double().sum().item())
    metric = metrics.preset("svls", 2)
    metric.update(torch.tensor([[[0.4] * 9, [0.6] * 9]]), torch.ones(1, 9, dtype=torch.uint8))
    assert metric.compute()["tace"].isnan()


def test_mbls_brier_score_against_the_neighbourhood():
    _, _, probs, target = arrays()
    value = run("mbls", (probs, target))["segmentation_brier"]
    p, padded = probs.double().numpy(), np.pad(target.numpy(), 1)
    errors = []
    for i, j in np.argwhere(target.numpy() > 0):
        around = padded[i : i + 3, j : j + 3]
        errors.append(sum((p[k, i, j] - (around == k).mean()) ** 2 for k in range(3)))
    assert value == pytest.approx(np.mean(errors), abs=1e-12)


def lts_errors(top, predicted, y, deciles):
    """The four errors of the published code of voxels (N,), as loops over bins and predicted classes."""
    right = (predicted == y).astype(float)
    total, gaps, _ = gap_sum(top, right, even(10))
    by_class = [
        sum(gap_sum(top[predicted == k], right[predicted == k], edges)[0] for k in range(3)) / len(y)
        for edges in (even(10), deciles)
    ]
    return [total / len(y), gaps.max(), *by_class]


def deciles(x):
    inner = [np.percentile(x.astype(float), 10.0 * i) for i in range(1, 10)]
    return np.array([0.0, *inner, 1.0]).astype(np.float32)


def test_lts_of_image_and_boundary():
    p, y, probs, target = arrays()
    values = list(run("lts", (probs, target)).values())
    top, predicted = p.max(0), p.argmax(0)
    assert values[:4] == pytest.approx(lts_errors(top, predicted, y, deciles(top)), abs=1e-12)
    band = presets.near_change(target).numpy().ravel()
    assert values[4:8] == pytest.approx(lts_errors(top[band], predicted[band], y[band], deciles(top)), abs=1e-12)
    assert np.isnan(values[8:]).all()


def test_lts_patches_are_those_of_the_seed():
    cases = [arrays(seed, (170, 200)) for seed in range(2)]
    values = list(run("lts", *((probs, target) for _, _, probs, target in cases)).values())
    generator, found = random.Random(10), []
    for p, y, _, _ in cases:
        p, y = p.reshape(3, 170, 200), y.reshape(170, 200)
        for _ in range(10):
            i, j = generator.randint(84, 170 - 84), generator.randint(84, 200 - 84)
            window = np.s_[i - 36 : i + 36, j - 36 : j + 36]
            top, predicted = p.max(0)[window].ravel(), p.argmax(0)[window].ravel()
            found.append(lts_errors(top, predicted, y[window].ravel(), deciles(top)))
    assert values[8:] == pytest.approx(np.mean(found, axis=0), abs=1e-12)


def test_lts_deciles_are_of_all_voxels_the_ignored_ones_too():
    p, y, probs, target = arrays(3, (170, 200))
    void = np.random.default_rng(0).random(target.shape) < 0.3
    probs[:, void] = torch.tensor([0.36, 0.32, 0.32])[:, None]  # void is where the network is unsure
    p = probs.numpy().reshape(3, -1)
    target[torch.from_numpy(void)] = 255
    values = list(run("lts", (probs, target)).values())
    top, predicted, kept = p.max(0), p.argmax(0), ~void.ravel()
    expected = lts_errors(top[kept], predicted[kept], y[kept], deciles(top))
    assert values[:4] == pytest.approx(expected, abs=1e-12)
    assert abs(expected[3] - lts_errors(top[kept], predicted[kept], y[kept], deciles(top[kept]))[3]) > 1e-5
    generator, found = random.Random(10), []
    for _ in range(10):
        i, j = generator.randint(84, 170 - 84), generator.randint(84, 200 - 84)
        part = np.s_[i - 36 : i + 36, j - 36 : j + 36]
        in_part = [values.reshape(void.shape)[part].ravel() for values in (top, predicted, y, kept)]
        found.append(lts_errors(*(v[in_part[3]] for v in in_part[:3]), deciles(in_part[0])))
    assert values[8:] == pytest.approx(np.mean(found, axis=0), abs=1e-12)


def test_lts_sce_by_hand():
    """Half of the voxels predicted 0 at 0.9, all right; half 1 at 0.7, half right: 0.5 * 0.1 + 0.5 * 0.2."""
    probs = torch.tensor([[0.9, 0.1]] * 8 + [[0.3, 0.7]] * 8).T
    metric = metrics.preset("lts", 2)
    metric.update(probs[None], torch.tensor([0] * 8 + [1, 0] * 4)[None])
    values = metric.compute()
    assert values["sce"].item() == pytest.approx(0.15, abs=1e-7)
    assert values["mce"].item() == pytest.approx(0.2, abs=1e-7)


def test_lts_boundary_by_hand():
    target = torch.zeros(12, 20, dtype=torch.uint8)
    target[:, 10:] = 1
    near = presets.near_change(target)
    assert near[5].nonzero().flatten().tolist() == [8, 9, 10, 11]
    assert near[:, 9].nonzero().flatten().tolist() == list(range(3, 9))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_skips_ignored_voxels_and_empty_cases(name):
    _, _, probs, target = arrays()
    ignored = target.clone()
    ignored[12:] = 255
    everything = torch.full_like(target, 255)
    a, b = run(name, (probs, ignored), (probs, everything)), run(name, (probs[:, :12], target[:12]))
    # frame, patches and padding move with the image; the deciles of LTS's ACE hold ignored voxels too
    moved = ("_boundary", "_local", "segmentation_brier", *(("ace",) if name == "lts" else ()))
    a, b = ({key: v for key, v in values.items() if not key.endswith(moved)} for values in (a, b))
    assert a == pytest.approx(b, abs=1e-12)


def test_unknown_preset():
    with pytest.raises(ValueError, match="name='x'"):
        metrics.preset("x", 2)
