"""Pictures of cases: worst, median and best of each run, and a browser of slices for volumes."""

import html
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from lightning_app.report.compact import media_type, webp
from lightning_app.report.compare import Comparison
from lightning_app.report.page import Picture, data_uri, folded, owner_of
from lightning_app.report.read import Run
from metrics.plot import style
from metrics.plot.maps import IGNORED, class_colour, error_map

PANELS = ("image", "truth", "prediction", "confidence", "error")
RANKS = {"worst": 0, "median": 50, "best": 100}  # percentiles of the Dice of cases
MAX_RUNS = 24
ROOM = 900_000  # bytes of all pictures of cases together: a page of many runs still goes into a mail


def introduction(comparison: Comparison) -> str:
    """What is shown of the cases, and where the others are."""
    told = "Worst, median and best case by Dice, of each method's first seed (of folds, of all together)"
    if (shown := methods_a_set(comparison)) >= len(comparison.methods):
        return f"{told}."
    return (
        f"{told}, for the {shown} methods of best Dice on each data set. The pictures of every run lie in its folder, "
        f"{comparison.stage}/figures; a report of fewer runs shows them."
    )


def methods_a_set(comparison: Comparison) -> int:
    """How many methods' cases are shown of a data set."""
    return max(1, MAX_RUNS // len(comparison.data))


def case_details(comparison: Comparison) -> list[str]:
    """A folded part for each data set and method (its first seed) with its worst, median and best case."""
    shown = [(d, method, comparison.wholes(d, method)[0]) for d in comparison.data for method in _best(comparison, d)]
    parts = [(d, method, _cases(runs, comparison.stage, ROOM // (3 * len(shown)))) for d, method, runs in shown]
    return [folded(f"{d}: {method}", content, True, [owner_of(method, d)]) for d, method, content in parts if content]


def _best(comparison: Comparison, data: str) -> list[str]:
    """The methods of a data set whose cases are shown, in the order of all."""
    dice = {method: cell.mean for method in comparison.methods if (cell := comparison.cell(data, method, "dice"))}
    best = sorted(dice, key=lambda method: -dice[method])[: methods_a_set(comparison)]
    return [method for method in comparison.methods if method in best]


def _cases(runs: Sequence[Run], stage: str, most: int) -> str:
    dice = {run: {case.name: case.scores.get(("dice", "all"), np.nan) for case in run.cases(stage)} for run in runs}
    blocks = []
    for rank in RANKS:
        run = _that_shows(rank, dice)
        if rank in (slices := run.slices(stage)):
            names = [str(name) for name in run.reliability(stage).arrays.get("class_names", ())]
            blocks.append(slice_browser(slices[rank], rank, names, dice[run], most))
        elif rank in (pictures := run.pictures(stage)):
            alt = f"{rank} case: {', '.join(PANELS)} side by side"
            caption = f"By Dice; run {run.name}."
            data = webp(Image.open(pictures[rank]), most)
            shown = Picture(f"{rank.capitalize()} case", caption, alt, data, media_type(data), width=1100)
            blocks.append(shown.to_html())
    return "".join(blocks)


def _that_shows(rank: str, dice: Mapping[Run, Mapping[str, float]]) -> Run:
    """Of the folds of a seed the run whose worst, median or best case is nearest to that of all of them together."""
    known = {run: found for run, own in dice.items() if (found := [dsc for dsc in own.values() if np.isfinite(dsc)])}
    if not known:
        return next(iter(dice))
    whole = np.percentile(np.concatenate(list(known.values())), RANKS[rank])
    return min(known, key=lambda run: abs(float(np.percentile(known[run], RANKS[rank]) - whole)))


def slice_browser(
    path: Path,
    rank: str,
    names: Sequence[str] = (),
    dice: Mapping[str, float] | None = None,
    most: int | None = None,
) -> str:
    """A slider over the slices of a volume: image, truth, prediction, confidence and error side by side.

    Args:
        path: File of the slices, as `training.thumbnails.thin_volume` makes them.
        rank: Worst, median or best.
        names: Names of the classes, background first.
        dice: Dice by case.
        most: Bytes that the picture may have, as far as that can be kept.
    """
    with np.load(path) as arrays:
        volume = {name: arrays[name] for name in PANELS[:-1]}
        count, case = len(arrays["image"]), str(arrays["case"])
    top = _top_class(volume["truth"], volume["prediction"])
    strip = _strip(volume, max(len(names), top + 1))
    height, width = strip.shape[0] // count, strip.shape[1]
    label, panels = html.escape(f"{rank} case {case}"), ", ".join(PANELS)
    score = (dice or {}).get(case, np.nan)
    told = f"{label}, Dice {score:.3f}" if np.isfinite(score) else label
    data = webp(Image.fromarray(strip), most)
    source = data_uri(data, media_type(data))
    heads = "".join(f"<span>{name}</span>" for name in PANELS)
    return (
        f'<figure class="slices" style="width:{width}px"><div class="heads" aria-hidden="true">{heads}</div>'
        f'<div class="window" style="aspect-ratio:{width}/{height}">'
        f'<img src="{source}" alt="{label}: {panels}, one slice"></div>'
        f'<label>Slice <input type="range" min="0" max="{count - 1}" value="{count // 2}" '
        f'aria-label="Slice of the {label}"></label> <output></output><figcaption>'
        f"<strong>{told}.</strong> {_key(names, top)}</figcaption></figure>"
    )


def _top_class(*labels: np.ndarray) -> int:
    return max(1, *(int(part[part != IGNORED].max(initial=1)) for part in labels))


def _key(names: Sequence[str], top: int) -> str:
    """What the colours mean, and from where to where the confidence goes."""
    meant = [(names[k] if k < len(names) else f"class {k}", class_colour(k)) for k in range(1, top + 1)]
    meant += [("claimed", style.CLAIMED), ("missed", style.MISSED)]
    meant += [("other class", style.CONFUSED)] if top > 1 else []
    swatches = " ".join(
        f'<span class="key"><span class="swatch" style="background:{colour}"></span>{html.escape(name)}</span>'
        for name, colour in meant
    )
    stops = ",".join(f"rgb{tuple(colour)}" for colour in _shades()[::51].tolist())
    least = 1 / max(len(names), top + 1)
    bar = f'<span class="bar" style="background:linear-gradient(to right,{stops})"></span>'
    return f'{swatches} <span class="key">confidence {least:.2g} {bar} 1</span>'


def _strip(arrays: dict[str, np.ndarray], classes: int) -> np.ndarray:
    """All slices below one another, the panels of a slice beside one another: (D H, 5 W, 3) uint8."""
    truth, prediction = arrays["truth"].astype(int), arrays["prediction"].astype(int)
    grey = np.repeat(arrays["image"].astype(np.uint8)[..., None], 3, axis=-1)
    least = 255 / classes
    shade = np.clip((arrays["confidence"] - least) / (255 - least) * 255, 0, 255).astype(np.uint8)
    panels = [grey, _coloured(grey, truth), _coloured(grey, prediction), _shades()[shade]]
    rows = np.concatenate([*panels, _over(grey // 5 * 2, error_map(prediction, truth))], axis=2)
    grown = rows.repeat(_growth(rows.shape[1]), axis=1).repeat(_growth(rows.shape[1]), axis=2)
    return grown.reshape(-1, *grown.shape[2:])


def _coloured(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image with every class in its colour, through which it can still be seen."""
    colours = np.zeros((*labels.shape, 4))
    for k in set(np.unique(labels).tolist()) - {0}:
        colours[labels == k] = (0.5, 0.5, 0.5, 0.5) if k == IGNORED else (*_rgb(class_colour(k)), 0.6)
    return _over(grey, colours)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


def _over(below: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """RGBA colours (..., 4) from 0 to 1 over an 8-bit picture (..., 3)."""
    opaque = colours[..., 3:]
    return (below * (1 - opaque) + 255 * colours[..., :3] * opaque).astype(np.uint8)


@cache
def _shades() -> np.ndarray:
    """The 256 colours of confidences, (256, 3) uint8, as in the other pictures."""
    from matplotlib import colormaps

    return colormaps["cividis"](np.arange(256), bytes=True)[:, :3]


def _growth(height: int) -> int:
    """Whole enlargement of small slices, so that a voxel can be seen."""
    return max(1, 160 // height)
