"""What the first table hides is hidden in the pictures and in the interactive diagram."""

import html
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from lightning_app.report.page import file_name
from metrics.plot import style
from tests.report.browser import after, chromium
from tests.report.conftest import METHODS

FILTER = """
const tools = document.querySelector('.tools[data-table=summary]');
const change = (part, value, name) => {
  const box = tools.querySelector(part); box.value = value; box.dispatchEvent(new Event(name));
};
const words = (text) => change('input', text, 'input'), choose = (name) => change('select', name, 'change');
const figure = (title) => [...document.querySelectorAll('figure')]
  .find(f => f.querySelector('strong')?.textContent === title + '.');
"""
TOGETHER = "Reliability on Phantom, top label, all voxels"
HIDEABLE = (
    "Overview",
    "Reliability on",
    "Confidence on",
    "Risk against",
    "Thresholds on",
    "of the cases of",
    "Training",
)


@pytest.fixture(scope="module")
def drawings(page, runs):
    """Title -> the owners that the page names, and the drawing."""
    figure = r'<figure data-owners="([^"]+)"><img src="data:image/svg[^"]+"[^>]+><figcaption><strong>(.+?)\.</strong>'
    found = re.findall(figure, page.read_text(encoding="utf-8"))
    files = {html.unescape(title): html.unescape(owners).split("\n") for owners, title in found}
    return {title: (owners, runs / "figures" / f"{file_name(title)}.svg") for title, owners in files.items()}


def test_every_name_and_mark_of_a_method_lies_in_its_groups(drawings):
    """Drawings say their texts in comments: without the groups of one method only its name is gone."""
    hideable = {title: drawing for title, drawing in drawings.items() if any(words in title for words in HIDEABLE)}
    assert len(hideable) == 23
    for title, (owners, path) in hideable.items():
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        tree = ElementTree.fromstring(path.read_bytes(), parser)
        parents = {child: parent for parent in tree.iter() for child in parent}
        of = [owner.partition("\t")[0] for owner in owners]
        names = list(dict.fromkeys(of))
        for name in names:
            for place in (place for place, other in enumerate(of) if other == name):
                own = [e for e in parents if re.fullmatch(rf"owner-{place}-\d+", e.get("id", ""))]
                assert own, (title, owners[place])
                for element in own:
                    parents[element].remove(element)
            texts = [e.text.strip() for e in tree.iter() if e.tag is ElementTree.Comment]
            told = [n for n in names if any(re.match(rf"{re.escape(n)}(:|\s\(|$)", text) for text in texts)]
            assert told == names[names.index(name) + 1 :], title


def test_the_other_pictures_name_their_methods_and_carry_no_group(drawings, runs):
    others = {title: path for title, (_, path) in drawings.items() if not any(words in title for words in HIDEABLE)}
    assert others.keys() == {"Results against γ", "Ranks", "Ranks by Dice", "Ranks by NLL", "Ranks by ECE"}
    assert not any('id="owner-' in path.read_text(encoding="utf-8") for path in others.values())
    assert len(drawings) == len(list((runs / "figures").iterdir()))


def shot(page, tmp_path, name, script):
    """Pixels of the one figure that is left of the page."""
    alone = tmp_path / f"{name}.html"
    tail = f"<script>{FILTER}{script};document.body.replaceChildren(figure('{TOGETHER}'))</script></body>"
    alone.write_text(page.read_text(encoding="utf-8").replace("</body>", tail), encoding="utf-8")
    chromium(alone, f"--screenshot={tmp_path / name}.png", "--window-size=900,500")
    return np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)


def test_the_colour_of_a_hidden_method_is_gone_from_the_picture_and_the_others_stay(page, tmp_path):
    whole, part, back = (
        shot(page, tmp_path, name, script)
        for name, script in (("whole", ""), ("part", "words('γ=2')"), ("back", "words('γ=2');words('')"))
    )
    colours = [np.round(255 * np.array(to_rgb(colour))) for colour in style.COLOURS[: len(METHODS)]]
    counts = np.array([[(np.abs(one - c).max(-1) < 3).sum() for c in colours] for one in (whole, part)])
    assert (counts[0] > 50).all()
    assert counts[1][[0, 1, 3]].tolist() == [0, 0, 0]
    assert counts[1][2] >= counts[0][2]
    assert (whole == back).all()


def test_pictures_that_cannot_hide_say_how_many_hidden_methods_they_show(page):
    said = after(
        page,
        FILTER
        + """
        const titles = ['Results against γ', 'Ranks', 'Overview'];
        const notes = () => titles.map(title => figure(title).querySelector('p')?.textContent);
        say(notes().join('|')); words('γ'); say(notes().join('|')); words('γ=2'); say(notes().join('|'));
        words(''); say(notes().join('|'));
        """,
    )
    told = ["Shows 2 hidden methods.|Shows 3 hidden methods.|", "||"]
    assert said.splitlines() == ["||", "|Shows 1 hidden method.|", *told]


def test_a_picture_of_which_nothing_is_left_goes_and_comes_back(page):
    said = after(
        page,
        FILTER
        + """
        const seen = () => ['Training, Hippocampus', 'Training, Phantom', 'Overview'].map(t => !figure(t).hidden);
        const cases = () => [...document.querySelectorAll('#cases details')].filter(d => !d.hidden)
          .map(d => d.querySelector('summary').textContent);
        const before = [...document.images].map(i => i.getAttribute('src')).join();
        choose('Phantom'); words('γ=3'); say(seen()); say(cases().join('|'));
        words('no such method'); say(seen());
        choose(''); words(''); say(seen()); say(cases().length);
        say([...document.images].map(i => i.getAttribute('src')).join() === before);
        """,
    )
    all_of_it = ["true,true,true", "8", "true"]
    assert said.splitlines() == ["false,true,true", "Phantom: DSC++ γ=3.0", "false,false,false", *all_of_it]


def test_the_interactive_diagram_hides_too_and_keeps_what_its_reader_chose(page):
    said = after(
        page,
        FILTER
        + """
        const chart = document.querySelector('.chart');
        const lines = () => ['polyline', 'tbody tr'].map(part => chart.querySelectorAll(part).length).join();
        say(lines()); chart.querySelector('tbody input').click(); say(lines());
        words('γ'); say(lines()); words('DSC'); say(lines());
        const data = chart.querySelector('select');
        say(data.value); choose('Phantom'); say(data.value); say(lines());
        words('no such method'); say(chart.hidden); words(''); choose(''); say(chart.hidden); say(data.value);
        """,
    )
    lines = ["4,4", "3,4", "3,3", "3,4"]
    assert said.splitlines() == [*lines, "Hippocampus", "Phantom", "3,4", "true", "false", "Phantom"]
