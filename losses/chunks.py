"""Sums over voxels, a chunk at a time: the memory and the speed of every loss of this package.

A loss on millions of voxels is a small function of a few sums over them. Formed naively, each step of the formula
writes a temporary as large as the logits and keeps it for the backward pass. Here the voxels pass through in chunks
that fit the processor's cache, and the sums are collected in double precision. A :class:`ChunkKernel` says what is
summed; its default gradient is autograd on the chunk, once more from the logits.

Peak extra memory is the gradient, the only large tensor, plus some chunks. A kernel with a gradient derived by hand
(:mod:`losses.fast_path`) keeps the probabilities for it where the gradient will be written, and so needs no more.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .inputs import compute_dtype

#: Logits of a chunk on a CPU: small against a batch, large against the price of starting an operation.
CPU_ELEMENTS = 2**18
#: On an accelerator a chunk only bounds the memory; launches are what costs.
GPU_ELEMENTS = 2**26


class ChunkKernel(ABC):
    """What is summed over the voxels of a chunk, and its gradient."""

    #: Whether :meth:`sums` fills ``keep`` with what :meth:`gradient` then need not compute again.
    keeps = False

    @abstractmethod
    def sums(self, logits: Tensor, *targets: Tensor, keep: Tensor | None = None) -> Tensor:
        """Sum over the chunk.

        Args:
            logits: ``(G, K, n)`` in single or double precision.
            *targets: ``(G, n)`` labels or ``(G, K, n)`` soft labels, as the user gave them, and what else the kernel
                wants to see of each voxel.
            keep: Room of the size of the logits, any strides, to be filled by a kernel that :attr:`keeps`.

        Returns:
            ``(G, R, C)``: R sums for each of C classes and each item.
        """

    def plan(self, weight: Tensor) -> None:  # noqa: B027
        """Look at the gradient ``(B, R, C)`` of all sums before the first chunk's gradient is asked for."""

    def gradient(
        self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor, kept: bool = False
    ) -> None:
        """Write the gradient of ``(weight * sums).sum()`` with respect to the chunk's logits.

        Args:
            logits: ``(G, K, n)``.
            targets: As in :meth:`sums`.
            weight: ``(G, R, C)``, the gradient of the loss with respect to the sums.
            out: ``(G, K, n)``, any strides, written.
            kept: Whether ``out`` holds what :meth:`sums` kept.
        """
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            sums = self.sums(leaf, *targets)
        out.copy_(torch.autograd.grad(sums, leaf, weight.to(sums.dtype))[0])

    def release(self) -> None:  # noqa: B027
        """Forget the buffers of a pass over the chunks."""


def chunked_sums(kernel: ChunkKernel, logits: Tensor, *targets: Tensor) -> Tensor:
    """Sum a kernel over all voxels of each item.

    Args:
        kernel: What to sum.
        logits: ``(B, K, N)``.
        *targets: ``(B, N)`` labels or ``(B, K, N)`` soft labels, and more such tensors; no gradient flows to them.

    Returns:
        ``(B, R, C)`` in double precision, differentiable once with respect to the logits.
    """
    if torch.compiler.is_compiling():
        # A compiler fuses the plain formula itself; a loop over chunks would only be unrolled.
        return kernel.sums(logits.to(compute_dtype(logits)), *targets).double()
    # Half precision has no room for what is kept; double precision is for checks, where each backward pass must give
    # the same bits.
    keep = kernel.keeps and torch.is_grad_enabled() and logits.requires_grad and logits.dtype == torch.float32
    return _ChunkedSums.apply(logits, kernel, keep, *targets)


def spans(items: int, channels: int, voxels: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut ``items`` x ``voxels`` into chunks: several small items at once, or a part of a large one."""
    elements = CPU_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS
    length = max(1, elements // max(channels, 2))
    group = max(1, length // max(voxels, 1))
    # Parts of one size, not a short last one: its buffers serve all.
    parts = -(-voxels // length)
    length = -(-voxels // max(parts, 1))
    for item in range(0, items, group):
        for start in range(0, voxels, max(length, 1)):
            yield slice(item, min(item + group, items)), slice(start, min(start + length, voxels))


class _ChunkedSums(torch.autograd.Function):
    """Forward: double-precision sums. Backward: the gradient, from what the kernel kept or computes anew."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, kernel: ChunkKernel, keep: bool, *targets: Tensor) -> Tensor:
        ctx.save_for_backward(logits, *targets)
        ctx.kernel = kernel
        ctx.kept = torch.empty_like(logits) if keep else None
        dtype = compute_dtype(logits)
        items, channels, voxels = logits.shape
        totals: list[Tensor] = []
        last = None
        for rows, columns in spans(items, channels, voxels, logits.device):
            chunk = logits[rows, :, columns].to(dtype)
            room = None if ctx.kept is None else ctx.kept[rows, :, columns]
            part = kernel.sums(chunk, *(target[rows, ..., columns] for target in targets), keep=room).double()
            if rows == last:
                totals[-1] += part
            else:
                totals.append(part)
                last = rows
        kernel.release()
        return torch.cat(totals) if len(totals) != 1 else totals[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        logits, *targets = ctx.saved_tensors
        items, channels, voxels = logits.shape
        dtype = compute_dtype(logits)
        # What was kept is overwritten by the gradient: a second backward pass computes it anew.
        kept, ctx.kept = ctx.kept, None
        gradient = torch.empty_like(logits) if kept is None else kept
        ctx.kernel.plan(weight)
        weight = weight.to(dtype)
        for rows, columns in spans(items, channels, voxels, logits.device):
            chunk = logits[rows, :, columns].to(dtype)
            out = gradient[rows, :, columns]
            parts = [target[rows, ..., columns] for target in targets]
            ctx.kernel.gradient(chunk, parts, weight[rows], out, kept is not None)
        ctx.kernel.release()
        return gradient, None, None, *(None for _ in targets)
