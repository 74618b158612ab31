"""Several raters: what the methods say against the share of them and against each, beside how they agree."""

import numpy as np

from lightning_app.report.compare import Comparison
from lightning_app.report.figures import picture
from lightning_app.report.page import Picture
from lightning_app.report.tables import Table, cell_text, title_of
from metrics import plot

NUMBERS = ("ece_raters", "ece_rater_mean", "dice_raters", "dice_inter_rater")
INTRODUCTION = (
    "The yardstick is the Dice of the raters with each other: a mask that agrees with them as they do among themselves "
    "has it; one above it says nothing more of who is right."
)


def rater_table(comparison: Comparison) -> Table | None:
    """A row a data set and method where there are several raters; None where there are none."""
    rows: list[list[str]] = []
    keys: list[list[float | str]] = []
    for data in comparison.data:
        for method in comparison.methods:
            cells = [comparison.cell(data, method, name) for name in NUMBERS]
            if cells[0] is not None:
                start = [method, data, str(cells[0].cases), str(cells[0].seeds)]
                rows.append([*start, *map(cell_text, cells)])
                keys.append([*start, *(cell.mean if cell else np.nan for cell in cells)])
    titles = ["Method", "Data", "Cases", "Seeds", *map(title_of, NUMBERS)]
    caption = "Several raters: means over the cases with 95 % intervals; by rater in raters.csv of each run"
    return Table("raters", caption, titles, rows, keys, fixed=4) if rows else None


def dice_boxes(comparison: Comparison) -> list[Picture]:
    """For each data set with several raters the Dice of the methods with them, the raters' own beside it."""
    drawn = []
    for data in comparison.data:
        found = {m: v for m in comparison.leading if (v := comparison.values(data, m, "dice_raters"))}
        if not found:
            continue
        between = next(v for m in found if (v := comparison.values(data, m, "dice_inter_rater")))
        boxes = {**found, "raters with each other": between}
        figure, _ = plot.box_plot({name: list(v.values()) for name, v in boxes.items()}, ylabel="Dice", title=data)
        caption = "Mean Dice of a case's mask with each rater, and of the raters with each other; a dot is a case."
        alt = "Box plots; means are in the table."
        drawn.append(picture(figure, f"Dice with the raters of {data}", caption, alt, found, data))
    return drawn
