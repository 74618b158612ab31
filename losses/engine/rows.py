"""Names of sums: what a formula adds up voxel by voxel is found again by name in the loss and in the gradient."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


class Sums:
    """Sums by name, each an attribute ``(B, K)``, or ``(B, K, M)`` where a part was :class:`Summed`."""

    def __init__(self, **sums: Tensor) -> None:
        for name, value in sums.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Tensor:
        """Only for what is not there."""
        raise AttributeError(f"there is no sum {name}; there are {', '.join(vars(self))}")


class Summed:
    """A part of a formula that is summed already: ``(G, K, M)``, such as sums by bin."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


@dataclass(frozen=True)
class Layout:
    """Order of the sums in a tensor ``(G, K, R)``.

    Args:
        names: Their names.
        sizes: How many each name stands for.
        blocks: Those of them that keep an axis of their own, however many they stand for.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    blocks: frozenset[str] = frozenset()

    def unpack(self, rows: Tensor) -> Sums:
        """Name the sums ``(B, K, R)``."""
        parts = self.columns(rows).items()
        return Sums(**{name: part if name in self.blocks else part[..., 0] for name, part in parts})

    def columns(self, weight: Tensor) -> dict[str, Tensor]:
        """Weights ``(B, K, R)`` of the sums by name, each ``(B, K, M)``, and so broadcast over voxels where M is 1."""
        return dict(zip(self.names, weight.split(self.sizes, dim=-1), strict=True))


def pack(parts: Mapping[str, Tensor | Summed]) -> tuple[Tensor, Layout]:
    """Sum each part ``(G, K, n)``, or ``(G, 1, n)`` for all classes together, over the voxels: ``(G, K, R)``."""
    sums = [part.values if isinstance(part, Summed) else part.sum(-1, keepdim=True) for part in parts.values()]
    classes = max(part.shape[1] for part in sums)
    rows = torch.cat([part.expand(-1, classes, -1) for part in sums], dim=-1)
    blocks = frozenset(name for name, part in parts.items() if isinstance(part, Summed))
    return rows, Layout(tuple(parts), tuple(part.shape[-1] for part in sums), blocks)
