"""Our reliability diagram beside those of relplot and TorchUncertainty, of the same maps.

    python -m benchmarks.reliability_peers --output docs/figures/reliability_peers.png --classes background,vessel \
        --probs 'probabilities/{name}_test.png' --labels 'DRIVE/test/1st_manual/{name}_manual1.gif' \
        --valid 'DRIVE/test/mask/{name}_test_mask.gif'

Each draws as it does when nothing is asked of it. relplot smooths all pairs at once, so it takes 20,000 voxels drawn at
random. Needs both (`pip install relplot torch-uncertainty`), which nothing else here does; maps of two classes.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

import metrics
from lightning_app.maps.command import add_options
from lightning_app.maps.folder import open_folder
from metrics import plot

DRAWN = 20_000


def of_ours(cases: list[tuple[torch.Tensor, torch.Tensor]]) -> Figure:
    """Foreground probability, with a band over cases."""
    bins = [metrics.bin_item(torch.stack((1 - p, p)), labels, "foreground") for p, labels in cases]
    pooled = metrics.Bins(*(torch.stack(field).sum(0) for field in zip(*bins, strict=True)))
    return plot.reliability_diagram(pooled, band=metrics.frequency_band(bins), view="foreground")[0]


def of_relplot(p: np.ndarray, y: np.ndarray) -> Figure:
    """The `rel_diagram` of relplot."""
    import relplot

    chosen = np.random.default_rng(0).choice(len(p), min(DRAWN, len(p)), replace=False)
    relplot.rel_diagram(p[chosen], y[chosen])
    return pyplot.gcf()


def of_torch_uncertainty(p: np.ndarray, y: np.ndarray) -> Figure:
    """The `CalibrationError(task="binary").plot()` of TorchUncertainty."""
    from torch_uncertainty.metrics.classification import CalibrationError

    error = CalibrationError(task="binary", num_bins=15)
    error.update(torch.from_numpy(p), torch.from_numpy(y))
    return error.plot()[0]


def picture(figure: Figure) -> np.ndarray:
    """Pixels of a figure."""
    file = io.BytesIO()
    figure.savefig(file, dpi=110, bbox_inches="tight")
    file.seek(0)
    return pyplot.imread(file)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    folder = open_folder(options)
    cases = []
    for pair in folder.pairs.pairs:
        case = folder.read(pair)
        cases.append((torch.from_numpy(case.probs[1]).float(), torch.from_numpy(case.label.array).long()))
    counted = [(p[labels != 255].numpy(), labels[labels != 255].numpy()) for p, labels in cases]
    p, y = (np.concatenate(part) for part in zip(*counted, strict=True))
    drawn = {"here": of_ours(cases), "relplot": of_relplot(p, y), "TorchUncertainty": of_torch_uncertainty(p, y)}
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 7))
    for ax, (name, one) in zip(axes, drawn.items(), strict=True):
        ax.imshow(picture(one))
        ax.set_title(name)
        ax.axis("off")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(options.output, dpi=100)


if __name__ == "__main__":
    main()
