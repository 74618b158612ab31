"""Every plot is drawn to bytes, and shows the numbers it was given."""

import io
import pickle

import numpy as np
import pytest
import torch

import metrics
from metrics import plot, statistics
from metrics.plot import style
from metrics.plot.histograms import frequency_table
from metrics.plot.maps import error_map, middle_slice
from metrics.plot.ranks import _cliques
from metrics.plot.reliability import _short
from tests.metrics.data import segmentation

SHAPE = (48, 56)


def scene(seed=0, sharpness=1.0, shape=SHAPE):
    """Image, labels and probabilities of discs with blurred edges; sharpness above 1 makes it over-confident."""
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij"))
    logits = 8 * (0.5 - (grid - 0.1 * seed).norm(dim=0))
    truth = torch.sigmoid(logits)
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(shape, generator=generator) < truth).to(torch.uint8)
    p = torch.sigmoid(sharpness * logits)
    return logits + torch.randn(shape, generator=generator), target, torch.stack([1 - p, p])


def bins_of(sharpness, view="top_label", seeds=range(6)):
    return [metrics.bin_item(p, y, view, 300) for _, y, p in (scene(seed, sharpness) for seed in seeds)]


def pooled(sharpness, view="top_label"):
    return metrics.merge_bins(*bins_of(sharpness, view))


def shells(sharpness):
    _, target, probs = scene(sharpness=sharpness)
    smooth = (scene()[2][1] > 0.5).to(torch.uint8)
    return metrics.distance_bins(probs, torch.where(target == smooth, target, smooth), EDGES)


EDGES = (-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
RANKS = statistics.rank_methods(np.random.default_rng(0).random((6, 4))).T
DRAWN = {
    "reliability": lambda: plot.reliability_diagram(
        pooled(3), band=metrics.frequency_band(bins_of(3)), title="top label"
    ),
    "reliability_classes": lambda: plot.reliability_diagram(pooled(3, "classwise"), labels=["background", "organ"]),
    "confidence": lambda: plot.confidence_histogram(pooled(3), title="confidence"),
    "confidence_linear": lambda: plot.confidence_histogram(pooled(3), log=False),
    "dataset": lambda: plot.dataset_reliability_histogram(bins_of(3, "foreground", range(20)), title="foreground"),
    "margin": lambda: plot.margin_histogram(
        metrics.count_margins(torch.randn(3, 9999, generator=torch.Generator().manual_seed(0)) * 6), 10.0
    ),
    "boxes": lambda: plot.box_plot(
        {"CE": np.random.default_rng(0).random(20), "MbLS": [0.2, 0.5, np.nan]}, ylabel="ECE"
    ),
    "boxes_in_groups": lambda: plot.box_plot(
        {m: [np.random.default_rng(i).random(15) for i in range(3)] for m in ("CE", "MbLS")},
        ["UNet", "UNet++", "AttUNet"],
        "Dice",
    ),
    "intervals": lambda: plot.interval_plot({"CE": (0.1, 0.08, 0.13), "DSC++": (0.05, 0.04, 0.07)}, "ECE"),
    "parameter": lambda: plot.parameter_curves(
        {
            "DSC++": {1.0: (0.1, 0.08, 0.12), 2.0: (0.05, 0.04, 0.06), 4.0: (0.06, 0.05, 0.08)},
            "CE": {1.0: 0.07, 4.0: 0.07},
        },
        ylabel="ECE",
    ),
    "threshold": lambda: plot.threshold_curves(
        {"calibrated": pooled(1, "foreground"), "sharp": pooled(6, "foreground")}, title="thresholds"
    ),
    "risk": lambda: plot.risk_coverage({"calibrated": pooled(1), "sharp": pooled(6)}),
    "generalised_risk": lambda: plot.risk_coverage({"calibrated": pooled(1)}, generalised=True),
    "distance": lambda: plot.distance_calibration(
        {"calibrated": shells(1), "sharp": shells(3)}, EDGES, title="distance"
    ),
    "ranks": lambda: plot.rank_heat_map(RANKS, ["CE", "DSC", "DSC++", "MbLS"], [f"set {i}" for i in range(6)], "ranks"),
    "critical_difference": lambda: plot.critical_difference(
        RANKS.mean(1), ["CE", "DSC", "DSC++", "MbLS"], 1.2, "ranks"
    ),
    "volumes": lambda: plot.volume_scatter([1.1, 2.3, 0.2], [1.0, 2.0, 0.0], "volumes"),
    "radar": lambda: plot.radar(
        {"CE": [0.8, 0.7, 0.9, 0.6, 0.8], "MbLS": [0.85, 0.75, 0.8, 0.7, 0.9]},
        ["Dice A", "Dice B", "1 - ECE A", "1 - ECE B", "NSD"],
    ),
    "overlay": lambda: plot.overlay(scene()[0], scene()[2].argmax(0), scene()[1], scene()[2], "case"),
    "maps": lambda: plot.probability_maps(*scene(sharpness=3), title="maps"),
    "maps_of_a_volume": lambda: plot.probability_maps(*scene(shape=(8, 30, 30))),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_plot_is_drawn(name):
    figure, axes = DRAWN[name]()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue()[:4] == b"\x89PNG"
    assert all(ax.figure is figure for ax in np.atleast_1d(axes))


def test_methods_that_do_not_differ_are_joined():
    assert _cliques(np.array([1.0, 1.5, 2.2, 4.0]), 0.8) == [(1.0, 1.5), (1.5, 2.2)]
    assert _cliques(np.array([1.0, 3.0]), 1.0) == []


def test_empty_bins_draw():
    for bins in (metrics.empty_bins(1, 300), metrics.empty_bins(2, 300)):
        figure, _ = plot.reliability_diagram(bins)
        figure.savefig(io.BytesIO(), format="png")
    plot.confidence_histogram(metrics.empty_bins(1, 300))[0].savefig(io.BytesIO(), format="png")


def test_the_diagram_shows_the_errors_and_the_points():
    bins = pooled(3)
    _, ax = plot.reliability_diagram(bins)
    ece = metrics.errors.expected_calibration_error(bins, 15).item()
    assert f"ECE {ece:.4f}" in ax.get_title()
    coarse = metrics.rebin(bins, 15)
    full = coarse.count[0] > 0
    points = ax.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 1], (coarse.correct / coarse.count)[0][full].numpy())


def test_the_smooth_line_is_drawn_where_there_are_voxels_and_nowhere_else():
    """Over-confident by far, so that the kernel is wide; nothing between 0.62 and 0.83, nor beyond 0.55 and 0.9."""
    generator = np.random.default_rng(0)
    held = [(0.55, 0.62), (0.83, 0.90)]
    p = torch.from_numpy(np.concatenate([generator.uniform(*ends, 40_000) for ends in held]))
    target = torch.from_numpy((generator.random(80_000) > 0.4).astype(int))
    for fine in (metrics.FINE_BINS, metrics.CASE_BINS):
        _, ax = plot.reliability_diagram(metrics.bin_item(torch.stack([p, 1 - p]), target, "top_label", fine))
        (line,) = (line for line in ax.lines if line.get_label().startswith("smooth"))
        x = line.get_xdata()[np.isfinite(line.get_ydata())]
        inside = [x[(x > low) & (x < high)] for low, high in held]
        assert sum(map(len, inside)) == len(x)
        ends = [(part[0], part[-1]) for part in inside]
        np.testing.assert_allclose(ends, held, atol=1 / fine + 1 / 2048)


@pytest.mark.parametrize("num_bins", [5, 15])
def test_a_line_of_bins_as_coarse_as_the_diagram_is_whole(num_bins):
    coarse = metrics.rebin(pooled(3), num_bins)
    _, ax = plot.reliability_diagram(coarse, num_bins)
    (line,) = (line for line in ax.lines if line.get_label().startswith("smooth"))
    x = line.get_xdata()[np.isfinite(line.get_ydata())]
    assert np.diff(x).max() < 1.5 / 2048
    assert len(x) > 2048 * 0.3


def test_metrics_plot_themselves():
    metric = metrics.ExpectedCalibrationError(3)
    metric.update(*(t[None] for t in segmentation()))
    figure, ax = metric.plot()
    assert ax.figure is figure
    assert metric.plot(metric.bins)[1] is not ax


OTHERS = [
    metrics.NegativeLogLikelihood,
    metrics.BrierScore,
    metrics.DiceScore,
    metrics.GeneralizedDiceScore,
    metrics.JaccardIndex,
    metrics.BoundaryIoU,
    metrics.HausdorffDistance95,
    metrics.NormalizedSurfaceDice,
    *metrics.presets.PRESETS.values(),
]


@pytest.mark.parametrize("cls", OTHERS, ids=lambda cls: cls.__name__)
def test_every_metric_draws_its_value_survives_pickling_and_takes_half_precision(cls):
    from matplotlib import pyplot

    metric = cls(3)
    probs, target = segmentation()
    metric.update(probs.half()[None], target[None])
    copy, clone = pickle.loads(pickle.dumps(metric)), metric.clone()
    found = {str(m.compute()) for m in (metric, copy, clone)}
    assert len(found) == 1
    figure, ax = metric.plot()
    assert ax.figure is figure
    assert metric.plot(ax=ax)[1] is ax
    pyplot.close(figure)


def test_axes_that_are_given_are_drawn_on():
    figure, ax = plot.confidence_histogram(pooled(3), log=False)
    assert plot.risk_coverage({"a": pooled(1)}, ax=ax) == (figure, ax)


def test_frequencies_by_case():
    def case(confidence, hits, count):
        fields = [torch.zeros(1, 10, dtype=torch.float64) for _ in range(4)]
        for field, value in zip(fields, (count, confidence * count, hits, 0), strict=True):
            field[0, int(confidence * 10)] = value
        return metrics.Bins(fields[0].long(), *fields[1:])

    table, number = frequency_table([case(0.75, 1, 4), case(0.75, 4, 4), case(0.35, 0, 2)], 10)
    assert number.tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0, 0]
    assert table[2, 7] == table[9, 7] == 0.5
    assert table[0, 3] == 1


def test_slice_with_most_foreground():
    truth = np.zeros((5, 4, 4), int)
    truth[3, :2], truth[1] = 1, 255
    assert middle_slice(truth) == 3
    assert middle_slice(np.zeros((5, 4, 4))) == 2


@pytest.mark.parametrize(("names", "inside"), [(["a", "b"], True), (list("abcdefghij"), False), (["a" * 30], False)])
def test_a_legend_that_would_cover_the_curves_stands_beside_them(names, inside):
    figure, ax = plot.parameter_curves({name: {1: 0.1, 2: 0.2} for name in names})
    figure.canvas.draw()
    assert ax.get_window_extent().overlaps(ax.get_legend().get_window_extent()) == inside


class TestOverlay:
    @staticmethod
    def scene():
        truth = np.zeros((3, 20, 30), int)
        truth[2, 4:16, 5:15], truth[2, 4:16, 20:22], truth[:, 0] = 1, 2, 255
        said = truth.copy()
        said[2, 4:6, 5:15], said[2, 10:12, 20:22], said[2, 18, 3:6], said[:, 0] = 0, 1, 2, 0
        probs = np.where(np.arange(3)[:, None, None, None] == said, 0.8, 0.1)
        image = np.linspace(0, 1, truth.size).reshape(truth.shape)
        image[2, 19, 29] = 1e6
        return image, said, truth, probs

    def test_five_panels_name_the_slice_and_the_classes(self):
        image, said, truth, probs = self.scene()
        figure, axes = plot.overlay(image, said, truth, probs, "worst: a", class_names=["none", "liver", "tumour"])
        assert [ax.get_title() for ax in axes] == ["image", "truth", "prediction", "confidence", "error"]
        assert figure.get_suptitle() == "worst: a, slice 3 of 3"
        key = figure.legends[0]
        names = [text.get_text() for text in key.get_texts()]
        assert names == ["liver", "tumour", "claimed", "missed", "other class", "ignored"]
        colours = [patch.get_facecolor() for patch in key.get_patches()]
        assert len(set(colours)) == len(colours)  # a colour means one thing

    def test_one_bright_voxel_leaves_no_black_picture(self):
        image, said, truth, probs = self.scene()
        _, axes = plot.overlay(image, said, truth, probs)
        assert axes[0].images[0].get_array().std() > 0.2

    def test_errors_have_the_colour_of_their_kind(self):
        from matplotlib.colors import to_rgba

        _, said, truth, _ = self.scene()
        shown = error_map(said[2], truth[2])
        kinds = {style.MISSED: (5, 7), style.CONFUSED: (11, 20), style.CLAIMED: (18, 4)}
        for colour, place in kinds.items():
            np.testing.assert_allclose(shown[place], to_rgba(colour))
        assert shown[10, 10, 3] == 0
        counts = [int((shown == to_rgba(colour)).all(-1).sum()) for colour in kinds]
        assert counts == [20, 4, 3]


def test_no_line_of_ranks_crosses_a_name():
    names = ["DSC++ with a long name", "Dice", "CE", "Focal"]
    figure, ax = plot.critical_difference([1.1, 1.3, 1.35, 3.0], names, 1.0)
    figure.savefig(io.BytesIO())  # lays out
    assert [text.get_text() for text in ax.texts] == [
        "DSC++ with a long name  1.10", "Dice  1.30", "CE  1.35", "Focal  3.00",
    ]  # fmt: skip
    boxes = [text.get_window_extent() for text in ax.texts]
    lines = [line.get_window_extent() for line in ax.lines]
    assert not any(box.overlaps(line) for box in boxes for line in lines)


def test_series_beyond_the_colours_look_different():
    looks = [tuple(style.series_style(index)[part] for part in ("color", "marker", "linestyle")) for index in range(32)]
    assert len(set(looks)) == 32


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (1000, "1k"), (12_340, "12.3k"), (999_400, "999k"), (999_600, "1M"), (2e9, "2G")],
)
def test_counts_are_told_without_an_exponent(count, text):
    assert _short(count) == text
