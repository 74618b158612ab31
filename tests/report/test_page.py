"""The page as a user has it: in a browser, on paper, without a network."""

import re

import numpy as np
import pytest
from PIL import Image

from lightning_app.report.command import main
from tests.report.browser import after, chromium

ORDER = (
    "[...document.querySelector('#summary').tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[0].dataset.key)"
)


def test_it_is_one_file_that_asks_for_nothing(page):
    text = page.read_text(encoding="utf-8")
    outside = re.findall(
        r'(?:src|href)="(?!data:|#)[^"]+"|url\((?!data:|%23)|@import|<link[^>]+stylesheet|fetch\(', text
    )  # %23: the # of a drawing that names a part of its own
    assert outside == []
    assert re.findall(r"href='(?!%23|data:)[^']*'", text) == []
    assert "Which &lt;loss&gt;?" in text
    assert page.stat().st_size < 105_000 * 12  # bytes a run; 120 of six data sets stay below 8 MB


def test_a_click_sorts_by_number_and_a_second_turns_round(page):
    said = after(
        page,
        f"""
        const table = document.querySelector('#summary');
        const column = [...table.tHead.rows[0].cells].findIndex(h => h.textContent.startsWith('ECE'));
        const keys = () => [...table.tBodies[0].rows].map(r => Number(r.cells[column].dataset.key));
        const button = document.querySelectorAll('#summary thead button')[column];
        const before = {ORDER}.join();
        button.click(); say(keys().every((k, i, a) => !i || a[i - 1] <= k)); say(button.parentElement.ariaSort);
        button.click(); say(keys().every((k, i, a) => !i || a[i - 1] >= k)); say(button.parentElement.ariaSort);
        say(document.getElementById('status').textContent);
        button.click(); say({ORDER}.join() === before);
        """,
    )
    assert said.splitlines() == [
        "true",
        "ascending",
        "true",
        "descending",
        "sorted by ECE ↓, descending",
        "true",
    ]


def test_words_and_a_choice_filter_the_rows(page):
    said = after(
        page,
        f"""
        const tools = document.querySelector('.tools[data-table=summary]');
        say(tools.querySelector('output').textContent);
        const input = tools.querySelector('input');
        input.value = 'dsc++ γ=2'; input.dispatchEvent(new Event('input')); say({ORDER}.join('|'));
        input.value = ''; input.dispatchEvent(new Event('input'));
        const select = tools.querySelector('select');
        select.value = 'Phantom'; select.dispatchEvent(new Event('change')); say({ORDER}.length);
        say(tools.querySelector('output').textContent);
        """,
    )
    assert said.splitlines() == ["8 of 8 rows", "DSC++ γ=2.0|DSC++ γ=2.0", "4", "4 of 8 rows, in the pictures too"]


def test_the_slices_of_a_volume_follow_the_slider(page):
    said = after(
        page,
        """
        document.querySelectorAll('details').forEach(d => { d.open = true; });
        const browser = document.querySelector('.slices');
        const slider = browser.querySelector('input');
        const picture = browser.querySelector('img'), frame = browser.querySelector('.window');
        picture.loading = 'eager';
        picture.decode().then(() => {
          slider.value = 4; slider.dispatchEvent(new Event('input'));
          say(browser.querySelector('output').textContent);
          const [inner, outer] = [picture.getBoundingClientRect(), frame.getBoundingClientRect()];
          say(Math.abs(outer.top - inner.top - 4 * outer.height) < 1 && Math.abs(inner.height - 6 * outer.height) < 1);
          say(outer.height > 50 && document.elementFromPoint(0, 0) !== null);
        });
        """,
    )
    assert said.splitlines() == ["slice 5 of 6", "true", "true"]


def test_a_slice_can_be_seen(page, tmp_path):
    """The pixels of the window, not what the style sheet says of it: another slice is another picture."""
    shots = []
    for number in (0, 3):
        alone = tmp_path / f"slice{number}.html"
        script = (
            "<script>const b = document.querySelector('.slices'); b.querySelector('img').loading = 'eager';"
            f"const s = b.querySelector('input'); s.value = {number}; s.dispatchEvent(new Event('input'));"
            "document.body.replaceChildren(b);</script>"
        )
        alone.write_text(page.read_text(encoding="utf-8").replace("</body>", script + "</body>"), encoding="utf-8")
        shot = tmp_path / f"slice{number}.png"
        chromium(alone, f"--screenshot={shot}", "--window-size=1400,300")
        shots.append(np.asarray(Image.open(shot).convert("L")).astype(int)[:100, 30:500])
    assert all(len(np.unique(shot)) > 20 for shot in shots)
    assert np.abs(shots[0] - shots[1]).mean() > 5


def test_the_reliability_chart_turns_and_tells(page):
    said = after(
        page,
        """
        const chart = document.querySelector('.chart');
        const [data, view, region, channel] = chart.querySelectorAll('select');
        const choose = (select, value) => { select.value = value; select.dispatchEvent(new Event('change')); };
        const lines = () => chart.querySelectorAll('polyline').length;
        choose(data, 'Hippocampus'); say(lines());
        choose(view, 'classwise');
        say([...channel.options].map(o => o.text).join());
        choose(channel, '2'); say(lines());
        choose(region, 'boundary'); say(chart.querySelectorAll('circle').length > 10);
        chart.querySelector('tbody input').click(); say(lines());
        const slider = chart.querySelector('input[type=range]');
        slider.value = 0; slider.dispatchEvent(new Event('input'));
        say(chart.querySelector('caption').textContent);
        const [, , voxels, says, is] = chart.querySelector('tbody tr').cells;
        say(Number(voxels.textContent.replaceAll(',', '')) > 0);
        say(Number(says.textContent) < 1 / 15 && is.textContent !== '');
        """,
    )
    classes = "background,anterior,posterior"
    assert said.splitlines() == ["4", classes, "4", "true", "3", "From 0.000 to 0.067", "true", "true"]


def test_columns_are_chosen_and_dark_mode_is_dark(page, tmp_path):
    said = after(
        page,
        """
        const box = document.querySelector('.columns input[type=checkbox]:not(:checked)');
        const column = [...box.closest('.columns').querySelectorAll('input')].indexOf(box);
        const head = document.querySelector('#summary thead').rows[0].cells[column];
        const shown = () => getComputedStyle(head).display !== 'none';
        say(shown()); box.click(); say(shown());
        """,
    )
    assert said.splitlines() == ["false", "true"]
    shot = tmp_path / "dark.png"
    chromium(page, f"--screenshot={shot}", "--window-size=1400,300", "--blink-settings=preferredColorScheme=0")
    assert np.asarray(Image.open(shot).convert("L")).mean() < 80


def test_a_keyboard_and_a_screen_reader_reach_everything(page):
    said = after(
        page,
        """
        say([...document.images].filter(i => !i.alt).length);
        say(document.querySelectorAll('thead th:not([scope])').length);
        say([...document.querySelectorAll('input, select')].filter(i => !i.closest('label') && !i.ariaLabel).length);
        const title = (part) => document.getElementById(part.getAttribute('aria-labelledby'));
        say([...document.querySelectorAll('section')].filter(s => !title(s)).length);
        const ids = [...document.querySelectorAll('[id]')].map(e => e.id); say(ids.length - new Set(ids).size);
        say([...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length);
        say(document.documentElement.lang + document.querySelectorAll('h1').length);
        say([...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0));
        """,
    )
    assert said.splitlines() == ["0", "0", "0", "0", "0", "0", "en1", "true"]


def test_all_pictures_load_and_nothing_is_wider_than_the_page(page):
    said = after(
        page,
        """
        const wait = (image) => { image.loading = 'eager'; return image.decode().catch(() => say('broken')); };
        Promise.all([...document.images].map(wait)).then(() => {
          say([...document.images].filter(i => !i.naturalWidth).length);
          say(document.documentElement.scrollWidth <= window.innerWidth);
        });
        """,
    )
    assert said.splitlines() == ["0", "true"]


@pytest.mark.parametrize("width", [1400, 420])
def test_a_screenshot_shows_ink_across_the_page(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    chromium(page, f"--screenshot={shot}", f"--window-size={width},1600")
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[1] == width
    assert (pixels < 200).any(axis=1).mean() > 0.3
    assert len(np.unique(pixels)) > 50


def test_it_prints(page, tmp_path):
    out = tmp_path / "report.pdf"
    chromium(page, f"--print-to-pdf={out}", "--no-pdf-header-footer")
    data = out.read_bytes()
    assert data.startswith(b"%PDF")
    assert pages_of(data) > 2


def test_two_runs_print_on_less_than_ten_pages(runs, tmp_path):
    target = tmp_path / "two.html"
    assert main([str(runs / "hippocampus-0"), str(runs / "hippocampus-2"), "--out", str(target)]) == 0
    out = tmp_path / "two.pdf"
    chromium(target, f"--print-to-pdf={out}", "--no-pdf-header-footer")
    assert pages_of(out.read_bytes()) < 10


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))
