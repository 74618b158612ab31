"""Runs an exported network as `predict` does, with numpy and onnxruntime alone: tiles, their blend, the calibrator.

    python NAME_predict.py image.npy probabilities.npy

This file is copied beside each export and needs nothing of the project. The image `(C, *S)` float32 is on the network's
grid and in its intensities, as NAME.json describes them; probabilities are `(K, *S)`.
"""

import json
import math
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np


def tile_starts(size: int, tile: int, overlap: float) -> list[int]:
    """First voxels of the fewest evenly spread tiles that cover ``size`` with at least this overlap."""
    step = max(1, int(tile * (1 - overlap)))
    count = math.ceil(max(size - tile, 0) / step) + 1
    return [round(i * (size - tile) / max(count - 1, 1)) for i in range(count)]


def tile_weights(starts: list[int], tile: int, size: int, blend: str) -> Any:
    """Weights (tiles, tile) of tiles along one axis, that sum to one over the tiles at every voxel."""
    place = np.arange(tile) - (tile - 1) / 2
    shape = np.exp(-0.5 * (place / (tile / 8)) ** 2) if blend == "gaussian" else np.ones(tile)
    total = np.zeros(size)
    for start in starts:
        total[start : start + tile] += shape
    return np.stack([shape / total[start : start + tile] for start in starts]).astype(np.float32)


def softmax(logits: Any) -> Any:
    """Softmax over the channels (axis 1); a single channel is the logit of class 1 against background."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def crop(start: Sequence[int], size: Sequence[int]) -> tuple[Any, ...]:
    """Index of the part of the last axes that begins at ``start``."""
    return (..., *(slice(low, low + length) for low, length in zip(start, size, strict=True)))


def blend_tiles(image: Any, run: Any, how: dict[str, Any]) -> Any:
    """Probabilities (1, K, *S) of an image (1, C, *S) from overlapping tiles.

    Args:
        image: The whole image.
        run: From a tile (1, C, *window) to logits (1, K, *returned).
        how: Keys window, returned, overlap, blend, average, padding.
    """
    size, window, returned = image.shape[2:], how["window"], how["returned"]
    axes = range(len(size))
    grid = [max(size[a], returned[a]) for a in axes]
    low = [(grid[a] - size[a]) // 2 + (window[a] - returned[a]) // 2 for a in axes]
    after = [grid[a] + window[a] - returned[a] - size[a] - low[a] for a in axes]
    widths: Any = [(0, 0), (0, 0), *zip(low, after, strict=True)]
    if how["padding"] == "nearest":
        padded = np.pad(image, widths, mode="edge")
    else:
        padded = np.pad(image, widths, constant_values=image.min() if how["padding"] == "minimum" else 0)
    starts = [tile_starts(grid[a], returned[a], how["overlap"]) for a in axes]
    weights = [tile_weights(starts[a], returned[a], grid[a], how["blend"]) for a in axes]
    total: Any = None
    for index in product(*(range(len(axis)) for axis in starts)):
        start = [starts[a][index[a]] for a in axes]
        logits = run(padded[crop(start, window)])
        part = softmax(logits) if how["average"] == "probabilities" else logits
        weight = weights[0][index[0]]
        for a in axes[1:]:
            weight = weight[..., None] * weights[a][index[a]]
        total = np.zeros((1, part.shape[1], *grid), np.float32) if total is None else total
        total[crop(start, returned)] += part * weight
    probs = total if how["average"] == "probabilities" else softmax(total)
    return np.clip(probs[crop([(grid[a] - size[a]) // 2 for a in axes], size)], 0, 1)


def predict(description: Path, image: Any) -> Any:
    """Class probabilities (K, *S) of an image (C, *S) by the export that a NAME.json describes.

    Raises:
        ValueError: If the image has other channels or, without tiles, another size than the file takes.
    """
    import onnxruntime

    facts = json.loads(description.read_text(encoding="utf-8"))
    image = np.asarray(image, np.float32)[None]
    size = [facts["channels"], *facts["size"]]
    if image.shape[1] != size[0] or (facts["tiles"] is None and list(image.shape[1:]) != size):
        raise ValueError(f"the image has the shape {list(image.shape[1:])}, {description.name} takes {size}")

    def session(name: str) -> Any:
        return onnxruntime.InferenceSession(str(description.parent / name), providers=["CPUExecutionProvider"])

    net = session(facts["network"])
    if facts["tiles"] is None:
        return net.run(["probabilities"], {"image": image})[0][0]
    probs = blend_tiles(image, lambda tile: net.run(["logits"], {"image": tile})[0], facts["tiles"])
    if facts["calibrator"] is None:
        return probs[0]
    calibrator = session(facts["calibrator"])
    given = {"probabilities": probs, "image": image}
    return calibrator.run(None, {wanted.name: given[wanted.name] for wanted in calibrator.get_inputs()})[0][0]


if __name__ == "__main__":
    source, target = sys.argv[1:]
    folder = Path(__file__)
    np.save(target, predict(folder.with_name(folder.name.replace("_predict.py", ".json")), np.load(source)))
