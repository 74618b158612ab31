"""LaTeX tables: what they hold and that it fits, counted in letters."""

import re

import pytest

from lightning_app.report import latex

NUMBER = "0.1234 ± 0.0123 [0.1000, 0.2000]"


def tables(text):
    """(labels, number of columns, rows as lists of cells) of each table environment."""
    found = []
    for part in text.split(r"\begin{table}")[1:]:
        inside = part.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        rows = [line.removesuffix(r" \\").split(" & ") for line in inside]
        found.append((re.search(r"tab:[\w-]+", part)[0], len(re.search(r"tabular}{(l+)}", part)[1]), rows))
    return found


def test_a_cell_stacks_its_interval_and_carries_its_mark():
    text = latex.render(
        "t", "Of 5 % & more_, ★: best", ["Method", "ECE ↓"], [["DSC++ γ=2.0", f"{NUMBER} ★"], ["CE", "0.2 ≈"]]
    )
    assert r"\shortstack[l]{\textbf{0.1234 $\pm$ 0.0123}\\{\tiny [0.1000, 0.2000]}}" in text
    assert r"\underline{0.2}" in text
    assert r"DSC++ $\gamma$=2.0" in text
    assert r"\caption{Of 5 \% \& more\_, bold: best}" in text
    assert r"\textbf{ECE $\downarrow$}" in text


@pytest.mark.parametrize("columns", [1, 4, 12])
@pytest.mark.parametrize("rows", [1, 20, 120])
def test_every_part_fits_and_nothing_is_lost(columns, rows):
    titles = ["Method", "Data", *(f"number {i}" for i in range(columns))]
    body = [
        [f"method {r}", "DRIVE", *(f"0.{r:03}{c:03} [0.1000, 0.2000]" for c in range(columns))] for r in range(rows)
    ]
    text = latex.render("t", "Caption", titles, body, fixed=2)
    parts = tables(text)
    assert len({label for label, _, _ in parts}) == len(parts)
    seen = re.findall(r"0\.\d{6}", text)
    assert sorted(seen) == sorted(f"0.{r:03}{c:03}" for r in range(rows) for c in range(columns))
    for _, width, lines in parts:
        assert {len(line) for line in lines} == {width}
        assert all(line[0].startswith("method") and line[1] == "DRIVE" for line in lines)
        points = 4 * (10 + 5) + (width - 2) * 16 * 3.4 + width * 6  # digits of 7 and 5 pt, columns 6 pt apart
        assert points <= 345
        assert 2 * len(lines) <= latex.LINES
