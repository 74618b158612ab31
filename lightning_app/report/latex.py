"""Tables as LaTeX that fits a page: intervals under their numbers, wide tables in parts by columns, long ones by rows.

The text needs the package booktabs alone, and 345 pt of width, that of an article at 10 pt.
"""

import math
import re
from collections.abc import Sequence

WIDTH = 84  # digits of \scriptsize in a line: 4 pt each
LINES = 56  # lines of \scriptsize in a page, less than fit
GAP = 2  # letters between columns
SMALL = 0.86  # of \tiny to \scriptsize
WORDS = {
    "\\": r"\textbackslash ",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "γ": r"$\gamma$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "δ": r"$\delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "<": r"$<$",
    "★": r"$\star$",
    "≈": r"$\approx$",
}
STACKED = re.compile(r"^(\S+(?: ± \S+)?) (\[[^\]]+\])$")
BOLD, LINE = r"\textbf{%s}", r"\underline{%s}"


def render(name: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], fixed: int = 1) -> str:
    r"""One `table` a part; the best value is bold, those not told apart from it underlined.

    Args:
        name: Label, behind `tab:`.
        caption: Caption of the first part.
        columns: Column titles.
        rows: Texts, one list a row.
        fixed: Leading columns that every part repeats.
    """
    parts = [(own, some) for some in _by_rows(rows) for own in _by_columns(columns, rows, fixed)]
    shown = [
        _part(
            _words(caption.replace("★", "bold").replace("≈", "underlined")) if number == 0 else "The same, continued",
            f"tab:{name}" if number == 0 else f"tab:{name}-{number + 1}",
            [columns[i] for i in own],
            [[row[i] for i in own] for row in some],
        )
        for number, (own, some) in enumerate(parts)
    ]
    return "\n".join(shown)


def _part(caption: str, label: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = " & ".join(BOLD % _words(title) for title in columns) + r" \\"
    body = [" & ".join(map(_cell, row)) + r" \\" for row in rows]
    start = [r"\begin{table}", r"\centering", r"\scriptsize", r"\setlength{\tabcolsep}{3pt}"]
    names = [rf"\caption{{{caption}}}", rf"\label{{{label}}}", rf"\begin{{tabular}}{{{'l' * len(columns)}}}"]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join([*start, *names, r"\toprule", head, r"\midrule", *body, *end])


def _by_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], fixed: int) -> list[list[int]]:
    """Columns of each part: the fixed ones, and as many others as a line holds, at least one."""
    widths = [max(map(width, [columns[i], *(row[i] for row in rows)])) + GAP for i in range(len(columns))]
    kept = list(range(fixed))
    free = WIDTH - sum(widths[:fixed])
    parts: list[list[int]] = []
    left = 0.0
    for i in range(fixed, len(columns)):
        if not parts or widths[i] > left:
            parts.append([*kept])
            left = free
        parts[-1].append(i)
        left -= widths[i]
    return parts or [kept]


def _by_rows(rows: Sequence[Sequence[str]]) -> list[Sequence[Sequence[str]]]:
    """Rows of each part, as even as may be."""
    lines = 2 if any(STACKED.match(_bare(text)) for row in rows for text in row) else 1
    number = max(1, math.ceil(len(rows) * lines / LINES))
    size = math.ceil(len(rows) / number) or 1
    return [rows[start : start + size] for start in range(0, len(rows), size)] or [rows]


def width(text: str) -> float:
    r"""Letters of \scriptsize that a cell is wide."""
    found = STACKED.match(_bare(text))
    return max(len(found[1]), SMALL * len(found[2])) if found else len(_bare(text))


def _bare(text: str) -> str:
    return text.rstrip(" ★≈")


def _cell(text: str) -> str:
    wrap = BOLD if text.endswith("★") else LINE if text.endswith("≈") else "%s"
    found = STACKED.match(_bare(text))
    if not found:
        return wrap % _words(_bare(text))
    return rf"\shortstack[l]{{{wrap % _words(found[1])}\\{{\tiny {_words(found[2])}}}}}"


def _words(text: str) -> str:
    return "".join(WORDS.get(letter, letter) for letter in text)
