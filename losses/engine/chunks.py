"""Sums over voxels, a chunk at a time: the memory and the speed of every loss of this package.

A loss on millions of voxels is a small function of a few sums over them. Formed naively, each step of the formula
writes a temporary as large as the logits and keeps it for the backward pass. Here the voxels pass through in chunks
that fit the processor's cache, and the sums are collected in double precision.

Peak extra memory is the gradient, the only large tensor, plus some chunks. A kernel with a gradient derived by hand
keeps the probabilities for it where the gradient will be written, and so needs no more.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .inputs import compute_dtype
from .rows import Layout, Sums

#: Logits of a chunk on a CPU: small against a batch, large against the price of starting an operation.
CPU_ELEMENTS = 2**18
#: On an accelerator a chunk only bounds the memory; launches are what costs.
GPU_ELEMENTS = 2**26


@dataclass(frozen=True)
class Found:
    """What a forward pass found out about the voxels, which saves steps of the gradient; a GPU is not asked.

    Args:
        whole: Whether every voxel counts.
        within: Whether no logit is further from the largest than the margin.
        straight: Whether the own cost is the cross entropy and none is held by a clip.
    """

    whole: bool = False
    within: bool = False
    straight: bool = False

    def __and__(self, other: "Found") -> "Found":
        """Hold for two chunks what holds for each."""
        return Found(*(getattr(self, f.name) and getattr(other, f.name) for f in fields(self)))


class Pass(NamedTuple):
    """What a kernel gives of one chunk: its sums ``(G, C, R)``, their names, and what it found."""

    rows: Tensor
    layout: Layout
    found: Found = Found()


class Buffers:
    """Tensors that live for one pass over the chunks and are used again by each."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, like: Tensor, channels: int | None = None) -> Tensor:
        """Give an uninitialised tensor ``(G, channels, n)`` of the type of ``like``."""
        items, width, voxels = like.shape
        shape = (items, width if channels is None else channels, voxels)
        found = self._held.get(name)
        if found is None or found.shape != shape:
            found = self._held[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return found


class Chunk(NamedTuple):
    """Voxels of a chunk: logits ``(G, K, n)`` in single or double precision, and targets as the user gave them.

    ``room`` has the size of the logits, any strides: in the forward pass for what a kernel keeps (none: keep nothing),
    in the backward pass for the gradient, where ``kept`` says whether it still holds what was kept.
    """

    logits: Tensor
    targets: Sequence[Tensor]
    buffers: Buffers
    room: Tensor | None = None
    kept: bool = False


class ChunkKernel(ABC):
    """What is summed over the voxels of a chunk, and its gradient; it has no state that changes."""

    #: Whether :meth:`sums` fills the room with what :meth:`gradient` then need not compute again.
    keeps = False

    @abstractmethod
    def sums(self, chunk: Chunk) -> Pass:
        """Sum over the chunk."""

    def plan(self, weight: Tensor, layout: Layout, found: Found, dtype: torch.dtype) -> Any:
        """Prepare, once for all chunks, what is indexed by items and then given to :meth:`gradient`.

        Args:
            weight: ``(B, C, R)``, gradient of the loss with respect to the sums, in double precision.
            layout: Their names.
            found: What the forward pass found in all chunks.
            dtype: Precision of the chunks.
        """
        return weight

    @abstractmethod
    def gradient(self, chunk: Chunk, plan: Any, items: slice) -> None:
        """Write the gradient of the weighted sums with respect to the chunk's logits into its room."""


def chunked_sums(kernel: ChunkKernel, logits: Tensor, *targets: Tensor) -> Sums:
    """Sum a kernel over all voxels of each item.

    Args:
        kernel: What to sum.
        logits: ``(B, K, N)``.
        *targets: ``(B, N)`` labels or ``(B, K, N)`` soft labels, and more such tensors; no gradient flows to them.

    Returns:
        Sums in double precision, differentiable once with respect to the logits.

    Raises:
        NotImplementedError: Under ``torch.func`` (``vmap``, ``grad``, ``jvp``), whose rules the chunks do not follow.
    """
    if torch.compiler.is_compiling():
        rows, layout, _ = kernel.sums(Chunk(logits.to(compute_dtype(logits)), targets, Buffers()))
        return layout.unpack(rows.double())
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "the losses have no rules for torch.func (vmap, grad, jvp): loop over the items and use torch.autograd.grad"
        )
    # Half precision has no room for what is kept; double precision is for checks, where each backward pass must give
    # the same bits.
    keep = kernel.keeps and torch.is_grad_enabled() and logits.requires_grad and logits.dtype == torch.float32
    rows, layout = _ChunkedSums.apply(logits, kernel, keep, *targets)
    return layout.unpack(rows)


def spans(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut items x voxels of ``(B, K, N)`` into chunks: several small items at once, or a part of a large one."""
    items, channels, voxels = logits.shape
    elements = CPU_ELEMENTS if logits.device.type == "cpu" else GPU_ELEMENTS
    length = max(1, elements // max(channels, 2))
    group = max(1, length // voxels)
    # Parts of one size, not a short last one: its buffers serve all.
    length = -(-voxels // -(-voxels // length))
    for item in range(0, items, group):
        for start in range(0, voxels, length):
            yield slice(item, min(item + group, items)), slice(start, min(start + length, voxels))


class _ChunkedSums(torch.autograd.Function):
    """Forward: double-precision sums. Backward: the gradient, from what the kernel kept or computes anew."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, kernel: ChunkKernel, keep: bool, *targets: Tensor) -> tuple[Tensor, Layout]:
        ctx.save_for_backward(logits, *targets)
        ctx.kernel = kernel
        ctx.kept = torch.empty_like(logits) if keep else None
        dtype, buffers = compute_dtype(logits), Buffers()
        totals: dict[int, Tensor] = {}
        for items, columns in spans(logits):
            room = None if ctx.kept is None else ctx.kept[items, :, columns]
            parts = [target[items, ..., columns] for target in targets]
            rows, layout, found = kernel.sums(Chunk(logits[items, :, columns].to(dtype), parts, buffers, room))
            ctx.found = found & ctx.found if totals else found
            totals[items.start] = totals[items.start] + rows if items.start in totals else rows.double()
        ctx.layout = layout
        return torch.cat(list(totals.values())), layout

    @staticmethod
    def backward(ctx: Any, weight: Tensor, _: None) -> tuple[Tensor | None, ...]:
        logits, *targets = ctx.saved_tensors
        # What was kept is overwritten by the gradient: a second backward pass computes it anew.
        kept, ctx.kept = ctx.kept, None
        with torch.no_grad():
            gradient = torch.empty_like(logits) if kept is None else kept
            plan, buffers = ctx.kernel.plan(weight, ctx.layout, ctx.found, compute_dtype(logits)), Buffers()
            for items, columns in spans(logits):
                parts = [target[items, ..., columns] for target in targets]
                chunk = logits[items, :, columns].to(compute_dtype(logits))
                room = gradient[items, :, columns]
                ctx.kernel.gradient(Chunk(chunk, parts, buffers, room, kept is not None), plan, items)
        if torch.is_grad_enabled():  # create_graph=True
            gradient = _NoSecond.apply(gradient, weight, logits)
        return gradient, None, None, *(None for _ in targets)


class _NoSecond(torch.autograd.Function):
    """A gradient that says, if asked for its own, that it has none."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> None:
        raise NotImplementedError("the losses have no second derivative: their gradients are written by hand")
