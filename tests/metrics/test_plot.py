import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import metrics
from metrics import plot
from metrics.boundary import DISTANCES, distance_bins
from metrics.curves import risk_coverage, threshold_curves
from metrics.margins import count_margins
from metrics.plot.comparison import _cliques
from metrics.plot.reliability import frequency_table
from tests.metrics.data import segmentation

NAMES = ["background", "liver", "tumour"]
PROBS, TARGET = segmentation((24, 26))
BINS = metrics.case_bins(PROBS, TARGET)
CLASSWISE, TOP = BINS["all.classwise"], BINS["all.top_label"]
ORGAN = metrics.Bins(*(field[1:2] for field in CLASSWISE))
PLOTS = {
    "reliability": lambda: plot.reliability_diagram(TOP),
    "reliability by class": lambda: plot.reliability_diagram(CLASSWISE, labels=NAMES),
    "reliability of nothing": lambda: plot.reliability_diagram(metrics.empty_bins(1, 300)),
    "confidence": lambda: plot.confidence_histogram(TOP),
    "confidence by class": lambda: plot.confidence_histogram(CLASSWISE, labels=NAMES),
    "confidence of nothing": lambda: plot.confidence_histogram(metrics.empty_bins(1, 300), log=False),
    "data set": lambda: plot.dataset_reliability_histogram([ORGAN, ORGAN]),
    "overlay": lambda: plot.overlay(PROBS[:1], metrics.predict_labels(PROBS), TARGET, PROBS),
    "maps": lambda: plot.probability_maps(PROBS[:1], TARGET, PROBS),
    "thresholds": lambda: plot.threshold_curves({"a": threshold_curves(CLASSWISE)}, channel=1),
    "risk": lambda: plot.risk_coverage({"a": risk_coverage(TOP)}, generalised=True),
    "gamma": lambda: plot.gamma_curve([1, 2, 3], {"Dice": [0.8, np.nan, 0.9]}),
    "margin": lambda: plot.margin_curve([3, 5], {"ECE": [0.1, 0.2]}, bands={"ECE": ([0.0, 0.1], [0.2, 0.3])}),
    "margins": lambda: plot.margin_histogram(count_margins(PROBS.log()), 5.0),
    "distance": lambda: plot.distance_curve({"a": distance_bins(PROBS, TARGET)}, DISTANCES),
    "ranks": lambda: plot.rank_heat_map([[1, 2], [2, 1]], ["a", "b"], ["DRIVE", "BUS"]),
    "critical difference": lambda: plot.critical_difference([1.2, 1.8], ["a", "b"], 0.9),
    "radar": lambda: plot.radar({"a": [0.8, 0.1, 3], "b": [0.9, 0.2, 2]}, ["Dice", "ECE", "HD95"]),
    "boxes": lambda: plot.box_plots({"UNet": {"CE": [0.1, np.nan, 0.3], "MbLS": [0.2, 0.4]}}, "Dice"),
    "volumes": lambda: plot.volume_scatter([1.0, 2.0], [1.0, 0.0]),
    "bars": lambda: plot.class_bars({"liver": 0.9, "tumour": float("nan")}, "Dice"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_gives_a_figure_without_pyplot_that_can_be_written(name):
    figure, axes = PLOTS[name]()
    assert isinstance(figure, Figure)
    assert all(isinstance(ax, Axes) for ax in np.atleast_1d(axes))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=30)
    assert buffer.tell() > 1000


def test_bars_of_the_diagram_are_the_observed_frequencies():
    _, ax = plot.reliability_diagram(TOP, num_bins=10)
    coarse = metrics.rebin(TOP, 10)
    full = coarse.count[0] > 0
    heights = [patch.get_height() for patch in ax.containers[0]]
    np.testing.assert_allclose(heights, (coarse.correct[0] / coarse.count[0])[full])
    ece = metrics.errors.expected_calibration_error(coarse)[0].item()
    assert any(f"ECE {ece:.4f}" in text.get_text() for text in ax.texts)


def test_band_is_drawn_for_every_class():
    band = metrics.statistics.bootstrap_band([CLASSWISE, CLASSWISE], 15, resamples=20)
    _, ax = plot.reliability_diagram(CLASSWISE, band=band, labels=NAMES)
    assert len(ax.collections) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == NAMES


def test_draws_on_axes_that_are_given():
    figure, (left, right) = plot.style.new_figure(1, 2)
    assert plot.reliability_diagram(TOP, ax=left) == (figure, left)
    assert plot.risk_coverage({"a": risk_coverage(TOP)}, ax=right) == (figure, right)


def test_volume_shows_the_slice_with_most_foreground():
    probs, target = segmentation((5, 20, 22))
    target[:] = 0
    target[3, 4:9] = 1
    _, axes = plot.overlay(torch.arange(5.0)[:, None, None].expand(5, 20, 22), target, target, probs)
    shown = axes[2].images[0].get_array()
    np.testing.assert_allclose(shown, probs[:, 3].amax(0).numpy())


def test_frequency_table_counts_cases():
    probs = torch.tensor([[0.26, 0.26, 0.26, 0.9], [0.74, 0.74, 0.74, 0.1]])
    bins = metrics.bin_item(probs, torch.tensor([1, 1, 0, 0]), "foreground", 20)
    table = frequency_table([bins, bins], 20)
    assert table.sum() == 4
    assert table[int(2 / 3 * 20), int(0.74 * 20)] == 2
    assert table[0, 2] == 2  # 1 - p_0 = 0.1 in float32 lies just below or in bin 2


def test_errors_are_marked_and_ignored_voxels_are_grey():
    prediction, truth = np.array([[1, 0, 1, 0]]), np.array([[0, 1, 1, 255]])
    picture = plot.maps.error_map(prediction, truth)
    assert picture[0, 0, 0] > picture[0, 0, 2]  # claimed: red
    assert picture[0, 1, 2] > picture[0, 1, 0]  # missed: blue
    assert picture[0, 2, 3] == 0
    assert len(set(picture[0, 3, :3])) == 1


def test_methods_that_do_not_differ_are_joined():
    assert _cliques(np.array([1.0, 1.5, 3.0, 3.2]), 0.6) == [(1.0, 1.5), (3.0, 3.2)]
    assert _cliques(np.array([1.0, 2.0, 3.0]), 5.0) == [(1.0, 3.0)]


def test_metric_plot_gives_figure_and_axes():
    metric = metrics.ExpectedCalibrationError(3)
    metric.update(PROBS[None], TARGET[None])
    figure, ax = metric.plot()
    assert isinstance(figure, Figure)
    assert ax.get_xlabel() == "confidence"
