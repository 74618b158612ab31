"""Draw the penalty curves of docs/losses.md: ``python -m benchmarks.losses_figure docs/figures``."""

import argparse
from pathlib import Path

import torch

import losses
from metrics.plot.style import series_style

LINE = {"marker": "", "linewidth": 1.6}


def curve(loss, probs, around=200):
    """Loss and slope of one voxel's own probability, beside ``around`` voxels of each class that are right at 0.9."""
    values, slopes = [], []
    sure = torch.logit(torch.tensor(0.9, dtype=torch.float64))
    others = torch.cat([sure.expand(around), -sure.expand(around)])
    labels = torch.cat([torch.ones(1 + around), torch.zeros(around)]).long()[None]
    for prob in probs:
        own = torch.logit(prob).requires_grad_()
        value = loss(torch.cat([own[None], others])[None, None], labels)
        slopes.append(torch.autograd.grad(value, own)[0].item() / (prob * (1 - prob)).item())
        values.append(value.item())
    values = torch.tensor(values) * len(labels[0])
    return values - values[-1], torch.tensor(slopes) * len(labels[0])


def main(folder):
    """Draw three columns, loss above slope, and write the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    probs = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    groups = {
        "DSC++": {f"gamma {g:g}": losses.DicePlusPlusLoss(gamma=g) for g in (0.5, 1, 1.5, 2, 3, 4)},
        "Cross entropy and focal": {f"gamma {g:g}": losses.FocalLoss(gamma=g) for g in (0, 1, 2, 3)},
    }
    for column, (title, group) in enumerate(groups.items()):
        for index, (label, loss) in enumerate(group.items()):
            for row, part in enumerate(curve(loss, probs)):
                axes[row, column].plot(probs, part, label=label, **(series_style(index) | LINE))
        axes[0, column].set_title(title)
        for row, name in enumerate(("loss of the voxel", "slope dL/dp")):
            axes[row, column].set(xlabel="probability p of its own label", ylabel=name)
            axes[row, column].legend(frameon=False, fontsize=8)
    axes[1, 1].set_ylim(-12, 1)
    distances = torch.linspace(0, 16, 161, dtype=torch.float64)
    for index, margin in enumerate((0, 3, 5, 10, None)):
        alpha = 0.0 if margin is None else 0.1
        loss = losses.MarginLabelSmoothingLoss(margin=margin or 0, alpha=alpha)
        logits = distances.clone().requires_grad_()
        value = torch.stack([loss(score[None, None, None], torch.ones(1, 1, dtype=torch.long)) for score in logits])
        slope = torch.autograd.grad(value.sum(), logits)[0]
        label = "cross entropy" if margin is None else f"margin {margin}"
        look = series_style(index) | LINE
        axes[0, 2].plot(distances, value.detach(), label=label, **look)
        axes[1, 2].plot(distances, slope, label=label, **look)
    axes[0, 2].set_title("Margin smoothing, alpha 0.1")
    axes[0, 2].set(xlabel="distance of the two logits", ylabel="loss of the voxel", ylim=(0, 1))
    axes[1, 2].set(xlabel="distance of the two logits", ylabel="slope dL/dz", ylim=(-0.12, 0.07))
    for row in (0, 1):
        axes[row, 2].legend(frameon=False, fontsize=8)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / "losses_penalties.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="docs/figures", help="where losses_penalties.png goes")
    main(parser.parse_args().folder)
