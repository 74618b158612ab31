"""The page as a user has it: in a browser, on paper, without a network."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.report.browser import after, chromium

ORDER = (
    "[...document.querySelector('#summary').tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[0].dataset.key)"
)


def test_it_is_one_file_that_asks_for_nothing(page):
    text = page.read_text(encoding="utf-8")
    outside = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"|url\((?!data:)|@import|<link[^>]+stylesheet|fetch\(', text)
    assert outside == []
    assert "Which &lt;loss&gt;?" in text
    assert len(text) < 8e6


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
    assert said.splitlines() == ["8 of 8 rows", "DSC++ γ=2.0|DSC++ γ=2.0", "4", "4 of 8 rows"]


def test_the_slices_of_a_volume_follow_the_slider(page):
    said = after(
        page,
        """
        document.querySelectorAll('details').forEach(d => { d.open = true; });
        const browser = document.querySelector('.slices');
        const slider = browser.querySelector('input');
        const picture = browser.querySelector('img');
        slider.value = 4; slider.dispatchEvent(new Event('input'));
        say(browser.querySelector('output').textContent);
        say(parseInt(picture.style.objectPosition.split(' ')[1]) === -4 * picture.height && picture.height > 0);
        """,
    )
    assert said.splitlines() == ["slice 5 of 6", "true"]


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
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") > 2
