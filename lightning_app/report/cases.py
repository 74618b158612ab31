"""Pictures of cases: worst, median and best of each run, and a browser of slices for volumes."""

import html
import io
from pathlib import Path

import numpy as np
from PIL import Image

from lightning_app.report.compare import Comparison
from lightning_app.report.page import Picture, data_uri, folded
from lightning_app.report.read import Run

PANELS = ("image", "truth", "prediction", "confidence", "error")
MAX_RUNS = 24
WEBP_LIMIT = 16383  # pixels along an axis


def case_details(comparison: Comparison) -> list[str]:
    """A folded part for each data set and method (its first seed) with its worst, median and best case."""
    parts: list[str] = []
    for data in comparison.data:
        for method in comparison.leading:
            runs = comparison.of(data, method)
            content = _cases(runs[0], comparison.stage) if runs and len(parts) < MAX_RUNS else ""
            if content:
                parts.append(folded(f"{data}: {method}", content, printed=True))
    return parts


def _cases(run: Run, stage: str) -> str:
    slices = run.slices(stage)
    blocks = []
    for rank, path in run.pictures(stage).items():
        if rank in slices:
            blocks.append(slice_browser(slices[rank], rank))
        else:
            alt = f"{rank} case: truth, prediction, confidence and errors side by side"
            caption = f"By Dice; run {run.name}."
            shown = Picture(f"{rank.capitalize()} case", caption, alt, _webp(Image.open(path)), "image/webp", width=900)
            blocks.append(shown.to_html())
    return "".join(blocks)


def slice_browser(path: Path, rank: str) -> str:
    """A slider over the slices of a volume: image, truth, prediction, confidence and errors side by side."""
    with np.load(path) as arrays:
        strip = _strip({name: arrays[name] for name in PANELS[:-1]})
        count, case = len(arrays["image"]), str(arrays["case"])
    height, width = strip.shape[0] // count, strip.shape[1]
    label, panels = html.escape(f"{rank} case {case}"), ", ".join(PANELS)
    source = data_uri(_webp(Image.fromarray(strip)), "image/webp")
    return (
        f'<figure class="slices"><div class="window" style="width:{width}px;aspect-ratio:{width}/{height}">'
        f'<img src="{source}" alt="{label}: {panels}, one slice"></div>'
        f'<label>Slice <input type="range" min="0" max="{count - 1}" value="{count // 2}" '
        f'aria-label="Slice of the {label}"></label> <output></output><figcaption>'
        f"<strong>{label}.</strong> From the left: {panels} (orange: claimed, blue: missed).</figcaption></figure>"
    )


def _webp(image: "Image.Image") -> bytes:
    """A picture in a quarter of the bytes of PNG; what is too tall for the format stays PNG."""
    buffer = io.BytesIO()
    if max(image.size) > WEBP_LIMIT:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.convert("RGB").save(buffer, format="WEBP", quality=80)
    return buffer.getvalue()


def _strip(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """All slices below one another, the panels of a slice beside one another: (D H, 5 W, 3) uint8."""
    truth, prediction = arrays["truth"].astype(int), arrays["prediction"].astype(int)
    top = max(1, truth[truth != 255].max(initial=1), prediction.max(initial=1))
    grey = [arrays["image"], _stretch(truth, top), _stretch(prediction, top), arrays["confidence"]]
    panels = [np.repeat(panel.astype(np.uint8)[..., None], 3, axis=-1) for panel in grey]
    errors = panels[0] // 2
    wrong = (truth != prediction) & (truth != 255)
    errors[wrong & (prediction != 0)] = (213, 94, 0)
    errors[wrong & (prediction == 0)] = (0, 114, 178)
    rows = np.concatenate([*panels, errors], axis=2)
    grown = rows.repeat(_growth(rows.shape[1]), axis=1).repeat(_growth(rows.shape[1]), axis=2)
    return grown.reshape(-1, *grown.shape[2:])


def _stretch(labels: np.ndarray, top: int) -> np.ndarray:
    return np.where(labels == 255, 60, labels * 255 // top)


def _growth(height: int) -> int:
    """Whole enlargement of small slices, so that a voxel can be seen."""
    return max(1, 160 // height)
