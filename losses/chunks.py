"""Sums over voxels, a chunk at a time: the memory and the speed of every loss of this package.

A loss on millions of voxels is a small function of a few sums over them. Formed naively, each step of the formula
writes a temporary as large as the logits and keeps it for the backward pass. Here the voxels pass through in chunks
that fit the processor's cache; the sums are collected in double precision; nothing is kept; the backward pass computes
the probabilities once more and writes the gradient, the only large tensor, in place. Peak extra memory is the gradient
plus some chunks.

A :class:`ChunkKernel` says what is summed. Its default gradient is autograd on the chunk; the kernels of the overlap
losses (:mod:`losses.statistics`) bring hand-derived ones.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from losses.inputs import compute_dtype

#: Logits of a chunk: 64 Ki elements (256 KiB in single precision) lie in the second-level cache of a core.
CPU_ELEMENTS = 2**16
#: On an accelerator a chunk only bounds the memory; launches are what costs.
GPU_ELEMENTS = 2**26


class ChunkKernel(ABC):
    """What is summed over the voxels of a chunk, and its gradient."""

    def release(self) -> None:  # noqa: B027
        """Forget what was kept from chunk to chunk; called after each pass."""

    @abstractmethod
    def sums(self, logits: Tensor, *targets: Tensor) -> Tensor:
        """Sum over the chunk.

        Args:
            logits: ``(G, K, n)`` in single or double precision.
            *targets: ``(G, n)`` labels or ``(G, K, n)`` soft labels, as the user gave them, and what else the kernel
                wants to see of each voxel.

        Returns:
            ``(G, R, C)``: R sums for each of C classes and each item.
        """

    def gradient(self, logits: Tensor, targets: Sequence[Tensor], weight: Tensor, out: Tensor) -> None:
        """Write the gradient of ``(weight * sums).sum()`` with respect to the chunk's logits.

        Args:
            logits: ``(G, K, n)``.
            targets: As in :meth:`sums`.
            weight: ``(G, R, C)``, the gradient of the loss with respect to the sums.
            out: ``(G, K, n)``, any strides, written.
        """
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            sums = self.sums(leaf, *targets)
        out.copy_(torch.autograd.grad(sums, leaf, weight.to(sums.dtype))[0])


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
    return _ChunkedSums.apply(logits, kernel, *targets)


def spans(items: int, channels: int, voxels: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut ``items`` x ``voxels`` into chunks: several small items at once, or a part of a large one."""
    elements = CPU_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS
    length = max(1, elements // max(channels, 2))
    group = max(1, length // max(voxels, 1))
    for item in range(0, items, group):
        for start in range(0, voxels, length):
            yield slice(item, min(item + group, items)), slice(start, min(start + length, voxels))


class _ChunkedSums(torch.autograd.Function):
    """Forward: double-precision sums. Backward: the gradient, with everything computed anew."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, kernel: ChunkKernel, *targets: Tensor) -> Tensor:
        ctx.save_for_backward(logits, *targets)
        ctx.kernel = kernel
        dtype = compute_dtype(logits)
        items, channels, voxels = logits.shape
        totals: list[Tensor] = []
        last = None
        for rows, columns in spans(items, channels, voxels, logits.device):
            chunk = logits[rows, :, columns].to(dtype)
            part = kernel.sums(chunk, *(target[rows, ..., columns] for target in targets)).double()
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
        gradient = torch.empty_like(logits)
        weight = weight.to(dtype)
        for rows, columns in spans(items, channels, voxels, logits.device):
            chunk = logits[rows, :, columns].to(dtype)
            out = gradient[rows, :, columns]
            ctx.kernel.gradient(chunk, [target[rows, ..., columns] for target in targets], weight[rows], out)
        ctx.kernel.release()
        return gradient, None, *(None for _ in targets)
