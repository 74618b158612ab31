"""Pictures in few bytes show the same."""

import io
import itertools
import re
from collections import Counter
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lightning_app.report import diagrams
from lightning_app.report.compact import media_type, webp
from lightning_app.report.compact_svg import compact_svg, svg_uri
from lightning_app.report.compare import Comparison
from lightning_app.report.read import find_runs
from metrics import plot
from tests.report.browser import chromium


def ranks():
    return plot.critical_difference([1.1, 1.9, 3.0], ['5 % "a" <b>', "it's #1 & 2", "c"], 1.0, "Dice")[0]


def dots_and_lines():
    """Markers, hatches, clipping, powers of ten and a legend."""
    figure, ax = plot.box_plot(
        {"DSC": np.linspace(0.2, 0.9, 20), "DSC++ (γ=2)": np.linspace(0.4, 0.8, 20)}, ylabel="Dice"
    )
    ax.bar([0.0], [0.3], 0.1, hatch="//", fill=False)
    ax.plot([-1, 1], [0.1, 5], label="cut off")
    ax.set_ylim(1e-3, 1)
    ax.set_yscale("log")
    ax.legend()
    return figure


def drawing(figure=None):
    figure = figure or ranks()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def drawn(svg):
    """How many shapes there are: marks that are one path count one by one."""
    count = Counter()
    for element in ElementTree.fromstring(svg).iter():
        tag = element.tag.rpartition("}")[2]
        if "marker:" in element.get("style", ""):
            count["use"] += len(re.split("[ML]", element.get("d"))) - 2  # the marker itself has one
        elif tag in ("path", "use", "rect"):
            count[tag] += 1
    return count


@pytest.mark.parametrize("figure", [ranks, dots_and_lines])
def test_a_drawing_as_text_is_the_compact_drawing_and_much_smaller(figure):
    data = drawing(figure())
    prefix, _, text = svg_uri(data).partition(",")
    assert prefix == "data:image/svg+xml"
    assert not set('"#') & set(text)
    found = unquote(text.replace("&amp;", "&"))
    assert found == re.sub(r"\s+", " ", compact_svg(data.decode())).replace('"', "'")
    assert drawn(found) == drawn(data)
    assert len(text) < 0.62 * len(data)


@pytest.mark.parametrize("figure", [ranks, dots_and_lines])
def test_a_browser_draws_the_compact_drawing_as_it_draws_the_whole(tmp_path, figure):
    shots, data = [], drawing(figure())
    (tmp_path / "whole.svg").write_bytes(data)
    for name, source in (("whole", "whole.svg"), ("compact", svg_uri(data))):
        page = tmp_path / f"{name}.html"
        page.write_text(f'<body style="margin:0;background:#fff"><img width="560" src="{source}"></body>')
        chromium(page, f"--screenshot={tmp_path / name}.png", "--window-size=600,600")
        shots.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")).astype(int))
    assert shots[0].min() < 50
    assert np.abs(shots[0] - shots[1]).mean() < 0.2


def test_a_picture_is_coarser_until_it_fits_and_png_where_that_is_smaller():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))
    free, bound = webp(noise), webp(noise, 20_000)
    assert len(bound) <= 20_000 < len(free)
    assert media_type(bound) == "image/webp"
    assert np.abs(np.asarray(Image.open(io.BytesIO(free))).astype(int).mean() - 127) < 3
    assert len(webp(noise, 3000)) <= 3000
    flat = webp(Image.new("RGB", (40, 20_000)))
    assert media_type(flat) == "image/png"
    assert Image.open(io.BytesIO(flat)).size == (40, 20_000)


def test_diagrams_side_by_side_fill_their_panels(runs, monkeypatch):
    """Their strips and legends once left a thirtieth of the picture to each."""
    comparison = Comparison(find_runs([runs]))
    figures = []
    monkeypatch.setattr(diagrams, "picture", lambda figure, *words: figures.append(figure))
    (problem,) = diagrams._problems(comparison, "Phantom", diagrams.FULL)
    spread = diagrams.Spread((np.zeros(15), np.ones(15)), (0.1, 0.2))
    diagrams._side_by_side(problem, dict.fromkeys(problem.found, spread))
    (figure,) = figures
    figure.savefig(io.BytesIO())  # lays out
    assert len(figure.axes) == 4
    assert all(ax.get_window_extent().width > 2.5 * figure.dpi for ax in figure.axes)
    whole = [ax.get_tightbbox() for ax in figure.axes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(whole, 2))
