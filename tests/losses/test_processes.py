"""Two processes with half a batch each equal one with the whole."""

import os
import socket

import pytest
import torch
from torch import distributed, multiprocessing, nn

import losses
from tests.processes import context

POOLED = {
    "dice": lambda: losses.DiceLoss(pool="batch"),
    "dsc": lambda: losses.DicePlusPlusLoss(pool="batch"),
    "focal_tversky": lambda: losses.FocalTverskyPlusPlusLoss(gamma=1.5, pool="batch"),
    "error_scaled": lambda: losses.ErrorScaledDiceLoss(pool="batch"),
    "generalized": lambda: losses.GeneralizedDiceLoss(pool="batch"),
    "sensitivity": lambda: losses.SensitivitySpecificityLoss(pool="batch"),
    "two_class": lambda: losses.TwoClassDiceLoss(pool="batch"),
    "weighted": lambda: losses.WeightedCrossEntropyLoss(pool="batch"),
    "combo": lambda: losses.ComboPlusPlusLoss(pool="batch"),
    "unified": lambda: losses.UnifiedFocalLoss(pool="batch"),
    "margin_dice": lambda: losses.MarginDiceLoss(margin=0.5, pool="batch"),
}


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (4, 8, 8), generator=generator)
    # Uneven halves: most of the second one does not count, and one class is missing from it.
    labels[2:, 1:] = 255
    labels[2:][labels[2:] == 2] = 0
    return images, labels


def train(images, labels, parallel):
    """Loss, gradients and multipliers after one step of each loss."""
    found = {}
    for name, make in POOLED.items():
        torch.manual_seed(0)
        net = nn.Conv2d(2, 3, 3, padding=1).double()
        wrapped = nn.parallel.DistributedDataParallel(net) if parallel else net
        value = make()(wrapped(images), labels)
        value.backward()
        found[name] = [value.detach(), *(p.grad.clone() for p in net.parameters())]
    margin = losses.ClassAdaptiveMarginLoss(margin=0.1)
    with torch.no_grad():
        margin.observe(net(images), labels)
    margin.update_multipliers()
    return found | {"multipliers": [margin.multipliers]}


def half(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    images, labels = (part[2 * rank : 2 * rank + 2] for part in batch())
    torch.save(train(images, labels, parallel=True), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_halves_equal_the_whole(tmp_path):
    """Slow: two processes start their own interpreters."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context()  # whose server has torch
    multiprocessing.start_processes(half, (port, str(tmp_path)), nprocs=2, start_method="forkserver")
    expected = train(*batch(), parallel=False)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)
